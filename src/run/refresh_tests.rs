//! Refreshes: which images are rebuilt, which stay, and what the next run does.

use std::collections::BTreeMap;

use jiff::ToSpan as _;

use crate::{
    image::{Digest, Repository, Tag, Tagged},
    plan::Selection,
    testing::scenario::{Scenario, names, scenario},
};

const STACK: &str = "
    os : tags=[latest, 'x-{date}']
    web < os
    app < web
";

/// A stack that is built and published.
async fn published(lines: &str) -> Scenario {
    let stack = scenario(lines);
    stack.run(&Selection::OutOfDate).await;
    stack.built();
    stack
}

/// Images of these nodes have the same files each time.
fn same(stack: &Scenario, nodes: &[&str]) {
    stack.engine(|engine| engine.same_tree = nodes.iter().map(ToString::to_string).collect());
}

fn hours_later(stack: &mut Scenario, hours: i64) {
    stack.now += hours.hours();
}

/// A build tag says what was built of which inputs. It would lie if it moved.
fn no_build_tag_moved(stack: &Scenario) {
    let state = stack.engine.state.lock().unwrap();
    let mut first: BTreeMap<&Tagged, &Digest> = BTreeMap::new();
    for (tag, digest) in state.tagged.iter().filter(|(tag, _)| tag.tag.as_str().starts_with("rb-"))
    {
        assert_eq!(*first.entry(tag).or_insert(digest), digest, "{tag}");
    }
}

const CURRENT: &str = "os: keep: up to date\nweb: keep: up to date\napp: keep: up to date\n";

