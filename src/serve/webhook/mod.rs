//! Webhooks: who may send them, and what they say. Pure.
//!
//! **Invariant:** a delivery counts only if its credential is valid, and each credential is compared in constant time.

mod forge;
mod registry_event;
mod signature;

use std::fmt;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::signature::{HookCredential, authenticate};
pub(super) use self::signature::{equal, hex};
use crate::image::Digest;

/// The most changed files that an event keeps. GitHub lists those of 20 commits, GitLab too.
const FILES: usize = 5000;
/// The most images of one event.
const IMAGES: usize = 100;

/// The formats of webhooks, each at `/hooks/NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFormat {
    Github,
    Gitlab,
    /// Also of Forgejo.
    Gitea,
    /// Docker distribution: <https://distribution.github.io/distribution/about/notifications/>.
    Registry,
    Harbor,
    DockerHub,
    /// Names a hierarchy or an image.
    Generic,
}

impl HookFormat {
    /// The format of `/hooks/NAME`.
    pub fn of(name: &str) -> Self {
        match name {
            "github" | "ghcr" => Self::Github,
            "gitlab" => Self::Gitlab,
            "gitea" | "forgejo" => Self::Gitea,
            "registry" => Self::Registry,
            "harbor" => Self::Harbor,
            "docker-hub" => Self::DockerHub,
            _ => Self::Generic,
        }
    }
}

/// The body of a request to build.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GenericBody {
    refresh: bool,
}

/// What a delivery says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HookEvent {
    Push(PushEvent),
    /// Images were pushed to a registry. Each is `host/repository:tag`, or without a host if the event has none.
    Images {
        images: Vec<String>,
    },
    /// A request to build: the name of a hierarchy or an image.
    Start {
        name: String,
        refresh: bool,
    },
    /// Something that starts nothing, such as a ping.
    Other {
        event: String,
    },
}

/// A push to a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEvent {
    /// `owner/name`.
    pub repository: String,
    /// The addresses of the repository, without credentials.
    pub urls: Vec<String>,
    /// `refs/heads/main`.
    pub reference: String,
    pub before: String,
    pub after: String,
    /// The user who pushed, by the server's word.
    #[serde(default)]
    pub pusher: Option<String>,
    /// The paths that its commits name.
    pub files: Vec<String>,
}

impl PushEvent {
    /// The branch; `None` for a tag.
    pub fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// Whether the push deleted the branch.
    pub fn is_deletion(&self) -> bool {
        !self.after.is_empty() && self.after.bytes().all(|byte| byte == b'0')
    }

    /// Whether a branch began with it, so that no commit came before.
    pub fn is_new_branch(&self) -> bool {
        self.before.bytes().all(|byte| byte == b'0')
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push(push) => {
                let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
                let to = push.branch().unwrap_or(&push.reference);
                let by = push.pusher.as_ref().map_or(String::new(), |by| format!(" by {by}"));
                write!(f, "push to `{to}` of {}{by}: ", push.repository)?;
                write!(f, "{}..{}", short(&push.before), short(&push.after))
            }
            Self::Images { images } => match &images[..] {
                [image] => write!(f, "`{image}` was pushed"),
                [first, rest @ ..] => {
                    write!(f, "`{first}` and {} more images were pushed", rest.len())
                }
                [] => f.write_str("no image was pushed"),
            },
            Self::Start { name, refresh: false } => write!(f, "request to build `{name}`"),
            Self::Start { name, refresh: true } => write!(f, "request to refresh `{name}`"),
            Self::Other { event } => write!(f, "event `{event}`"),
        }
    }
}

/// A delivery whose credential is valid: its event, and the key by which it is recognized if it comes again.
///
/// # Errors
/// If the body does not have the hook's format. The text is for the sender.
pub fn read(
    (name, format): (&str, HookFormat),
    headers: &HeaderMap,
    (body, credential): (&[u8], &HookCredential),
) -> Result<(HookEvent, String), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let body_value = |body: &[u8]| -> Result<Value, String> {
        // GitHub can send forms: <https://docs.github.com/en/webhooks/using-webhooks/creating-webhooks>.
        let is_form = header("content-type")
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let payload =
            url::form_urlencoded::parse(body).find(|(key, _)| is_form && key == "payload");
        let payload = payload.map(|(_, value)| value.into_owned());
        let text = payload.as_deref().map_or(body, str::as_bytes);
        serde_json::from_slice(text).map_err(|error| format!("the body is not JSON: {error}"))
    };
    let event = match format {
        HookFormat::Github | HookFormat::Gitea => {
            let named = ["x-github-event", "x-gitea-event", "x-forgejo-event"];
            let event = named.into_iter().find_map(header).unwrap_or("push");
            forge::github(event, &body_value(body)?)?
        }
        HookFormat::Gitlab => {
            forge::gitlab(header("x-gitlab-event").unwrap_or("Push Hook"), &body_value(body)?)?
        }
        HookFormat::Registry => registry_event::distribution(&body_value(body)?)?,
        HookFormat::Harbor => registry_event::harbor(&body_value(body)?)?,
        HookFormat::DockerHub => registry_event::docker_hub(&body_value(body)?)?,
        HookFormat::Generic => {
            let GenericBody { refresh } = match body {
                [] => GenericBody::default(),
                body => {
                    let fields = body_value(body)?;
                    let fields = fields.as_object().ok_or("the body is not an object")?.clone();
                    serde_json::from_value(fields.into())
                        .map_err(|error| format!("the body: {error}"))?
                }
            };
            HookEvent::Start { name: name.to_owned(), refresh }
        }
    };
    let id = ["x-gitlab-event-uuid", "idempotency-key", "webhook-id", "x-request-id"]
        .into_iter()
        .find_map(header);
    let content = || Digest::of(body).to_string();
    let key = match (credential, id) {
        (HookCredential::Timestamped { id }, _) => id.clone(),
        (HookCredential::Token, Some(id)) => id.to_owned(),
        (HookCredential::Token, None) if format == HookFormat::Generic => {
            format!("{:032x}", crate::host::random::bits())
        }
        // The ID is not signed, so a copy of the delivery may have another one.
        (HookCredential::Signature, _) | (HookCredential::Token, None) => content(),
    };
    Ok((event, format!("{name} {}", key.get(..200).unwrap_or(&key))))
}

/// A text of a JSON document.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty() && text.len() < 4096)
}

/// An address without its user, as it may be shown.
fn address(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) => {
            _ = parsed.set_username("");
            _ = parsed.set_password(None);
            parsed.to_string()
        }
        Err(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
