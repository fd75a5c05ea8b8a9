//! Webhooks: what starts a run of which images.

use serde_json::json;

use super::{SECRET, Server, push, signature};
use crate::program::waste::{gzip, tar};
use crate::support::{
    http::send,
    project::{Place, Project},
    registry::{LayerUpload, Registry},
};

#[test]
fn a_signed_push_rebuilds_the_images_that_it_changed_and_their_descendants() {
    let project = Project::of_files();
    let before = project.commit();
    project.rebuilt(Place::Engine);
    project.write("web/page", "two\n");
    let after = project.commit();
    let server = Server::start(&project);
    let (status, answer) = server.deliver(&push(&before, &after, &["web/page"]));
    assert_eq!((status, &answer["status"]), (202, &json!("received")));
    let run = server.ended(1);
    assert_eq!((&run["state"], &run["exit_code"]), (&json!("succeeded"), &json!(0)), "{run:#}");
    assert!(run["result"].as_str().unwrap().contains("2 built"), "{run:#}");
    let deliveries = server.json("/deliveries");
    assert_eq!(deliveries["deliveries"][0]["runs"], json!([1]));
    // The same delivery again starts nothing.
    let (status, again) = server.deliver(&push(&before, &after, &["web/page"]));
    assert_eq!(
        (status, again),
        (202, json!({ "delivery": answer["delivery"], "status": "duplicate" }))
    );
    assert_eq!(server.json("/deliveries")["deliveries"].as_array().unwrap().len(), 1);
    // The states follow.
    server.wait("/h/project", |page| page["lag"]["current"] == 4);
}

