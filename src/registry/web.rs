//! Requests to servers that are no registries: webhooks, and the API of a forge. They take the same way, with the
//! same certificates, proxies and retries.
//!
//! **Invariant:** no message has the address, or a word of `Authorization`.

use std::{future::Future, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use super::{
    Delay, RegistryError,
    endpoint::is_loopback,
    exchange::Options,
    printable,
    retry::{self, AttemptFailure, Retry},
    transport::{HttpRequest, Patience, Reply, Transport},
};

/// The longest answer: a hundred comments of 64 KiB, and what stands around them.
const LIMIT: usize = 16 * 1024 * 1024;

/// The limits of one delivery, all attempts together less than a minute.
const RETRY: Retry = Retry {
    attempts: 6,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    budget: Duration::from_secs(50),
};

pub struct Web {
    transport: Transport,
    retry: Retry,
}

/// A request, and how it may travel.
#[derive(Clone, Debug)]
pub struct WebRequest {
    pub method: Method,
    pub url: SecretUrl,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

/// An address that is never printed: its path is a password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Web {
    /// Calls this whenever the server keeps a message waiting.
    pub fn on_delay(&self, listener: impl Fn(Delay) + Send + Sync + 'static) {
        self.transport.delays().listen(listener);
    }
}

impl SecretUrl {
    /// HTTPS, or HTTP if it may be or if it is on this machine.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn parse(text: &str, may_be_plain: bool) -> Result<Self, &'static str> {
        let url: Url = text.trim().parse().map_err(|_| "it is not a URL")?;
        let host = url.host_str().ok_or("it is not a URL with a host")?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if may_be_plain || is_loopback(host) => Ok(Self(url)),
            "http" => Err("it is not an HTTPS URL"),
            _ => Err("it is not an HTTP URL"),
        }
    }

    /// With more parts at the end of its path.
    #[must_use]
    pub fn join(&self, parts: &[&str], query: Option<&str>) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url.set_query(query);
        Self(url)
    }
}

/// Why a message was not sent, after all attempts.
#[derive(Debug)]
pub struct NotSent {
    /// The status that the server answered.
    pub status: Option<u16>,
    /// In words.
    pub reason: String,
}

/// A secret value of `Authorization`.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Default for Web {
    fn default() -> Self {
        let Options { certs, .. } = Options::default();
        Self::new(certs, RETRY)
    }
}

impl Web {
    fn new(certs: PathBuf, retry: Retry) -> Self {
        let seconds = Duration::from_secs;
        let patience = Patience { connect: seconds(10), idle: seconds(20), whole: seconds(30) };
        Self { transport: Transport::new(certs, patience, 4), retry }
    }

    /// Calls `attempt` until it succeeds, fails permanently, or reaches a limit.
    pub async fn retried<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, NotSent>
    where
        F: Future<Output = Result<T, AttemptFailure>>,
    {
        retry::run((&self.retry, self.transport.delays()), attempt).await.map_err(|error| {
            match error {
                RegistryError::Unreachable { reason, .. } => NotSent { status: None, reason },
                RegistryError::Answer { status, reason, .. } => {
                    let reason = format!("the server answered {status}: {reason}");
                    NotSent { status: Some(status), reason }
                }
                other => NotSent { status: None, reason: other.to_string() },
            }
        })
    }

    /// Sends once. Any status but a 2xx is a failure.
    pub async fn send(&self, message: &WebRequest) -> Result<Bytes, AttemptFailure> {
        let WebRequest { method, url: SecretUrl(url), headers, body } = message;
        let authorization = headers.get(header::AUTHORIZATION);
        let mut headers = headers.clone();
        headers.remove(header::AUTHORIZATION);
        let request = HttpRequest {
            host: SERVER,
            method: method.clone(),
            url: url.clone(),
            headers,
            body: body.clone(),
            limit: LIMIT,
            is_secret: true,
        };
        let reply = match self.transport.send(request, authorization).await {
            Ok(reply) => reply,
            Err(AttemptFailure { error, again }) => {
                return Err(AttemptFailure { error: without_host(error, url), again });
            }
        };
        if reply.status.is_success() {
            return Ok(reply.body);
        }
        let again = reply.again();
        let error = RegistryError::Answer {
            host: SERVER.to_owned(),
            status: reply.status.as_u16(),
            action: "take",
            repository: String::new(),
            reason: said(&reply, url),
        };
        Err(AttemptFailure { error, again })
    }
}

/// The shortest part of an address, in bytes, that no message may contain.
const SECRET_PART: usize = 6;
/// What stands for the host in messages.
const SERVER: &str = "the server";

/// The host is part of the address, and messages about names have it.
fn without_host(error: RegistryError, url: &Url) -> RegistryError {
    let RegistryError::Unreachable { reason, .. } = error else { return error };
    let authority = super::endpoint::authority(url);
    let reason = reason.strip_prefix(&format!("`{authority}`: ")).unwrap_or(&reason);
    let reason = reason.replace(&authority, "…");
    let reason = reason.replace(url.host_str().unwrap_or(&authority), "…");
    RegistryError::Unreachable { host: SERVER.to_owned(), reason, hint: None }
}

/// The server's words, if they are few: GitHub's `message`, or the plain text of Slack. Servers repeat parts of the
/// address: `Cannot POST /hooks/…`.
fn said(reply: &Reply, address: &Url) -> String {
    #[derive(serde::Deserialize)]
    struct WebErrorBody {
        message: String,
    }
    let parts = address.as_str().split(|c: char| !c.is_alphanumeric() && !"-_.~".contains(c));
    let mut parts = parts.filter(|part| part.len() >= SECRET_PART);
    let text = std::str::from_utf8(&reply.body).unwrap_or_default().trim();
    let words = match serde_json::from_slice(&reply.body) {
        Ok(WebErrorBody { message }) => message,
        Err(_) if text.len() <= 100 && !text.contains(['<', '{', '/']) => text.to_owned(),
        Err(_) => String::new(),
    };
    if words.is_empty() || parts.any(|part| words.contains(part)) {
        return reply.status.canonical_reason().unwrap_or("no reason given").to_lowercase();
    }
    printable(&words)
}

impl AttemptFailure {
    /// A retry would get the same answer.
    pub fn permanent(reason: &str) -> Self {
        let (host, reason) = (SERVER.to_owned(), reason.to_owned());
        RegistryError::Unreachable { host, reason, hint: None }.into()
    }
}
