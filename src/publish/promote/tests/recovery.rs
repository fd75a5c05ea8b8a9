//! A promotion that was cut off, at every line of its journal and at every tag.

use std::{fs, sync::Arc};

use super::{STACK, all, tagged};
use crate::{
    event::Promotion,
    exit::Exit,
    image::Digest,
    publish::{journal::Move, promote::Recovered},
    testing::scenario::{Scenario, scenario},
};

/// Two runs, of which the second has moved every tag and made two that are new.
async fn twice() -> (Scenario, Vec<Move>) {
    let mut stack = scenario(&STACK.replace("\n    os\n", "\n    os : tags=[latest, '{date}']\n"));
    stack.run(&all()).await;
    stack.write("os/file", "new");
    stack.date = "20261124";
    stack.run(&all()).await;
    let moves = stack.past(1).moves.unwrap();
    assert_eq!(moves.len(), 6);
    assert_eq!(moves.iter().filter(|one| one.from.is_none()).count(), 1);
    (stack, moves)
}

fn set(stack: &Scenario, one: &Move, to: Option<&Digest>) {
    stack.engine(|engine| match to {
        Some(to) => _ = engine.tags.insert(one.tag.clone(), to.clone()),
        None => _ = engine.tags.remove(&one.tag),
    });
}

/// Each tag as it was when the process died: so many are moved.
fn cut_off(stack: &Scenario, moves: &[Move], done: usize) {
    for (index, one) in moves.iter().enumerate() {
        set(stack, one, if index < done { one.to.as_ref() } else { one.from.as_ref() });
    }
}

