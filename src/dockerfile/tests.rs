use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::hierarchy::{Base, BaseUse, Dockerfile, StepPlace};

fn scan_with(
    text: &str,
    build_args: &[(&str, &str)],
    target: Option<&str>,
) -> Result<Scan, ScanError> {
    let build_args: BTreeMap<String, String> =
        build_args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let settings = Settings {
        build_args: &build_args,
        target,
        platform: &"linux/arm/v7".parse().unwrap(),
        build_platform: &"linux/amd64".parse().unwrap(),
    };
    scan(text, settings)
}

/// `line token=image`, `*` behind the one that the last stage is made from; or the problems.
fn seen(text: &str, build_args: &[(&str, &str)], target: Option<&str>) -> String {
    match scan_with(text, build_args, target) {
        Ok(scan) => {
            let each = scan.uses.iter().map(|image| {
                let token = &text[image.span.clone()];
                let is_final = if image.is_final { "*" } else { "" };
                if token == image.image {
                    format!("{} {token}{is_final}", image.line)
                } else {
                    format!("{} {token:?}={}{is_final}", image.line, image.image)
                }
            });
            each.collect::<Vec<_>>().join(", ")
        }
        Err(ScanError::Problems(problems)) => {
            let each = problems.iter().map(|problem| {
                let token = text[problem.span.clone()].escape_debug().to_string();
                format!("! {} @ {token}", problem.message)
            });
            each.collect::<Vec<_>>().join(", ")
        }
        Err(ScanError::UnknownTarget { stages }) => format!("? {}", stages.join(" ")),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(seen(text, &[], None), *expected, "\n{text}");
    }
}

#[test]
fn lines() {
    check(&[
        ("FROM a", "1 a*"),
        ("from a", "1 a*"),
        ("  FROM   a  \n", "1 a*"),
        ("\tFROM\ta\tAS\tx\t", "1 a*"),
        ("\u{feff}FROM a\n", "1 a*"),
        ("\u{feff}# syntax=x\r\n\r\nFROM a:1\r\nRUN x\r\n", "3 a:1*"),
        ("# comment\n\n  # another\nFROM a", "4 a*"),
        ("FROM \\\n  a", "1 a*"),
        ("FROM deb\\\nian:12", "1 \"deb\\\\\\nian:12\"=debian:12*"),
        ("FROM a \\\n# comment\n\n  AS \\\n x\nFROM x", "1 a*"),
        ("RUN\\\n x", "! `RUN` comes before the first `FROM` @ RUN\\\\\\n x"),
        ("FROM a\nRUN x \\\n# FROM b\n\n  && y\nFROM c", "1 a, 6 c*"),
        ("FROM a\nRUN x \\  \nFROM b", "1 a*"),
        ("FROM a\nRUN x \\\\\nFROM b", "1 a, 3 b*"),
        ("FROM a\nRUN x \\ y\nFROM b", "1 a, 3 b*"),
        ("FROM a\r\nRUN x \\\r\n  y\r\nFROM b\r\n", "1 a, 4 b*"),
        ("FROM a\nRUN x \\", "1 a*"),
        ("FROM a\nRUN x \\\n\\\n y\nFROM b", "1 a, 5 b*"),
        ("FROM a\\", "1 a*"),
        ("# escape=`\nFROM a\nRUN dir c:\\\nFROM b", "2 a, 4 b*"),
        ("# escape=`\nFROM a\nRUN x `\n FROM\nFROM b", "2 a, 5 b*"),
        ("# syntax=x\n# ESCAPE = `\nFROM a\nRUN c:\\\nFROM b", "3 a, 5 b*"),
        ("# a comment\n# escape=`\nFROM a\nRUN x \\\nFROM b", "3 a*"),
        ("\n# escape=`\nFROM a\nRUN x \\\nFROM b", "3 a*"),
        ("# unknown=x\n# escape=`\nFROM a\nRUN x \\\nFROM b", "3 a*"),
        ("# escape=x\nFROM a", "! `x` cannot be the escape character @ # escape=x"),
        ("# escape=`\n# escape=`\nFROM a", "! the directive `escape` is given twice @ # escape=`"),
        ("", "! there is no `FROM` in this Dockerfile @ "),
        ("# nothing\n", "! there is no `FROM` in this Dockerfile @ "),
        ("ARG X=1\n", "! there is no `FROM` in this Dockerfile @ ARG X=1"),
        ("FORM a\n", "! `FORM` is not an instruction @ FORM"),
        ("# syntax=mine\nINCLUDE x\nFROM a\n", "3 a*"),
        (
            "FROM a # the base",
            "! `FROM` takes one image, and perhaps `AS name` @ FROM a # the base",
        ),
        ("FROM", "! `FROM` takes one image, and perhaps `AS name` @ FROM"),
        ("FROM a b", "! `FROM` takes one image, and perhaps `AS name` @ FROM a b"),
        ("FROM a AS 1x", "! `1x` cannot be the name of a stage @ 1x"),
        (
            "FROM a\nFOO\nBAR",
            "! `FOO` is not an instruction @ FOO, ! `BAR` is not an instruction @ BAR",
        ),
    ]);
}

