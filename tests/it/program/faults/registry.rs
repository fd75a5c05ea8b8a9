//! A registry, or what stands before it, that stumbles, refuses, lies or is slow.

use std::time::Duration;

use super::Disturbed;
use rebuild::engine::Capability;

use crate::support::{
    engine::capabilities,
    invariants::End,
    is_whole,
    project::{Place, Project},
    proxy::Fault,
};

const BASE: &str = "base/manifests/latest";
const BASE_1: &str = "base/manifests/1";
const APP: &str = "app/manifests/latest";

const SECONDS: &[(&str, &str)] = &[("Retry-After", "0")];
const DATE: &[(&str, &str)] = &[("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")];

#[test]
fn what_passes_is_waited_for_in_a_promotion() {
    let (disturbed, before) = Disturbed::new();
    let proxy = &disturbed.proxy;
    for (request, fault) in [
        (("PUT", BASE), Fault::Status(429, SECONDS)),
        (("PUT", BASE), Fault::Status(429, DATE)),
        (("PUT", BASE_1), Fault::Status(408, &[])),
        (("PUT", APP), Fault::Status(503, &[])),
        (("HEAD", BASE_1), Fault::Reset),
        (("HEAD", APP), Fault::CutAfter(20)),
    ] {
        proxy.spoil(request, 1, fault);
    }
    let ended = disturbed.rebuild().run().exits(0);
    proxy.assert_all_spoilt();
    let after = disturbed.holds(&before, End::Success);
    assert!(after.iter().all(|(tag, to)| before[tag] != *to), "{ended}");
}

/// Before the run's first line, and during the promotion.
#[test]
fn a_registry_that_keeps_a_command_waiting_is_named() {
    let (disturbed, before) = Disturbed::new();
    let proxy = &disturbed.proxy;
    proxy.spoil(("HEAD", APP), 1, Fault::Delay(Duration::from_secs(6)));
    proxy.spoil(("PUT", BASE), 2, Fault::Status(503, &[]));
    let ended = disturbed.rebuild().run().exits(0);
    proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Success);
    let registry = format!("the registry {}", proxy.address());
    let silence = format!("waiting for {registry}: no answer for 5 s\n");
    let second = format!("{registry} answered 503: attempt 2 of 5 in ");
    let third = format!("{registry} answered 503: attempt 3 of 5 in ");
    let ended = ended.says(&[&silence, &second, &third]);
    let at = |text: &str| ended.stderr.find(text).unwrap();
    assert!(at(&silence) < at("promoting ") && at("promoting ") < at(&second), "{ended}");
}

#[test]
fn what_does_not_pass_is_not_tried_again_and_every_tag_is_put_back() {
    let (disturbed, before) = Disturbed::new();
    for status in [400, 401, 403, 404, 405, 413] {
        disturbed.proxy.behave();
        let puts = disturbed.proxy.count(("PUT", APP));
        disturbed.proxy.spoil(("PUT", APP), 99, Fault::Status(status, &[]));
        let ended = disturbed.rebuild().run().exits(13);
        assert_eq!(disturbed.proxy.count(("PUT", APP)) - puts, 1, "{status}: {ended}");
        disturbed.holds(&before, End::Failure);
        let why =
            format!("~app:latest` cannot be moved: the registry {}", disturbed.proxy.address());
        ended.says(&[&why, "base:latest` is back where it was", "base:1` is back where it was"]);
    }
    disturbed.heals(&before);
}

#[test]
fn a_login_that_ends_in_a_promotion_leaves_the_way_back_to_the_next_run() {
    let (disturbed, before) = Disturbed::new();
    // Both tags of the base are moved, and from then on nothing is written, neither forward nor back.
    for (put, passing) in [(BASE, 1), (BASE_1, 1), (APP, 0)] {
        disturbed.proxy.spoil_after(passing, ("PUT", put), 99, Fault::Status(401, &[]));
    }
    let ended = disturbed.rebuild().run().exits(13);
    ended.says(&["base:latest` could not be put back: ", "; the next `rebuild` tries again"]);
    let between = disturbed.project.tags(Place::Registry(&disturbed.registry));
    let moved = between.iter().filter(|(tag, to)| before[*tag] != **to);
    assert_eq!(moved.map(|(tag, _)| tag.as_str()).collect::<Vec<_>>(), ["~base:1", "~base:latest"]);
    disturbed.heals(&before);
}

#[test]
fn a_put_that_is_lost_is_found_out() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", APP), 1, Fault::Lost);
    let ended = disturbed.rebuild().run().exits(13);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Failure);
    ended.says(&["~app:latest` was written, and read back it points at "]);
    disturbed.heals(&before);
}

#[test]
fn a_put_that_arrives_twice_changes_nothing() {
    let (disturbed, before) = Disturbed::new();
    for put in [BASE, BASE_1, APP] {
        disturbed.proxy.spoil(("PUT", put), 1, Fault::Doubled);
    }
    disturbed.rebuild().run().exits(0);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Success);
}

#[test]
fn an_image_that_the_registry_lost_is_not_promoted() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", "app/manifests/rb-"), 1, Fault::Lost);
    let ended = disturbed.rebuild().run().exits(12);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Failure);
    ended.says(&["was written, and read back it does not exist", "every tag is where it was"]);
    disturbed.heals(&before);
}

#[test]
fn a_push_that_fails_for_a_moment_is_tried_again() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", "base/manifests/rb-"), 1, Fault::Status(503, &[]));
    let ended = disturbed.rebuild().run().exits(0);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Success);
    // Nothing was built twice for it, and the image is not to blame. Podman tries again without a word.
    ended.never_says(&["flaky"]);
}