#[tokio::test]
async fn after_a_cut_anywhere_all_of_it_is_moved_or_nothing() {
    let (stack, moves) = twice().await;
    let after = stack.published();
    let bytes = fs::read(stack.journal(1)).unwrap();
    cut_off(&stack, &moves, 0);
    let before = stack.published();
    let mut cuts: Vec<usize> = vec![0];
    cuts.extend((0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1));
    assert_eq!(cuts.len(), 1 + 9, "began, committed, six moved, ended");
    for (lines, end) in cuts.iter().enumerate() {
        let next = cuts.get(lines + 1).copied().unwrap_or(*end);
        for cut in
            [*end, end + 1, next - 1].into_iter().filter(|cut| (*end..=bytes.len()).contains(cut))
        {
            let (committed, noted) = (lines >= 2, lines.saturating_sub(2).min(6));
            // A tag may be written and the line about it not.
            for done in noted..=(noted + usize::from(committed)).min(6) {
                fs::write(stack.journal(1), &bytes[..cut]).unwrap();
                cut_off(&stack, &moves, done);
                let (recovered, events) = stack.recover(1).await;
                let told = format!("cut at {cut}, {done} moved: {events:?}");
                let is_open = committed && lines < 9;
                assert_eq!(recovered.is_some(), is_open, "{told}");
                if !is_open {
                    assert_eq!(stack.published(), if committed { &after } else { &before }.clone());
                    continue;
                }
                let finished = Recovered::Finished { of: 6 };
                assert_eq!(recovered.unwrap().unwrap(), finished, "{told}");
                assert_eq!(stack.published(), after, "{told}");
                let past = stack.past(1);
                assert_eq!(past.standing().count(), 6);
                assert!(past.ended.unwrap().recovered);
                assert!(stack.recover(1).await.0.is_none(), "once");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hierarchy_that_changed_meanwhile_does_not_change_what_is_finished() {
    let (stack, moves) = twice().await;
    let after = stack.published();
    let text = fs::read_to_string(stack.journal(1)).unwrap();
    let committed: String = text.split_inclusive('\n').take(2).collect();
    fs::write(stack.journal(1), committed).unwrap();
    cut_off(&stack, &moves, 1);
    stack.write("hierarchy.yaml", "version: 1\nimages: {}\n");
    stack.recover(1).await.0.unwrap().unwrap();
    assert_eq!(stack.published(), after, "the tag of that day, too");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_a_person_moved_since_is_left_alone_and_the_others_go_back() {
    // One that was not moved yet is elsewhere; one that was is where it was before.
    for moved_by_hand in [5, 1] {
        let (stack, moves) = twice().await;
        let text = fs::read_to_string(stack.journal(1)).unwrap();
        let cut: String = text.split_inclusive('\n').take(4).collect();
        fs::write(stack.journal(1), cut).unwrap();
        cut_off(&stack, &moves, 0);
        let mut expected = stack.published();
        cut_off(&stack, &moves, 2);
        let one = &moves[moved_by_hand];
        let to = if moved_by_hand == 5 { &moves[0].to } else { &one.from };
        set(&stack, one, to.as_ref());
        match to {
            Some(to) => _ = expected.insert(one.tag.to_string(), to.clone()),
            None => _ = expected.remove(&one.tag.to_string()),
        }
        let (recovered, events) = stack.recover(1).await;
        let Recovered::PutBack { why } = recovered.unwrap().unwrap() else { panic!("{events:?}") };
        assert!(why.contains("was moved by another user or program"), "{why}");
        assert_eq!(stack.published(), expected, "{events:?}");
        assert_eq!(stack.past(1).standing().count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_in_which_another_run_has_published_since_stays_whole() {
    let (mut stack, moves) = twice().await;
    let text = fs::read_to_string(stack.journal(1)).unwrap();
    let cut: String = text.split_inclusive('\n').take(4).collect();
    cut_off(&stack, &moves, 2);
    // The next one publishes what was there before, and thereby only the two that are moved.
    std::fs::remove_file(stack.file("os/file")).unwrap();
    stack.date = "20261123";
    stack.run(&all()).await;
    let before = stack.published();
    fs::write(stack.journal(1), cut).unwrap();
    let (recovered, events) = stack.recover(1).await;
    let left = Recovered::LeftTo { run: crate::publish::journal::test_id(2) };
    assert_eq!(recovered.unwrap().unwrap(), left, "{events:?}");
    assert_eq!(stack.published(), before);
    assert_eq!(stack.past(1).wanted().count(), 0);
    assert!(stack.past(1).ended.unwrap().recovered);
}

/// Another machine plans while a promotion is cut off, and promotes after it was finished.
#[tokio::test(start_paused = true)]
async fn tags_of_descendants_that_need_no_move_are_checked() {
    let (mut stack, moves) = twice().await;
    let finished = stack.published();
    cut_off(&stack, &moves, 2);
    std::fs::remove_file(stack.file("os/file")).unwrap();
    stack.date = "20261123";
    let stale = Arc::new(stack.plan(&all()).await);
    cut_off(&stack, &moves, moves.len());
    let ended = stack.run_plan(stale).await;
    assert_eq!(ended.summary.exit, Exit::PromotionFailed, "{}", ended.outcomes());
    assert_eq!(stack.published(), finished);
}

#[tokio::test(start_paused = true)]
async fn where_the_store_refuses_for_good_every_tag_goes_back() {
    let (stack, moves) = twice().await;
    let text = fs::read_to_string(stack.journal(1)).unwrap();
    for done in 0..=5 {
        let lines = text.split_inclusive('\n').take(2 + done);
        fs::write(stack.journal(1), lines.collect::<String>()).unwrap();
        cut_off(&stack, &moves, 0);
        let before = stack.published();
        cut_off(&stack, &moves, done);
        stack.engine(|engine| _ = engine.refused.insert(moves[5].tag.clone()));
        let (recovered, events) = stack.recover(1).await;
        let Recovered::PutBack { why } = recovered.unwrap().unwrap() else { panic!("{events:?}") };
        assert!(why.contains("cannot be moved"), "{why}");
        assert_eq!(stack.published(), before, "{done} moved: {events:?}");
        let ended = stack.past(1).ended.unwrap();
        assert_eq!((ended.exit, ended.recovered), (Exit::PromotionFailed, true));
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_store_cannot_be_reached_the_next_command_goes_on() {
    let stack = scenario(STACK);
    stack.run(&all()).await;
    let before = stack.published();
    stack.write("os/file", "new");
    stack.engine(|engine| _ = engine.unanswered.insert(tagged("site:latest")));
    let ended = stack.run(&all()).await;
    assert_eq!(ended.summary.exit, Exit::PromotionFailed);
    let Promotion::Incomplete { moved, of, why, .. } = ended.summary.promotion else { panic!() };
    assert_eq!((moved, of), (4, 5), "{why}");
    assert!(why.ends_with("the next `rebuild` moves the rest"), "{why}");
    // The next one cannot either, and leaves it open; the one after that can.
    assert!(stack.recover(1).await.0.unwrap().is_err());
    assert_eq!(stack.past(1).ended, None);
    stack.engine(|engine| engine.unanswered.clear());
    assert!(stack.recover(1).await.0.unwrap().is_ok());
    let after = stack.published();
    assert!(before.keys().all(|tag| before[tag] != after[tag]));
    assert_eq!(after.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_began_to_go_back_goes_back() {
    let (stack, moves) = twice().await;
    let text = fs::read_to_string(stack.journal(1)).unwrap();
    let mut cut: String = text.split_inclusive('\n').take(5).collect();
    cut += "{\"turned\":{\"why\":\"because\"}}\n{\"back\":2}\n";
    fs::write(stack.journal(1), cut).unwrap();
    cut_off(&stack, &moves, 0);
    let before = stack.published();
    cut_off(&stack, &moves, 2);
    let why = "because".to_owned();
    assert_eq!(stack.recover(1).await.0.unwrap().unwrap(), Recovered::PutBack { why });
    assert_eq!(stack.published(), before);
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_nothing_is_promoted() {
    let stack = scenario(STACK);
    stack.write(".state/journal", "a file where the folder should be");
    let ended = stack.run(&all()).await;
    assert_eq!(ended.summary.exit, Exit::PromotionFailed);
    let Promotion::Incomplete { moved: 0, of: 5, why, .. } = ended.summary.promotion else {
        panic!()
    };
    assert!(why.contains("cannot be written") && why.ends_with("no tag was moved"), "{why}");
    assert_eq!(stack.published().len(), 0);
    fs::remove_file(stack.file(".state/journal")).unwrap();
    assert_eq!(stack.run(&all()).await.summary.exit, Exit::Done);
    assert_eq!(stack.published().len(), 5);
}
