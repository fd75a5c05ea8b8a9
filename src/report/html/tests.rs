//! The pages of the runs that every reporter is tested with, and of hostile ones.

use regex::Regex;
use serde_json::{Value, json};

use super::*;
use crate::{
    event::Event,
    report::{json as events, scenario},
};

/// The view of a run, from its events as JSON.
pub(super) fn view(events: &[Event]) -> RunView {
    let mut view = RunView::default();
    for event in events {
        view.take(&events::value(event));
    }
    view
}

fn take(view: &mut RunView, events: &[Value]) {
    for event in events {
        view.take(event);
    }
}

/// A run of one image of this name, which prints this line and fails with this message.
fn hostile(text: &str) -> RunView {
    let mut view = RunView::default();
    take(
        &mut view,
        &[
            json!({"v": 1, "at": 0.0, "event": "run-started", "run": text, "registry": text, "asked": text,
                "commit": text, "jobs": 1, "plan": {"steps": [{"node": text, "action": "build", "why": text,
                "after": [text], "base": text, "upstreams": [text], "moving": {text: null}, "published": text}]}}),
            json!({"at": 0.1, "event": "warning", "node": text, "message": text}),
            json!({"at": 0.1, "event": "step-started", "node": text, "engine": text}),
            json!({"at": 0.1, "event": "phase-started", "node": text, "phase": {"name": text}}),
            json!({"at": 0.1, "event": "build-step", "node": text, "stage": text, "number": 1, "total": 2, "text": text}),
            json!({"at": 0.2, "event": "log", "node": text, "line": text}),
            json!({"at": 0.3, "event": "packages-fixed", "fixed": [{"package": text, "from": text, "to": text,
                "images": [text]}], "left": []}),
            json!({"at": 0.4, "event": "tag-moved", "node": text, "tag": text, "from": text, "to": text}),
            json!({"at": 0.5, "event": "step-finished", "node": text, "seconds": 0.1, "outcome": "failed",
                "over_budget": [text], "failure": {"phase": {"name": text}, "message": text, "exit": text,
                "on_failure": text, "at": {"path": text, "line": 1, "text": text}, "tail": [text], "log": text}}),
            json!({"at": 0.6, "event": "run-finished", "exit": text, "exit_code": 10, "seconds": 0.6,
                "promotion": {"result": "incomplete", "moved": 0, "of": 1, "why": text},
                "steps": [{"node": text, "outcome": "failed", "promoted": [text], "reports": [text]}]}),
        ],
    );
    view
}

#[test]
fn a_page_has_every_part() {
    let page = page(&view(&scenario::failure()));
    for part in ["summary", "picture-part", "images", "timeline", "logs", "warnings"] {
        assert!(page.contains(&format!("class=\"{part}\"")), "{part}");
    }
    // The failed image is the first log, and open.
    let log = page.split("<details class=\"log\"").nth(1).unwrap();
    assert!(log.starts_with(" open"), "{}", &log[..200]);
}

/// The text between tags, and the values of attributes, are escaped; nothing of a build becomes an element.
#[test]
fn texts_of_a_build_stay_texts() {
    let texts = [
        "</script><img src=x onerror=alert(1)>",
        "\"><script>alert(1)</script>",
        "' onmouseover='alert(1)",
        "\" autofocus onfocus=\"alert(1)",
        "</pre></details></textarea></style></title><svg onload=alert(1)>",
        "a\u{202e}b\u{2066}c\u{1b}]0;x\u{7}\u{0}\r",
        "&lt;img src=x&gt; `code` <!-- ]]>",
    ];
    // The sentences of a text with backticks have more `code` elements.
    let elements = |page: &str| page.matches('<').count() - 2 * page.matches("<code>").count();
    let plain = elements(&page(&hostile("plain")));
    for text in texts {
        let page = page(&hostile(text));
        assert_eq!(elements(&page), plain, "{text}");
        let bad = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!page.contains(bad), "{text}");
        assert!(!page.contains("\" onfocus") && !page.contains("\" onmouse"), "{text}");
        assert!(!page.contains("\u{2066}"), "{text}");
    }
}

/// A server may send the parts with a policy that allows no style and no script of elements.
#[test]
fn no_part_has_a_style_or_a_script_of_its_own() {
    // The namespace of SVG is a link that no browser requests.
    let own = r"<[^>]*\s(?:style|on[a-z]+|src)=|<style|<script|javascript:|(?:href|url)[^>]*//";
    let own = Regex::new(own).unwrap();
    for events in [scenario::success(), scenario::failure(), scenario::refreshed()] {
        let run = view(&events);
        let parts = [
            parts::badge(&run),
            parts::summary(&run),
            parts::warnings(&run),
            parts::picture(&run),
            parts::table(&run),
            parts::timeline(&run),
            parts::moves(&run),
            parts::packages(&run),
            parts::logs(&run),
        ];
        for part in parts {
            let part = part.into_string();
            assert!(!own.is_match(&part), "{:?}", own.find(&part));
        }
    }
}

#[test]
fn a_page_is_bounded() {
    let mut view = RunView::default();
    let steps: Vec<Value> = (0..80).map(|n| json!({"node": format!("image-{n}")})).collect();
    let line = "x".repeat(900);
    take(&mut view, &[json!({"event": "run-started", "plan": {"steps": steps}})]);
    // 20 MB, of which each image has less than its own limit.
    for n in 0..80 {
        for _ in 0..280 {
            view.take(&json!({"event": "log", "node": format!("image-{n}"), "line": line}));
        }
    }
    let size = page(&view).len();
    assert!(size < 17 * 1024 * 1024, "{size}");
    assert!(view.images.iter().all(|image| image.log.lines().len() <= 2000));
}

#[test]
fn no_event_makes_it_panic() {
    let mut view = RunView::default();
    let words = [
        "run-started",
        "step-started",
        "phase-started",
        "log",
        "step-finished",
        "run-finished",
        "build-step",
        "tag-moved",
        "warning",
        "estimate",
        "packages-fixed",
        "stop-began",
        "new",
    ];
    let values = [
        json!(null),
        json!(-1),
        json!(1e308),
        json!("x"),
        json!([null]),
        json!({"steps": 1}),
        json!({"steps": [{"node": 1}, {"node": "x", "after": ["x"], "base": "x"}]}),
    ];
    for word in words {
        for value in &values {
            let fields = [
                "node",
                "plan",
                "phase",
                "steps",
                "seconds",
                "at",
                "failure",
                "promotion",
                "exit_code",
            ];
            let mut event = json!({"event": word});
            for field in fields {
                event[field] = value.clone();
                view.take(&event);
                event["node"] = json!("x");
                view.take(&event);
            }
        }
    }
    assert!(page(&view).contains("</html>"));
    assert!(page(&RunView::default()).contains("</html>"));
}

/// A log file of a run that is over, and the same lines as events.
#[test]
fn a_log_file_is_read_from_its_end() {
    let mut view = RunView::default();
    take(&mut view, &[json!({"event": "run-started", "plan": {"steps": [{"node": "app"}]}})]);
    view.take_log_file("app", b"ut\n--- 10:00:00 building\nline\r\nlast\n", 5000);
    let log = &view.image("app").unwrap().log;
    let lines: Vec<(&str, bool)> = log.lines().map(|line| (&*line.text, line.is_heading)).collect();
    assert_eq!(lines, [("--- 10:00:00 building", true), ("line", false), ("last", false)]);
    assert!(page(&view).contains("Left out here: the first 5.0 kB."));
}