#[test]
fn unknown_flags_are_problems_unless_another_frontend_may_know_them() {
    check(&[
        ("FROM a\nCOPY --form=x /x /x", "! unknown flag `--form` @ --form"),
        ("FROM a\nADD --chwon=1 --link /x /x", "! unknown flag `--chwon` @ --chwon"),
        ("FROM --platfrom=linux/amd64 a", "! unknown flag `--platfrom` @ --platfrom"),
        ("FROM a\nONBUILD RUN --mout=type=cache x", "! unknown flag `--mout` @ --mout"),
        ("FROM a\nRUN --network=none --mount=type=tmpfs,target=/x a --form", "1 a*"),
        (
            "FROM a\nCOPY --parents --exclude=*.o --chmod=644 --chown=1 --link --from=b /x /x",
            "1 a*, 2 b",
        ),
        ("FROM a\nADD --checksum=sha256:0 --keep-git-dir --unpack x /x", "1 a*"),
        ("FROM a\nHEALTHCHECK --interval=1s CMD true", "1 a*"),
        ("# syntax=mine\nFROM a\nCOPY --form=x /x /x", "2 a*"),
    ]);
    let Err(ScanError::Problems(problems)) = scan_with("FROM a\nCOPY --form=x /x /x", &[], None)
    else {
        panic!("no problem")
    };
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `--from`?"));
}

#[test]
fn heredocs() {
    check(&[
        ("FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN python3 <<EOF\nFROM b\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN <<-EOF\n\tFROM b\n\tEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN <<EOF\nFROM b\n\tEOF\nFROM b\nEOF\nFROM c", "1 a, 7 c*"),
        ("FROM a\nRUN <<'EOF' cat\nFROM $b\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN <<\"E O\"\nFROM b\nE O\nFROM c", "1 a, 5 c*"),
        ("FROM a\nCOPY <<x <<y /dst/\nFROM 1\nx\nFROM 2\ny\nFROM c", "1 a, 7 c*"),
        ("FROM a\nADD <<x /x\nFROM 1\nx\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN 3<<EOF cat\nFROM b\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\r\nRUN <<EOF\r\nFROM b\r\nEOF\r\nFROM c\r\n", "1 a, 5 c*"),
        ("FROM a\nRUN cat <<EOF \\\n  | sh\nFROM b\nEOF\nFROM c", "1 a, 6 c*"),
        ("FROM a\nRUN <<EOF\ntrailing \\\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nONBUILD RUN <<EOF\nFROM b\nEOF\nFROM c", "1 a, 5 c*"),
        ("FROM a\nRUN cat <<<EOF\nFROM c", "1 a, 3 c*"),
        ("FROM a\nRUN echo $((1<<2))\nFROM c", "1 a, 3 c*"),
        ("FROM a\nRUN [\"cat\", \"<<EOF\"]\nFROM c", "1 a, 3 c*"),
        ("FROM a\nCMD cat <<EOF\nFROM c", "1 a, 3 c*"),
        ("FROM a\nRUN echo '<<EOF'\nFROM c", "1 a, 3 c*"),
        ("FROM a\nRUN <<EOF\nFROM b\n", "! the heredoc `EOF` has no end @ RUN <<EOF"),
        ("FROM a\nCOPY --from=b <<EOF /x\nFROM d\nEOF\n", "1 a*, 2 b"),
    ]);
}

