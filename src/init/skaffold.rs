//! The artifacts of a Skaffold file: <https://skaffold.dev/docs/references/yaml/>.
//!
//! Profiles are for one cluster or machine, and are not read.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    bake::text_of,
    bind::bind,
    build_command::BuildCommand,
    build_options::BuildOptions,
    evidence::{EvidenceRule, FoundBuilds, Open, unknown},
};
use crate::{check::diagnostic::SourceFile, hierarchy};

/// Builders that read no Dockerfile.
const WITHOUT_DOCKERFILE: [&str; 5] = ["bazel", "buildpacks", "custom", "jib", "ko"];

/// The builds of a file, which may have several documents.
pub(super) fn read(
    path: &Path,
    text: &str,
    dockerfiles: &BTreeSet<PathBuf>,
    found: &mut FoundBuilds,
) {
    let folder = path.parent().unwrap_or(Path::new(""));
    for document in text.split("\n---") {
        let value = hierarchy::value(&SourceFile::new(path, document)).unwrap_or_default();
        let tag = tag(&value["build"]["tagPolicy"]);
        let artifacts = value["build"]["artifacts"].as_array();
        for artifact in artifacts.into_iter().flatten() {
            let is_other = WITHOUT_DOCKERFILE.iter().any(|one| artifact.get(one).is_some());
            let Some(image) = text_of(artifact.get("image")).filter(|_| !is_other) else {
                continue;
            };
            let is_it = |line: &str| {
                let value = line
                    .split_once("image:")
                    .and_then(|(_, rest)| rest.split([',', '}', '#']).next());
                value.is_some_and(|value| value.trim().trim_matches(['"', '\'']) == image)
            };
            let line = text.lines().position(is_it).map_or(1, |number| number + 1);
            let place = format!("{}:{line}", path.display());
            let command = command(artifact, format!("{image}:{tag}"));
            bind(EvidenceRule::Skaffold, &place, folder, &command, dockerfiles, found);
        }
    }
}

fn command(artifact: &Value, image: String) -> BuildCommand {
    let context = text_of(artifact.get("context")).unwrap_or_else(|| ".".to_owned());
    let builder = artifact.get("docker").or_else(|| artifact.get("kaniko"));
    let field = |name: &str| text_of(builder?.get(name));
    let mut options = BuildOptions::default();
    if let Some(target) = field("target") {
        options.take("--target", Open(target));
    }
    let arguments = builder.and_then(|builder| builder.get("buildArgs")?.as_object());
    for (key, value) in arguments.into_iter().flat_map(Map::iter) {
        // Templates are those of Go.
        let value = text_of(Some(value)).filter(|value| !value.contains("{{"));
        let value = value.unwrap_or_else(|| unknown(key));
        options.take("--build-arg", Open(format!("{key}={value}")));
    }
    BuildCommand {
        // Seen from the context.
        dockerfile: field("dockerfile").map(|file| Open(format!("{context}/{file}"))),
        context: Some(Open(context)),
        tags: vec![Open(image)],
        options,
        ..BuildCommand::default()
    }
}

/// The tag of all artifacts: <https://skaffold.dev/docs/taggers/>.
fn tag(policy: &Value) -> String {
    if policy.get("sha256").is_some() {
        return "latest".to_owned();
    }
    let git = &policy["gitCommit"];
    match git["variant"].as_str() {
        Some("CommitSha" | "AbbrevCommitSha") => {
            let prefix = git["prefix"].as_str().unwrap_or_default();
            format!("{prefix}{}", unknown("GIT_COMMIT"))
        }
        _ => unknown("tagPolicy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_with_a_dockerfile_are_builds() {
        let text = "build:
  artifacts:
    - { image: acme/web, context: web, docker: { target: prod, buildArgs: { A: 1, B: '{{.X}}' } } }
    - image: \"acme/tool\"
      docker: { dockerfile: tool/tool.Dockerfile }
    - { image: acme/java, context: web, jib: {} }
profiles: [{ name: dev, build: { artifacts: [{ image: acme/dev, context: web }] } }]
---
build: { tagPolicy: { sha256: {} }, artifacts: [{ image: acme/web/slim, context: web, kaniko: { dockerfile: slim.Dockerfile } }] }
";
        let files =
            ["Dockerfile", "a/web/Dockerfile", "a/web/slim.Dockerfile", "a/tool/tool.Dockerfile"];
        let mut found = FoundBuilds::default();
        read(Path::new("a/skaffold.yaml"), text, &files.map(PathBuf::from).into(), &mut found);
        let shown = found.known.iter().map(|one| format!("{} {}", one.place, one.shown()));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "a/skaffold.yaml:3 a/web/Dockerfile acme/web:? @prod A=1",
                "a/skaffold.yaml:4 a/tool/tool.Dockerfile acme/tool:?",
                "a/skaffold.yaml:9 a/web/slim.Dockerfile acme/web/slim:latest",
            ]
        );
        assert_eq!((found.unknown, found.known[0].given.dropped.len()), (vec![], 1));
        let tag =
            tag(&serde_json::json!({ "gitCommit": { "variant": "CommitSha", "prefix": "v" } }));
        assert_eq!(Open(tag).shown(), "v$GIT_COMMIT");
    }
}
