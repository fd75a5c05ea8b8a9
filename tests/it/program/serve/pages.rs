//! The pages, and the same as JSON.

use std::time::Instant;

use serde_json::{Value, json};

use super::{Server, push};
use crate::support::{
    http::send,
    project::{Place, Project},
};

const EVIL: &str = "</pre><script>alert(1)</script>";

#[test]
fn a_page_and_its_json_say_the_same() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    project.write("web/page", "two\n");
    let server = Server::start(&project);
    let page = server.wait("/h/project", |page| page["lag"]["current"] == 2);
    let image = |name: &str| {
        let name = project.name(name);
        page["images"].as_array().unwrap().iter().find(|image| image["name"] == *name).unwrap()
    };
    assert_eq!(image("~os")["state"], "current");
    assert_eq!(
        (&image("~web")["state"], &image("~web")["why"]),
        (&json!("behind"), &json!("`page` changed"))
    );
    let cause = project.name("`page` of `~web` changed");
    assert_eq!((&image("~app")["state"], &image("~app")["why"]), (&json!("behind"), &json!(cause)));
    assert_eq!(page["lag"]["behind"], 2);
    let html = server.page("/");
    assert!(html.contains(&project.name("/h/project/image/~web")), "{html}");
    assert!(html.contains("<svg") && html.contains("behind"), "{html}");
    let image = server.json(&project.name("/h/project/image/~web"));
    assert_eq!(image["parents"], json!([project.name("~os")]));
    assert_eq!(image["children"], json!([project.name("~app")]));
    assert!(image["log"]["text"].as_str().unwrap().contains("building"), "{image:#}");
    assert_eq!(image["sizes"].as_array().unwrap().len(), 1);
    let log = server.get(&project.name("/h/project/log/~web"));
    assert!(String::from_utf8_lossy(&log.body).contains("building"));
    for (path, status) in
        [("/h/none", 404), ("/h/project/image/none", 404), ("/runs/9", 404), ("/x", 404)]
    {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(
        metrics.contains("rebuild_images{hierarchy=\"project\",outcome=\"behind\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains(
        &project.name("rebuild_image_lag_seconds{hierarchy=\"project\",image=\"~web\"}")
    ));
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn the_page_is_there_within_a_second_also_while_the_engine_hangs() {
    let project = Project::of_files();
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = format!("tcp://{}", hanging.local_addr().unwrap());
    let began = Instant::now();
    let server = Server::plain(&project, &format!("--engine {engine}"));
    let page = server.json("/h/project");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(page["images"].as_array().unwrap().len(), 4);
    assert_eq!(page["images"][0]["state"], Value::Null);
}

#[test]
fn no_text_of_a_build_becomes_markup() {
    let project = Project::new();
    project.write("evil", EVIL);
    project.edit(
        "web/Dockerfile",
        "COPY page /page",
        &format!("COPY page /page\nRUN echo '{EVIL}'; exit 3"),
    );
    let before = project.commit();
    let server = Server::start(&project);
    server.deliver(&push(&"0".repeat(40), &before, &[EVIL]));
    let run = server.ended(1);
    assert_eq!((&run["state"], &run["exit_code"]), (&json!("failed"), &json!(10)), "{run:#}");
    let image = project.name("/h/project/image/~web");
    for path in ["/", "/runs/1", "/deliveries", &image, "/runs/1/report.html"] {
        let page = server.page(path);
        assert!(!page.contains("<script>alert"), "{path}: {page}");
    }
    assert!(server.page("/runs/1").contains("&lt;script&gt;alert(1)"));
    let answer = send(&server.host, None, "GET", "/runs/1", &[("Accept", "text/html")], b"");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn events_of_a_run_come_from_the_first_one_and_end() {
    let project = Project::of_files();
    let before = project.commit();
    let server = Server::start(&project);
    server.deliver(&push(&"0".repeat(40), &before, &[]));
    server.wait("/runs/1", |run| run["state"] != "queued");
    let answer = server.get("/runs/1/events");
    let text = String::from_utf8(answer.body).unwrap();
    let data: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(data.first().unwrap()["event"], "run-started", "{text}");
    assert_eq!(data.last().unwrap()["event"], "run-finished", "{text}");
    assert!(text.trim_end().ends_with("event: end\ndata: end"), "{text}");
    // A client that was cut off continues after the last event that it got.
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let last = ids[ids.len() - 2];
    let rest = send(&server.host, None, "GET", "/runs/1/events", &[("Last-Event-ID", last)], b"");
    let rest = String::from_utf8(rest.body).unwrap();
    assert_eq!(rest.matches("data: {").count(), 1, "{rest}");
}

#[test]
fn a_repository_is_cloned_and_followed() {
    let project = Project::of_files();
    let before = project.commit();
    let url = project.path("").canonicalize().unwrap();
    let server = Server::with(&project, &format!("--repo {}#main --poll 1h", url.display()));
    // Named by the folder of the repository.
    let page = server.wait("/h/project", |page| page["lag"]["never_built"] == 4);
    assert!(before.starts_with(page["commit"].as_str().unwrap()), "{page:#}");
    project.write("web/page", "two\n");
    let after = project.commit();
    server.deliver(&push(&before, &after, &["web/page"]));
    let run = server.ended(1);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    // The push selects the image that it changed, its descendants, and what they need.
    let page = server.wait("/h/project", |page| page["lag"]["current"] == 3);
    assert!(after.starts_with(page["commit"].as_str().unwrap()), "{page:#}");
}

#[test]
fn a_broken_file_is_shown_and_the_last_valid_hierarchy_stays() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    let mut server = Server::with(&project, "--poll 1s");
    server.wait("/h/project", |page| page["lag"]["current"] == 4);
    project.write("hierarchy.yaml", "version: 1\nimages: [\n");
    let page = server.wait("/h/project", |page| !page["problem"].is_null());
    assert_eq!(page["images"].as_array().unwrap().len(), 4);
    server.running.signal("TERM");
    server.running.end().exits(0);
}