#[test]
fn variables() {
    let cases: &[(&str, &str)] = &[
        ("ARG X=a\nFROM $X", "2 \"$X\"=a*"),
        ("ARG X=a\nFROM ${X}:1", "2 \"${X}:1\"=a:1*"),
        ("ARG X=a Y=b\nFROM $X-$Y", "2 \"$X-$Y\"=a-b*"),
        ("ARG X=a\nARG Y=${X}b\nFROM $Y", "3 \"$Y\"=ab*"),
        ("ARG X=a\nARG X=b\nFROM $X", "3 \"$X\"=b*"),
        ("ARG X\nFROM ${X:-d}", "2 \"${X:-d}\"=d*"),
        ("ARG X=\nFROM ${X:-d}", "2 \"${X:-d}\"=d*"),
        ("ARG X=\nFROM d${X-e}", "2 \"d${X-e}\"=d*"),
        ("FROM ${X-e}", "1 \"${X-e}\"=e*"),
        ("ARG X=a\nFROM e${X:+f}", "2 \"e${X:+f}\"=ef*"),
        ("FROM e${X+f}", "1 \"e${X+f}\"=e*"),
        ("ARG Y=y\nFROM ${X:-${Y}z}", "2 \"${X:-${Y}z}\"=yz*"),
        ("ARG X=\"a:1\"\nFROM $X", "2 \"$X\"=a:1*"),
        ("ARG X='a$Y'\nFROM e${X#a?}", "2 \"e${X#a?}\"=eY*"),
        ("ARG X=a.b.c\nFROM ${X%.*}", "2 \"${X%.*}\"=a.b*"),
        ("ARG X=a.b.c\nFROM ${X%%.*}", "2 \"${X%%.*}\"=a*"),
        ("ARG X=a.b.c\nFROM ${X##*.}", "2 \"${X##*.}\"=c*"),
        ("ARG X=a.b.c\nFROM ${X/./-}", "2 \"${X/./-}\"=a-b.c*"),
        ("ARG X=a.b.c\nFROM ${X//./-}", "2 \"${X//./-}\"=a-b-c*"),
        ("FROM \"a:1\"", "1 \"\\\"a:1\\\"\"=a:1*"),
        ("FROM 'a':1", "1 \"'a':1\"=a:1*"),
        ("FROM a\\b", "1 \"a\\\\b\"=ab*"),
        ("# escape=`\nFROM a`b", "2 \"a`b\"=ab*"),
        ("ARG GIVEN=a\nFROM $GIVEN", "2 \"$GIVEN\"=given*"),
        ("ARG GIVEN\nFROM $GIVEN", "2 \"$GIVEN\"=given*"),
        ("FROM ${GIVEN:-undeclared}", "1 \"${GIVEN:-undeclared}\"=undeclared*"),
        ("FROM a\nARG X=b\nFROM ${X:-c}", "1 a, 3 \"${X:-c}\"=c*"),
        ("FROM a-$TARGETARCH$TARGETVARIANT", "1 \"a-$TARGETARCH$TARGETVARIANT\"=a-armv7*"),
        ("ARG TARGETOS\nFROM a-$TARGETOS", "2 \"a-$TARGETOS\"=a-linux*"),
        ("FROM --platform=$BUILDPLATFORM a", "1 a*"),
        ("FROM --platform=linux/amd64 a-$BUILDARCH AS x", "1 \"a-$BUILDARCH\"=a-amd64*"),
        ("FROM $UNSET", "! the image `$UNSET` is empty @ $UNSET"),
        ("ARG X\nFROM ${X}", "! the image `${X}` is empty @ ${X}"),
        ("FROM \"\"", "! the image `\"\"` is empty @ \\\"\\\""),
        ("FROM ${X", "! `${X` cannot be read: a `${` is not closed with `}` @ ${X"),
        ("FROM ${}", "! `${}` cannot be read: a `${…}` has no name @ ${}"),
        ("FROM ${X?}", "! `${X?}` cannot be read: `X` is not set @ ${X?}"),
        ("FROM ${X:?say}", "! `${X:?say}` cannot be read: `X` is not set: say @ ${X:?say}"),
        ("FROM ${X~y}", "! `${X~y}` cannot be read: `~` means nothing in `${X…}` @ ${X~y}"),
        ("FROM 'a", "! `'a` cannot be read: the closing `'` is missing @ \\'a"),
    ];
    for (text, expected) in cases {
        assert_eq!(
            seen(text, &[("GIVEN", "given"), ("TARGETOS", "linux")], None),
            *expected,
            "\n{text}"
        );
    }
}

