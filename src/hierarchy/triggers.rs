//! What the `ONBUILD` instructions of an image name: edges of the images that are `FROM` it, and of no
//! others, since a build consumes the instructions of its base.
//!
//! A builder looks such a name up among the stages of the child, then as an image. Docker 20.10 does not
//! take an image at all. So the child is sent with a stage of that name.

use std::collections::BTreeSet;

use super::{
    Base, BaseUse, NodeName, draft::Draft, fields::Problems, files::DockerfileRead,
    platform_edges::PlatformEdges,
};
use crate::dockerfile::is_stage_name;
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    image::Reference,
};

/// What a child needs because of its parents' `ONBUILD` instructions.
pub(super) fn triggered<'f>(
    (draft, child): (&Draft, &DockerfileRead),
    uses: &[BaseUse],
    parent: impl Fn(&NodeName) -> Option<&'f DockerfileRead>,
    (edges, problems): (&PlatformEdges<'_>, &mut Problems),
) -> Vec<BaseUse> {
    let mut known: BTreeSet<String> = child.scan.stages.clone();
    let mut found: Vec<BaseUse> = Vec::new();
    let froms = child.scan.uses.iter().filter(|image| image.is_from);
    let bases = froms.filter_map(|from| uses.iter().find(|one| one.span == from.span));
    for base in bases {
        let Some(parent) = base.base.node().and_then(&parent) else { continue };
        for trigger in &parent.scan.triggers {
            let Ok(reference) = trigger.image.parse::<Reference>() else { continue };
            let name = trigger.image.to_ascii_lowercase();
            if known.contains(&name) {
                continue;
            }
            let resolved = edges.resolve(&reference, (draft, None), problems).base;
            if !is_stage_name(&name) {
                problems.found.push(unnameable(&trigger.image, &resolved).at(
                    &parent.dockerfile,
                    trigger.span.clone(),
                    "",
                ));
                continue;
            }
            known.insert(name.clone());
            found.push(BaseUse {
                base: resolved,
                is_final: false,
                on_build: Some(name),
                platform: None,
                ..base.clone()
            });
        }
    }
    // The stage that is made for it comes before these, and moves their numbers.
    if let (Some(first), Some((counted, span))) =
        (found.iter().map(|used| used.stage).min(), &child.scan.counted)
        && *counted >= first
    {
        let message = format!(
            "`--from={counted}` counts stages, and the `ONBUILD` instructions of the base need one more"
        );
        let problem = Diagnostic::of(RuleCode::OnbuildName, message);
        let problem = problem.at(&child.dockerfile, span.clone(), "");
        problems.found.push(problem.hint("give the stage a name, and take it from that"));
    }
    found
}

