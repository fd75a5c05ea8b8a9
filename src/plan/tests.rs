use super::*;
use crate::{fingerprint::BuiltFrom, hierarchy::test_hierarchy};

fn inputs(dockerfile: &str) -> Inputs {
    Inputs {
        dockerfile: Digest::of(dockerfile.as_bytes()),
        context: Digest::of(b"context"),
        settings: Digest::of(b"settings"),
        tests: Digest::of(b"tests"),
        platform: "linux/amd64".parse().unwrap(),
        upstreams: BTreeMap::new(),
        epoch: None,
    }
}

/// Why `os` is out of date if its image was built from this, and nothing is stored of today's inputs.
fn reason(built_from: BuiltFrom, today: Inputs) -> Reason {
    let hierarchy = test_hierarchy("os");
    let digest = Digest::of(b"published");
    let facts = NodeFacts {
        fingerprint: Some(today.fingerprint(&Parents::new())),
        inputs: today,
        detail: Detail::default(),
        staged: None,
        moving: BTreeMap::new(),
        members: BTreeMap::new(),
        elsewhere: BTreeMap::new(),
        stable: vec![],
        due: None,
        updates: None,
        checked: None,
        hold: None,
        published: Some(Published { digest, built_from: Some(built_from), taken_in: vec![] }),
    };
    let nodes = [("os".into(), facts)].into();
    let request = PlanRequest {
        selection: Selection::OutOfDate,
        refresh: false,
        by_schedule: false,
        platforms: std::collections::BTreeSet::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let plan = plan(&hierarchy, &Observed { nodes, ..Observed::default() }, &request);
    plan.steps[0].reason.clone()
}

#[test]
fn an_older_fingerprint_format_is_its_own_reason() {
    let current = BuiltFrom::new(inputs("a"), Parents::new());
    assert_eq!(reason(current.clone(), inputs("a")), Reason::BuildTagGone);
    let changed = reason(current.clone(), inputs("b"));
    assert!(matches!(changed, Reason::Changed { .. }), "{changed:?}");
    // An encoding of an older version: the same inputs gave another fingerprint.
    let older = BuiltFrom { fingerprint: inputs("b").fingerprint(&Parents::new()), ..current };
    assert_eq!(reason(older, inputs("a")), Reason::NewFormat);
}