#[test]
fn stages() {
    check(&[
        ("FROM a AS x\nFROM b\nCOPY --from=x / /", "1 a, 2 b*"),
        ("FROM a AS x\nFROM x", "1 a*"),
        ("FROM a AS Build\nFROM build\nFROM b\nCOPY --from=BUILD / /", "1 a, 3 b*"),
        ("FROM a AS x\nFROM x AS y\nRUN z\nFROM y", "1 a*"),
        ("FROM x\nFROM a AS x\nFROM x", "1 x, 2 a*"),
        ("FROM a AS a\nFROM a", "1 a*"),
        ("ARG S=x\nFROM a AS x\nFROM $S", "2 a*"),
        ("FROM scratch", ""),
        ("FROM scratch\nCOPY --from=b / /", "2 b"),
        ("FROM scratch AS x\nFROM a\nFROM x", "2 a"),
        ("FROM a\nCOPY --from=0 / /", "1 a*"),
        ("FROM a\nFROM b\nCOPY --from=0 / /", "1 a, 2 b*"),
        ("FROM a\nCOPY --from=1 / /", "! there is no stage `1`; the only one is 0 @ 1"),
        ("FROM a\nFROM b\nCOPY --from=2 / /", "! there is no stage `2`; the last one is 1 @ 2"),
        ("FROM a\nCOPY --from=x / /\nFROM b AS x\nFROM c", "1 a, 3 b, 4 c*"),
        ("FROM a\nCOPY --chown=1:1 --from=b:1 --link /x /y", "1 a*, 2 b:1"),
        ("FROM a\nCOPY --from=\"b:1\" / /", "1 a*, 2 b:1"),
        ("FROM a\nCOPY --fr\\om=b / /", "1 a*, 2 b"),
        ("FROM a\nCOPY \\\n --from=b\\\n:1 / /", "1 a*, 2 \"b\\\\\\n:1\"=b:1"),
        ("FROM a\nADD --from=b / /", "1 a*, 2 b"),
        ("FROM a\nCOPY --from=scratch / /", "1 a*"),
        ("FROM a\nCOPY x --from=b /", "1 a*"),
        ("FROM a\nCOPY -- --from=b /", "1 a*"),
        ("FROM a\nRUN --mount=type=bind,from=b,target=/b x", "1 a*, 2 b"),
        ("FROM a\nRUN --mount=from=b --mount=type=cache,from=c:1,target=/c x", "1 a*, 2 b, 2 c:1"),
        ("FROM a\nRUN --mount=type=bind,\\\"from=b\\\",target=/b x", "1 a*, 2 b"),
        ("FROM a AS s\nFROM c\nRUN --mount=from=s,target=/b x", "1 a, 2 c*"),
        ("FROM a\nRUN --network=none --mount=type=tmpfs,target=/t x", "1 a*"),
        ("FROM a\nRUN --mount=type=tmpfs,from=b,target=/t x", "1 a*"),
        ("FROM a\nRUN x --mount=from=b", "1 a*"),
        ("FROM a\nONBUILD COPY --from=b / /", "1 a*"),
        ("FROM a\nonbuild RUN --mount=from=b x", "1 a*"),
        (
            "ARG X=b\nFROM a\nCOPY --from=$X / /",
            "! the builder does not expand variables in `from=$X` @ $X",
        ),
        (
            "FROM a\nRUN --mount=from=${X},target=/x x",
            "! the builder does not expand variables in `from=${X}` @ ${X}",
        ),
        ("FROM é\nCOPY --from=ü / /", "1 é*, 2 ü"),
    ]);
}

