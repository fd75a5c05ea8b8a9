//! The corpus: Dockerfiles, and the images that a build of them needs.
//!
//! `~/` is the registry of the test, `@%` the digest of every image in it. What comes from newer
//! frontends than the engine at hand may have is as <https://docs.docker.com/reference/dockerfile/> says.

/// Who reads it as we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    BuildKit,
    /// Frontends of later years; one that cannot read it refuses it.
    Newer,
    /// Builders refuse it, and we leave that to them.
    Nobody,
    /// It is never sent: BuildKit would first fetch another frontend, or all of 20.10 dies of it.
    NeverSent,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) text: &'static str,
    pub(super) by: By,
    /// What we say that it needs; none if it cannot be built.
    pub(super) needs: Option<&'static str>,
    /// Of these, what only stages name that the target does not need: BuildKit leaves them out.
    pub(super) unneeded: &'static str,
    pub(super) target: Option<&'static str>,
    pub(super) args: &'static [(&'static str, &'static str)],
}

const fn case(by: By, text: &'static str, needs: Option<&'static str>) -> Case {
    Case { text, by, needs, unneeded: "", target: None, args: &[] }
}

const fn buildkit(text: &'static str, needs: &'static str) -> Case {
    case(By::BuildKit, text, Some(needs))
}

const fn newer(text: &'static str, needs: &'static str) -> Case {
    case(By::Newer, text, Some(needs))
}

const fn refused(text: &'static str) -> Case {
    case(By::BuildKit, text, None)
}

const fn refused_by_them(text: &'static str, needs: &'static str) -> Case {
    case(By::Nobody, text, Some(needs))
}

const fn never_sent(text: &'static str, needs: &'static str) -> Case {
    case(By::NeverSent, text, Some(needs))
}

impl Case {
    const fn unneeded(self, unneeded: &'static str) -> Self {
        Self { unneeded, ..self }
    }

    const fn target(self, target: &'static str) -> Self {
        Self { target: Some(target), ..self }
    }

    const fn args(self, args: &'static [(&'static str, &'static str)]) -> Self {
        Self { args, ..self }
    }
}

