//! When a hold ends.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    image::Tagged,
    plan::Selection,
    testing::scenario::{Scenario, names, scenario},
};

const STACK: &str = "
    os
    web < os
    app < web
    lang < os
";

/// Runs, and returns the images whose tags moved.
async fn moved(stack: &Scenario) -> BTreeSet<String> {
    let moved = stack.run(&Selection::OutOfDate).await.moved();
    moved.iter().map(|tag| tag.split(':').next().unwrap().to_owned()).collect()
}

async fn held(stack: &Scenario) -> Vec<String> {
    let plan = stack.planned(&Selection::OutOfDate).await;
    let held = plan.lines().filter(|line| line.contains("rolled back by run"));
    held.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_elsewhere_does_not_publish_the_rolled_back_image_again() {
    let stack = scenario(STACK);
    moved(&stack).await;
    stack.write("app/file", "bad");
    assert_eq!(moved(&stack).await, set(&["app"]));
    stack.roll_back(1).await;
    let good = stack.published()["app:latest"].clone();
    assert_eq!(held(&stack).await, ["app"]);

    // Not even a change of its parents.
    stack.write("os/file", "unrelated");
    assert_eq!(moved(&stack).await, set(&["os", "web", "lang"]));
    assert_eq!(moved(&stack).await, set(&[]));
    assert_eq!(stack.published()["app:latest"], good);

    stack.write("app/file", "fixed");
    assert_eq!(moved(&stack).await, set(&["app"]));
    assert_eq!(held(&stack).await, [""; 0]);
    assert_eq!(moved(&stack).await, set(&[]));
}

#[tokio::test(start_paused = true)]
async fn a_fix_of_a_parent_releases_images_that_changed_only_through_it() {
    let stack = scenario(STACK);
    moved(&stack).await;
    let good = stack.published();
    stack.write("os/file", "bad");
    moved(&stack).await;
    stack.roll_back(1).await;
    assert_eq!(held(&stack).await, ["os", "web", "app", "lang"]);
    assert_eq!(moved(&stack).await, set(&[]));
    assert_eq!(stack.published(), good);

    // Its own change is published, on the parent that was rolled back.
    stack.write("lang/file", "new");
    assert_eq!(moved(&stack).await, set(&["lang"]));
    assert_eq!(held(&stack).await, ["os", "web", "app"]);

    stack.write("os/file", "fixed");
    assert_eq!(moved(&stack).await, set(&["os", "web", "app", "lang"]));
    assert_eq!(held(&stack).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_revert_ends_every_hold_and_the_bad_files_are_still_held_after_it() {
    let stack = scenario(STACK);
    stack.write("os/file", "good");
    moved(&stack).await;
    stack.write("os/file", "bad");
    moved(&stack).await;
    stack.roll_back(1).await;
    stack.write("os/file", "good");
    assert_eq!(held(&stack).await, [""; 0]);
    assert_eq!(moved(&stack).await, set(&[]));
    stack.write("os/file", "bad");
    assert_eq!(held(&stack).await, ["os", "web", "app", "lang"]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ends_no_hold_and_a_name_on_the_command_line_does() {
    let mut stack = scenario(STACK);
    moved(&stack).await;
    stack.write("app/file", "bad");
    moved(&stack).await;
    stack.roll_back(1).await;
    let good = stack.published()["app:latest"].clone();
    stack.refresh = true;
    moved(&stack).await;
    assert_eq!(stack.published()["app:latest"], good);
    stack.refresh = false;
    stack.run(&Selection::From(names(&["app"]))).await;
    assert_ne!(stack.published()["app:latest"], good);
    assert_eq!(held(&stack).await, [""; 0]);
}

/// Points the upstream `up:1` at a new image.
async fn move_upstream(stack: &Scenario, text: &str) {
    stack.write("seed/file", text);
    stack.run(&Selection::Only(names(&["seed"]))).await;
    stack.engine(|engine| {
        let tagged = |name: &str, tag: &str| Tagged {
            repository: name.parse().unwrap(),
            tag: tag.parse().unwrap(),
        };
        let image = engine.tags[&tagged("seed", "latest")].clone();
        engine.tags.insert(tagged("up", "1"), image);
    });
}

#[tokio::test(start_paused = true)]
async fn an_upstream_ends_the_hold_of_an_image_that_it_broke_and_of_no_other() {
    let stack = scenario("seed\nos < up:1\nweb < os");
    move_upstream(&stack, "1").await;
    moved(&stack).await;
    move_upstream(&stack, "2").await;
    assert_eq!(moved(&stack).await, set(&["os", "web"]));
    stack.roll_back(3).await;
    assert_eq!(held(&stack).await, ["os", "web"]);
    assert_eq!(moved(&stack).await, set(&[]));
    move_upstream(&stack, "3").await;
    assert_eq!(moved(&stack).await, set(&["os", "web"]));

    stack.write("os/file", "bad");
    assert_eq!(moved(&stack).await, set(&["os", "web"]));
    stack.roll_back(8).await;
    assert_eq!(held(&stack).await, ["os", "web"]);
    move_upstream(&stack, "4").await;
    assert_eq!(moved(&stack).await, set(&[]));
}

#[tokio::test(start_paused = true)]
async fn every_image_that_was_rolled_back_stays_unpublished() {
    let stack = scenario("app");
    moved(&stack).await;
    let good = stack.published();
    for (run, text) in [(1, "bad"), (2, "worse")] {
        stack.write("app/file", text);
        assert_eq!(moved(&stack).await, set(&["app"]), "run {run}");
    }
    stack.roll_back(2).await;
    stack.roll_back(1).await;
    for text in ["bad", "worse"] {
        stack.write("app/file", text);
        assert_eq!(moved(&stack).await, set(&[]), "{text}");
    }
    assert_eq!(stack.published(), good);
}

/// A comment in the Dockerfile changes the inputs, not the image.
#[tokio::test(start_paused = true)]
async fn later_builds_that_left_the_bad_image_unchanged_are_held_too() {
    let stack = scenario("app");
    moved(&stack).await;
    stack.engine(|engine| assert!(engine.constant.insert("app".to_owned())));
    stack.write("app/file", "bad");
    assert_eq!(moved(&stack).await, set(&["app"]));
    stack.write("app/other", "");
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "app: built, unchanged\n");
    stack.roll_back(1).await;
    assert_eq!(held(&stack).await, ["app"]);
}

/// `hold` is what a rollback does. Other things are kept, blocked, contained or not promoted.
#[test]
fn the_documentation_uses_the_word_for_rollbacks_only() {
    let words = regex::Regex::new(r"(?i)\b(hold|holds|held|holding)\b").unwrap();
    let code = regex::Regex::new("`[^`]*`|on_failure: hold").unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(docs).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let mut heading = "";
        for line in text.lines() {
            heading = line.strip_prefix('#').unwrap_or(heading);
            let is_of_rollbacks = heading.ends_with(" Holds")
                || ["roll", "resume", "#holds"].iter().any(|word| line.contains(word));
            // apt's own word.
            let is_of_apt = line.contains("packages") || line.contains("Packages");
            if words.is_match(&code.replace_all(line, "")) && !is_of_rollbacks && !is_of_apt {
                wrong.push(format!("{}: {line}", entry.file_name().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