#[test]
fn a_target_leaves_out_what_comes_after_it() {
    let text =
        "FROM a AS x\nFROM b AS y\nCOPY --from=z / /\nFROM c AS z\nFROM d AS w\nCOPY --from=e / /";
    for (target, expected) in [
        (None, "1 a, 2 b, 4 c, 5 d*, 6 e"),
        (Some("x"), "1 a*"),
        (Some("Y"), "1 a, 2 b*, 4 c"),
        (Some("z"), "1 a, 2 b, 4 c*"),
        (Some("v"), "? x y z w"),
        (Some("0"), "? x y z w"),
    ] {
        assert_eq!(seen(text, &[], target), expected, "{target:?}");
    }
}

/// A Dockerfile as it is in a node, its images all upstream.
fn dockerfile(text: &str) -> Dockerfile {
    let scan = scan_with(text, &[], None).unwrap();
    let uses = scan
        .uses
        .into_iter()
        .map(|image| BaseUse {
            span: image.span,
            line: image.line,
            base: match image.image.strip_prefix("node-") {
                Some(name) => Base::Node(name.split(':').next().unwrap().into()),
                None => Base::Upstream(image.image.parse().unwrap()),
            },
            stage: image.stage,
            is_final: image.is_final,
            on_build: None,
            platform: None,
        })
        .collect();
    Dockerfile {
        path: "/Dockerfile".into(),
        text: text.to_owned(),
        uses,
        instructions: scan.instructions,
    }
}

#[test]
fn pins_replace_the_token_and_nothing_else() {
    let text = "\u{feff}# syntax=x\r\nARG V=1\r\nFROM --platform=$BUILDPLATFORM \"a:$V\" AS x\r\n\
                RUN --mount=type=bind,\\\"from=b\\\",target=/b <<EOF\r\nFROM a:1\r\nEOF\r\n\
                FROM de\\\r\nbian \\\r\n# c\r\n as y\r\nCOPY --from='c' / /\r\n";
    let pins = (0..4).map(|index| (index, format!("PIN{index}"))).collect();
    assert_eq!(
        dockerfile(text).pinned(&pins),
        "\u{feff}# syntax=x\r\nARG V=1\r\nFROM --platform=$BUILDPLATFORM PIN0 AS x\r\n\
         RUN --mount=type=bind,\\\"from=PIN1\\\",target=/b <<EOF\r\nFROM a:1\r\nEOF\r\n\
         FROM PIN2 \\\r\n# c\r\n as y\r\nCOPY --from='PIN3' / /\r\n",
    );
    assert_eq!(dockerfile(text).pinned(&BTreeMap::new()), text);
    assert_eq!(
        dockerfile("FROM a\nCOPY --from=b / /").pinned(&BTreeMap::from([(1, "c@d".into())])),
        "FROM a\nCOPY --from=c@d / /"
    );
}

