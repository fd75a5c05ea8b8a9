//! The bytes that a fingerprint hashes.
//!
//! **Invariant:** these bytes never change for existing inputs. Otherwise every image of every user would be
//! built again. Types of the model are not encoded directly, so renaming a field there changes nothing here.
//! `encodings_stay` below fails if a byte changes.
//!
//! To change the encoding on purpose: increase `VERSION`, and write the new digests into `encodings_stay`.
//! `why` then prints "new fingerprint format" for each image, and the next run builds all of them once. An
//! image with the same content as before keeps its digest and its tags (the cutoff).

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;

use super::{Epoch, Inputs, Parents};
use crate::{
    hierarchy::{Check, Flatten, Gate, Node, NodeName, SecretSource, Ssh, Test},
    image::{Digest, Platform},
};

/// The first element of the hashed array.
const VERSION: u32 = 1;

/// A JSON array: the version, the inputs as an object, and the parents as an object. The keys of objects are
/// in the order of the fields here, maps are sorted, and no number is a float.
pub(super) fn fingerprint(inputs: &Inputs, parents: &Parents) -> Digest {
    #[derive(Serialize)]
    struct EncodedInputs<'a> {
        dockerfile: &'a Digest,
        context: &'a Digest,
        settings: &'a Digest,
        tests: &'a Digest,
        platform: &'a Platform,
        upstreams: &'a BTreeMap<String, Digest>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: &'a Option<Epoch>,
    }
    let Inputs { dockerfile, context, settings, tests, platform, upstreams, epoch } = inputs;
    let encoded =
        EncodedInputs { dockerfile, context, settings, tests, platform, upstreams, epoch };
    // A parent of the same platform has the name of its image, as it has if the image has one platform. So another
    // platform in the file changes no fingerprint.
    let own = platform.to_string();
    let named = |(name, digest): (&NodeName, &Digest)| {
        let is_own = name.platform() == Some(&own);
        (if is_own { name.image().into() } else { name.clone() }, digest.clone())
    };
    let parents: BTreeMap<NodeName, Digest> = parents.iter().map(named).collect();
    digest(&(VERSION, encoded, parents))
}

/// Build arguments, target, labels, `prepare`, and secrets, `flatten` and options of the build if the image has any. `tracked` has the content of
/// each secret's file that git tracks, by the secret's ID. `volatile` are the patterns of the image and its bases: they
/// decide whether the build tag names the new image or the published one.
pub fn settings(node: &Node, tracked: &BTreeMap<&String, &Digest>, volatile: &[String]) -> Digest {
    let own = own_settings(node, tracked);
    // Each step below is left out without its fields: versions without them made the same encoding.
    let own = if volatile.is_empty() { own } else { digest(&(own, volatile)) };
    let own = match node.flatten {
        Flatten::No => own,
        flatten => digest(&(own, "flatten", flatten.as_str())),
    };
    let options = node.settings.named();
    if options.is_empty() { own } else { digest(&(own, "options", options)) }
}

fn own_settings(node: &Node, tracked: &BTreeMap<&String, &Digest>) -> Digest {
    let settings = (&node.build_args, &node.target, &node.labels, &node.prepare);
    if node.secrets.is_empty() && node.ssh == Ssh::None {
        // The encoding of versions without secrets.
        return digest(&settings);
    }
    let secrets: BTreeMap<&String, EncodedSecret<'_>> =
        node.secrets.iter().map(|(id, source)| (id, source.into())).collect();
    digest(&(settings, secrets, tracked, node.ssh == Ssh::Agent))
}

/// The maximal size, and the tests: those of its ancestors first.
pub fn tests<'a>(max_size: Option<u64>, tests: impl Iterator<Item = &'a Test>) -> Digest {
    #[derive(Serialize)]
    #[expect(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
    struct EncodedTest<'a> {
        check: EncodedCheck<'a>,
        timeout: Duration,
        network: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        isolated: bool,
        inherit: bool,
    }
    #[derive(Serialize)]
    enum EncodedCheck<'a> {
        Run { argv: &'a [String], stdout: &'a Option<String> },
        Healthy,
    }
    let encoded =
        tests.map(|Test { check, timeout, network, read_only, isolated, inherit }| EncodedTest {
            check: match check {
                Check::Run { argv, stdout } => EncodedCheck::Run { argv, stdout },
                Check::Healthy => EncodedCheck::Healthy,
            },
            timeout: *timeout,
            network: *network,
            read_only: *read_only,
            isolated: *isolated,
            inherit: *inherit,
        });
    digest(&(max_size, encoded.collect::<Vec<_>>()))
}