#[test]
fn an_unknown_commit_selects_by_the_files_of_the_event() {
    let project = Project::of_files();
    project.commit();
    project.rebuilt(Place::Engine);
    let server = Server::start(&project);
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let (status, _) = server.deliver(&push(&one, &two, &["tool/page", "README"]));
    assert_eq!(status, 202);
    let run = server.ended(1);
    assert_eq!(run["request"], json!(project.name("rebuild --from ~tool")), "{run:#}");
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

#[test]
fn what_is_not_for_a_hierarchy_is_ignored_with_the_reason() {
    let project = Project::of_files();
    let before = project.commit();
    project.git("remote add origin https://git.example.com/acme/images.git");
    let server = Server::start(&project);
    let zero = "0".repeat(40);
    let mut other_branch = push(&before, &before, &[]);
    other_branch["ref"] = json!("refs/heads/feature");
    let mut tag = push(&before, &before, &[]);
    tag["ref"] = json!("refs/tags/v1");
    let mut elsewhere = push(&"1".repeat(40), &"2".repeat(40), &[]);
    elsewhere["repository"] =
        json!({ "full_name": "acme/other", "clone_url": "https://git.example.com/acme/other.git" });
    for (body, outcome) in [
        (push(&before, &zero, &[]), "the push deleted a branch"),
        (other_branch, "`project` builds the branch `main`"),
        (tag, "`refs/tags/v1` is not a branch"),
        (elsewhere, "no hierarchy is in acme/other; known: git.example.com/acme/images"),
    ] {
        let (status, answer) = server.deliver(&body);
        assert_eq!(status, 202, "{answer}");
        let page = server.wait("/deliveries", |page| page["deliveries"][0]["state"] != "received");
        let last = &page["deliveries"][0];
        assert_eq!((&last["state"], &last["outcome"]), (&json!("ignored"), &json!(outcome)));
    }
    assert_eq!(server.json("/h/project")["runs"], json!([]));
}

#[test]
fn a_delivery_without_a_valid_credential_is_refused_and_not_stored() {
    let project = Project::of_files();
    let server = Server::start(&project);
    let body = push(&"1".repeat(40), &"2".repeat(40), &[]);
    let (status, answer) = server.deliver_signed(&body, "another secret");
    assert_eq!(status, 401, "{answer}");
    let text = body.to_string();
    let post = |path: &str, headers: &[(&str, &str)], body: &str| {
        send(&server.host, None, "POST", path, headers, body.as_bytes()).status
    };
    assert_eq!(post("/hooks/github", &[], &text), 401);
    assert_eq!(post("/hooks/gitlab", &[("X-Gitlab-Token", "wrong")], &text), 401);
    assert_eq!(post("/hooks/docker-hub?token=wrong", &[], &text), 401);
    // A signature of another body.
    let signature = signature(SECRET, b"{}");
    assert_eq!(post("/hooks/github", &[("X-Hub-Signature-256", &signature)], &text), 401);
    assert_eq!(post("/hooks/github", &[("X-Hub-Signature-256", &signature)], "{}"), 400);
    let long = "x".repeat(6 << 20);
    assert_eq!(post("/hooks/github", &[], &long), 413);
    assert_eq!(server.json("/deliveries")["deliveries"], json!([]));
    drop(server);
    let server = Server::plain(&project, "");
    assert_eq!(server.deliver(&body).0, 403, "without a secret, nothing is taken");
}

#[test]
fn a_request_names_an_image_or_a_hierarchy() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    let server = Server::start(&project);
    let bearer = format!("Bearer {SECRET}");
    let post = |name: &str, body: &str| {
        let path = project.name(&format!("/hooks/{name}"));
        send(&server.host, None, "POST", &path, &[("Authorization", &bearer)], body.as_bytes())
    };
    assert_eq!(post("~web", "").status, 202);
    let run = server.ended(1);
    assert_eq!(run["request"], json!(project.name("rebuild --from ~web")));
    // Without an ID, each request counts.
    assert_eq!(post("~web", "").status, 202);
    server.ended(2);
    assert_eq!(post("project", r#"{"refresh": true}"#).status, 202);
    assert_eq!(server.ended(3)["request"], "rebuild --refresh");
    for mistake in [r#"{"refesh": true}"#, r#"{"refresh": "yes"}"#, "[]", "{"] {
        assert_eq!(post("project", mistake).status, 400, "{mistake}");
    }
    assert_eq!(post("nothing", "").status, 202);
    let page = server.wait("/deliveries", |page| page["deliveries"][0]["state"] == "ignored");
    let outcome = page["deliveries"][0]["outcome"].as_str().unwrap();
    assert_eq!(outcome, "no hierarchy and no image is called `nothing`");
}

#[test]
fn a_pushed_upstream_rebuilds_the_images_on_it() {
    let project = Project::of_files();
    let registry = Registry::start();
    let upstream = format!("{}/base/debian", registry.host());
    let push = |content: &str| {
        let layer = tar(&[("etc/name", project.name(content).as_bytes())]);
        let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
        let (blob, diff_id) = (gzip(&layer), rebuild::image::Digest::of(&layer));
        registry.push_layers("base/debian", "12", &[LayerUpload { media_type, blob, diff_id }]);
    };
    push("~one");
    project.write("os/Dockerfile", &format!("FROM {upstream}:12\nCOPY page /os\n"));
    project.write("other/Dockerfile", "FROM scratch\nCOPY page /\n");
    project.write("other/page", "~other\n");
    project.edit("hierarchy.yaml", "  ~tool", "  ~other: { context: other }\n  ~tool");
    project.rebuilt(Place::Engine);
    let server = Server::start(&project);
    push("~two");
    // What docker-registry sends: <https://distribution.github.io/distribution/about/notifications/>.
    let event = |repository: &str, tag: &str| {
        json!({ "events": [{
            "id": "1", "action": "push",
            "target": { "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "repository": repository, "tag": tag, "digest": format!("sha256:{}", "0".repeat(64)) },
            "request": { "host": registry.host() },
        }] })
    };
    let post = |body: String| {
        let bearer = format!("Bearer {SECRET}");
        let headers = [("Authorization", &*bearer)];
        send(&server.host, None, "POST", "/hooks/registry", &headers, body.as_bytes()).status
    };
    assert_eq!(post(event("base/debian", "11").to_string()), 202);
    assert_eq!(post(event("base/debian", "12").to_string()), 202);
    let run = server.ended(1);
    assert_eq!(run["request"], json!(project.name("rebuild --among ~os")), "{run:#}");
    assert!(run["result"].as_str().unwrap().contains("4 built"), "{run:#}");
    let deliveries = server.json("/deliveries");
    assert_eq!(deliveries["deliveries"][1]["outcome"], "no image is based on it");
}

#[test]
fn a_burst_is_one_run_and_a_newer_push_overtakes_what_it_makes_pointless() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 4");
    let before = project.commit();
    let server = Server::start(&project);
    let mut last = before.clone();
    project.write("web/page", "first\n");
    let after = project.commit();
    server.deliver(&push(&last, &after, &["web/page"]));
    server.wait("/runs/1", |run| run["state"] == "running" && !run["run"].is_null());
    last = after;
    for n in 0..5 {
        project.write("web/page", &format!("{n}\n"));
        let after = project.commit();
        server.deliver(&push(&last, &after, &["web/page"]));
        last = after;
    }
    let first = server.ended(1);
    assert_eq!(first["state"], "superseded", "{first:#}");
    let second = server.ended(2);
    assert_eq!(second["state"], "succeeded", "{second:#}");
    let page = server.idle();
    let ids: Vec<_> = page["runs"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
    assert!(ids.len() <= 3, "{page:#}");
    let label = project.label(Place::Engine, "~web:latest", "org.opencontainers.image.revision");
    assert!(label.starts_with(&last[..8]), "{label} {last}");
    // Each delivery has a run that did its work.
    for delivery in server.json("/deliveries")["deliveries"].as_array().unwrap() {
        let runs = delivery["runs"].as_array().unwrap();
        let done =
            runs.iter().filter(|run| server.json(&format!("/runs/{run}"))["state"] == "succeeded");
        assert_eq!(done.count(), 1, "{delivery:#}");
    }
}