#[test]
fn the_labels_that_a_dockerfile_sets() {
    let file =
        dockerfile("FROM a\nlabel one=1 \\\n \"t.w.o\"='two = 2 x'\nLABEL old form=x\nENV env=1\n");
    for (label, expected) in [
        ("one", true),
        ("t.w.o", true),
        ("old", true),
        ("form", false),
        ("env", false),
        ("x", false),
    ] {
        assert_eq!(file.sets_label(label), expected, "{label}");
    }
}

#[test]
fn a_step_is_found_by_what_the_builder_calls_it() {
    let file = dockerfile(
        "ARG V=12\n\
         FROM debian:12 AS build\n\
         RUN  make \\\n   all\n\
         ENV X=1\n\
         run echo $X ${Y:-z} done\n\
         RUN <<EOF\nset -e\nEOF\n\
         COPY a b\n\
         FROM node-os:12\n\
         COPY --from=alpine:3 a b\n\
         RUN --mount=type=cache,target=/c make install\n\
         COPY same here\n\
         COPY same here\n\
         COPY --chown=\"${U}:${G}\" \"c\" d\n",
    );
    for (step, expected) in [
        ("RUN make all", Some(3)),
        ("RUN make    all", Some(3)),
        ("[build 2/3] RUN make all", Some(3)),
        ("Step 3/11 : RUN  make    all", Some(3)),
        ("RUN echo 1 z done", Some(6)),
        ("RUN <<EOF (set -e...)", Some(7)),
        ("COPY a b", Some(10)),
        ("COPY --from=alpine:3 a b", Some(12)),
        ("RUN --mount=type=cache,target=/c make install", Some(13)),
        ("COPY same here", None),
        ("COPY --chown=1:2 c d", Some(16)),
        ("COPY --chown=1:2 c e", None),
        ("RUN make", None),
        (
            "FROM docker.io/library/debian:12@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Some(2),
        ),
        ("FROM debian:12 AS build", Some(2)),
        ("FROM rebuild.invalid/other:0123456789abcdef AS build", Some(2)),
        ("FROM rebuild.invalid/os:12", Some(11)),
        ("FROM docker.io/library/alpine:3", Some(12)),
        ("FROM rebuild.invalid/other:12", None),
        ("exporting to image", None),
        ("", None),
    ] {
        assert_eq!(file.line_of(step).map(|found| found.line), expected, "{step}");
    }
    let single = dockerfile("FROM $X\nRUN x".replace("$X", "a").as_str());
    assert_eq!(single.line_of("FROM anything:1").map(|found| found.line), Some(1));
}

#[test]
fn instructions_are_one_line_each() {
    let file = dockerfile("from a\nRUN x \\\n  # no\n  && \\\n\n y\nCOPY <<E /z\nbody\nE\n");
    let found: Vec<String> =
        file.instructions.iter().map(|one| format!("{} {}", one.line, one.text)).collect();
    assert_eq!(found, ["1 FROM a", "2 RUN x && y", "7 COPY <<E /z"]);
}

#[test]
fn the_frontend_is_named_at_the_top() {
    for (text, expected) in [
        ("FROM a\n", None),
        ("# syntax=docker/dockerfile:1\nFROM a\n", Some("docker/dockerfile:1")),
        ("# escape=`\n#  Syntax = r.io/x \r\nFROM a\n", Some("r.io/x")),
        ("# a comment\n# syntax=docker/dockerfile:1\nFROM a\n", None),
        ("FROM a\n# syntax=docker/dockerfile:1\n", None),
    ] {
        assert_eq!(frontend(text), expected, "{text}");
    }
}

#[test]
fn hostile_text_ends_soon() {
    let nested = format!("FROM {}x{}", "${a:-".repeat(100_000), "}".repeat(100_000));
    assert_eq!(
        seen(&nested, &[], None).split(": ").nth(1).unwrap().split(" @").next(),
        Some("the variables are nested too deeply")
    );
    let quoted = format!("FROM {}", "\"${a:-".repeat(100_000));
    assert!(seen(&quoted, &[], None).starts_with("! "));
    let onbuild = format!("FROM a\n{}RUN <<E", "ONBUILD ".repeat(100_000));
    assert_eq!(seen(&onbuild, &[], None), "1 a*");
    let long = format!("FROM a\nRUN {}\n", "x \\\n".repeat(100_000));
    assert_eq!(seen(&long, &[], None), "1 a*");
    let many = "FROM a AS s\n".repeat(20_000);
    assert!(scan_with(&many, &[], None).is_ok());
}

