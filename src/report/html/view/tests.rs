use serde_json::json;

use super::*;
use crate::report::{html::tests::view, scenario};

#[test]
fn a_view_has_what_the_events_say() {
    let run = view(&scenario::success());
    let images: Vec<String> = run
        .images
        .iter()
        .map(|image| {
            let tags = image.promoted.join(" ");
            let parts: Vec<String> =
                image.phases.iter().map(|phase| phase.part.word().to_owned()).collect();
            format!("{}: {}, {} [{tags}] {}", image.name, image.state(), image.why, parts.join(" "))
        })
        .collect();
    insta::assert_snapshot!(images.join("\n"));
    assert_eq!(run.asked, "--since abc");
    assert_eq!(run.began.unwrap().to_string(), "2026-11-24T03:00:01Z");
    assert!(!run.moved.is_empty() && run.end.is_some());
}

#[test]
fn a_step_that_is_running_has_its_phase() {
    let mut run = RunView::default();
    for event in [
        json!({"at": 0, "event": "run-started", "plan": {"steps": [{"node": "app"}]}}),
        json!({"at": 1, "event": "step-started", "node": "app"}),
        json!({"at": 3, "event": "phase-started", "node": "app", "phase": {"name": "test", "number": 1, "total": 2}}),
        json!({"at": 4, "event": "phase-started", "node": "app", "phase": {"name": "test", "number": 2, "total": 2}}),
    ] {
        run.take(&event);
    }
    let image = run.image("app").unwrap();
    assert_eq!((image.state(), image.class()), ("test 2 of 2", "running"));
    let spans: Vec<(BarPart, f64, Option<f64>)> =
        image.phases.iter().map(|phase| (phase.part, phase.began, phase.ended)).collect();
    assert_eq!(spans, [(BarPart::Build, 1.0, Some(3.0)), (BarPart::Test, 3.0, None)]);
}