/// The tests with the gates, each with the content of the files that its command names. Without gates, the encoding of
/// versions that had none.
pub fn with_gates<'a>(
    tests: Digest,
    gates: impl Iterator<Item = (&'a Gate, Vec<Digest>)>,
) -> Digest {
    let encoded = gates.map(|(Gate { run, archive, timeout, inherit }, files)| {
        (run, archive, timeout, inherit, files)
    });
    let encoded: Vec<_> = encoded.collect();
    if encoded.is_empty() { tests } else { digest(&(tests, "gates", encoded)) }
}

/// A secret's source, never its value.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum EncodedSecret<'a> {
    Env(&'a str),
    File(&'a Path),
}

impl<'a> From<&'a SecretSource> for EncodedSecret<'a> {
    fn from(source: &'a SecretSource) -> Self {
        match source {
            SecretSource::Env(name) => Self::Env(name),
            SecretSource::File(path) => Self::File(path),
        }
    }
}

/// A digest of a secret's ID and source, to find the changed ones.
pub(super) fn secret(id: &str, source: &SecretSource) -> Digest {
    digest(&(id, EncodedSecret::from(source)))
}

fn digest(value: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(value).expect("plain data is always JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::{BuildNetwork, test_hierarchy};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Golden values. A change here is a new `VERSION`.
    #[test]
    fn encodings_stay() {
        let mut node = test_hierarchy("os").get(&"os".into()).unwrap().clone();
        let plain = settings(&node, &BTreeMap::new(), &[]);
        node.build_args = map(&[("A", "1"), ("B", "ü")]);
        node.target = Some("final".to_owned());
        node.labels = map(&[("l", "x")]);
        node.prepare = Some(vec!["sh".to_owned(), "p.sh".to_owned()]);
        let full = settings(&node, &BTreeMap::new(), &[]);
        node.secrets = [
            ("env".to_owned(), SecretSource::Env("E".to_owned())),
            ("file".to_owned(), SecretSource::File("f/s".into())),
        ]
        .into();
        node.ssh = Ssh::Agent;
        let (id, content) = ("file".to_owned(), Digest::of(b"content"));
        let secrets = settings(&node, &[(&id, &content)].into(), &[]);
        let volatile = settings(&node, &BTreeMap::new(), &["etc/x".to_owned()]);
        node.flatten = Flatten::Own;
        let flat = settings(&node, &BTreeMap::new(), &[]);
        node.settings.network = BuildNetwork::None;
        let options = settings(&node, &BTreeMap::new(), &[]);

        let test = |check, read_only| Test {
            check,
            timeout: Duration::from_millis(1500),
            network: true,
            read_only,
            isolated: false,
            inherit: false,
        };
        let argv = vec!["true".to_owned()];
        let both = [
            test(Check::Run { argv, stdout: Some("^a$".to_owned()) }, false),
            test(Check::Healthy, true),
        ];
        let of_tests = tests(Some(7), both.iter());
        let no_tests = tests(None, [].iter());
        let gate = Gate {
            run: vec!["scan".to_owned()],
            archive: true,
            timeout: Duration::from_secs(60),
            inherit: false,
        };
        let gates = with_gates(no_tests.clone(), [(&gate, vec![Digest::of(b"x")])].into_iter());
        assert_eq!(with_gates(no_tests.clone(), std::iter::empty()), no_tests);
        assert_eq!(gates.short(), "44717c2c9131");

        let mut inputs = Inputs {
            dockerfile: Digest::of(b"FROM scratch"),
            context: Digest::of(b""),
            settings: full.clone(),
            tests: of_tests.clone(),
            platform: "linux/arm/v7".parse().unwrap(),
            upstreams: [("debian:12".to_owned(), Digest::of(b"12"))].into(),
            epoch: None,
        };
        let parents = [("os".into(), Digest::of(b"os"))].into();
        let without = fingerprint(&inputs, &parents);
        inputs.epoch = Some(Epoch::at(jiff::Timestamp::UNIX_EPOCH));
        let with = fingerprint(&inputs, &parents);

        let found =
            [plain, full, secrets, volatile, flat, options, of_tests, no_tests, without, with];
        let found: Vec<&str> = found.iter().map(Digest::short).collect();
        assert_eq!(found, EXPECTED);
    }

    const EXPECTED: [&str; 10] = [
        "23c46dc6b369",
        "f959ae70dffb",
        "88bd21ebbe26",
        "741b24950fac",
        "6a4c701391de",
        "7aa982ee5475",
        "89db517cb59c",
        "97294f05c360",
        "7817dc8d1dc6",
        "7d2ed8d9da71",
    ];
}