/// Pieces that mean something, so that random files are not only nonsense.
#[test]
fn a_shared_step_has_the_place_of_its_own_dockerfile() {
    let file = dockerfile(
        "FROM base\nENV A=1\nRUN echo same; sleep $A\nRUN sleep 1\nFROM base AS last\nRUN sleep 1\n\
         FROM scratch AS Files\nCOPY --from=0 /a /b",
    );
    let pinned = format!("FROM base@sha256:{}", "0".repeat(64));
    for ((stage, number, total), text, expected) in [
        ("compile", 2, 2, "RUN echo same; sleep 1", "2/3 RUN echo same; sleep 1"),
        ("compile", 1, 2, pinned.as_str(), "1/3 FROM base"),
        ("", 3, 3, "RUN sleep 1", "3/3 RUN sleep 1"),
        ("last", 2, 2, "RUN sleep 1", "last 2/2 RUN sleep 1"),
        ("compile", 9, 9, "RUN sleep 1", "3/3 RUN sleep 1"),
        ("", 9, 9, "COPY --from=0 /a /b", "files 1/1 COPY --from=0 /a /b"),
        // Of an `ONBUILD` of its base.
        ("last", 3, 2, "RUN trigger", "last 3/2 RUN trigger"),
        ("compile", 4, 3, "RUN trigger", "4/3 RUN trigger"),
    ]
    .map(|(stage, number, total, text, expected)| ((stage, number, total), text, expected))
    {
        let stage = (!stage.is_empty()).then(|| stage.to_owned());
        let reported = StepPlace { stage, number, total };
        let (place, shown) = file.step_place(reported, text.to_owned());
        let stage = place.stage.map_or(String::new(), |stage| format!("{stage} "));
        assert_eq!(format!("{stage}{}/{} {shown}", place.number, place.total), expected, "{text}");
    }
}

fn dockerfiles() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM "),
        Just("from "),
        Just("a:1"),
        Just("$X"),
        Just("${X:-"),
        Just("}"),
        Just(" AS s"),
        Just("\n"),
        Just("\r\n"),
        Just("\\\n"),
        Just("\\"),
        Just("`"),
        Just("# escape=`\n"),
        Just("#"),
        Just("\u{feff}"),
        Just("RUN "),
        Just("<<EOF"),
        Just("<<-'E'"),
        Just("EOF\n"),
        Just("COPY "),
        Just("--from="),
        Just("--mount=type=bind,from="),
        Just("\""),
        Just("'"),
        Just(","),
        Just(" "),
        Just("ARG X=1\n"),
        Just("ONBUILD "),
        Just("é"),
        Just("0"),
        Just("s"),
        Just("\t"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat()),
        any::<String>(),
        prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn pinning_what_is_there_changes_nothing(text in dockerfiles(), prefix in any::<bool>()) {
        let text = if prefix { format!("FROM a\n{text}") } else { text };
        let Ok(scan) = scan_with(&text, &[], None) else { return Ok(()) };
        let pins = scan.uses.iter().enumerate().map(|(i, u)| (i, text[u.span.clone()].to_owned())).collect();
        let reference = "a".parse::<crate::image::Reference>().unwrap();
        let uses: Vec<BaseUse> = scan.uses.iter().map(|image| BaseUse {
            span: image.span.clone(),
            line: image.line,
            base: Base::Upstream(reference.clone()),
            stage: image.stage,
            is_final: image.is_final,
            on_build: None,
            platform: None,
        }).collect();
        let file = Dockerfile {
            path: "/Dockerfile".into(), text: text.clone(), uses, instructions: scan.instructions,
        };
        prop_assert_eq!(file.pinned(&pins), text.clone());
        // What cannot be the name of an image is refused, and never pinned.
        if scan_with(&text, &[], None).unwrap().uses.iter().any(|one| one.image.parse::<crate::image::Reference>().is_err()) {
            return Ok(());
        }
        // Pinned to something else, it is read again as exactly that.
        let pins: BTreeMap<usize, String> = (0..file.uses.len()).map(|i| (i, format!("pin.invalid/i:{i}"))).collect();
        let pinned = file.pinned(&pins);
        let again = scan_with(&pinned, &[], None).unwrap();
        let images: Vec<&str> = again.uses.iter().map(|one| one.image.as_str()).collect();
        prop_assert_eq!(images, pins.values().map(String::as_str).collect::<Vec<_>>());
        for one in &file.instructions {
            file.line_of(&one.text);
        }
        file.line_of(&text);
    }
}