pub(super) const CASES: &[Case] = &[
    // Lines.
    buildkit("FROM ~/a", "a"),
    buildkit("from ~/a\ncopy --from=~/b /f /g", "a b"),
    buildkit("FrOm ~/a aS X\nFROM ~/b\nCOPY --from=x /f /g", "a b"),
    buildkit("\u{feff}FROM ~/a\n", "a"),
    buildkit("\u{feff}# comment\r\nFROM ~/a\r\nCOPY --from=~/b /f /g\r\n", "a b"),
    buildkit("FROM ~/a \\\r\n  AS x\r\n\r\nFROM ~/b\r\nCOPY \\\r\n --from=x /f /g\r\n", "a b"),
    buildkit("\n\n  # comment\n\t\n\tFROM\t~/a\tAS\tx\t\nFROM x", "a"),
    buildkit("FROM \\\n  # comment\n\n  ~/a \\\n# FROM ~/b\n  AS x\nFROM x", "a"),
    buildkit("FROM ~/a\nCOPY \\\n\n# --from=~/c\n --from=~/b \\\n /f /g", "a b"),
    buildkit("FROM ~/a\\\nb:1", "ab:1"),
    buildkit("FROM ~/a\nENV X=1 \\\n# FROM ~/b\n Y=2\nCOPY --from=~/c /f /g", "a c"),
    buildkit("FROM ~/a\nLABEL x=\"\\\nFROM ~/b\"\n", "a"),
    newer("FROM ~/a\nENV X=\\\\\nCOPY --from=~/b /f /g", "a b"),
    buildkit("FROM ~/a\nENV X=1 \\  \n Y=FROM\n", "a"),
    buildkit("# escape=`\nFROM ~/a\nENV X=c:\\\nCOPY --from=~/b /f /g", "a b"),
    buildkit(
        "# escape=`\nFROM `\n ~/a `\n# comment\n\n AS x\nFROM ~/b\nCOPY `\n --from=x /f /g",
        "a b",
    ),
    buildkit("#ESCAPE = `\nFROM ~/a\nENV X=\\\nCOPY --from=~/b /f /g", "a b"),
    buildkit("# no directive\n# escape=`\nFROM ~/a\nENV X=1 \\\n Y=COPY\n", "a"),
    buildkit("\n# escape=`\nFROM ~/a\nENV X=1 \\\n Y=COPY\n", "a"),
    buildkit("# unknown=1\n# escape=`\nFROM ~/a\nENV X=1 \\\n Y=COPY\n", "a"),
    never_sent("# syntax=docker/dockerfile:1\nFROM ~/a\nCOPY --from=~/b /f /g", "a b"),
    never_sent(
        "# syntax=docker/dockerfile:1\n# escape=`\nFROM ~/a\nENV X=c:\\\nCOPY --from=~/b /f /g",
        "a b",
    ),
    buildkit("# check=skip=all\nFROM ~/a", "a"),
    buildkit("FROM ~/a\nMAINTAINER FROM ~/b\nCMD FROM ~/b\n", "a"),
    refused("# escape=x\nFROM ~/a"),
    refused("# escape=`\n# escape=`\nFROM ~/a"),
    refused("# only a comment\n"),
    refused("FROM ~/a # comment"),
    refused("FROM ~/a AS"),
    refused("FROM ~/a b c d"),
    refused("FORM ~/a"),
    refused("RUN x\nFROM ~/a"),
    refused("FROM ~/a AS 1x"),
    // Heredocs.
    newer("FROM ~/a\nRUN <<EOF\nFROM ~/b\nEOF\nCOPY --from=~/c /f /g", "a c"),
    newer("FROM ~/a\nRUN <<-EOF cat\n\tFROM ~/b\n\tEOF\nCOPY --from=~/c /f /g", "a c"),
    newer("FROM ~/a\nRUN python3 <<'EOF' && true\nFROM ~/b\nEOF\nCOPY --from=~/c /f /g", "a c"),
    newer(
        "FROM ~/a\nRUN cat <<A - <<\"B\"\nFROM ~/b\nA\nFROM ~/b\nB\nCOPY --from=~/c /f /g",
        "a c",
    ),
    newer(
        "FROM ~/a\nCOPY <<x <<y /d/\nFROM ~/b\nx\nCOPY --from=~/b /f /g\ny\nCOPY --from=~/c /f /g",
        "a c",
    ),
    newer("FROM ~/a\nADD --chown=1:1 <<x /d\nFROM ~/b\nx\nCOPY --from=~/c /f /g", "a c"),
    newer("FROM ~/a\nRUN <<EOF\nx \\\nEOF\nCOPY --from=~/c /f /g", "a c"),
    newer("FROM ~/a\r\nRUN <<EOF\r\nFROM ~/b\r\nEOF\r\nCOPY --from=~/c /f /g\r\n", "a c"),
    newer("FROM ~/a\nONBUILD RUN <<EOF\nFROM ~/b\nEOF\nCOPY --from=~/c /f /g", "a c"),
    newer("FROM ~/a\nRUN --mount=from=~/m,target=/m <<EOF\nFROM ~/b\nEOF\n", "a m"),
    buildkit("FROM ~/a\nCMD cat <<EOF\nCOPY --from=~/b /f /g", "a b"),
    buildkit("FROM ~/a\nRUN [\"cat\", \"<<EOF\"]\nCOPY --from=~/b /f /g", "a b"),
    buildkit("FROM ~/a\nRUN cat <<<EOF\nCOPY --from=~/b /f /g", "a b"),
    // Variables.
    buildkit("ARG X=a\nFROM ~/$X", "a"),
    buildkit("ARG X=~/a Y=1\nFROM $X:$Y", "a:1"),
    buildkit("ARG X=~/a\nARG Y=${X}:1\nFROM ${Y}", "a:1"),
    buildkit("ARG X=~/a\nARG X=~/b\nFROM $X", "b"),
    buildkit("ARG X=\"~/a\"\nARG Y='~/b'\nFROM $X AS x\nFROM $Y\nCOPY --from=x /f /g", "a b"),
    buildkit("ARG X=~/a\nFROM \"$X:1\"", "a:1"),
    buildkit("FROM \"~/a\"", "a"),
    buildkit("ARG X\nFROM ~/${X:-a}", "a"),
    buildkit("ARG X=\nFROM ~/${X:-a}", "a"),
    buildkit("ARG X=b\nFROM ~/${X:-a}", "b"),
    buildkit("ARG X=b\nFROM ~/a${X:+-c}", "a-c"),
    buildkit("FROM ~/a${X:+-c}", "a"),
    buildkit("ARG Y=y\nFROM ~/${X:-${Y}z}", "yz"),
    buildkit("ARG X=a\nFROM ~/$X", "b").args(&[("X", "b")]),
    buildkit("ARG X\nFROM ~/$X", "b").args(&[("X", "b")]),
    buildkit("ARG X=a\nARG Y=~/$X\nFROM $Y", "b").args(&[("X", "b")]),
    buildkit("FROM ~/${X:-a}", "a").args(&[("X", "undeclared")]),
    buildkit("ARG X=a\nFROM ~/$X AS x\nARG X=b\nFROM ~/$X\nCOPY --from=x /f /g", "a"),
    buildkit("FROM ~/a\nARG X=b\nFROM ~/${X:-c}\nCOPY --from=0 /f /g", "a c"),
    buildkit("ARG REGISTRY=~\nARG OWNER=o\nARG BASE=$REGISTRY/$OWNER/a\nFROM $BASE", "o/a"),
    buildkit("ARG REGISTRY=~\nARG OWNER=o\nARG BASE=$REGISTRY/$OWNER/a\nFROM $BASE", "p/a")
        .args(&[("OWNER", "p")]),
    buildkit("ARG TAG=1.0-x\nFROM ~/a:${TAG} AS x\nFROM x", "a:1.0-x"),
    buildkit("ARG X=s\nFROM ~/a AS s\nFROM $X", "a"),
    buildkit(
        "FROM --platform=$BUILDPLATFORM ~/a AS build\nFROM ~/b\nCOPY --from=build /f /g",
        "a b",
    ),
    buildkit("FROM --platform=${TARGETPLATFORM} ~/a-$TARGETOS", "a-linux"),
    // Of 20.10 it takes the value away that it had.
    newer("ARG TARGETARCH\nARG X=${TARGETARCH:+known}\nFROM ~/a-$X", "a-known"),
    buildkit("FROM ~/a-$TARGETVARIANT$BUILDOS", "a-linux"),
    newer("FROM ~/${X-a}", "a"),
    newer("ARG X=\nFROM ~/a${X-b}", "a"),
    newer("ARG X=a\nFROM ~/${X+b}", "b"),
    newer("ARG X=a.b.c\nFROM ~/${X%.*} AS x\nFROM ~/${X%%.*}\nCOPY --from=x /f /g", "a a.b"),
    newer("ARG X=a.b.c\nFROM ~/${X#*.} AS x\nFROM ~/${X##*.}\nCOPY --from=x /f /g", "b.c c"),
    newer(
        "ARG X=a.b.c\nFROM ~/${X/./-} AS x\nFROM ~/${X//./-}\nCOPY --from=x /f /g",
        "a-b.c a-b-c",
    ),
    refused("FROM $X"),
    refused("ARG X\nFROM ${X}"),
    refused("ARG X=\nFROM $X"),
    refused("FROM ~/a\nARG X=~/b\nFROM $X"),
    refused("FROM ~/${X"),
    refused("FROM ~/${X:?must be given}"),
    refused("FROM ~/A"),
    // Stages.
    buildkit("FROM ~/a AS x\nFROM ~/b\nCOPY --from=x /f /g", "a b"),
    buildkit("FROM ~/a AS x\nFROM x AS y\nFROM y", "a"),
    buildkit("FROM ~/a AS Build\nFROM build\n", "a"),
    // BuildKit looks for a stage in small letters only here, and refuses the name of the image.
    never_sent("FROM ~/a AS Build\nFROM BUILD\n", "a"),
    buildkit("FROM ~/a AS Build\nFROM ~/b\nCOPY --from=bUILD /f /g", "a b"),
    buildkit("FROM ~/a AS a\nFROM a\nCOPY --from=~/a:2 /f /g", "a a:2"),
    buildkit("FROM ~/a AS x.y-z_1\nFROM x.y-z_1", "a"),
    buildkit("FROM ~/a\nFROM ~/b\nCOPY --from=0 /f /g", "a b"),
    buildkit("FROM ~/a AS x\nFROM ~/b AS y\nFROM ~/c\nCOPY --from=1 /f /g", "a b c").unneeded("a"),
    buildkit("FROM ~/a\nFROM ~/b", "a b").unneeded("a"),
    buildkit("FROM scratch\nCOPY --from=~/b /f /g", "b"),
    buildkit("FROM scratch AS x\nCOPY f /f\nFROM ~/a\nCOPY --from=x /f /g", "a"),
    buildkit("FROM scratch\nCOPY f /f", ""),
    buildkit("FROM ~/a AS x\nFROM ~/b AS y\nFROM ~/c AS z", "a b").target("y").unneeded("a"),
    buildkit("FROM ~/a AS x\nFROM x AS y\nFROM ~/c AS z", "a").target("Y"),
    buildkit(
        "FROM ~/a AS x\nFROM ~/b AS y\nCOPY --from=x /f /g\nFROM ~/c\nCOPY --from=y /f /g",
        "a b",
    )
    .target("y"),
    buildkit("FROM ~/a AS x\nCOPY --from=z /f /g\nFROM ~/b AS y\nFROM ~/c AS z\n", "a c")
        .target("x"),
    buildkit(
        "FROM ~/a\nCOPY --from=late /f /g\nFROM ~/b AS late\nFROM scratch\nCOPY --from=0 /f /g",
        "a b",
    ),
    refused("FROM ~/a AS x\nFROM ~/b").target("nobody"),
    refused("FROM ~/a\nCOPY --from=7 /f /g"),
    refused_by_them("FROM ~/a\nCOPY --from=0 /f /g", "a"),
    refused("ARG X=~/b\nFROM ~/a\nCOPY --from=$X /f /g"),
    // What is copied.
    buildkit("FROM ~/a\nCOPY --from=~/b:1 /f /g\nCOPY --from=~/c /f /h", "a b:1 c"),
    buildkit("FROM ~/a\nCOPY --chown=1:1 --from=~/b /f /g", "a b"),
    buildkit("FROM ~/a\nCOPY --from=~/b --chown=1:1 [\"/f\", \"/g\"]", "a b"),
    buildkit("FROM ~/a\nCOPY --from=\"~/b\" /f /g", "a b"),
    buildkit("FROM ~/a\nCOPY f --from=~/b /d/", "a"),
    buildkit("FROM ~/a\nADD f /d/", "a"),
    buildkit("FROM ~/a@%", "a@%"),
    buildkit("FROM ~/a:1@%", "a@%"),
    buildkit("FROM ~/a\nCOPY --from=~/b@% /f /g", "a b@%"),
    buildkit("FROM ~/a/b/c:x_Y.z-1", "a/b/c:x_Y.z-1"),
    newer("FROM ~/a\nCOPY --link --from=~/b /f /g", "a b"),
    newer("FROM ~/a\nCOPY --parents --exclude=*.c --from=~/b /f /g", "a b"),
    buildkit("FROM ~/a\nCOPY --chmod=755 --from=~/b /f /g", "a b"),
    refused_by_them("FROM ~/a\nADD --from=~/b /f /g", "a b"),
    // What is mounted.
    buildkit("FROM ~/a\nRUN --mount=type=bind,from=~/b,target=/b x", "a b"),
    buildkit(
        "FROM ~/a\nRUN --mount=from=~/b,target=/b --mount=type=cache,from=~/c,target=/c x",
        "a b c",
    ),
    buildkit("FROM ~/a AS s\nFROM ~/b\nRUN --mount=from=S,target=/s x", "a b"),
    buildkit("FROM ~/a\nRUN --mount=type=cache,target=/c x", "a"),
    never_sent("FROM ~/a\nRUN --mount=type=tmpfs,from=~/b,target=/t x", "a"),
    buildkit("FROM ~/a\nRUN --mount=target=/b,\\\nfrom=~/b,type=bind \\\n  x", "a b"),
    newer("FROM ~/a\nRUN --network=none --mount=from=~/b,target=/b,ro [\"x\"]", "a b"),
    buildkit("FROM ~/a\nRUN --mount=type=bind,FROM=~/b,target=/b x", "a b"),
    buildkit("FROM ~/a\nRUN x --mount=from=~/b,target=/b", "a"),
    buildkit("FROM ~/a\nRUN --mount=from=scratch,target=/b x", "a"),
    buildkit(
        "FROM ~/a\nRUN --mount=from=~/b:1,target=/b --mount=from=~/b:2,target=/c x",
        "a b:1 b:2",
    ),
    buildkit("FROM ~/a AS x\nRUN --mount=from=~/m,target=/m x\nFROM ~/b AS y", "a b m")
        .unneeded("a m"),
    // What runs in children.
    buildkit("FROM ~/a\nONBUILD COPY --from=~/b /f /g", "a"),
    buildkit("FROM ~/a\nonbuild ADD f /f\nONBUILD RUN FROM ~/b", "a"),
    buildkit("FROM ~/a\nONBUILD RUN --mount=from=~/b,target=/b x", "a"),
    refused_by_them("FROM ~/a\nONBUILD FROM ~/b", "a"),
    refused_by_them("FROM ~/a\nONBUILD ONBUILD RUN x", "a"),
];
