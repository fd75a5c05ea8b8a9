//! The provenance of an image: an in-toto statement with the predicate of SLSA.
//!
//! Sources: <https://in-toto.io/Statement/v1>, <https://slsa.dev/spec/v1.0/provenance>.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    fingerprint::{BuiltFrom, Inputs},
    hierarchy::{Hierarchy, Node, Provenance},
    image::{Digest, Repository},
    publish::store::began_at,
};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
pub(super) const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// A package URL, because the specification requires a URI.
const BUILDER: &str = "pkg:generic/rebuild";
/// Changes when the meaning of the parameters changes.
const BUILD_TYPE: &str = "pkg:generic/rebuild#image/v1";

/// What the statement is about. The image's labels say what it was built from.
pub(super) struct Statement<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) node: &'a Node,
    pub(super) built: &'a BuiltFrom,
    /// Those of today. Of an image that was built from others, the statement has no arguments and no Dockerfile.
    pub(super) inputs: Option<&'a Inputs>,
    /// The run that built it.
    pub(super) run: Option<&'a str>,
    pub(super) repository: &'a Repository,
    pub(super) digest: &'a Digest,
}

impl Statement<'_> {
    pub(super) fn json(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(run) = self.run {
            metadata.insert("invocationId".to_owned(), run.into());
            let began = began_at(run).and_then(|at| Timestamp::from_second(at.as_second()).ok());
            metadata.extend(began.map(|at| ("startedOn".to_owned(), at.to_string().into())));
        }
        json!({
            "_type": STATEMENT,
            "subject": [resource(self.repository.as_str(), self.digest)],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": self.parameters(),
                    "internalParameters": { "fingerprint": self.built.fingerprint.hex() },
                    "resolvedDependencies": self.dependencies(),
                },
                "runDetails": {
                    "builder": {
                        "id": BUILDER,
                        "version": { "rebuild": env!("CARGO_PKG_VERSION") },
                    },
                    "metadata": metadata,
                },
            },
        })
    }

    fn parameters(&self) -> Value {
        let Self { node, built, inputs, .. } = self;
        let is_max = node.settings.attest.provenance == Provenance::Max;
        let mut parameters = json!({ "image": node.name });
        if inputs.is_some_and(|inputs| inputs.settings == built.inputs.settings) {
            if let Some(target) = &node.target {
                parameters["target"] = json!(target);
            }
            parameters["buildArgNames"] = node.build_args.keys().cloned().collect();
            if is_max {
                parameters["buildArgs"] = json!(node.build_args);
            }
        }
        if is_max && inputs.is_some_and(|inputs| inputs.dockerfile == built.inputs.dockerfile) {
            parameters["dockerfile"] = json!(node.dockerfile.text);
        }
        parameters
    }

    /// Parents and upstreams.
    fn dependencies(&self) -> Vec<Value> {
        let parents = self.built.parents.iter().map(|(parent, digest)| {
            let node = self.hierarchy.get(parent);
            resource(node.map_or(parent.as_str(), |node| node.repository.as_str()), digest)
        });
        let upstreams = self.built.inputs.upstreams.iter();
        parents.chain(upstreams.map(|(name, digest)| resource(name, digest))).collect()
    }
}

/// <https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/resource_descriptor.md>.
fn resource(name: &str, digest: &Digest) -> Value {
    json!({ "name": name, "digest": { "sha256": digest.hex() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::test_hierarchy;

    #[test]
    fn min_names_arguments_and_max_has_values_and_dockerfile() {
        let hierarchy = test_hierarchy("os\napp < os");
        let mut node = hierarchy.get(&"app".into()).unwrap().clone();
        node.target = Some("release".to_owned());
        node.build_args = [("RUBY".to_owned(), "3.4".to_owned())].into();
        let inputs = Inputs {
            dockerfile: Digest::of(b"Dockerfile"),
            context: Digest::of(b""),
            settings: Digest::of(b"{}"),
            tests: Digest::of(b"[]"),
            platform: "linux/amd64".parse().unwrap(),
            upstreams: [("debian:12".to_owned(), Digest::of(b"12"))].into(),
            epoch: None,
        };
        let built = BuiltFrom::new(inputs.clone(), [("os".into(), Digest::of(b"os"))].into());
        let (repository, digest) = ("127.0.0.1:5000/app".parse().unwrap(), Digest::of(b"app"));
        let json = |node: &Node, inputs: &Inputs| {
            let statement = Statement {
                hierarchy: &hierarchy,
                node,
                built: &built,
                inputs: Some(inputs),
                run: Some("01arz3ndektsv4rrffq69g5fav"),
                repository: &repository,
                digest: &digest,
            };
            statement.json()
        };
        let parameters = |statement: &Value| {
            statement["predicate"]["buildDefinition"]["externalParameters"].clone()
        };

        node.settings.attest.provenance = Provenance::Min;
        let min = json(&node, &inputs);
        let sha256 = |bytes: &[u8]| Digest::of(bytes).hex().to_owned();
        let expected = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "127.0.0.1:5000/app", "digest": { "sha256": sha256(b"app") } }],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "pkg:generic/rebuild#image/v1",
                    "externalParameters":
                        { "image": "app", "target": "release", "buildArgNames": ["RUBY"] },
                    "internalParameters": { "fingerprint": built.fingerprint.hex() },
                    "resolvedDependencies": [
                        { "name": "os", "digest": { "sha256": sha256(b"os") } },
                        { "name": "debian:12", "digest": { "sha256": sha256(b"12") } },
                    ],
                },
                "runDetails": {
                    "builder": {
                        "id": "pkg:generic/rebuild",
                        "version": { "rebuild": env!("CARGO_PKG_VERSION") },
                    },
                    "metadata": {
                        "invocationId": "01arz3ndektsv4rrffq69g5fav",
                        "startedOn": "2016-07-30T23:54:10Z",
                    },
                },
            },
        });
        assert_eq!(min, expected);

        node.settings.attest.provenance = Provenance::Max;
        let max = parameters(&json(&node, &inputs));
        assert_eq!(max["buildArgs"], json!({ "RUBY": "3.4" }));
        assert_eq!(max["dockerfile"], json!(node.dockerfile.text));

        // The published image stayed when its inputs changed: it was not built with those of today.
        let (dockerfile, settings) = (Digest::of(b"other"), Digest::of(b"other"));
        let other = Inputs { dockerfile, settings, ..inputs };
        assert_eq!(parameters(&json(&node, &other)), json!({ "image": "app" }));
    }
}