#[test]
fn bytes_that_are_not_utf8_stand_in_comments_only() {
    let decoded = |bytes: &[u8]| match decode(bytes.to_vec()) {
        Ok(text) => text,
        Err(NotText { text, span }) => format!("{}: {}", span.start, &text[..span.start]),
    };
    for (bytes, expected) in [
        (&b"# J\xfcrgen\nFROM a\n"[..], "# J\u{fffd}rgen\nFROM a\n"),
        (
            b"FROM a\nRUN b \\\n  # \xfc\n  c\n# \xff\xfe",
            "FROM a\nRUN b \\\n  # \u{fffd}\n  c\n# \u{fffd}\u{fffd}",
        ),
        (b"FROM a\nRUN b # \xfc\n", "15: FROM a\nRUN b # "),
        (b"# \xfc\nFROM a\nLABEL b=\xfc\n", "21: # \u{fffd}\nFROM a\nLABEL b="),
        (b"FROM a\nCOPY <<E /b\n# \xfc\nE\n", "21: FROM a\nCOPY <<E /b\n# "),
        (b"# syntax=\xfc\nFROM a\n", "9: # syntax="),
        (b"\xff\xfeF\0R\0O\0M\0", "0: "),
        // What cannot be read has no comments.
        (b"# \xfc\nFROM a\nRUN <<E\n", "2: # "),
    ] {
        assert_eq!(decoded(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn fuzz_dockerfile() {
    const WORDS: [&str; 24] = [
        "FROM ",
        "COPY --from=",
        "RUN --mount=type=bind,from=",
        "ARG X=",
        "ENV ",
        "ONBUILD ",
        "${X:-",
        "${X#",
        "${X//a/",
        "}",
        "<<EOF\n",
        "EOF\n",
        "\\\n",
        "# syntax=x\n",
        "# escape=`\n",
        "AS s",
        "$X",
        "\"",
        "'",
        "\r\n",
        "\t",
        "--platform=$BUILDPLATFORM ",
        "[\"a\"]",
        "\u{feff}",
    ];
    let examples: [&[u8]; 3] = [
        b"ARG V=1\nFROM a:$V AS s\nRUN --mount=type=cache,target=/x make\nFROM s\nCOPY --from=s /a /b\n",
        b"# syntax=docker/dockerfile:1\nFROM a\nRUN <<E <<'F'\nFROM x\nE\nF\nCOPY <<-G /x\n\tG\n",
        b"FROM --platform=$BUILDPLATFORM ${A:-b}${C%%x*}\nONBUILD COPY --from=t x y\nRUN a \\\n # no\n b\n",
    ];
    crate::testing::fuzz::each(&examples, &WORDS, |text| {
        let text = String::from_utf8_lossy(text);
        if let Ok(scan) = scan_with(&text, &[("X", "y")], None) {
            for one in &scan.uses {
                assert!(text.get(one.span.clone()).is_some(), "{:?}", one.span);
            }
        }
    });
}
