//! A message to a channel, which another process can send again.

use std::{fs, path::Path};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{address, webhook};
use crate::{
    commands::{error::CommandError, output},
    exit::Exit,
    host::{environment, owner, random},
    registry::{SecretUrl, Web, WebRequest, bearer},
};

/// Where GitHub's API is, unless the variable `GITHUB_API_URL` names another place.
const GITHUB: &str = "https://api.github.com";

/// The channels whose messages are requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageChannel {
    Slack,
    Teams,
    Webhook,
    RepositoryDispatch,
    GitlabTrigger,
}

impl MessageChannel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Webhook => "webhook",
            Self::RepositoryDispatch => "repository_dispatch",
            Self::GitlabTrigger => "gitlab_trigger",
        }
    }
}

/// **Invariant:** it has no address of a channel and no token, but the name of the variable that has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OutgoingMessage {
    pub(super) channel: MessageChannel,
    pub(super) variable: String,
    /// The repository or project that is told.
    pub(super) target: Option<String>,
    /// The same in each attempt.
    pub(super) id: String,
    pub(super) body: Value,
}

/// A message that could not be sent, as it is in a file.
#[derive(Serialize, Deserialize)]
struct UnsentMessage {
    #[serde(flatten)]
    message: OutgoingMessage,
    /// The name of the hierarchy's folder.
    hierarchy: String,
    at: Timestamp,
    problem: String,
}

impl OutgoingMessage {
    /// Sends it, with a few attempts. A channel whose variable is not set is off.
    pub(super) async fn send(&self, web: &Web) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut body = self.body.clone();
        let url = match self.channel {
            MessageChannel::Slack | MessageChannel::Teams => address(&self.variable, false)?,
            MessageChannel::Webhook => address(&self.variable, true)?,
            MessageChannel::RepositoryDispatch => {
                let Some(token) = token(&self.variable)? else { return Ok(()) };
                headers.extend(bearer(&token).map(|value| (header::AUTHORIZATION, value)));
                let accept = HeaderValue::from_static("application/vnd.github+json");
                headers.insert(header::ACCEPT, accept);
                Some(self.dispatch_url()?)
            }
            MessageChannel::GitlabTrigger => {
                let Some(token) = token(&self.variable)? else { return Ok(()) };
                body["token"] = token.into();
                Some(self.trigger_url()?)
            }
        };
        let Some(url) = url else { return Ok(()) };
        let body: Bytes = body.to_string().into();
        if self.channel == MessageChannel::Webhook {
            headers.extend(webhook::headers((&self.id, Timestamp::now()), &body)?);
        }
        let message = WebRequest { method: Method::POST, url, headers, body: Some(body) };
        web.retried(|| web.send(&message)).await.map(drop).map_err(|error| error.reason)
    }

    /// <https://docs.github.com/en/rest/repos/repos#create-a-repository-dispatch-event>
    fn dispatch_url(&self) -> Result<SecretUrl, String> {
        let api = environment("GITHUB_API_URL").unwrap_or_else(|| GITHUB.to_owned());
        let api = SecretUrl::parse(&api, false)
            .map_err(|problem| format!("GITHUB_API_URL: {problem}"))?;
        let (owner, name) =
            self.target.as_deref().and_then(|it| it.split_once('/')).unwrap_or_default();
        Ok(api.join(&["repos", owner, name, "dispatches"], None))
    }

    /// <https://docs.gitlab.com/api/pipeline_triggers/#trigger-a-pipeline-with-a-token>
    fn trigger_url(&self) -> Result<SecretUrl, String> {
        let project = self.target.clone().unwrap_or_default();
        let url: url::Url = project.parse().map_err(|_| "the project is not a URL".to_owned())?;
        let path = url.path().trim_matches('/').trim_end_matches(".git").to_owned();
        let mut server = url;
        server.set_path("/");
        let server = SecretUrl::parse(server.as_str(), false)?;
        Ok(server.join(&["api", "v4", "projects", &path, "trigger", "pipeline"], None))
    }

    /// Leaves it for the server, which tries again. The folder has the name that the server gives the hierarchy.
    pub(super) fn keep(&self, folder: &Path, problem: String) {
        let hierarchy = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unsent =
            UnsentMessage { message: self.clone(), hierarchy, at: Timestamp::now(), problem };
        let written = || {
            fs::create_dir_all(folder)?;
            let file = folder.join(format!("{:032x}.json", random::bits()));
            owner::replace(&file, &serde_json::to_vec(&unsent)?)
        };
        if let Err(error) = written() {
            output::warning(&format!("`notify.{}`: not kept: {error}", self.channel.name()));
        }
    }
}

/// A token in a variable.
fn token(variable: &str) -> Result<Option<String>, String> {
    // The rules of a variable that is not set are the same.
    match environment(variable) {
        Some(token) => Ok(Some(token)),
        None => address(variable, false).map(|_| None),
    }
}

/// Sends a message that a run has left. Prints `{}` if it is sent.
pub(in crate::commands) async fn deliver(file: &Path) -> Result<Exit, CommandError> {
    let internal = |message: String| CommandError::new(Exit::Internal, message);
    let text = fs::read(file)
        .map_err(|error| internal(format!("`{}` cannot be read: {error}", file.display())))?;
    let unsent: UnsentMessage = serde_json::from_slice(&text)
        .map_err(|error| internal(format!("`{}`: {error}", file.display())))?;
    unsent.message.send(&Web::default()).await.map_err(internal)?;
    _ = output::answer(json!({}).to_string().as_bytes());
    Ok(Exit::Done)
}
