//! Rollback: of a run, of a rollback, and of a run whose tags others have moved since.

use std::fs;

use super::{STACK, all};
use crate::testing::scenario::scenario;

#[tokio::test(start_paused = true)]
async fn a_rollback_takes_back_a_run_and_a_rollback_of_it_brings_it_again() {
    let mut stack = scenario(&STACK.replace("\n    os\n", "\n    os : tags=[latest, '{date}']\n"));
    stack.run(&all()).await;
    let first = stack.published();
    stack.write("os/file", "new");
    stack.date = "20261124";
    stack.run(&all()).await;
    let second = stack.published();
    assert_eq!(second.len(), first.len() + 1);

    assert_eq!(stack.roll_back(1).await, "");
    assert_eq!(stack.published(), first, "the tag of the second day is gone");
    assert_eq!(stack.roll_back(2).await, "");
    assert_eq!(stack.published(), second);
    // The children went first, and came last.
    let order = |run| -> Vec<String> {
        stack.past(run).moves.unwrap().iter().map(|one| one.node.to_string()).collect()
    };
    assert_eq!(order(2)[4..], ["os", "os"]);
    assert_eq!(order(3)[..2], ["os", "os"]);
}

#[tokio::test(start_paused = true)]
async fn what_others_moved_since_stays() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    stack.write("os/file", "new");
    stack.run(&all()).await;
    let second = stack.published();
    stack.write("app/file", "newer");
    stack.run(&all()).await;
    let third = stack.published();
    let said = stack.roll_back(1).await;
    assert!(said.starts_with("app:latest was moved since, and is left at "), "{said}");
    assert_eq!(said.lines().count(), 1);
    let now = stack.published();
    assert_eq!(now["app:latest"], third["app:latest"]);
    assert!(now.keys().filter(|tag| now[*tag] != second[*tag]).count() == 5, "{now:?}");
    let again = stack.roll_back(1).await;
    assert_eq!(again.matches("is already where it was").count(), 4, "{again}");
}

#[tokio::test(start_paused = true)]
async fn what_another_run_of_the_same_images_moved_is_taken_back_too() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    let first = stack.published();
    stack.write("os/file", "new");
    stack.run(&all()).await;
    // As if another machine had moved the first three at the same moment.
    let text = fs::read_to_string(stack.journal(1)).unwrap();
    let text = ["0", "1", "2"].iter().fold(text, |text, index| {
        text.replace(&format!("{{\"moved\":{index}}}"), &format!("{{\"left\":{index}}}"))
    });
    assert_eq!(text.matches("left").count(), 3, "{text}");
    // One that gave way, and put back what it had moved itself, has nothing of all that.
    let gave_way: String = text.replace("{\"moved\":", "{\"back\":").replacen(
        "{\"left\":0}",
        "{\"left\":0}\n{\"turned\":{\"why\":\"overtaken\"}}",
        1,
    );
    fs::write(stack.journal(1), gave_way).unwrap();
    assert_eq!(stack.past(1).wanted().count(), 0);
    assert!(stack.past(1).turned.is_some() && stack.past(1).ended.is_some());

    fs::write(stack.journal(1), text).unwrap();
    assert_eq!(stack.roll_back(1).await, "");
    assert_eq!(stack.published(), first);
}
