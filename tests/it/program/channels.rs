//! `notify:`: what Slack, Teams, a webhook and a pull request get, from a server that answers as told.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    project::Project,
    running::{Ended, Start},
    scripted::{Act, Scripted, Seen, reply},
};

const TOKEN: &str = "ghs_secret-token";

/// A hierarchy with all channels, or with those given.
fn project(notify: &str) -> Project {
    let project = Project::of_files();
    project.edit("hierarchy.yaml", "images:", &format!("notify: {notify}\nimages:"));
    project
}

/// The addresses of the channels at the server.
fn with_addresses<'a>(start: Start<'a>, server: &Scripted) -> Start<'a> {
    let url = |path: &str| format!("http://{}/{path}", server.host());
    start
        .env("SLACK", url("slack/secret-path"))
        .env("TEAMS", url("teams/secret-path"))
        .env("HOOK", url("hook/secret-path"))
        .env("REBUILD_WEBHOOK_SECRET", "secret-key")
        .env("REBUILD_LOG", "trace")
        .env("CI", "true")
}

/// As in a job of GitHub Actions for pull request 7.
fn in_pull_request<'a>(start: Start<'a>, project: &Project, server: &Scripted) -> Start<'a> {
    let event = project.path("event.json");
    fs::write(&event, r#"{ "pull_request": { "number": 7 } }"#).unwrap();
    start
        .env("GITHUB_API_URL", format!("http://{}", server.host()))
        .env("GITHUB_EVENT_PATH", event)
        .env("GITHUB_REPOSITORY", "acme/images")
        .env("GITHUB_WORKSPACE", project.path(""))
        .env("GITHUB_SERVER_URL", "https://github.com")
        .env("GITHUB_RUN_ID", "42")
        .env("GITHUB_TOKEN", TOKEN)
}

fn never_leaks(ended: Ended) -> Ended {
    ended.never_says(&["secret-path", TOKEN, "secret-key"])
}

