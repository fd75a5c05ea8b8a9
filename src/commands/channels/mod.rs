//! Sends what came of a run to the channels of `notify`, all at the same time.
//!
//! **Invariant:** a channel that fails is a warning, and never changes how the run ends. No message has an address or
//! a token. No channel takes longer than [`LIMIT`].

mod downstream;
mod github;
mod message;
mod webhook;

use std::{env, future::Future, path::Path, time::Duration};

use futures_util::future::join_all;
use serde_json::Value;

pub(super) use self::message::deliver;
use self::message::{MessageChannel, OutgoingMessage};
use super::{hook, output};
use crate::{
    exit::Exit,
    hierarchy::{Hierarchy, Notify},
    host::environment,
    registry::{Delay, SecretUrl, Web},
    report::{
        Record,
        channels::{comment, slack, teams},
        plan::Planned,
    },
};

/// Of a channel, with all attempts.
const LIMIT: Duration = Duration::from_secs(60);
/// The same if the server sends later what fails: its next run waits for this one.
const SERVED_LIMIT: Duration = Duration::from_secs(5);

/// Of a run that is over. The command runs in the folder of the hierarchy. With a folder, messages that cannot be sent
/// are left there, for the server.
pub(super) async fn send(
    notify: &Notify,
    record: &Record,
    (hierarchy, unsent): (&Hierarchy, Option<&Path>),
) {
    let job = job();
    let job = job.as_deref();
    let program = async {
        if let Some(argv) = &notify.command
            && let Err(error) = hook::start(argv, hierarchy.root(), record).await
        {
            output::warning(&error.to_string());
        }
    };
    let pull_request = async {
        if notify.github_comment {
            let text = |mark: &str| comment::of_run(record, Some(hierarchy), (mark, job));
            let web = web("github_comment");
            told("github_comment", github::comment(&web, hierarchy, text)).await;
        }
    };
    let mut outgoing = Vec::new();
    let mut add = |channel, variable: &Option<String>, (id, body): (String, Value)| {
        if let Some(variable) = variable.clone() {
            outgoing.push(OutgoingMessage { channel, variable, target: None, id, body });
        }
    };
    if is_news(record) {
        add(MessageChannel::Slack, &notify.slack, (String::new(), slack::message(record, job)));
        add(MessageChannel::Teams, &notify.teams, (String::new(), teams::message(record, job)));
    }
    match webhook::report(record) {
        Ok(report) => add(MessageChannel::Webhook, &notify.webhook, report),
        Err(problem) => output::warning(&format!("`notify.webhook`: not sent: {problem}")),
    }
    outgoing.extend(downstream::messages(notify, record, hierarchy));
    let messages = join_all(outgoing.iter().map(|message| async move {
        let name = message.channel.name();
        let limit = if unsent.is_some() { SERVED_LIMIT } else { LIMIT };
        let Some(problem) = sent(message.send(&web(name)), limit).await.err() else { return };
        warn(name, &problem);
        if let Some(folder) = unsent {
            message.keep(folder, problem);
        }
    }));
    tokio::join!(program, pull_request, messages);
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
    if let Err(problem) = sent(send, LIMIT).await {
        warn(name, &problem);
    }
}

async fn sent(
    send: impl Future<Output = Result<(), String>>,
    limit: Duration,
) -> Result<(), String> {
    let ended = tokio::time::timeout(limit, send).await;
    ended.unwrap_or_else(|_| Err(format!("not sent within {} s", limit.as_secs())))
}

fn warn(name: &str, problem: &str) {
    output::warning(&format!("`notify.{name}`: not sent: {problem}"));
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
