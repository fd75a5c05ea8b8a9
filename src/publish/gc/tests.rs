use super::*;
use crate::publish::store::Recorded;

const DAY: i64 = 86_400;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn build_tag(name: &str) -> Tag {
    format!("rb-{}", &Digest::of(name.as_bytes()).hex()[..32]).parse().unwrap()
}

/// `name node days: tag tag`; a tag that begins with `!` is a build tag, `?` days are unknown.
fn holding(line: &str) -> Holding {
    let (head, tags) = line.split_once(':').unwrap();
    let [name, node, days] = head.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let tag = |tag: &str| match tag.strip_prefix('!') {
        Some(name) => build_tag(name),
        None => tag.parse().unwrap(),
    };
    let created =
        days.parse::<i64>().ok().map(|days| Timestamp::from_second(now().as_second() - days * DAY));
    Holding {
        repository: "r.io/app".parse().unwrap(),
        digest: Digest::of(name.as_bytes()),
        tags: tags.split_whitespace().map(tag).collect(),
        labels: match node {
            "-" => BTreeMap::new(),
            node => [("rebuild.node".to_owned(), node.to_owned())].into(),
        },
        created: created.map(Result::unwrap),
        pieces: [(Digest::of(name.as_bytes()), 100), (Digest::of(b"shared"), 1000)].into(),
        members: BTreeSet::new(),
    }
}

fn needs() -> Needs {
    Needs {
        nodes: ["app".into()].into(),
        today: [Digest::of(b"today")].into(),
        rollback: [Digest::of(b"before")].into(),
        tags: [build_tag("elsewhere")].into(),
        keep: Duration::from_secs(30 * 86_400),
        now: now(),
    }
}

/// The images that go, by name.
fn going(holdings: &[Holding], names: &str) -> String {
    let sweep = decide(holdings, &needs());
    let is_going =
        |name: &&str| sweep.going.iter().any(|going| going.digest == Digest::of(name.as_bytes()));
    names.split_whitespace().filter(is_going).collect::<Vec<_>>().join(" ")
}

/// Three that are newer, so that being among the last of a node is no reason to stay.
fn newer() -> Vec<Holding> {
    ["n1 app 1: !n1", "n2 app 2: !n2", "n3 app 3: !n3"].map(holding).into()
}

#[test]
fn what_nobody_needs_goes() {
    for (line, stays) in [
        ("old app 31: !old", None),
        ("old app 400: !old !older !oldest", None),
        ("old app 31: !old latest", Some(Stays::Published)),
        ("old app 31: !old 12-20260101", Some(Stays::Published)),
        // A tag that only looks like one of ours is somebody else's.
        ("old app 31: !old rb-mine", Some(Stays::Published)),
        ("today app 31: !old", Some(Stays::Today)),
        ("old app 31: !elsewhere", Some(Stays::InRegistry)),
        ("before app 31: !old", Some(Stays::Rollback)),
        ("old app 30: !old", Some(Stays::Young)),
        ("old app -5: !old", Some(Stays::Young)),
        ("old other 31: !old", Some(Stays::Foreign)),
        ("old - 31: !old", Some(Stays::Foreign)),
        ("old app ?: !old", Some(Stays::AgeUnknown)),
    ] {
        let mut holdings = newer();
        holdings.push(holding(line));
        let sweep = decide(&holdings, &needs());
        match stays {
            None => assert_eq!(sweep.going.len(), 1, "{line}"),
            Some(stays) => {
                assert_eq!(sweep.going, [], "{line}");
                assert!(sweep.staying[&stays] > 0, "{line}: {:?}", sweep.staying);
            }
        }
    }
    let without_build_tag = decide(&[holding("old app 400: latest")], &needs());
    assert_eq!(without_build_tag, Sweep::default(), "what has no build tag is not looked at");
}

#[test]
fn the_last_of_each_node_stay_however_old() {
    let holdings: Vec<Holding> = (1..=5)
        .map(|n| holding(&format!("i{n} app {}: !i{n}", 100 * n)))
        .chain([holding("f1 other 900: !f1")])
        .collect();
    assert_eq!(going(&holdings, "i1 i2 i3 i4 i5 f1"), "i4 i5");
}

#[test]
fn what_an_index_contains_stays() {
    let mut holdings = newer();
    holdings.push(holding("old app 99: !old"));
    assert_eq!(going(&holdings, "old"), "old");
    let mut index = holding("index - ?: latest");
    index.members = [Digest::of(b"old")].into();
    holdings.push(index);
    assert_eq!(going(&holdings, "old"), "");
}

#[test]
fn room_is_counted_once_and_only_if_nothing_that_stays_needs_it() {
    let mut holdings = newer();
    holdings.push(holding("a app 90: !a"));
    holdings.push(holding("b app 91: !b"));
    assert_eq!(decide(&holdings, &needs()).freed, 200);
    let two = ["a app 90: !a", "b app 91: !b"].map(holding);
    assert_eq!(freed(&[&two[0], &two[1]], &[]), 1200);
    assert_eq!(freed(&[], &[&two[0]]), 0);
}

#[test]
fn old_records_go_but_for_the_last() {
    let run = |days: i64| {
        let millis = u64::try_from((now().as_second() - days * DAY) * 1000).unwrap();
        let run = ulid::Ulid::from_parts(millis, 7).to_string().to_lowercase();
        Recorded { run, tags: vec![] }
    };
    let keep = needs().keep;
    let young: Vec<Recorded> = (0..25).map(run).collect();
    assert_eq!(old_records(young.clone(), keep, now()), []);
    let old =
        [run(30), run(31), run(400), Recorded { run: "of somebody".to_owned(), tags: vec![] }];
    let all = |newer: usize| young[..newer].iter().chain(&old).cloned().collect::<Vec<_>>();
    assert_eq!(old_records(all(KEPT_RUNS), keep, now()), old[1..3]);
    assert_eq!(old_records(all(KEPT_RUNS - 2), keep, now()), old[2..3]);
    assert_eq!(old_records(all(0), keep, now()), []);
}
