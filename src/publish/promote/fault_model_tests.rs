//! One run, and what goes wrong with its reads and writes; recovery, and what others did meanwhile.

use super::*;

fn explored(rules: Rules) -> BTreeSet<End> {
    let (states, ends) = explore(rules, |play, history| {
        let shown = shown(&play.world().tags);
        if play.states()[0] == "done" && rules.second.is_none() && rules.budget.persons == 0 {
            assert!(shown.iter().all(|of| *of == FIRST), "I9: {shown:?} after {history:?}");
        }
    });
    println!("{states} states, {} ends", ends.len());
    ends
}

/// Whether the tags are one run's set, but for those that a person has moved.
fn is_whole(shown: &[usize]) -> bool {
    let mut whose = shown.iter().filter(|of| **of != EARLIER);
    whose.next().is_none_or(|first| whose.all(|of| of == first))
}

fn alone(nodes: usize, budget: Budget) -> BTreeSet<End> {
    let budget = Budget { recoveries: 1, ..budget };
    explored(Rules { nodes, budget, ..Rules::default() })
}

#[test]
fn one_stale_read_decides_nothing() {
    for (runs, shown) in alone(3, Budget { stale_reads: 1, ..Budget::default() }) {
        assert_eq!((runs[0], &shown[..]), ("done", &[FIRST; 3][..]));
    }
}

#[test]
fn a_write_that_is_lost_or_late_moves_all_tags_or_none() {
    for budget in [
        Budget { writes: 1, ..Budget::default() },
        Budget { late_writes: 1, ..Budget::default() },
        Budget { writes: 1, stale_reads: 1, ..Budget::default() },
    ] {
        for (runs, shown) in alone(3, budget) {
            let expected = if runs[0] == "done" { FIRST } else { BEFORE };
            assert_eq!(shown, [expected; 3], "{runs:?}");
        }
    }
}

#[test]
fn writes_that_are_refused_from_then_on_are_made_up_for_by_the_next_command() {
    let budget = Budget { refusals_from_then_on: 1, ..Budget::default() };
    let ends = alone(3, budget);
    for (runs, shown) in &ends {
        let expected = if runs[0] == "done" { FIRST } else { BEFORE };
        assert_eq!(*shown, [expected; 3], "{runs:?}");
    }
    assert!(ends.iter().any(|(runs, _)| runs[0] == "put back"), "{ends:?}");
}

#[test]
fn a_tag_that_a_person_moves_stays_and_the_others_are_whole() {
    for budget in [
        Budget { persons: 1, ..Budget::default() },
        Budget { persons: 1, kills: 1, ..Budget::default() },
        Budget { persons: 1, writes: 1, ..Budget::default() },
        Budget { persons: 1, refusals_from_then_on: 1, ..Budget::default() },
    ] {
        for (runs, shown) in alone(3, budget) {
            assert!(is_whole(&shown), "{runs:?} {shown:?}");
            let expected = if ["done", "finished"].contains(&runs[0]) { FIRST } else { BEFORE };
            assert!(shown.iter().all(|of| [expected, EARLIER].contains(of)), "{runs:?} {shown:?}");
        }
    }
}

#[test]
fn a_run_that_was_cut_off_leaves_what_another_has_published_since() {
    recovered_beside(3, Order::Locked);
}

/// On another machine.
#[test]
fn a_run_that_is_finished_while_another_publishes_leaves_one_set() {
    recovered_beside(2, Order::Recovering);
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn a_run_that_is_finished_while_another_publishes_leaves_one_set_of_three_images_for_minutes() {
    recovered_beside(3, Order::Recovering);
}

fn recovered_beside(nodes: usize, order: Order) {
    for second in [BEFORE, SECOND] {
        let budget = Budget { kills: 1, recoveries: 1, ..Budget::default() };
        let ends =
            explored(Rules { nodes, second: Some(second), order, budget, ..Rules::default() });
        for (runs, shown) in &ends {
            if runs[1] != "killed" {
                assert!(is_whole(shown), "{runs:?} {shown:?}");
            }
            if *runs == ["left to another", "done"] {
                assert!(shown.iter().all(|of| *of == second), "{runs:?} {shown:?}");
            }
        }
        assert!(ends.iter().any(|(runs, _)| *runs == ["left to another", "done"]), "{ends:?}");
    }
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn two_things_go_wrong_and_the_tags_are_whole_for_minutes() {
    let faults: [fn(&mut Budget); 5] = [
        |budget| budget.writes += 1,
        |budget| budget.kills += 1,
        |budget| budget.stale_reads += 1,
        |budget| budget.persons += 1,
        |budget| budget.refusals_from_then_on += 1,
    ];
    for one in faults {
        for other in faults {
            let mut budget = Budget { recoveries: 2, ..Budget::default() };
            one(&mut budget);
            other(&mut budget);
            // A registry has no compare-and-swap. If it hides a person's move in the read before a write, the
            // write goes over it, and no later read can show that.
            if budget.stale_reads > 0 && budget.persons > 0 {
                continue;
            }
            for (runs, shown) in explored(Rules { nodes: 3, budget, ..Rules::default() }) {
                assert!(is_whole(&shown), "{budget:?} {runs:?} {shown:?}");
            }
        }
    }
}
