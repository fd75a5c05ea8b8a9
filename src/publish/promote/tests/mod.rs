use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use proptest::prelude::*;

use crate::{
    event::{Promotion, StopReason},
    exit::Exit,
    hierarchy::NodeName,
    image::Tagged,
    plan::Selection,
    publish::failures::{Failures, Setback},
    testing::scenario::{names, scenario},
};

const STACK: &str = "
    os
    web < os
    lang < os
    app < web
    site < web lang
";

mod recovery;
mod taken_back;

fn tagged(name: &str) -> Tagged {
    let (repository, tag) = name.rsplit_once(':').unwrap();
    Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
}

fn all() -> Selection {
    Selection::OutOfDate
}

#[tokio::test(start_paused = true)]
async fn everything_is_built_once_and_then_nothing() {
    let stack = scenario(STACK);
    let first = stack.run(&all()).await;
    assert_eq!(first.outcomes(), "os: built\nweb: built\nlang: built\napp: built\nsite: built\n");
    assert_eq!(first.summary.exit, Exit::Done);
    assert_eq!(stack.published().len(), 5);
    assert_eq!(stack.built().len(), 5);
    let second = stack.run(&all()).await;
    assert_eq!(stack.built(), BTreeSet::new());
    assert_eq!(second.summary.promotion, Promotion::Nothing);
    assert_eq!(second.moved(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn parents_are_promoted_before_children_and_open_tags_before_stable_ones() {
    let stack = scenario(
        "os : tags=[latest, '12', '12-{date}']
         web < os : tags=[latest, '{fingerprint}']",
    );
    let mut moved = stack.run(&all()).await.moved();
    moved[1..3].sort();
    assert_eq!(moved[..3], ["os:12-20261123", "os:12", "os:latest"]);
    assert!(moved[3].starts_with("web:") && moved[3] != "web:latest", "{moved:?}");
    assert_eq!(moved[4..], ["web:latest"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_day_alone_publishes_nothing() {
    let mut stack = scenario("os : tags=[latest, '{date}']");
    stack.run(&all()).await;
    stack.date = "20261124";
    assert_eq!(stack.planned(&all()).await, "os: keep: up to date\n");
    stack.write("os/file", "new");
    assert_eq!(stack.run(&all()).await.moved(), ["os:20261124", "os:latest"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_rebuilds_its_cone_and_says_why() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    stack.built();
    stack.write("web/Dockerfile", "FROM os\nRUN make web # now\n");
    assert_eq!(
        stack.planned(&all()).await,
        "os: keep: up to date\n\
         web: build: its Dockerfile changed\n\
         lang: keep: up to date\n\
         app: build: `web` is rebuilt\n\
         site: build: `web` is rebuilt\n"
    );
    stack.run(&all()).await;
    assert_eq!(stack.built(), BTreeSet::from(["web", "app", "site"].map(str::to_owned)));
}

#[tokio::test(start_paused = true)]
async fn children_of_a_parent_that_came_out_the_same_stay() {
    let stack = scenario(STACK);
    stack.engine(|engine| _ = engine.constant.insert("os".to_owned()));
    stack.run(&all()).await;
    let before = stack.published();
    stack.built();
    stack.write("os/file", "which the build does not use");
    let ended = stack.run(&all()).await;
    assert_eq!(stack.built(), BTreeSet::from(["os".to_owned()]));
    assert_eq!(
        ended.outcomes(),
        "os: built, unchanged\nweb: already built\nlang: already built\n\
         app: already built\nsite: already built\n"
    );
    assert_eq!(stack.published(), before);
    assert_eq!(stack.planned(&all()).await.matches("keep").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn from_builds_what_is_named_and_below_it_what_that_changes() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    stack.built();
    let ended = stack.run(&Selection::From(names(&["web"]))).await;
    assert_eq!(stack.built(), BTreeSet::from(["web".to_owned()]));
    assert_eq!(
        ended.outcomes(),
        "web: built, unchanged\napp: already built\nsite: already built\n"
    );
}

#[tokio::test(start_paused = true)]
async fn only_builds_on_published_parents_and_adds_those_never_published() {
    let stack = scenario(STACK);
    assert_eq!(
        stack.planned(&Selection::Only(names(&["web"]))).await,
        "os: build: never built\nweb: build: requested\n"
    );
    let said = std::mem::take(&mut *stack.warnings.lock().unwrap());
    assert_eq!(said, ["`os` was never published: it is built first"]);
    stack.run(&all()).await;
    stack.built();
    stack.write("os/file", "not asked for");
    stack.run(&Selection::Only(names(&["web"]))).await;
    assert_eq!(stack.built(), BTreeSet::from(["web".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_hide_a_change() {
    let stack = scenario("os\nweb < os");
    stack.run(&all()).await;
    stack.write("os/file", "new");
    stack.write("web/file", "new");
    let web = || names(&["web"]);
    assert_eq!(
        stack.planned(&Selection::Only(web())).await,
        "web: build: `file` is new (and requested)\n"
    );
    let plan = stack.plan(&Selection::From(names(&["os"]))).await;
    let causes: Vec<String> = plan.causes(&"web".into()).iter().map(ToString::to_string).collect();
    assert_eq!(causes, ["`file` of `web` is new", "`file` of `os` is new"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_publishes_nothing_and_names_itself() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    let before = stack.published();
    stack.write("os/file", "new");
    for (what, exit, text) in [
        ("build", Exit::BuildFailed, "web: failed: `RUN make web` ended with exit code 2\n"),
        ("test", Exit::TestFailed, "web: failed: test 1 of 1, `check`: exit code 1\n"),
    ] {
        stack.engine(|engine| {
            engine.builds_fail = (what == "build").then(|| "web".to_owned()).into_iter().collect();
            engine.tests_fail = (what == "test").then(|| "web".to_owned()).into_iter().collect();
        });
        let ended = stack.run(&all()).await;
        let outcomes = ended.outcomes();
        assert!(outcomes.contains(text), "{outcomes}");
        assert!(outcomes.contains("app: skipped: `web` failed\n"), "{outcomes}");
        assert_eq!(ended.summary.exit, exit);
        assert_eq!(ended.summary.promotion, Promotion::Withheld);
        assert_eq!(stack.published(), before, "{what}");
    }
    stack.engine(|engine| engine.tests_fail.clear());
    assert_eq!(stack.run(&all()).await.summary.exit, Exit::Done);
    assert_eq!(stack.planned(&all()).await.matches("keep").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_image_on_hold_keeps_its_branch_and_the_rest_is_promoted() {
    for (policy, exit) in [("hold", Exit::BuildFailed), ("optional", Exit::Done)] {
        let stack =
            scenario(&STACK.replace("web < os", &format!("web < os : on_failure={policy}")));
        stack.run(&all()).await;
        let before = stack.published();
        stack.write("os/file", "new");
        stack.engine(|engine| _ = engine.builds_fail.insert("web".to_owned()));
        let ended = stack.run(&all()).await;
        assert_eq!(ended.summary.exit, exit, "{policy}");
        let Promotion::Done { held, .. } = &ended.summary.promotion else { panic!() };
        let held: Vec<&str> = held.keys().map(NodeName::as_str).collect();
        assert_eq!(held, ["app", "site", "web"]);
        let after = stack.published();
        let stayed: Vec<&String> =
            before.keys().filter(|tag| before[*tag] == after[*tag]).collect();
        assert_eq!(stayed, ["app:latest", "site:latest", "web:latest"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_behind_two_failed_parents_names_both() {
    for policy in ["block", "hold"] {
        let policy = format!(": on_failure={policy}");
        let mut stack = scenario(&format!(
            "os\nweb < os {policy}\nlang < os {policy}\nsite < web lang\ntop < site"
        ));
        stack.run(&all()).await;
        stack.write("os/file", "new");
        stack.options.keep_going = true;
        stack.engine(|engine| {
            engine.builds_fail.extend(["web", "lang"].map(str::to_owned));
        });
        let ended = stack.run(&all()).await;
        let outcomes = ended.outcomes();
        for node in ["site", "top"] {
            let names = |first: &str, second: &str| {
                outcomes.contains(&format!("{node}: skipped: `{first}` and `{second}` failed\n"))
            };
            assert!(names("web", "lang") || names("lang", "web"), "{outcomes}");
        }
        let mut failures = Failures::default();
        failures.update(&ended.summary, jiff::Timestamp::UNIX_EPOCH);
        let setback = &failures.of(&"top".into()).unwrap().setback;
        let Setback::Blocked { by, others } = setback else { panic!("{setback:?}") };
        let all: BTreeSet<&str> = [by].into_iter().chain(others).map(NodeName::as_str).collect();
        assert_eq!(all, BTreeSet::from(["lang", "web"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_died_before_promotion_is_finished_by_the_next() {
    let mut stack = scenario(STACK);
    stack.stop_at(2500, StopReason::Interrupted);
    let ended = stack.run(&all()).await;
    assert_eq!(ended.summary.exit, Exit::Interrupted);
    assert_eq!(stack.published().len(), 0);
    assert!(ended.outcomes().contains("cancelled"), "{}", ended.outcomes());
    let built = stack.built();
    stack.never_stop();
    assert_eq!(stack.run(&all()).await.summary.exit, Exit::Done);
    assert!(stack.built().is_disjoint(&built), "what was built and tested is not built again");
    assert_eq!(stack.published().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_refuses_puts_the_others_back() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    let before = stack.published();
    stack.write("os/file", "new");
    stack.engine(|engine| _ = engine.refused.insert(tagged("site:latest")));
    let ended = stack.run(&all()).await;
    assert_eq!(ended.summary.exit, Exit::PromotionFailed);
    assert!(matches!(ended.summary.promotion, Promotion::Incomplete { moved: 0, .. }));
    assert_eq!(stack.published(), before);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_overtaken_moves_nothing_back() {
    let stack = scenario(STACK);
    let stale = Arc::new(stack.plan(&all()).await);
    stack.run(&all()).await;
    stack.write("os/file", "newer");
    stack.run(&all()).await;
    let newest = stack.published();
    stack.write("os/file", "");
    std::fs::remove_file(stack.file("os/file")).unwrap();
    let ended = stack.run_plan(stale).await;
    assert_eq!(ended.summary.exit, Exit::PromotionFailed, "{}", ended.outcomes());
    assert_eq!(stack.published(), newest);
}

/// Up to nine nodes, each on some of those before it, each with a policy, some of them broken.
fn random_hierarchy() -> impl Strategy<Value = Vec<(Vec<usize>, usize, bool)>> {
    let node = (proptest::collection::vec(0..9_usize, 0..3), 0..3_usize, any::<bool>());
    proptest::collection::vec(node, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A tag moves if and only if no failure withholds everything, and its node is built and does
    /// not be based on an image that is held back.
    #[test]
    fn a_tag_moves_if_and_only_if_the_policy_says_so(
        nodes in random_hierarchy(),
        jobs in 1..4_usize,
        keep_going in any::<bool>(),
        tests_fail in any::<bool>(),
    ) {
        const POLICIES: [&str; 3] = ["block", "hold", "optional"];
        let parents = |index: usize| -> BTreeSet<usize> {
            nodes[index].0.iter().filter(|parent| **parent < index).copied().collect()
        };
        let lines: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(index, (_, policy, _))| {
                let parents: Vec<String> = parents(index).iter().map(|p| format!("n{p}")).collect();
                format!("n{index} < {} : on_failure={}", parents.join(" "), POLICIES[*policy])
            })
            .collect();

        // The oracle: nodes that cannot be built, and whether one of them withholds everything.
        let mut unbuilt = BTreeSet::new();
        let mut withheld = false;
        for (index, (_, policy, broken)) in nodes.iter().enumerate() {
            let above = parents(index).iter().any(|parent| unbuilt.contains(parent));
            if above || *broken {
                unbuilt.insert(index);
                withheld |= !above && *policy == 0;
            }
        }
        let expected: BTreeSet<String> = (0..nodes.len())
            .filter(|index| !withheld && !unbuilt.contains(index))
            .map(|index| format!("n{index}:latest"))
            .collect();

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let published: BTreeSet<String> = runtime.block_on(async {
            let mut scenario = scenario(&lines.join("\n"));
            scenario.options.jobs = NonZeroUsize::new(jobs).unwrap();
            scenario.options.keep_going = keep_going;
            let broken = (0..nodes.len()).filter(|index| nodes[*index].2);
            let broken: BTreeSet<String> = broken.map(|index| format!("n{index}")).collect();
            scenario.engine(|engine| {
                *(if tests_fail { &mut engine.tests_fail } else { &mut engine.builds_fail }) = broken;
            });
            scenario.run(&Selection::OutOfDate).await;
            scenario.published().into_keys().collect()
        });
        prop_assert_eq!(published, expected);
    }
}
