//! Sends what came of a run to the channels of `notify`, all at the same time.
//!
//! **Invariant:** a channel that fails is a warning, and never changes how the run ends. No message has an address or
//! a token. No channel takes longer than [`LIMIT`].

mod github;
mod webhook;

use std::{env, future::Future, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::{hook, output};
use crate::{
    exit::Exit,
    hierarchy::{Hierarchy, Notify},
    host::environment,
    registry::{Delay, SecretUrl, Web, WebRequest},
    report::{
        Record,
        channels::{comment, slack, teams},
        plan::Planned,
    },
};

/// Of a channel, with all attempts.
const LIMIT: Duration = Duration::from_secs(60);

/// Of a run that is over. The command runs in the folder of the hierarchy.
pub(super) async fn send(notify: &Notify, record: &Record, hierarchy: &Hierarchy) {
    let job = job();
    let job = job.as_deref();
    let program = async {
        if let Some(argv) = &notify.command
            && let Err(error) = hook::start(argv, hierarchy.root(), record).await
        {
            output::warning(&error.to_string());
        }
    };
    let is_news = is_news(record);
    let chat = |name,
                variable: &Option<String>,
                message: fn(&Record, Option<&str>) -> serde_json::Value| {
        let variable = variable.as_ref().filter(|_| is_news);
        let message = variable.map(|_| json(&message(record, job)));
        channel(name, variable.cloned(), message)
    };
    let webhook = async {
        if let Some(variable) = &notify.webhook {
            let web = web("webhook");
            told("webhook", webhook::send(&web, variable, record)).await;
        }
    };
    let pull_request = async {
        if notify.github_comment {
            let text = |mark: &str| comment::of_run(record, Some(hierarchy), (mark, job));
            let web = web("github_comment");
            told("github_comment", github::comment(&web, hierarchy, text)).await;
        }
    };
    tokio::join!(
        program,
        chat("slack", &notify.slack, slack::message),
        chat("teams", &notify.teams, teams::message),
        webhook,
        pull_request,
    );
}

/// Of a plan, if it is one of a pull request.
pub(super) async fn plan(planned: Planned<'_>, hierarchy: &Hierarchy) {
    if !hierarchy.notify.as_ref().is_some_and(|notify| notify.github_comment) {
        return;
    }
    let job = job();
    let text = |mark: &str| comment::of_plan(planned, hierarchy, (mark, job.as_deref()));
    let web = web("github_comment");
    told("github_comment", github::comment(&web, hierarchy, text)).await;
}

/// A chat gets no message about a nightly run that had nothing to do.
fn is_news(record: &Record) -> bool {
    let has_news =
        |summary: &crate::event::Summary| summary.steps.iter().any(crate::report::is_news);
    record.exit() != Exit::Done || record.summary.as_ref().is_some_and(has_news)
}

/// A client that prints a line for each attempt that a channel needs.
fn web(channel: &'static str) -> Web {
    let web = Web::default();
    web.on_delay(move |delay| {
        let sending = format!("sending to `notify.{channel}`");
        match delay {
            Delay::Retry { attempt, of, .. } => {
                output::line(&format!("{sending}: attempt {attempt} of {of}"));
            }
            Delay::Silence { since, .. } => {
                output::line(&format!("{sending}: no answer for {} s", since.as_secs()));
            }
            Delay::Busy { .. } | Delay::Engine { .. } | Delay::SilentEngine { .. } => {}
        }
    });
    web
}

async fn channel(name: &'static str, variable: Option<String>, body: Option<Bytes>) {
    let (Some(variable), Some(body)) = (variable, body) else { return };
    let send = async {
        let Some(url) = address(&variable, false)? else { return Ok(()) };
        post(&web(name), url, HeaderMap::new(), body).await
    };
    told(name, send).await;
}

fn json(value: &serde_json::Value) -> Bytes {
    value.to_string().into()
}

/// Posts JSON.
async fn post(
    web: &Web,
    url: SecretUrl,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<(), String> {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let message = WebRequest { method: Method::POST, url, headers, body: Some(body) };
    web.retried(|| web.send(&message)).await.map(drop).map_err(|error| error.reason)
}

/// The address in a variable. Without a value the channel is off, and a CI job gets a warning.
fn address(variable: &str, may_be_plain: bool) -> Result<Option<SecretUrl>, String> {
    let Some(value) = environment(variable) else {
        let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
        return if is_ci { Err(format!("the variable `{variable}` is not set")) } else { Ok(None) };
    };
    let address = SecretUrl::parse(&value, may_be_plain);
    address.map(Some).map_err(|reason| format!("the value of `{variable}` is not usable: {reason}"))
}

/// Waits for a channel, and warns if it failed.
async fn told(name: &str, send: impl Future<Output = Result<(), String>>) {
    let ended = tokio::time::timeout(LIMIT, send).await;
    let ended = ended.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())));
    if let Err(reason) = ended {
        output::warning(&format!("`notify.{name}`: not sent: {reason}"));
    }
}

/// Where the log of this CI job is.
fn job() -> Option<String> {
    let github = || {
        let (server, repository) =
            (environment("GITHUB_SERVER_URL")?, environment("GITHUB_REPOSITORY")?);
        Some(format!("{server}/{repository}/actions/runs/{}", environment("GITHUB_RUN_ID")?))
    };
    let job = github().or_else(|| environment("CI_JOB_URL")).or_else(|| environment("BUILD_URL"));
    job.filter(|job| job.starts_with("https://") || job.starts_with("http://"))
}
