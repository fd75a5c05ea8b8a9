//! The promises that hold after every fault, read from the registry over raw HTTP.

use std::collections::BTreeMap;

use super::{
    project::{Place, Project},
    registry::Registry,
};

/// Where each moving tag pointed.
pub(crate) type Tags = BTreeMap<String, String>;

/// How the run ended that was disturbed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
}

/// Of a [`pair`](Project::pair): I1 tested only, I2 whole, I3 edges agree, I5 all or nothing, I8 nothing
/// left.
#[track_caller]
pub(crate) fn assert_invariants(
    project: &Project,
    registry: &Registry,
    before: &Tags,
    end: End,
) -> Tags {
    let place = Place::Registry(registry);
    let all = project.all_tags(place);
    let now = project.tags(place);
    for (tag, digest) in &now {
        let (name, short) = tag.split_once(':').unwrap();
        // Nothing but a tested image ever gets a build tag.
        let stored = format!("{name}:rb-");
        let is_tested = all.iter().any(|(tag, to)| tag.starts_with(&stored) && to == digest);
        assert!(is_tested || before.get(tag) == Some(digest), "I1: {tag} at {digest}: {all:#?}");
        let missing = registry.missing(&project.name(&format!("demo/{name}")), short);
        assert_eq!(missing, [""; 0], "I2: {tag}");
    }
    match end {
        End::Failure => assert_eq!(&now, before, "I5: a run that failed moved a tag"),
        End::Success => {
            let base = project.label(place, "~app:latest", "org.opencontainers.image.base.digest");
            assert_eq!(now.get("~base:1"), Some(&base), "I3: {now:#?}");
            assert_eq!(now.get("~base:latest"), Some(&base), "I3: {now:#?}");
        }
    }
    assert_eq!(project.under_way(), [""; 0], "I8");
    now
}
