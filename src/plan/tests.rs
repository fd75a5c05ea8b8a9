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

fn detail(settings: &[(&str, &str)]) -> Detail {
    let pair = |(name, digest): &(&str, &str)| ((*name).to_owned(), (*digest).to_owned());
    Detail { settings: settings.iter().map(pair).collect(), ..Detail::default() }
}

#[test]
fn changed_checks_are_named_if_both_images_list_them() {
    let without = detail(&[("target", "1")]);
    let then = detail(&[
        ("checks.max_size", "1"),
        ("checks.tests", "1"),
        ("checks.tests.os", "1"),
        ("checks.tests.tool", "1"),
    ]);
    let now = detail(&[
        ("checks.gates", "1"),
        ("checks.max_size", "2"),
        ("checks.tests.os", "2"),
        ("checks.tests.tool", "1"),
        ("entry.context", "1"),
    ]);
    let changed = |what, then, now| {
        let (what, parts) = (vec![what], parts(&[what], then, now));
        Reason::Changed { what, parts }
    };
    let known = changed(Change::Tests, &then, &now);
    assert_eq!(
        [known.to_string(), known.of(&"web".into())],
        [
            "its gates, its size limit, its tests and the tests of `os` changed",
            "the gates, the size limit and the tests of `web` and the tests of `os` changed"
        ]
    );
    // An older version of `rebuild` did not list them.
    let unknown = "its checks (own or inherited tests, gates, size limit) changed";
    assert_eq!(changed(Change::Tests, &without, &now).to_string(), unknown);
    assert_eq!(changed(Change::Settings, &without, &now).to_string(), "its target was removed");
}

#[test]
fn only_inherited_tests_are_a_change_of_their_image() {
    let part = |name: &str| {
        let name = name.to_owned();
        ChangedPart { what: Change::Tests, difference: ListingDifference::Changed, name }
    };
    let reason = |names: &[&str]| Reason::Changed {
        what: vec![Change::Tests],
        parts: names.iter().map(|name| part(name)).collect(),
    };
    for (names, inherited, origin) in [
        (&["tests.os"][..], true, Some("os")),
        (&["gates.os", "tests.os"], true, Some("os")),
        (&["tests.os", "tests.tool"], true, None),
        (&["tests", "tests.os"], false, None),
        (&["max_size"], false, None),
    ] {
        let reason = reason(names);
        assert_eq!(reason.own_tests().is_some(), !inherited, "{names:?}");
        assert_eq!(reason.at_origin().map(|(origin, _)| origin), origin, "{names:?}");
    }
    // An older version of `rebuild` did not list them.
    assert!(reason(&[]).own_tests().is_none());
}
