//! Whole reports of whole runs.

use std::{
    io::{self, Write},
    time::Duration,
};

use insta::assert_snapshot;
use proptest::prelude::*;
use regex::Regex;

use super::{
    Ci, Out, Paint, ProgressMode, ReportOptions, reporter,
    sanitize::tests::{check, hostile},
    scenario::{self, Paper, options, tell},
};
use crate::{
    event::{Event, EventKind, Outcome, Promotion, WithoutPromotion},
    exit::Exit,
    fingerprint::ListingDifference,
    hierarchy::OnFailure,
    image::Tagged,
    plan::{Change, ChangedPart, Reason},
};

/// The text on stderr and on stdout after a run.
fn shown(progress: ProgressMode, options: ReportOptions, events: &[Event]) -> (String, String) {
    let (out, result) = (Paper::default(), Paper::default());
    tell(reporter(progress, options, out.out(), result.out()).as_mut(), events);
    (out.text(), result.text())
}

fn plain(events: &[Event]) -> String {
    let (out, result) = shown(ProgressMode::Auto, options(), events);
    assert_eq!(result, "", "results of a run that nobody asked for");
    out
}

#[test]
fn images_that_did_not_begin_have_rows_and_many_are_counted() {
    let rows = |n: usize| {
        let plan = scenario::wide_plan(n);
        let nodes: Vec<String> = plan.steps.iter().map(|step| step.node.to_string()).collect();
        let mut story = scenario::Story::new(plan);
        story.starts(&nodes[0]).after(1_000);
        story.ends(&nodes[0], scenario::failed(OnFailure::Block), 1_000);
        for node in &nodes[1..] {
            story.ends(node, Outcome::Skipped { failed: vec![nodes[0].as_str().into()] }, 0);
        }
        let events = story.finishes(Promotion::Withheld, Exit::BuildFailed);
        let Some(EventKind::RunFinished { summary }) = events.last().map(|event| &event.kind)
        else {
            panic!("no end");
        };
        let mut out = Vec::new();
        super::table::write(summary, false, None, (Paint { colour: false }, &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    };
    for (images, skipped, last) in
        [(12, 11, None), (13, 10, Some("and 2 more skipped or cancelled"))]
    {
        let table = rows(images);
        assert_eq!(table.matches("  skipped  ").count(), skipped, "{table}");
        assert_eq!(table.lines().last().filter(|line| line.starts_with("and ")), last, "{table}");
    }
}

#[test]
fn without_a_terminal_a_long_reason_wraps_and_a_new_image_has_no_old_tags() {
    let mut plan = scenario::wide_plan(2);
    let node = plan.steps[0].node.to_string();
    plan.steps[0].reason = Reason::NeverBuilt;
    let part = |n| ChangedPart {
        what: Change::Context,
        difference: ListingDifference::Changed,
        name: format!("a/folder/with/many/files/{n}"),
    };
    plan.steps[1].reason =
        Reason::Changed { what: vec![Change::Context], parts: (0..4).map(part).collect() };
    let other = plan.steps[1].node.to_string();
    let mut story = scenario::Story::new(plan);
    for node in [&node, &other] {
        story.starts(node).ends(node, scenario::failed(OnFailure::Hold), 1_000);
    }
    let text = plain(&story.finishes(Promotion::Withheld, Exit::BuildFailed));
    let (_, table) = text.split_once("image ").unwrap();
    let (table, failures) = table.split_once("\n\n").unwrap();
    assert!(table.lines().all(|line| line.len() < 120), "{table}");
    for n in 0..4 {
        assert!(table.contains(&format!("`a/folder/with/many/files/{n}`")), "{table}");
    }
    assert_eq!(failures.matches("on_failure: hold: it gets no tags\n").count(), 1, "{failures}");
    assert_eq!(failures.matches("on_failure: hold: it keeps its old tags").count(), 1);
}

#[test]
fn plain_refreshed() {
    assert_snapshot!(plain(&scenario::refreshed()), @"
    02:59:00  run r1: 2 to build · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  os-base  building
    02:59:00  tools    building
    02:59:12  os-base  comparing with the published image
    02:59:12  os-base  built in 12 s, 118 MB (+1.0 MB packed): `/etc/os-release`, `/usr/bin/make`, `/var/␛[2J` and 11 more differ
    02:59:12  tools    built in 12 s, unchanged
    02:59:12  the registry registry.example.com answered 503: attempt 2 of 5 in 4 s
    02:59:12  checking package versions
    02:59:12  fixed: libssl3 3.0.15-1 → 3.0.16-1 in 2 images
    02:59:12  not fixed: libssl3 is still 3.0.15-1 in `web␛[2J`, not 3.0.16-1
    02:59:12  promoting 1 tag, parents first
    02:59:12  os-base  registry.example.com/base/os-base:latest moved from cba06b5736fa to 6c090fe2e232
    02:59:12  removed 3 old images from the engine, about 12 MB

    image    result            why                                                         time    size          change  tags
    os-base  built             a refresh was requested                                     12 s  118 MB  +1.0 MB packed  latest
    tools    built, unchanged  its refresh is due: every 1d12h, last 2026-11-22T00:00:00Z  12 s

    promoted 1 tag of 1 image in 0.1 s, parents first
    done in 12 s: 1 built, 1 unchanged
    ");
}

#[test]
fn plain_success() {
    assert_snapshot!(plain(&scenario::success()), @"
    02:59:00  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  about 2 min left
    02:59:00  cron         already built (found c374eea599bb)
    02:59:00  os-base      building
    02:59:00  os-base      [1/3] FROM scratch
    02:59:02  os-base      [2/3] RUN apt-get install -y ␛[2Jmake
    02:59:02  os-base      test 1 of 2
    02:59:12  os-base      pushing
    02:59:12  os-base      built in 12 s, 118 MB (+1.2 MB) · about 1 min left
    02:59:12  webapp-base  building
    02:59:12  tools        building
    02:59:12  tools        warning: `debian:1` is a tag nobody makes
    02:59:42  tools        built in 30 s, unchanged · about 1 min left
    02:59:42  webapp-base  built in 30 s, 118 MB (+1.2 MB) · about 1 min left
    02:59:42  ruby-3.4     building
    03:00:43  ruby-3.4     built in 1 min 1 s, 118 MB (+1.2 MB)
    03:00:43  promoting 4 tags, parents first
    03:00:43  cron         registry.example.com/base/cron:latest moved from cba06b5736fa to c374eea599bb
    03:00:43  os-base      registry.example.com/base/os-base:latest moved from cba06b5736fa to 6c090fe2e232
    03:00:43  webapp-base  registry.example.com/base/webapp-base:latest moved from cba06b5736fa to a91de1421c56
    03:00:43  ruby-3.4     registry.example.com/base/ruby-3.4:latest moved from cba06b5736fa to 4b864a8b4ef0

    image        result            why                                   time    size   change  tags
    os-base      built             its Dockerfile changed                12 s  118 MB  +1.2 MB  latest
    webapp-base  built             `os-base` is rebuilt                  30 s  118 MB  +1.2 MB  latest
    ruby-3.4     built             `webapp-base` is rebuilt         1 min 1 s  118 MB  +1.2 MB  latest
    tools        built, unchanged  `os-base` is rebuilt                  30 s
    cron         already built     built, not promoted to `latest`                              latest

    promoted 4 tags of 4 images in 0.3 s, parents first
    done in 1 min 43 s: 3 built, 1 unchanged, 1 already built, 1 up to date
    ");
}

#[test]
fn plain_failure() {
    assert_snapshot!(plain(&scenario::failure()), @r"
    02:59:00  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  cron         already built (found c374eea599bb)
    02:59:00  os-base      building
    02:59:00  os-base      [1/3] FROM scratch
    02:59:02  os-base      [2/3] RUN apt-get install -y ␛[2Jmake
    02:59:02  os-base      test 1 of 2
    02:59:12  os-base      pushing
    02:59:12  os-base      built in 12 s, 118 MB (+1.2 MB)
    02:59:12  webapp-base  building
    02:59:12  tools        building
    02:59:12  tools        warning: `debian:1` is a tag nobody makes
    02:59:42  webapp-base  build failed after 30 s: RUN make: exit code 2
    02:59:42  stopping: an image failed, 1 image still running

    image        result         why                              time    size   change
    os-base      built          its Dockerfile changed           12 s  118 MB  +1.2 MB
    webapp-base  build failed   `os-base` is rebuilt             30 s
    cron         already built  built, not promoted to `latest`
    ruby-3.4     skipped        `webapp-base` failed
    tools        cancelled      `os-base` is rebuilt             30 s

    webapp-base: build failed after 30 s: RUN make: exit code 2
      at images/webapp-base/Dockerfile:7: RUN make
      | cc -o app app.c
      | make: *** [app] Error 1\xff␛[2J
      whole log: /var/lib/rebuild/runs/r1/webapp-base.log
      skipped because of it: `ruby-3.4`

    nothing was promoted: `webapp-base` failed, every tag is where it was
    failed after 42 s (exit code 10): 1 failed, 1 skipped, 1 cancelled, 1 built, 1 already built, 1 up to date
    ");
}

#[test]
fn plain_held() {
    assert_snapshot!(plain(&scenario::held()), @r"
    02:59:00  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  cron         already built (found c374eea599bb)
    02:59:00  os-base      building
    02:59:00  os-base      [1/3] FROM scratch
    02:59:02  os-base      [2/3] RUN apt-get install -y ␛[2Jmake
    02:59:02  os-base      test 1 of 2
    02:59:12  os-base      pushing
    02:59:12  os-base      built in 12 s, 118 MB (+1.2 MB)
    02:59:12  webapp-base  building
    02:59:12  tools        building
    02:59:12  tools        warning: `debian:1` is a tag nobody makes
    02:59:42  webapp-base  build failed after 30 s: RUN make: exit code 2
    02:59:42  tools        warning: attempt 1 of 3 failed: `RUN make` ended with exit code 2
    02:59:42  tools        warning: failed once and then succeeded: `RUN make` ended with exit code 2
    02:59:42  tools        built in 30 s, unchanged
    02:59:42  promoting 2 tags, parents first
    02:59:42  cron         registry.example.com/base/cron:latest moved from cba06b5736fa to c374eea599bb
    02:59:42  os-base      registry.example.com/base/os-base:latest moved from cba06b5736fa to 6c090fe2e232

    image        result                   why                              time    size   change  tags
    os-base      built                    its Dockerfile changed           12 s  118 MB  +1.2 MB  latest
    webapp-base  build failed             `os-base` is rebuilt             30 s
    tools        built, unchanged, flaky  `os-base` is rebuilt             30 s
    cron         already built            built, not promoted to `latest`                         latest
    ruby-3.4     skipped                  `webapp-base` failed

    webapp-base: build failed after 30 s: RUN make: exit code 2
      at images/webapp-base/Dockerfile:7: RUN make
      | cc -o app app.c
      | make: *** [app] Error 1\xff␛[2J
      whole log: /var/lib/rebuild/runs/r1/webapp-base.log
      on_failure: hold: it keeps its old tags
      skipped because of it: `ruby-3.4`

    promoted 2 tags of 2 images in 0.2 s, parents first
    `webapp-base` and 1 descendant keep their tags: `webapp-base` failed
    failed after 42 s (exit code 10): 1 failed, 1 skipped, 1 built, 1 unchanged, 1 already built, 1 up to date
    ");
}

#[test]
fn plain_interrupted() {
    assert_snapshot!(plain(&scenario::interrupted()), @"
    02:59:00  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  cron         already built (found c374eea599bb)
    02:59:00  os-base      building
    02:59:00  os-base      [1/3] FROM scratch
    02:59:02  os-base      [2/3] RUN apt-get install -y ␛[2Jmake
    02:59:02  os-base      test 1 of 2
    02:59:12  os-base      pushing
    02:59:12  os-base      built in 12 s, 118 MB (+1.2 MB)
    02:59:12  webapp-base  building
    02:59:12  tools        building
    02:59:12  tools        warning: `debian:1` is a tag nobody makes
    02:59:13  stopping: interrupted, 2 images still running

    image        result         why                               time    size   change
    os-base      built          its Dockerfile changed            12 s  118 MB  +1.2 MB
    cron         already built  built, not promoted to `latest`
    webapp-base  cancelled      `os-base` is rebuilt             1.0 s
    ruby-3.4     cancelled      `webapp-base` is rebuilt
    tools        cancelled      `os-base` is rebuilt             1.0 s

    nothing was promoted: interrupted, every tag is where it was
    interrupted after 13 s: 3 cancelled, 1 built, 1 already built, 1 up to date
    ");
}

#[test]
fn a_failed_image_keeps_its_tags_only_if_it_has_some() {
    let mut plan = scenario::wide_plan(2);
    let nodes = [plan.steps[0].node.clone(), plan.steps[1].node.clone()];
    plan.steps[0].reason = Reason::NeverBuilt;
    let mut story = scenario::Story::new(plan);
    for node in &nodes {
        story.starts(node.as_str()).ends(node.as_str(), scenario::failed(OnFailure::Hold), 1_000);
    }
    let held = nodes.iter().map(|node| (node.clone(), node.clone())).collect();
    let promotion = Promotion::Done { moved: 0, took: Duration::ZERO, held };
    let text = plain(&story.finishes(promotion, Exit::BuildFailed));
    for line in [
        format!("`{}` gets no tags: it failed\n", nodes[0]),
        format!("`{}` keeps its tags: it failed\n", nodes[1]),
    ] {
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn an_incomplete_promotion_names_the_tags_that_did_not_move() {
    let mut events = scenario::success();
    let Some(EventKind::RunFinished { summary }) = events.last_mut().map(|last| &mut last.kind)
    else {
        panic!("the last event ends the run");
    };
    let tag =
        |image: &str| Tagged { repository: image.parse().unwrap(), tag: "latest".parse().unwrap() };
    summary.promotion = Promotion::Incomplete {
        moved: 1,
        of: 3,
        why: "the registry does not answer".to_owned(),
        left: ["web", "app"].map(tag).to_vec(),
    };
    let text = plain(&events);
    let lines = "promotion incomplete: 1 of 3 tags moved: the registry does not answer\n\
                 not moved: `web:latest` and `app:latest`\nhint: run `rebuild` again";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn a_run_with_nothing_to_do_does_not_explain_why_no_tag_moved() {
    let mut events = scenario::nothing_to_do();
    let Some(EventKind::RunFinished { summary }) = events.last_mut().map(|last| &mut last.kind)
    else {
        panic!("the last event ends the run");
    };
    summary.promotion = Promotion::NotAsked(WithoutPromotion::NoPromote);
    let text = plain(&events);
    assert!(text.ends_with("\n\nnothing to do: the image is up to date\n"), "{text}");
}

#[test]
fn plain_nothing_to_do() {
    assert_snapshot!(plain(&scenario::nothing_to_do()), @"
    02:59:00  run r1: 1 up to date · registry.example.com/base · 2026-11-29 UTC

    nothing to do: the image is up to date
    ");
}

#[test]
fn verbose_prints_what_builds_print() {
    let options = ReportOptions { verbose: true, ..options() };
    let (out, _) = shown(ProgressMode::Plain, options, &scenario::interrupted());
    assert_snapshot!(out, @"
    02:59:00  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    02:59:00  mirror       up to date
    02:59:00  cron         already built (found c374eea599bb)
    02:59:00  os-base      building
    02:59:00  os-base      [1/3] FROM scratch
    02:59:02  os-base      [2/3] RUN apt-get install -y ␛[2Jmake
    02:59:02  os-base      | Setting up make ::·set-output::x
    02:59:02  os-base      test 1 of 2
    02:59:12  os-base      pushing
    02:59:12  os-base      built in 12 s, 118 MB (+1.2 MB)
    02:59:12  webapp-base  building
    02:59:12  tools        building
    02:59:12  tools        warning: `debian:1` is a tag nobody makes
    02:59:13  stopping: interrupted, 2 images still running
    02:59:13  webapp-base  cancelled
    02:59:13  tools        cancelled
    02:59:13  ruby-3.4     cancelled

    image        result         why                               time    size   change
    os-base      built          its Dockerfile changed            12 s  118 MB  +1.2 MB
    webapp-base  cancelled      `os-base` is rebuilt             1.0 s
    ruby-3.4     cancelled      `webapp-base` is rebuilt
    tools        cancelled      `os-base` is rebuilt             1.0 s
    cron         already built  built, not promoted to `latest`
    mirror       up to date   

    nothing was promoted: interrupted, every tag is where it was
    interrupted after 13 s: 3 cancelled, 1 built, 1 already built, 1 up to date
    ");
}

#[test]
fn narrow_and_coloured() {
    let options = ReportOptions { size: || Some((60, 24)), colour: true, ..options() };
    let (out, _) = shown(ProgressMode::Plain, options, &scenario::failure());
    assert_snapshot!(out.replace('\x1b', "^"), @r"
    ^[2m02:59:00^[0m  run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once · registry.example.com/base · 2026-11-29 UTC
    ^[2m02:59:00^[0m  ^[1mcron       ^[0m  ^[32malready built^[0m (found c374eea599bb)
    ^[2m02:59:00^[0m  ^[1mos-base    ^[0m  building
    ^[2m02:59:00^[0m  ^[1mos-base    ^[0m  [1/3] FROM scratch
    ^[2m02:59:02^[0m  ^[1mos-base    ^[0m  [2/3] RUN apt-get install -y ␛[2Jmake
    ^[2m02:59:02^[0m  ^[1mos-base    ^[0m  test 1 of 2
    ^[2m02:59:12^[0m  ^[1mos-base    ^[0m  pushing
    ^[2m02:59:12^[0m  ^[1mos-base    ^[0m  ^[32mbuilt^[0m in 12 s, 118 MB (+1.2 MB)
    ^[2m02:59:12^[0m  ^[1mwebapp-base^[0m  building
    ^[2m02:59:12^[0m  ^[1mtools      ^[0m  building
    ^[2m02:59:12^[0m  ^[1mtools      ^[0m  ^[33mwarning^[0m: `debian:1` is a tag nobody makes
    ^[2m02:59:42^[0m  ^[1mwebapp-base^[0m  ^[1m^[31mbuild failed^[0m after 30 s: RUN make: exit code 2
    ^[2m02:59:42^[0m  ^[33mstopping^[0m: an image failed, 1 image still running

    ^[2mimage        result         why                         time^[0m
    os-base    ^[32m  built        ^[0m  its Dockerfile changed      12 s
    webapp-base^[1m^[31m  build failed ^[0m  `os-base` is rebuilt        30 s
    cron       ^[32m  already built^[0m  built, not promoted to
                                `latest`
    ruby-3.4   ^[33m  skipped      ^[0m  `webapp-base` failed
    tools      ^[33m  cancelled    ^[0m  `os-base` is rebuilt        30 s

    ^[1mwebapp-base^[0m: ^[1m^[31mbuild failed^[0m after 30 s: RUN make: exit code 2
      ^[2mat images/webapp-base/Dockerfile:7:^[0m RUN make
      ^[2m|^[0m cc -o app ^[31mapp.c^[0m^[0m
      ^[2m|^[0m make: *** [app] Error 1\xff␛[2J
      ^[2mwhole log:^[0m /var/lib/rebuild/runs/r1/webapp-base.log
      ^[2mskipped because of it:^[0m `ruby-3.4`

    nothing was promoted: `webapp-base` failed, every tag is
    where it was
    ^[1m^[31mfailed^[0m after 42 s (exit code 10): 1 failed, 1 skipped, 1
    cancelled, 1 built, 1 already built, 1 up to date
    ");
}

#[test]
fn quiet_says_what_failed() {
    let quiet = |events: &[Event]| {
        let (out, result) = shown(ProgressMode::Quiet, options(), events);
        format!("{out}--- stdout\n{result}")
    };
    assert_snapshot!(quiet(&scenario::failure()), @r"
    webapp-base: build failed after 30 s: RUN make: exit code 2
      at images/webapp-base/Dockerfile:7: RUN make
      | cc -o app app.c
      | make: *** [app] Error 1\xff␛[2J
      whole log: /var/lib/rebuild/runs/r1/webapp-base.log
      skipped because of it: `ruby-3.4`
    --- stdout
    failed after 42 s (exit code 10): 1 failed, 1 skipped, 1 cancelled, 1 built, 1 already built, 1 up to date
    ");
    assert_snapshot!(quiet(&scenario::success()), @"
    --- stdout
    done in 1 min 43 s: 3 built, 1 unchanged, 1 already built, 1 up to date
    ");
}

#[test]
fn json_lines() {
    let (out, result) = shown(ProgressMode::Json, options(), &scenario::held());
    assert_eq!(out, "");
    assert_snapshot!(result, @r#"
    {"v":1,"at":0.0,"event":"run-started","run":"r1","registry":"registry.example.com/base","jobs":2,"began":"2026-11-24T03:00:01Z","asked":"--since abc","commit":"0123456789ab","plan":{"counts":{"build":4,"promote":1,"keep":1},"steps":[{"node":"os-base","action":"build","forced":true,"reason":"changed","what":["dockerfile"],"why":"its Dockerfile changed","after":[],"base":"debian:12","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"webapp-base","action":"build","reason":"parent-rebuilt","parent":"os-base","why":"`os-base` is rebuilt","after":["os-base"],"base":"os-base","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"ruby-3.4","action":"build","reason":"parent-rebuilt","parent":"webapp-base","why":"`webapp-base` is rebuilt","after":["webapp-base"],"base":"webapp-base","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"tools","action":"build","reason":"parent-rebuilt","parent":"os-base","why":"`os-base` is rebuilt","after":["os-base"],"base":"os-base","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"cron","action":"promote","reason":"tags-behind","tags":["latest"],"why":"built, not promoted to `latest`","after":[],"base":"debian:12","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"mirror","action":"keep","reason":"up-to-date","why":"up to date","after":[],"base":"debian:12","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}}]}}
    {"v":1,"at":0.0,"event":"step-finished","node":"mirror","seconds":0.0,"outcome":"kept","digest":"sha256:00154761637ca746c354a6d9cfbf1da1a92e79afa6bb127bb8a1c434e9c73170"}
    {"v":1,"at":0.0,"event":"step-finished","node":"cron","seconds":0.0,"outcome":"reused","digest":"sha256:c374eea599bb3c50ed4432ef57aee1263cdc3c83d1c1a3c4d7e19eef1af8439b"}
    {"v":1,"at":0.1,"event":"step-started","node":"os-base"}
    {"v":1,"at":0.1,"event":"phase-started","node":"os-base","phase":{"name":"build"}}
    {"v":1,"at":0.1,"event":"build-step","node":"os-base","number":1,"total":3,"text":"FROM scratch"}
    {"v":1,"at":2.1,"event":"build-step","node":"os-base","number":2,"total":3,"text":"RUN apt-get install -y \u001b[2Jmake"}
    {"v":1,"at":2.1,"event":"log","node":"os-base","line":"\u001b[32mSetting up make\u001b[0m :\u003aset-output:\u003ax"}
    {"v":1,"at":2.1,"event":"phase-started","node":"os-base","phase":{"name":"test","number":1,"total":2}}
    {"v":1,"at":12.1,"event":"phase-started","node":"os-base","phase":{"name":"push"}}
    {"v":1,"at":12.1,"event":"step-finished","node":"os-base","seconds":12.0,"outcome":"built","digest":"sha256:6c090fe2e232cb13b0fa9c357cd626aec9674a1ef7e06a506973fe7a23c8452b","fingerprint":"sha256:c7c0356064f8b79677be4a0f5f9d3545b04f2190a29d2dec42b7cfd7afaf85ff","size":118400000,"added":3000000,"size_before":117200000}
    {"v":1,"at":12.1,"event":"step-started","node":"webapp-base"}
    {"v":1,"at":12.1,"event":"phase-started","node":"webapp-base","phase":{"name":"build"}}
    {"v":1,"at":12.1,"event":"step-started","node":"tools"}
    {"v":1,"at":12.1,"event":"phase-started","node":"tools","phase":{"name":"build"}}
    {"v":1,"at":12.1,"event":"warning","node":"tools","message":"`debian:1` is a tag nobody makes"}
    {"v":1,"at":42.1,"event":"step-finished","node":"webapp-base","seconds":30.0,"outcome":"failed","failure":{"phase":{"name":"build"},"message":"RUN make: exit code 2","exit":"build-failed","exit_code":10,"on_failure":"hold","at":{"path":"images/webapp-base/Dockerfile","line":7,"text":"RUN make"},"tail":["cc -o app \u001b[31mapp.c\u001b[0m","make: *** [app] Error 1�\u001b[2J"],"log":"/var/lib/rebuild/runs/r1/webapp-base.log"}}
    {"v":1,"at":42.1,"event":"step-finished","node":"ruby-3.4","seconds":0.0,"outcome":"skipped","failed":"webapp-base"}
    {"v":1,"at":42.1,"event":"warning","node":"tools","message":"attempt 1 of 3 failed: `RUN make` ended with exit code 2"}
    {"v":1,"at":42.1,"event":"warning","node":"tools","message":"failed once and then succeeded: `RUN make` ended with exit code 2"}
    {"v":1,"at":42.1,"event":"step-finished","node":"tools","seconds":30.0,"attempts":2,"outcome":"unchanged","digest":"sha256:f9d35d43770d39092a663e665e82ae1d84a9e0da3d0d10c407acada6a40cd281"}
    {"v":1,"at":42.1,"event":"promotion-started","tags":2}
    {"v":1,"at":42.1,"event":"tag-moved","node":"cron","tag":"registry.example.com/base/cron:latest","from":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","to":"sha256:c374eea599bb3c50ed4432ef57aee1263cdc3c83d1c1a3c4d7e19eef1af8439b"}
    {"v":1,"at":42.1,"event":"tag-moved","node":"os-base","tag":"registry.example.com/base/os-base:latest","from":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","to":"sha256:6c090fe2e232cb13b0fa9c357cd626aec9674a1ef7e06a506973fe7a23c8452b"}
    {"v":1,"at":42.3,"event":"run-finished","run":"r1","exit":"build-failed","exit_code":10,"stopped":null,"seconds":42.3,"promotion":{"result":"done","moved":2,"seconds":0.2,"held":{"ruby-3.4":"webapp-base","webapp-base":"webapp-base"}},"steps":[{"node":"os-base","reason":"changed","what":["dockerfile"],"why":"its Dockerfile changed","outcome":"built","digest":"sha256:6c090fe2e232cb13b0fa9c357cd626aec9674a1ef7e06a506973fe7a23c8452b","fingerprint":"sha256:c7c0356064f8b79677be4a0f5f9d3545b04f2190a29d2dec42b7cfd7afaf85ff","size":118400000,"added":3000000,"size_before":117200000,"seconds":12.0,"promoted":["latest"]},{"node":"webapp-base","reason":"parent-rebuilt","parent":"os-base","why":"`os-base` is rebuilt","outcome":"failed","failure":{"phase":{"name":"build"},"message":"RUN make: exit code 2","exit":"build-failed","exit_code":10,"on_failure":"hold","at":{"path":"images/webapp-base/Dockerfile","line":7,"text":"RUN make"},"tail":["cc -o app \u001b[31mapp.c\u001b[0m","make: *** [app] Error 1�\u001b[2J"],"log":"/var/lib/rebuild/runs/r1/webapp-base.log"},"seconds":30.0,"promoted":[]},{"node":"ruby-3.4","reason":"parent-rebuilt","parent":"webapp-base","why":"`webapp-base` is rebuilt","outcome":"skipped","failed":"webapp-base","seconds":0.0,"promoted":[]},{"node":"tools","reason":"parent-rebuilt","parent":"os-base","why":"`os-base` is rebuilt","outcome":"unchanged","digest":"sha256:f9d35d43770d39092a663e665e82ae1d84a9e0da3d0d10c407acada6a40cd281","seconds":30.0,"attempts":2,"promoted":[]},{"node":"cron","reason":"tags-behind","tags":["latest"],"why":"built, not promoted to `latest`","outcome":"reused","digest":"sha256:c374eea599bb3c50ed4432ef57aee1263cdc3c83d1c1a3c4d7e19eef1af8439b","seconds":0.0,"promoted":["latest"]},{"node":"mirror","reason":"up-to-date","why":"up to date","outcome":"kept","digest":"sha256:00154761637ca746c354a6d9cfbf1da1a92e79afa6bb127bb8a1c434e9c73170","seconds":0.0,"promoted":[]}]}
    "#);
}

#[test]
fn github_obeys_nothing_in_between() {
    let options = ReportOptions { ci: super::Ci::GitHub, verbose: true, ..options() };
    for progress in [ProgressMode::Plain, ProgressMode::Quiet] {
        let (out, _) = shown(progress, options, &scenario::failure());
        let lines: Vec<&str> = out.lines().collect();
        let token = lines[0].strip_prefix("::stop-commands::").unwrap();
        assert_eq!(lines[lines.len() - 1], format!("::{token}::"));
        assert_eq!(out.matches("::stop-commands").count(), 1);
        assert!(!out.contains("::set-output"), "{out}");
    }
}

/// Takes so many bytes, and then nobody reads any more.
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(buf.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_is_an_error() {
    use ProgressMode::{Json, Plain, Quiet, Tty};
    for progress in [Plain, Json, Quiet, Tty] {
        for bytes in [0, 1, 50, 100] {
            let (out, result) = (Out::new(Pipe(bytes)), Out::new(Pipe(bytes)));
            let mut reporter = reporter(progress, options(), out, result);
            let events = scenario::failure();
            let told: io::Result<()> = events.iter().try_for_each(|event| reporter.report(event));
            let kind = told.map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::BrokenPipe), "{progress:?} after {bytes} bytes");
        }
    }
}

#[test]
fn every_exit_code_is_documented() {
    use crate::exit::Exit::{
        BuildFailed, Done, EngineUnreachable, Internal, Interrupted, Locked, NotStarted,
        PromotionFailed, PushFailed, RegistryUnreachable, Terminated, TestFailed, Usage, Work,
    };
    let page = include_str!("../../docs/exit-codes.md");
    let documented: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .map(|line| line.split('|').take(3).collect())
        .collect();
    let codes = [
        Done,
        Internal,
        Usage,
        Work,
        BuildFailed,
        TestFailed,
        PushFailed,
        PromotionFailed,
        EngineUnreachable,
        RegistryUnreachable,
        Locked,
        NotStarted,
        Interrupted,
        Terminated,
    ];
    let row = |exit: crate::exit::Exit| {
        let name = serde_json::to_value(exit).unwrap();
        format!(" {}  `{}` ", exit.code(), name.as_str().unwrap())
    };
    assert_eq!(documented, codes.map(row));
}

/// Each way of telling, at each CI system, of a run in which every text is an attack.
#[test]
fn no_reporter_passes_what_acts_on_a_terminal_or_a_ci_system() {
    let attacks = [
        "\u{1b}]52;c;eA==\u{7}",
        "\u{9b}2J\u{90}q\u{9c}",
        "\u{202e}\u{2066}x\u{61c}",
        "::error::x\r\n::set-output name=a::b\n  ::add-mask::c",
        "##[command]x ##vso[task.setvariable]y ##teamcity[z",
        "section_start:1:x\r\u{1b}[0K",
        "\u{1b}[8m\u{1b}[?1049h\u{0}\u{8}",
    ];
    let acts = Regex::new(concat!(
        "[\u{0}-\u{9}\u{b}-\u{1a}\u{1c}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{61c}]",
        r"|\x1b\]|\x1b\[8m|\x1b\[2J|\x1b\[\?1049|##(vso|teamcity)?\[",
        r"|(?m)^\s*::(error|set-output|add-mask)::",
    ));
    let acts = acts.unwrap();
    for attack in attacks {
        for progress in
            [ProgressMode::Plain, ProgressMode::Tty, ProgressMode::Json, ProgressMode::Quiet]
        {
            for ci in [Ci::None, Ci::GitHub, Ci::GitLab] {
                for (colour, verbose) in [(false, false), (true, true)] {
                    let options = ReportOptions { colour, ci, verbose, ..options() };
                    let events = scenario::hostile(attack.as_bytes());
                    let (out, result) = shown(progress, options, &events);
                    // What is ours: it ends a frame's line, and opens a section of GitLab.
                    let out = out.replace("\r\u{1b}[0K", "").replace("A\r", "");
                    for text in [&out, &result] {
                        let found = acts.find(text).map(|found| found.as_str());
                        assert_eq!(found, None, "{progress:?} {ci:?} {attack:?}: {text:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Wherever a text from outside is shown, it is shown and not obeyed.
    #[test]
    fn no_text_breaks_a_report(bytes in hostile(), verbose: bool) {
        let options = ReportOptions { verbose, ..options() };
        // What the screen itself writes: the cursor up, erase, begin and end of a frame.
        let drawing = Regex::new("\x1b\\[([0-9]+A\r|[JK]|\\?2026[hl])").unwrap();
        for progress in [ProgressMode::Plain, ProgressMode::Quiet, ProgressMode::Json, ProgressMode::Tty] {
            let (out, result) = shown(progress, options, &scenario::hostile(&bytes));
            let out = drawing.replace_all(&out, "");
            for line in out.lines().chain(result.lines()) {
                check(line, false)?;
            }
        }
    }
}

/// The words of `docs/events.md` for why a run stops.
#[test]
fn stop_reasons_are_documented() {
    use crate::event::StopReason::{Interrupted, ReportFailed, StepFailed, Terminated};
    let page = include_str!("../../docs/events.md");
    for reason in [StepFailed, ReportFailed, Interrupted, Terminated] {
        let word = serde_json::to_value(reason).unwrap();
        assert!(page.contains(&format!("`{}`", word.as_str().unwrap())), "{word}");
    }
}
