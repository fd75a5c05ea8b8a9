//! `rebuild serve`, asked over HTTP as a program and a browser would.

mod access;
mod browser;
mod crash;
mod downstream;
mod hooks;
mod load;
mod pages;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    http::{Answer, send},
    project::Project,
    running::{PATIENCE, Running, Start},
};

const SECRET: &str = "the secret of the webhooks";
const TOKEN: &str = "the token of the users";

/// A server and the project that it serves.
struct Server<'a> {
    running: Running<'a>,
    host: String,
}

impl<'a> Server<'a> {
    /// With webhooks and actions.
    fn start(project: &'a Project) -> Self {
        Self::with(project, "")
    }

    fn with(project: &'a Project, arguments: &str) -> Self {
        project.write("../secret", SECRET);
        project.write("../token", TOKEN);
        Self::plain(
            project,
            &format!("--webhook-secret-file ../secret --token-file ../token {arguments}"),
        )
    }

    /// With these arguments only.
    fn plain(project: &'a Project, arguments: &str) -> Self {
        let command = format!("serve --listen 127.0.0.1:0 --data ../serve {arguments}");
        Self::of(project.rebuild(&command))
    }

    fn of(start: Start<'a>) -> Self {
        let mut running = start.start();
        let line = running.stderr_line_with("serving http://");
        let host = line.split("http://").nth(1).unwrap().split(';').next().unwrap().to_owned();
        Self { running, host }
    }

    fn get(&self, path: &str) -> Answer {
        send(&self.host, None, "GET", path, &[], b"")
    }

    /// The answer to a program.
    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The answer to a browser.
    #[track_caller]
    fn page(&self, path: &str) -> String {
        let answer = send(&self.host, None, "GET", path, &[("Accept", "text/html,*/*")], b"");
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body).unwrap()
    }

    /// A signed delivery, as GitHub sends it.
    fn deliver(&self, body: &Value) -> (u16, Value) {
        self.deliver_signed(body, SECRET)
    }

    fn deliver_signed(&self, body: &Value, secret: &str) -> (u16, Value) {
        let body = body.to_string();
        let signature = signature(secret, body.as_bytes());
        let headers = [
            ("X-GitHub-Event", "push"),
            ("X-Hub-Signature-256", &*signature),
            ("Content-Type", "application/json"),
        ];
        let answer = send(&self.host, None, "POST", "/hooks/github", &headers, body.as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Waits until the JSON of a page holds this.
    #[track_caller]
    fn wait(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if answer.status == 200 && is_so(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{path} stays {} {value:#}", answer.status);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a run is over.
    #[track_caller]
    fn ended(&self, run: i64) -> Value {
        self.wait(&format!("/runs/{run}"), |run| !run["ended_at"].is_null())
    }

    /// Waits until no run waits and none goes on.
    #[track_caller]
    fn idle(&self) -> Value {
        self.wait("/h/project", |page| {
            page["running"].is_null() && page["queued"].as_array().is_some_and(Vec::is_empty)
        })
    }
}

/// `sha256=…`: checked against GitHub's example in the unit tests.
fn signature(secret: &str, body: &[u8]) -> String {
    let hmac = rebuild::image::hmac_sha256(secret.as_bytes(), body);
    let hex = hmac.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!("sha256={hex}")
}

/// A push to `main` that changed these files.
fn push(before: &str, after: &str, files: &[&str]) -> Value {
    json!({
        "ref": "refs/heads/main",
        "before": before,
        "after": after,
        "repository": { "full_name": "acme/images", "clone_url": "https://git.example.com/acme/images.git" },
        "commits": [{ "id": after, "added": [], "removed": [], "modified": files }],
    })
}