#[tokio::test(start_paused = true)]
async fn a_refresh_that_changes_no_file_promotes_nothing() {
    let mut stack = published(STACK).await;
    same(&stack, &["os", "web", "app"]);
    let before = stack.published();
    stack.refresh = true;
    // Also on the next day, for which there is no dated tag yet.
    stack.date = "20261124";
    hours_later(&mut stack, 24);
    for _ in 0..2 {
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(
            ended.outcomes(),
            "os: built, unchanged\nweb: built, unchanged\napp: built, unchanged\n"
        );
        assert_eq!(ended.moved(), Vec::<String>::new());
        assert_eq!(stack.built().len(), 3);
    }
    assert_eq!(stack.published(), before);
    stack.refresh = false;
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
    no_build_tag_moved(&stack);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_changes_files_is_promoted_and_found_by_the_next_run() {
    let mut stack = published(STACK).await;
    same(&stack, &["web"]);
    stack.refresh = true;
    hours_later(&mut stack, 1);
    let ended = stack.run(&Selection::OutOfDate).await;
    // web has the same files, on another os.
    assert_eq!(ended.outcomes(), "os: built\nweb: built\napp: built\n");
    assert_eq!(ended.moved(), ["os:x-20261123", "os:latest", "web:latest", "app:latest"]);
    no_build_tag_moved(&stack);
    stack.refresh = false;
    stack.built();
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);

    // Installed updates stay: a change is built in the same epoch.
    stack.write("os/new", "1");
    let plan = stack.plan(&Selection::OutOfDate).await;
    let epoch = plan.steps[0].inputs.epoch.unwrap();
    assert_eq!(epoch.to_string(), "2026-11-23T13:00:00Z");
    stack.run(&Selection::OutOfDate).await;
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_named_is_refreshed_and_below_it_what_that_changes() {
    let mut stack = published(STACK).await;
    same(&stack, &["os"]);
    stack.refresh = true;
    let ended = stack.run(&Selection::From(names(&["os"]))).await;
    assert_eq!(ended.outcomes(), "os: built, unchanged\nweb: already built\napp: already built\n");
    assert_eq!(ended.moved(), Vec::<String>::new());
    let ended = stack.run(&Selection::Only(names(&["web"]))).await;
    assert_eq!(ended.outcomes(), "web: built\n");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_refreshed_when_it_is_old_enough() {
    let mut stack = scenario("os : refresh={every: 1d}\n web < os");
    // What the engine says of all its images.
    stack.now = "2026-11-20T12:00:00Z".parse().unwrap();
    stack.run(&Selection::OutOfDate).await;
    same(&stack, &["os"]);
    let current = "os: keep: up to date\nweb: keep: up to date\n";
    assert_eq!(stack.planned(&Selection::OutOfDate).await, current);
    hours_later(&mut stack, 11);
    assert_eq!(stack.planned(&Selection::OutOfDate).await, current);
    // The first epoch begins at midnight, so that all machines agree.
    hours_later(&mut stack, 1);
    for day in ["2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"] {
        assert_eq!(
            stack.planned(&Selection::OutOfDate).await,
            format!(
                "os: build: its refresh is due: every 1d, last {day}\nweb: build: `os` is rebuilt\n"
            )
        );
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(ended.outcomes(), "os: built, unchanged\nweb: already built\n");
        assert_eq!(ended.moved(), Vec::<String>::new());
        assert_eq!(stack.planned(&Selection::OutOfDate).await, current, "it was looked after");
        hours_later(&mut stack, 24);
    }
    same(&stack, &[]);
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: built\n");
    assert_eq!(stack.planned(&Selection::OutOfDate).await, current);
    hours_later(&mut stack, 24);
    assert_eq!(
        stack.planned(&Selection::OutOfDate).await,
        "os: build: its refresh is due: every 1d, last 2026-11-23T00:00:00Z\n\
         web: build: `os` is rebuilt\n"
    );
    no_build_tag_moved(&stack);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_the_better_reason_and_the_refresh_is_done_with_it() {
    let mut stack = published("os : refresh={every: 1d}").await;
    hours_later(&mut stack, 48);
    stack.write("os/new", "1");
    assert_eq!(stack.planned(&Selection::OutOfDate).await, "os: build: `new` is new\n");
    stack.run(&Selection::OutOfDate).await;
    assert_eq!(stack.planned(&Selection::OutOfDate).await, "os: keep: up to date\n");
}

#[tokio::test(start_paused = true)]
async fn an_image_built_again_by_request_leaves_the_build_tag_of_the_first_alone() {
    let stack = published(STACK).await;
    stack.engine(|engine| _ = engine.drifting.insert("os".to_owned()));
    let ended = stack.run(&Selection::From(names(&["os"]))).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: built\napp: built\n");
    no_build_tag_moved(&stack);
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_died_is_not_in_the_way() {
    let mut stack = published(STACK).await;
    stack.refresh = true;
    stack.engine(|engine| _ = engine.builds_fail.insert("app".to_owned()));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.moved(), Vec::<String>::new());
    stack.refresh = false;
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
    stack.refresh = true;
    stack.engine(|engine| engine.builds_fail.clear());
    hours_later(&mut stack, 1);
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: built\napp: built\n");
    no_build_tag_moved(&stack);
}

const SCHEDULED: &str = "
    os : schedule='0 3 * * *'
    web < os
    tool : refresh={every: 2d}
    other
";

/// A stack that was built and refreshed at noon of the 23rd.
async fn scheduled() -> Scenario {
    let mut stack = published(SCHEDULED).await;
    stack.refresh = true;
    stack.run(&Selection::OutOfDate).await;
    stack.refresh = false;
    stack.built();
    stack.by_schedule = true;
    stack
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_refreshed_and_nothing_else() {
    let mut stack = scheduled().await;
    assert_eq!(stack.due().await, Selection::Among(names(&[])));
    // Out of date, and not due.
    stack.write("other/Dockerfile", "FROM scratch\nRUN make other again\n");
    // 03:01 of the 24th.
    stack.now += (15 * 60 + 1).minutes();
    let due = stack.due().await;
    assert_eq!(due, Selection::Among(names(&["os"])));
    assert_eq!(
        stack.planned(&due).await,
        "os: build: its schedule was due at 2026-11-24T03:00:00Z, last 2026-11-23T12:00:00Z\n\
         web: build: `os` is rebuilt\n"
    );
    let ended = stack.run(&due).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: built\n");
    // It is done, and a plain run knows it.
    assert_eq!(stack.due().await, Selection::Among(names(&[])));
    stack.by_schedule = false;
    let plan = stack.planned(&Selection::OutOfDate).await;
    assert!(plan.contains("os: keep: up to date\n") && plan.contains("web: keep: up"), "{plan}");
    no_build_tag_moved(&stack);
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_count_once_and_a_plain_run_ignores_them() {
    let mut stack = scheduled().await;
    hours_later(&mut stack, 24 * 5);
    let due = stack.due().await;
    assert_eq!(due, Selection::Among(names(&["os", "tool"])));
    let plan = stack.planned(&due).await;
    assert!(plan.contains("os: build: its schedule was due at 2026-11-28T03:00:00Z"), "{plan}");
    stack.by_schedule = false;
    let plan = stack.planned(&Selection::OutOfDate).await;
    assert!(plan.contains("os: keep") && plan.contains("tool: build"), "{plan}");
    stack.by_schedule = true;
    stack.run(&due).await;
    assert_eq!(stack.built(), ["os", "tool", "web"].map(str::to_owned).into());
    assert_eq!(stack.due().await, Selection::Among(names(&[])));
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_finds_no_newer_package_is_done() {
    let mut stack = published("os : schedule='0 3 * * *'; refresh={packages: apt}").await;
    stack.by_schedule = true;
    hours_later(&mut stack, 24);
    let due = stack.due().await;
    assert_eq!(due, Selection::Among(names(&["os"])));
    stack.run(&due).await;
    assert_eq!(stack.planned(&due).await, "os: keep: up to date\n");
    assert!(stack.built().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_finds_what_is_published_under_unique_tags_only() {
    let tags = "os : tags=['1-{fingerprint}']\nweb < os : tags=['1-{fingerprint}', 'day-{date}']";
    let mut stack = published(tags).await;
    same(&stack, &["os", "web"]);
    let before = stack.published();
    stack.refresh = true;
    stack.date = "20261124";
    hours_later(&mut stack, 24);
    for _ in 0..2 {
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(ended.outcomes(), "os: built, unchanged\nweb: built, unchanged\n");
        assert_eq!(ended.moved(), Vec::<String>::new());
    }
    assert_eq!(stack.published(), before);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_makes_the_same_files_again_rebuilds_no_child() {
    let stack = published(STACK).await;
    same(&stack, &["os", "app"]);
    stack.write("os/Dockerfile", "FROM scratch\nRUN make  os\n");
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: built, unchanged\nweb: already built\napp: already built\n");
}

#[tokio::test(start_paused = true)]
async fn an_image_on_a_new_image_of_its_base_is_published_anew_though_its_content_is_the_same() {
    let stack = published("os\nweb < os").await;
    stack.engine(|engine| engine.constant = ["os", "web"].map(str::to_owned).into());
    stack.write("os/Dockerfile", "FROM scratch\nRUN make os # 1\n");
    stack.run(&Selection::OutOfDate).await;
    // Another user moves the tag of the base: the next run finds nothing that equals its image.
    let web = stack.published()["web:latest"].clone();
    stack.engine(|engine| {
        _ = engine.tags.insert("os".parse::<Repository>().unwrap().tagged(Tag::latest()), web);
    });
    stack.write("os/Dockerfile", "FROM scratch\nRUN make os # 2\n");
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: built\n");
    let published = stack.published();
    stack.engine(|engine| {
        let base =
            &engine.images[&published["web:latest"]].labels["org.opencontainers.image.base.digest"];
        assert_eq!(*base, published["os:latest"].to_string());
    });
}
