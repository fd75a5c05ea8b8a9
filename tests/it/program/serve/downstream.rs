//! Messages to repositories of applications, after a promotion.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Server, push};
use crate::support::{
    http::send,
    project::{Place, Project},
    scripted::{Scripted, Seen, reply},
};

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_applications_are_told_what_moved() {
    let server = Scripted::start(|_, _| reply(204)).await;
    let project = Project::of_files();
    let notify = format!(
        "notify:\n  repository_dispatch: [{{ repository: acme/shop, token: DISPATCH }}]\n  \
         gitlab_trigger: [{{ project: \"http://{}/acme/sub/api\", branch: release, token: TRIGGER }}]\nimages:",
        server.host()
    );
    project.edit("hierarchy.yaml", "images:", &notify);
    let run = || {
        let run = project.rebuild("").env("GITHUB_API_URL", format!("http://{}", server.host()));
        run.env("DISPATCH", "github-token").env("TRIGGER", "gitlab-token").run()
    };
    run().exits(0).never_says(&["github-token", "gitlab-token"]);
    let mut seen = server.seen();
    seen.sort_by(|a, b| b.path.cmp(&a.path));
    let [dispatch, trigger] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(dispatch.path, "/repos/acme/shop/dispatches");
    assert_eq!(dispatch.authorization.as_deref(), Some("Bearer github-token"));
    let sent = body(dispatch);
    assert_eq!(sent["event_type"], "rebuild");
    let payload = &sent["client_payload"];
    assert_eq!(payload["count"], 4, "{payload:#}");
    let tags = project.tags(Place::Engine);
    let app = payload["images"].as_array().unwrap().iter();
    let app = app.into_iter().find(|image| image["image"] == *project.name("~app")).unwrap();
    assert_eq!((&app["tags"], &app["digest"]), (&json!(["latest"]), &json!(tags["~app:latest"])));
    assert_eq!(trigger.path, "/api/v4/projects/acme%2Fsub%2Fapi/trigger/pipeline");
    let sent = body(trigger);
    assert_eq!((&sent["ref"], &sent["token"]), (&json!("release"), &json!("gitlab-token")));
    let passed = sent["variables"]["REBUILD_PAYLOAD"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(passed).unwrap(), *payload);
    // No tag moved, so no message is sent.
    run().exits(0);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_sent_is_shown_and_sent_later() {
    static IS_BROKEN: AtomicBool = AtomicBool::new(true);
    let receiver =
        Scripted::start(|_, _| reply(if IS_BROKEN.load(Ordering::SeqCst) { 422 } else { 200 }))
            .await;
    let project = Project::of_files();
    project.edit("hierarchy.yaml", "images:", "notify: { webhook: HOOK }\nimages:");
    let before = project.commit();
    project.write("../secret", super::SECRET);
    project.write("../token", super::TOKEN);
    let start = project.rebuild(
        "serve --listen 127.0.0.1:0 --data ../serve --webhook-secret-file ../secret --token-file ../token",
    );
    let server = Server::of(
        start
            .env("HOOK", format!("http://{}/hook", receiver.host()))
            .env("REBUILD_WEBHOOK_SECRET", "of-messages"),
    );
    server.deliver(&push(&"0".repeat(40), &before, &[]));
    assert_eq!(server.ended(1)["state"], "succeeded");
    let is_there = |page: &Value| page["messages"].as_array().is_some_and(|all| all.len() == 1);
    let page = server.wait("/messages", is_there);
    let message = &page["messages"][0];
    assert_eq!((&message["channel"], &message["state"]), (&json!("webhook"), &json!("waiting")));
    assert!(message["problem"].as_str().unwrap().contains("422"), "{message:#}");
    IS_BROKEN.store(false, Ordering::SeqCst);
    // A user does not wait for the next attempt.
    let retry = format!("/messages/{}/retry", message["id"].as_str().unwrap());
    assert_eq!(send(&server.host, None, "POST", &retry, &[], b"").status, 401);
    let bearer = format!("Bearer {}", super::TOKEN);
    let post = |path| send(&server.host, None, "POST", path, &[("Authorization", &*bearer)], b"");
    assert_eq!(post("/messages/unknown/retry").status, 404);
    assert_eq!(post(&retry).status, 202);
    server.wait("/messages", |page| page["messages"][0]["state"] == "sent");
    assert_eq!(post(&retry).status, 404, "it is sent");
    let seen = receiver.seen();
    let ids: Vec<&String> = seen.iter().map(|seen| &seen.headers["webhook-id"]).collect();
    assert!(ids.len() >= 2 && ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    assert!(seen.iter().all(|seen| seen.headers["webhook-signature"].starts_with("v1,")));
}
