//! Messages of small and of very large runs, against the limits that the services document.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    event::Event,
    hierarchy::test_hierarchy,
    plan::order::{BlastRadius, Destination, Estimate, blast_radius::Size},
    report::{
        plan::{Planned, TagList},
        scenario::{self, recorded},
    },
};

const JOB: Option<&str> = Some("https://ci.example.com/a/b?x=1&y=2");
const MARK: &str = "<!-- rebuild: 0123456789ab -->";

fn runs() -> Vec<(&'static str, Vec<Event>)> {
    let hostile = "</pre> ``` <!channel> <@U1> | *x* [a](b) \n\n# head\u{202e}".repeat(500);
    vec![
        ("held", scenario::held()),
        ("refreshed", scenario::refreshed()),
        ("nothing", scenario::nothing_to_do()),
        ("wide", scenario::wide(300)),
        ("hostile", scenario::hostile(hostile.as_bytes())),
    ]
}

fn length(text: &Value) -> usize {
    text.as_str().unwrap().chars().count()
}

/// <https://api.slack.com/reference/block-kit/blocks>: 50 blocks a message, 150 characters a header, 3000 a text.
#[test]
fn slack_messages_are_block_kit_within_its_limits() {
    for (name, events) in runs() {
        let message = slack::message(&recorded(&events), JOB);
        assert!(length(&message["text"]) > 0, "{name}");
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{name}: {}", blocks.len());
        for block in blocks {
            match block["type"].as_str().unwrap() {
                "header" => {
                    assert_eq!(block["text"]["type"], "plain_text");
                    assert!((1..=150).contains(&length(&block["text"]["text"])), "{name}: {block}");
                }
                "section" => {
                    assert_eq!(block["text"]["type"], "mrkdwn");
                    let text = block["text"]["text"].as_str().unwrap();
                    assert!((1..=3000).contains(&text.chars().count()), "{name}: {block}");
                    // Neither a mention nor a link of the text of a build, and each fence is closed.
                    assert!(!text.contains("<!") && !text.contains("<@"), "{name}: {text}");
                    assert_eq!(text.matches("```").count() % 2, 0, "{name}: {text}");
                }
                "context" => assert!(block["elements"].as_array().unwrap().len() <= 10),
                other => panic!("{name}: {other}"),
            }
        }
    }
    let message = slack::message(&recorded(&scenario::wide(300)), JOB).to_string();
    assert!(message.contains("image-000") && message.contains(" more images"), "{message}");
}

/// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>: 28 KB a message.
#[test]
fn teams_messages_are_adaptive_cards_within_its_limit() {
    for (name, events) in runs() {
        let message = teams::message(&recorded(&events), JOB);
        assert!(message.to_string().len() <= 28 * 1024, "{name}");
        assert_eq!(message["type"], "message");
        let [attachment] = &message["attachments"].as_array().unwrap()[..] else {
            panic!("{name}")
        };
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        let card = &attachment["content"];
        assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.5".into()));
        let body = card["body"].as_array().unwrap();
        assert_eq!(body[0]["type"], "TextBlock", "{name}");
        for part in body {
            match part["type"].as_str().unwrap() {
                "TextBlock" => assert!(length(&part["text"]) > 0),
                "RichTextBlock" => assert!(part["inlines"].is_array()),
                "Table" => {
                    let columns = part["columns"].as_array().unwrap().len();
                    for row in part["rows"].as_array().unwrap() {
                        assert_eq!(row["type"], "TableRow");
                        let cells = row["cells"].as_array().unwrap();
                        assert_eq!(cells.len(), columns);
                        assert!(cells.iter().all(|cell| cell["type"] == "TableCell"), "{row}");
                    }
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
    let message = teams::message(&recorded(&scenario::wide(300)), JOB).to_string();
    assert!(message.contains("image-000") && message.contains(" more images"), "{message}");
}

fn radius(tags: usize) -> BlastRadius {
    BlastRadius {
        promoted: 1,
        tags: (0..tags).map(|n| format!("image-{n}:latest")).collect(),
        time: Estimate { left: scenario::ms(170_000), timed: 4, builds: 4 },
        size: Size { bytes: 120_400_000, sized: 4 },
        destination: Destination::Registry,
        repositories: BTreeMap::new(),
    }
}

/// A comment of GitHub has at most 65,536 characters.
#[test]
fn comments_of_runs_fit_and_begin_with_their_mark() {
    let hierarchy = test_hierarchy(
        "os-base\nwebapp-base < os-base\nruby-3.4 < webapp-base\ntools < os-base\ncron\nmirror",
    );
    for (name, events) in runs() {
        for events in [&events, &scenario::wide(3000)] {
            let text = comment::of_run(&recorded(events), Some(&hierarchy), (MARK, JOB));
            assert!(text.chars().count() <= 65_536, "{name}: {}", text.len());
            assert!(text.starts_with(&format!("{MARK}\n### rebuild: ")), "{name}: {text}");
            assert!(text.contains("(https://ci.example.com/a/b?x=1&y=2)"), "{name}: {text}");
        }
    }
    let text = comment::of_run(&recorded(&scenario::held()), Some(&hierarchy), (MARK, None));
    insta::assert_snapshot!("comment_of_a_run", text);
}

#[test]
fn comments_of_plans_have_the_images_and_what_they_touch() {
    let (plan, radius) = (scenario::plan(), radius(7));
    let hierarchy = test_hierarchy(
        "os-base\nwebapp-base < os-base\nruby-3.4 < webapp-base\ntools < os-base\ncron\nmirror",
    );
    let planned = Planned {
        run: &plan,
        shown: &plan,
        radius: &radius,
        place: "registry.example.com/base",
        flattened: &[],
        tags: TagList::Line,
    };
    insta::assert_snapshot!(
        "comment_of_a_plan",
        comment::of_plan(planned, &hierarchy, (MARK, JOB))
    );
    let record = recorded(&scenario::held());
    let pretty = |message: &Value| serde_json::to_string_pretty(message).unwrap();
    insta::assert_snapshot!("slack", pretty(&slack::message(&record, JOB)));
    insta::assert_snapshot!("teams", pretty(&teams::message(&record, JOB)));
    let (plan, radius) = (scenario::wide_plan(3000), self::radius(3000));
    let planned = Planned { run: &plan, shown: &plan, radius: &radius, place: "x", ..planned };
    let text = comment::of_plan(planned, &hierarchy, (MARK, None));
    assert!(text.chars().count() <= 65_536 && text.contains("no room here"), "{}", text.len());
}

#[test]
fn the_greatest_number_that_fits_is_found() {
    for limit in 0..20 {
        assert_eq!(most(12, |n| n <= limit), limit.min(12));
    }
    assert_eq!(most(12, |_| false), 0);
}

#[test]
fn the_end_of_a_log_is_short() {
    let record = recorded(&scenario::hostile(&b"x\n".repeat(5000)));
    let failures = Parts::of(&record).failures;
    assert!(failures.iter().all(|(.., tail)| tail.chars().count() <= TAIL + 1), "{failures:?}");
}