fn fine(_: usize, _: &Seen) -> Act {
    reply(200).body("ok")
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_gets_its_message() {
    let project = project(
        "{ slack: SLACK, teams: TEAMS, webhook: HOOK, command: [sh, -c, \"cat >by-command\"] }",
    );
    let server = Scripted::start(fine).await;
    never_leaks(with_addresses(project.rebuild(""), &server).run().exits(0));
    let mut seen = server.seen();
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    let [hook, slack, teams] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(hook.path, "/hook/secret-path");
    let report = body(hook);
    assert_eq!((&report["v"], &report["exit"]), (&json!(1), &json!("done")));
    assert_eq!(hook.headers["webhook-id"], report["run"].as_str().unwrap());
    assert!(hook.headers["webhook-signature"].starts_with("v1,"), "{:?}", hook.headers);
    assert_eq!(hook.headers["content-type"], "application/json");
    let by_command = fs::read_to_string(project.path("by-command")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&by_command).unwrap(), report);
    assert_eq!(body(slack)["blocks"][0]["type"], "header");
    assert!(slack.body.contains("4 built"), "{}", slack.body);
    assert_eq!(body(teams)["attachments"][0]["content"]["type"], "AdaptiveCard");

    // A chat does not hear of a run that had nothing to do; a program does.
    with_addresses(project.rebuild(""), &server).run().exits(0);
    let paths: Vec<String> = server.seen().into_iter().skip(3).map(|seen| seen.path).collect();
    assert_eq!(paths, ["/hook/secret-path"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_pass_are_tried_again_and_others_are_warnings() {
    let project = project("{ slack: SLACK, teams: TEAMS, webhook: HOOK }");
    let server = Scripted::start(|_, seen| match seen.path.as_str() {
        "/slack/secret-path" => reply(404).body("no_service"),
        "/teams/secret-path" => reply(307).header("location", "/elsewhere"),
        _ => reply(200),
    })
    .await;
    let ended = never_leaks(with_addresses(project.rebuild(""), &server).run().exits(0));
    let ended = ended.says(&[
        "warning: `notify.slack`: not sent: the server answered 404: no_service",
        "warning: `notify.teams`: not sent: the server answered 307: temporary redirect",
    ]);
    ended.never_says(&["notify.webhook"]);

    // Servers repeat the address.
    let server = Scripted::start(|_, seen| match seen.path.as_str() {
        "/slack/secret-path" => reply(404).body(r#"{"message":"Cannot POST /slack/secret-path"}"#),
        "/teams/secret-path" => reply(404).body(r#"{"errors":[{"message":"no secret-path"}]}"#),
        _ => reply(404).body("no hook secret-path"),
    })
    .await;
    project.write("web/page", "another\n");
    let ended = never_leaks(with_addresses(project.rebuild(""), &server).run().exits(0));
    ended.says(&["slack`: not sent: the server answered 404: not found", "`notify.webhook`"]);

    // 503, then 429 with a time, then fine; the command ends as the run did.
    project.write("web/Dockerfile", "FROM ~os:1\nCOPY nothing /page\n");
    let server = Scripted::start(|n, _| match n {
        0 => reply(503),
        1 => reply(429).header("retry-after", "1"),
        _ => reply(200),
    })
    .await;
    let only = project.rebuild("").env("SLACK", "").env("TEAMS", "not-an-address~secret-path");
    let ended = only.env("HOOK", format!("http://{}/secret-path", server.host())).run().exits(10);
    never_leaks(ended).says(&[
        "`notify.teams`: not sent: the value of `TEAMS` is not usable: it is not a URL",
        "sending to `notify.webhook`: attempt 2 of 6",
    ]);
    let ids: Vec<String> =
        server.seen().iter().map(|seen| seen.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// A pull request, as the server knows it.
fn comments(existing: Value) -> impl Fn(usize, &Seen) -> Act + Send + Sync + 'static {
    move |_, seen| match seen.method.as_str() {
        "GET" => reply(200).body(existing.to_string()),
        "POST" => reply(201).body("{}"),
        _ => reply(200).body("{}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_gets_one_comment_that_is_updated() {
    let project = project("{ github_comment: true }");
    let server = Scripted::start(comments(json!([]))).await;
    never_leaks(in_pull_request(project.rebuild("plan"), &project, &server).run().exits(0));
    let seen = server.seen();
    let lines: Vec<String> =
        seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    let comments_of = "/repos/acme/images/issues/7/comments";
    assert_eq!(
        lines,
        [format!("GET {comments_of}?per_page=100&page=1"), format!("POST {comments_of}")]
    );
    assert_eq!(seen[1].authorization.as_deref(), Some("Bearer ghs_secret-token"));
    let text = body(&seen[1])["body"].as_str().unwrap().to_owned();
    assert!(text.contains("### rebuild plan: 4 to build"), "{text}");
    assert!(text.contains("https://github.com/acme/images/actions/runs/42"), "{text}");
    let mark = text.lines().next().unwrap().to_owned();

    // A stranger has copied the mark; the second is ours.
    let server = Scripted::start(comments(json!([
        { "id": 1, "body": mark, "user": { "type": "User" }, "author_association": "NONE" },
        { "id": 2, "body": format!("> {mark}"), "user": { "type": "Bot" }, "author_association": "NONE" },
        { "id": 3, "body": text, "user": { "type": "Bot" }, "author_association": "NONE" },
    ])))
    .await;
    never_leaks(in_pull_request(project.rebuild("--no-promote"), &project, &server).run().exits(0));
    let seen = server.seen();
    assert_eq!(
        (seen[1].method.as_str(), seen[1].path.as_str()),
        ("PATCH", "/repos/acme/images/issues/comments/3")
    );
    let text = body(&seen[1])["body"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&mark) && text.contains("### rebuild: done"), "{text}");
    assert!(text.contains("Plan: 4 to build"), "{text}");

    // A job that may not write, and one that is for no pull request.
    let server = Scripted::start(|_, _| {
        reply(403).body(r#"{"message":"Resource not accessible by integration"}"#)
    })
    .await;
    let ended = in_pull_request(project.rebuild("plan"), &project, &server).run().exits(0);
    ended.says(&[
        "`notify.github_comment`: not sent: the server answered 403: Resource not accessible by integration; \
         the job needs `permissions: pull-requests: write`",
    ]);
    let start = in_pull_request(project.rebuild("plan"), &project, &server);
    fs::write(project.path("event.json"), r#"{ "ref": "refs/heads/main" }"#).unwrap();
    start.run().exits(0).never_says(&["notify"]);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_file_takes_no_address() {
    let project = project("{ slack: \"https://hooks.slack.com/services/secret-path\" }");
    let ended = project.rebuild("plan").run().exits(2);
    never_leaks(ended).says(&["`notify.slack` must be the name of an environment variable"]);
}