fn unnameable(written: &str, resolved: &Base) -> Diagnostic {
    let (code, what) = match resolved {
        Base::Node(_) => (RuleCode::OnbuildName, "an image of this hierarchy"),
        Base::Upstream(_) | Base::Files(_) => (RuleCode::UnpinnedOnbuild, "an upstream"),
    };
    let message =
        format!("`ONBUILD` takes from {what} by a name that no stage can have: `{written}`");
    Diagnostic::of(code, message).hint(match resolved {
        Base::Node(name) if is_stage_name(name.image()) => format!(
            "write `--from={}`: images that are built on this one are sent with a stage of that name",
            name.image()
        ),
        Base::Node(name) => {
            let last = name.image().rsplit('/').next().unwrap_or_default();
            format!(
                "name it `{last}` in hierarchy.yaml (`repository:` says where it is published), and write \
                 `--from={last}`: images that are built on this one are sent with a stage of that name"
            )
        }
        Base::Upstream(_) | Base::Files(_) => format!(
            "images that are built on this one take whatever `{written}` is at that moment, and are not \
             rebuilt when it moves; make it an image of the hierarchy and write its bare name"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _, fs};

    use tempfile::TempDir;

    use crate::hierarchy::{Hierarchy, LoadOptions};

    /// Images of `name: Dockerfile`, its lines separated by `; `.
    fn folder(images: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut yaml = "version: 1\nimages:\n".to_owned();
        for (name, dockerfile) in images.lines().map(|line| line.trim().split_once(": ").unwrap()) {
            writeln!(yaml, "  {name}: {{ test: [{{ run: [x] }}], build_args: {{ V: \"1\" }} }}")
                .unwrap();
            fs::create_dir(folder.path().join(name)).unwrap();
            let text = dockerfile.replace("; ", "\n") + "\n";
            fs::write(folder.path().join(name).join("Dockerfile"), text).unwrap();
        }
        fs::write(folder.path().join("hierarchy.yaml"), yaml).unwrap();
        folder
    }

    const IMAGES: &str = "os: FROM scratch
        tools: FROM scratch
        more: FROM scratch
        runtime: FROM os; ONBUILD COPY --from=tools /a /a; onbuild RUN --mount=type=bind,from=more,target=/m x; ONBUILD COPY --from=0 / /
        child: FROM runtime; CMD x
        grandchild: FROM child
        twice: FROM runtime AS build; FROM runtime; COPY --from=build / /
        own-stage: FROM os AS tools; FROM runtime
        copies: FROM os; COPY --from=runtime / /
        stages: FROM os; ONBUILD COPY --from=tools / /; FROM os";

    #[test]
    fn direct_children_need_what_their_parent_names() {
        let folder = folder(IMAGES);
        let hierarchy = folder.path().join("hierarchy.yaml");
        let hierarchy = Hierarchy::load(&hierarchy, &LoadOptions::default()).unwrap().hierarchy;
        for (node, expected) in [
            ("runtime", "os"),
            ("child", "more runtime tools"),
            ("grandchild", "child"),
            ("twice", "more runtime tools"),
            ("own-stage", "more os runtime"),
            ("copies", "os runtime"),
            ("stages", "os"),
        ] {
            let parents: Vec<&str> =
                hierarchy.parents(&node.into()).map(|parent| parent.name.as_str()).collect();
            assert_eq!(parents.join(" "), expected, "{node}");
        }
        let sent = |node: &str| {
            let file = &hierarchy.get(&node.into()).unwrap().dockerfile;
            let pin = |(n, used): (usize, &crate::hierarchy::BaseUse)| {
                (n, format!("pin/{}", used.base.node().unwrap()))
            };
            let pins: BTreeMap<usize, String> = file.uses.iter().enumerate().map(pin).collect();
            file.pinned(&pins)
        };
        assert_eq!(
            sent("child"),
            "FROM pin/tools AS tools\nFROM pin/more AS more\nFROM pin/runtime\nCMD x\n"
        );
        assert_eq!(
            sent("twice"),
            "FROM pin/tools AS tools\nFROM pin/more AS more\nFROM pin/runtime AS build\nFROM pin/runtime\n\
             COPY --from=build / /\n"
        );
        assert_eq!(
            sent("own-stage"),
            "FROM pin/os AS tools\nFROM pin/more AS more\nFROM pin/runtime\n"
        );
        assert_eq!(sent("copies"), "FROM pin/os\nCOPY --from=pin/runtime / /\n");
    }

    #[test]
    fn what_cannot_be_pinned_is_an_error_or_a_warning() {
        for (images, expected) in [
            (
                "os: FROM scratch; ARG V\nrun: FROM os; ONBUILD COPY --from=os:latest / /; ARG V\napp: FROM run; ARG V",
                "RB026",
            ),
            (
                "run: FROM scratch; ONBUILD COPY --from=composer:2 / /; ARG V\napp: FROM run; ARG V",
                "RB053",
            ),
            // Nobody is FROM it.
            ("os: FROM scratch; ARG V\nrun: FROM os; ONBUILD COPY --from=os:latest / /; ARG V", ""),
            (
                "os: FROM scratch; ARG V\nrun: FROM os; ONBUILD COPY --from=os / /; ARG V\n\
              app: FROM run; FROM os; COPY --from=0 / /; ARG V",
                "RB026",
            ),
            (
                "os: FROM scratch; ARG V\nrun: FROM os; ONBUILD COPY --from=app / /; ARG V\napp: FROM os; ARG V\n\
              web: FROM run; ARG V",
                "",
            ),
            // By way of the instruction, both are built from each other.
            (
                "os: FROM scratch; ARG V\nrun: FROM os; ONBUILD COPY --from=app / /; ARG V\napp: FROM web; ARG V\n\
              web: FROM run; ARG V",
                "RB030",
            ),
            // An argument that only the instruction declares is used.
            ("run: FROM scratch; ONBUILD ARG V; ARG V\napp: FROM run", ""),
            ("run: FROM scratch; ARG V\napp: FROM run", "RB042"),
        ] {
            let folder = folder(images);
            let checked =
                Hierarchy::check(&folder.path().join("hierarchy.yaml"), &LoadOptions::default());
            let codes = checked.problems.iter().map(|one| one.code.unwrap().to_string());
            // That a base has such instructions is told of all of these.
            let codes: Vec<String> = codes.filter(|code| code != "RB068").collect();
            assert_eq!(codes.join(" "), expected, "{images}");
        }
    }
}