const HTML: &str = "<html><body><h1>Bad Gateway</h1></body></html>";
const JSON: &str = r#"{"errors":[{"code":"UNAVAILABLE","message":"service unavailable"}]}"#;
const OTHER_JSON: &str = r#"{"message":"no healthy upstream"}"#;

#[test]
fn a_push_that_meets_a_gateway_error_is_tried_as_often_as_our_own_requests() {
    let (disturbed, mut before) = Disturbed::new();
    for (number, (request, times, status, kind, body)) in [
        (("POST", "base/blobs/uploads/"), 1, 502, "text/html", HTML),
        (("PUT", "base/manifests/rb-"), 3, 503, "application/json", JSON),
        (("PUT", "base/blobs/uploads/"), 2, 502, "application/json", OTHER_JSON),
        (("PUT", "base/manifests/rb-"), 1, 502, "text/html", HTML),
        (("POST", "base/blobs/uploads/"), 3, 503, "application/json", JSON),
        (("PUT", "base/blobs/uploads/"), 1, 503, "text/html", HTML),
        (("PUT", "base/manifests/rb-"), 2, 429, "application/json", JSON),
    ]
    .into_iter()
    .enumerate()
    {
        if number > 2 && !is_whole() {
            break;
        }
        disturbed.proxy.behave();
        disturbed.project.write("base/name", &format!("another {number} of ~base"));
        // The first upload is our own trial of whether we may push.
        let skip = usize::from(request.0 == "POST");
        disturbed.proxy.spoil_after(skip, request, times, Fault::Says(status, kind, body));
        let ended = disturbed.rebuild().run().exits(0);
        disturbed.proxy.assert_all_spoilt();
        before = disturbed.holds(&before, End::Success);
        ended.never_says(&["flaky"]);
    }
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_push_is_given_up_after_five_tries() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", "base/manifests/rb-"), 99, Fault::Says(503, "text/html", HTML));
    let puts = disturbed.proxy.count(("PUT", "base/manifests/rb-"));
    let ended = disturbed.rebuild().run().exits(12);
    disturbed.holds(&before, End::Failure);
    let puts = disturbed.proxy.count(("PUT", "base/manifests/rb-")) - puts;
    // Engines may send each of them more than once.
    assert!(puts >= 5, "{puts}: {ended}");
    if capabilities().is_some_and(|engine| engine.has(Capability::BuildKit)) {
        assert_eq!(ended.stderr.matches(": trying again in ").count(), 4, "{ended}");
    }
    disturbed.heals(&before);
}

#[test]
fn a_registry_that_refuses_connections_in_mid_run_is_waited_for() {
    let (disturbed, before) = Disturbed::new();
    // What its own client and the engine's meet while it restarts.
    disturbed.proxy.spoil(("PUT", BASE), 1, Fault::Closed(Duration::from_secs(2)));
    disturbed.rebuild().run().exits(0);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Success);
}

#[test]
fn a_push_that_is_refused_is_not_tried_again() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", "base/manifests/rb-"), 99, Fault::Status(403, &[]));
    let ended = disturbed.rebuild().run().exits(12);
    disturbed.holds(&before, End::Failure);
    ended.never_says(&["trying again"]);
    disturbed.heals(&before);
}

#[test]
fn a_registry_that_refuses_us_is_found_out_before_the_first_build() {
    let (disturbed, before) = Disturbed::new();
    let every = [("POST", "base/blobs/uploads/"), ("POST", "app/blobs/uploads/")];
    for upload in every {
        disturbed.proxy.spoil(upload, 99, Fault::Status(403, &[]));
    }
    let ended = disturbed.rebuild().run().exits(21);
    disturbed.holds(&before, End::Failure);
    ended.says(&["refuses to push to "]).never_says(&["building"]);
    disturbed.heals(&before);
}

#[test]
fn a_registry_that_is_slow_and_moves_is_fine() {
    let (disturbed, before) = Disturbed::new();
    disturbed.proxy.spoil(("PUT", BASE), 1, Fault::Delay(Duration::from_millis(700)));
    let drip = Fault::Dribble(40, Duration::from_millis(20));
    disturbed.proxy.spoil(("GET", "/manifests/sha256:"), 2, drip);
    disturbed.rebuild().run().exits(0);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Success);
}

#[test]
fn an_image_that_fails_now_and_then_is_tried_again_and_called_flaky() {
    let project = Project::pair();
    // A prepare command works in a copy, so it remembers beside the project that it was here.
    let here = project.path("../tried");
    let script =
        format!("#!/bin/sh\ntest -e '{0}' && exit 0\ntouch '{0}'\nexit 3\n", here.display());
    project.write_script("app/prepare.sh", &script);
    let fields = "{ context: app, prepare: [./prepare.sh], retries: 1 }";
    project.edit("hierarchy.yaml", "{ context: app }", fields);
    let ended = project.rebuild("--progress plain").run().exits(0);
    ended.says(&[
        "~app   warning: attempt 1 of 2 failed: `./prepare.sh` ended with exit code 3",
        "~app   warning: failed once and then succeeded: `./prepare.sh` ended with exit code 3",
        "built, flaky",
    ]);
    std::fs::remove_file(here).unwrap();
    project.write("app/page", "two\n");
    let ended = project.rebuild("--progress json").run().exits(0);
    let attempts = |event: &serde_json::Value| event["attempts"].as_u64();
    let events = ended.events();
    assert_eq!(events.iter().filter_map(attempts).collect::<Vec<_>>(), [2], "{ended}");
    let steps = events.last().unwrap()["steps"].as_array().unwrap();
    assert_eq!(steps.iter().filter_map(attempts).collect::<Vec<_>>(), [2], "{ended}");
}
