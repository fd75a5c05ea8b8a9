//! Sends one HTTP request and follows its redirects, with a client for each host and a limit on parallel
//! requests.
//!
//! **Invariant:** `Authorization` is sent only to the origin of the request.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use url::Url;

use super::{
    RegistryError,
    delays::Delays,
    endpoint::{authority, is_loopback, same_origin},
    failure::explain,
    retry::{AttemptFailure, RequestRetry},
    tls,
};

/// At most as many as go-containerregistry and docker allow: a blob needs one redirect, rarely two.
const MAX_REDIRECTS: usize = 5;

/// The size of a body, in bytes, from which silence of the server is expected.
const LONG_BODY: usize = 1 << 16;

/// A request without its client.
#[derive(Clone, Debug)]
pub(super) struct HttpRequest<'a> {
    /// The registry of the request, for messages.
    pub host: &'a str,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// The maximal size of the answer.
    pub limit: usize,
    /// Whether the path is a password.
    pub is_secret: bool,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The final address after redirects.
    pub url: Url,
}

/// An answer whose body is read in pieces. It takes one of the places of its host.
pub(super) struct OpenReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The final address after redirects.
    pub url: Url,
    /// The registry of the request, for messages.
    host: String,
    response: reqwest::Response,
    peer: Peer,
    idle: Duration,
    unread: Option<Bytes>,
    place: Option<OwnedSemaphorePermit>,
}

impl OpenReply {
    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, AttemptFailure> {
        if let Some(unread) = self.unread.take() {
            return Ok(Some(unread));
        }
        let failed =
            |error: &reqwest::Error| self.peer.explain(&self.host, &self.url, error, self.idle);
        self.response.chunk().await.map_err(|error| failed(&error))
    }

    /// Gives a part of the last piece back.
    pub(super) fn unread(&mut self, piece: Bytes) {
        self.unread = Some(piece).filter(|piece| !piece.is_empty());
    }

    /// The whole answer, of at most this many bytes.
    pub(super) async fn whole(mut self, limit: usize) -> Result<Reply, AttemptFailure> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                let reason = format!("its answer is longer than {limit} bytes");
                return Err(unreachable(&self.host, reason).into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: self.status, headers: self.headers, body: body.freeze(), url: self.url })
    }
}

/// Time limits; see `exchange::Options`.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub connect: Duration,
    pub idle: Duration,
    pub whole: Duration,
}

pub(super) struct Transport {
    certs: PathBuf,
    patience: Patience,
    parallel: usize,
    /// By `host:port`, because each host may have its own certificates.
    peers: Mutex<HashMap<String, Peer>>,
    delays: Arc<Delays>,
}

#[derive(Clone)]
struct Peer {
    http: reqwest::Client,
    permits: Arc<Semaphore>,
    has_answered: Arc<AtomicBool>,
}

impl Peer {
    fn explain(
        &self,
        host: &str,
        url: &Url,
        error: &reqwest::Error,
        idle: Duration,
    ) -> AttemptFailure {
        explain((host, url), error, idle, self.has_answered.load(Ordering::Relaxed))
    }
}

impl Transport {
    pub(super) fn new(certs: PathBuf, patience: Patience, parallel: usize) -> Self {
        tls::install_provider();
        Self { certs, patience, parallel, peers: Mutex::default(), delays: Arc::default() }
    }

    pub(super) fn delays(&self) -> &Arc<Delays> {
        &self.delays
    }

    /// Sends the request and follows redirects. Any status is an answer.
    pub(super) async fn send(
        &self,
        mut request: HttpRequest<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, AttemptFailure> {
        let origin = request.url.clone();
        let mut left = self.patience.whole;
        for _ in 0..=MAX_REDIRECTS {
            let trusted = same_origin(&origin, &request.url);
            let authorization = authorization.filter(|_| trusted);
            let reply = self.once(&request, authorization, &mut left).await?;
            let head = (reply.status, &reply.headers);
            let Some(next) = redirect(&request, head)? else { return Ok(reply) };
            request.url = next;
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(unreachable(request.host, reason).into())
    }

    /// As [`send`](Self::send), but leaves the body of the last answer to the caller. There is no limit for the
    /// whole answer, only for pauses in it.
    pub(super) async fn open(
        &self,
        mut request: HttpRequest<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<OpenReply, AttemptFailure> {
        let origin = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let trusted = same_origin(&origin, &request.url);
            let authorization = authorization.filter(|_| trusted);
            let peer = self.peer(request.host, &request.url)?;
            let place = peer.permits.clone().acquire_owned().await.ok();
            let opened = timeout(self.patience.whole, self.head(&peer, &request, authorization));
            let mut reply = opened.await.unwrap_or_else(|_| Err(self.too_slow(request.host)))?;
            reply.place = place;
            let head = (reply.status, &reply.headers);
            let Some(next) = redirect(&request, head)? else { return Ok(reply) };
            request.url = next;
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(unreachable(request.host, reason).into())
    }

    fn too_slow(&self, host: &str) -> AttemptFailure {
        let whole = self.patience.whole.as_secs_f64();
        unreachable(host, format!("no whole answer within {whole} seconds")).into()
    }

    /// Sends once within the remaining time. The permit is held until the whole answer has arrived.
    async fn once(
        &self,
        request: &HttpRequest<'_>,
        authorization: Option<&HeaderValue>,
        left: &mut Duration,
    ) -> Result<Reply, AttemptFailure> {
        let peer = self.peer(request.host, &request.url)?;
        // The semaphore is never closed, so this cannot fail.
        let _permit = peer.permits.acquire().await;
        let began = Instant::now();
        let reply = timeout(*left, self.answer(&peer, request, authorization)).await;
        *left = left.saturating_sub(began.elapsed());
        reply.unwrap_or_else(|_| Err(self.too_slow(request.host)))
    }

    async fn answer(
        &self,
        peer: &Peer,
        request: &HttpRequest<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, AttemptFailure> {
        self.head(peer, request, authorization).await?.whole(request.limit).await
    }

    async fn head(
        &self,
        peer: &Peer,
        request: &HttpRequest<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<OpenReply, AttemptFailure> {
        let mut headers = request.headers.clone();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        let mut builder =
            peer.http.request(request.method.clone(), request.url.clone()).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let idle = self.patience.idle;
        let failed = |error: &reqwest::Error| peer.explain(request.host, &request.url, error, idle);
        // A large body takes long on the way, and the server answers after it.
        let is_long = request.body.as_ref().is_some_and(|body| body.len() > LONG_BODY);
        let sent = builder.send();
        let sent = if is_long {
            sent.await
        } else {
            Box::pin(self.delays.answer(request.host, sent)).await
        };
        let mut response = sent.map_err(|error| failed(&error))?;
        peer.has_answered.store(true, Ordering::Relaxed);
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let (host, path) = if request.is_secret {
            (request.host.to_owned(), "…")
        } else {
            (authority(&request.url), request.url.path())
        };
        tracing::debug!(method = %request.method, host, path, status = status.as_u16(), "registry");
        Ok(OpenReply {
            status,
            headers,
            url: request.url.clone(),
            host: request.host.to_owned(),
            response,
            peer: peer.clone(),
            idle,
            unread: None,
            place: None,
        })
    }

    fn peer(&self, host: &str, url: &Url) -> Result<Peer, RegistryError> {
        let name = authority(url);
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&name) {
            return Ok(peer.clone());
        }
        let config = tls::config(&self.certs, &name).map_err(|reason| unreachable(host, reason))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.patience.connect)
            .read_timeout(self.patience.idle)
            .user_agent(concat!("rebuild/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&name) {
            // Go's HTTP client, and therefore docker, uses no proxy for these.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| unreachable(host, error.to_string()))?;
        let permits = Arc::new(Semaphore::new(self.parallel.max(1)));
        let peer = Peer { http, permits, has_answered: Arc::default() };
        peers.insert(name, peer.clone());
        Ok(peer)
    }
}

/// The target of a redirect.
fn redirect(
    request: &HttpRequest<'_>,
    (status, headers): (StatusCode, &HeaderMap),
) -> Result<Option<Url>, AttemptFailure> {
    let read = matches!(request.method, Method::GET | Method::HEAD);
    let follow = match status.as_u16() {
        301..=303 => read,
        // These two keep the method and the body. Not for POST: the body of a token request is secret.
        307 | 308 => request.method != Method::POST,
        _ => false,
    };
    let Some(location) = headers.get(header::LOCATION).filter(|_| follow) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|location| request.url.join(location).ok());
    let Some(mut next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
        return Err(unreachable(request.host, "it redirects to no address".to_owned()).into());
    };
    if request.url.scheme() == "https" && next.scheme() == "http" {
        let reason = format!("it redirects from HTTPS to plain HTTP at `{}`", authority(&next));
        return Err(unreachable(request.host, reason).into());
    }
    // A user name and a password in an address would become another header.
    if next.set_username("").and_then(|()| next.set_password(None)).is_err() {
        return Ok(None);
    }
    Ok(Some(next))
}

fn unreachable(host: &str, reason: String) -> RegistryError {
    RegistryError::Unreachable { host: host.to_owned(), reason, hint: None }
}

impl Reply {
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether to retry: 408, 429 and the temporary 5xx.
    pub(super) fn again(&self) -> RequestRetry {
        if !matches!(self.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
            return RequestRetry::Never;
        }
        let asked = self
            .header(header::RETRY_AFTER)
            .and_then(|value| super::retry::retry_after(value, jiff::Timestamp::now()));
        asked.map_or(RequestRetry::Backoff, RequestRetry::After)
    }

    /// The server's error message: `errors[]` of the body, else the status in words.
    pub(super) fn reason(&self) -> String {
        #[derive(serde::Deserialize)]
        struct RegistryErrors {
            errors: Vec<ErrorItem>,
        }
        #[derive(serde::Deserialize)]
        struct ErrorItem {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let items = serde_json::from_slice::<RegistryErrors>(&self.body).map(|body| body.errors);
        let said: Vec<String> = items
            .unwrap_or_default()
            .into_iter()
            .map(|ErrorItem { code, message }| match (code.as_str(), message.as_str()) {
                (_, "") => code,
                ("", _) => message,
                _ => format!("{message} ({code})"),
            })
            .filter(|text| !text.is_empty())
            .collect();
        if said.is_empty() {
            return self.status.canonical_reason().unwrap_or("no reason given").to_lowercase();
        }
        super::printable(&said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_safe_places_only() {
        for (method, from, status, location, expected) in [
            ("GET", "https://r/v2/a", 307, "https://cdn/b?sig=1", "to https://cdn/b?sig=1"),
            ("GET", "https://r/v2/a", 302, "/b", "to https://r/b"),
            ("HEAD", "http://r/v2/a", 301, "https://r/v2/a", "to https://r/v2/a"),
            ("GET", "https://r/v2/a", 307, "https://me:pw@cdn/b", "to https://cdn/b"),
            ("PUT", "https://r/v2/a", 308, "https://s/v2/a", "to https://s/v2/a"),
            ("PUT", "https://r/v2/a", 302, "https://s/v2/a", "stay"),
            ("POST", "https://r/token", 307, "https://s/token", "stay"),
            ("GET", "https://r/v2/a", 304, "https://s/", "stay"),
            ("GET", "https://r/v2/a", 200, "https://s/", "stay"),
            (
                "GET",
                "https://r/v2/a",
                307,
                "http://r/v2/a",
                "cannot reach the registry r: it redirects from HTTPS to plain HTTP at `r`",
            ),
            (
                "GET",
                "https://r/v2/a",
                307,
                "file:///etc/passwd",
                "cannot reach the registry r: it redirects to no address",
            ),
        ] {
            let request = HttpRequest {
                host: "r",
                method: method.parse().unwrap(),
                url: from.parse().unwrap(),
                headers: HeaderMap::new(),
                body: None,
                limit: 0,
                is_secret: false,
            };
            let headers =
                HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
            let status = StatusCode::from_u16(status).unwrap();
            let told = match redirect(&request, (status, &headers)) {
                Ok(Some(next)) => format!("to {next}"),
                Ok(None) => "stay".to_owned(),
                Err(failure) => failure.error.to_string(),
            };
            assert_eq!(told, expected, "{method} {from} {status} {location}");
        }
    }

    #[test]
    fn what_a_registry_says_is_bounded_and_harmless() {
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "é".repeat(900));
        let long_expected = format!("{}…", "é".repeat(300));
        for (body, expected) in [
            (r#"{"errors":[{"code":"A","message":"b"},{"code":"C"}]}"#, "b (A); C"),
            (r#"{"errors":[{"message":"a\n\u001b[31mb"}]}"#, "a [31mb"),
            (r#"{"errors":[]}"#, "bad request"),
            ("<html>", "bad request"),
            (&long, &long_expected),
        ] {
            let reply = Reply {
                status: StatusCode::BAD_REQUEST,
                headers: HeaderMap::new(),
                body: Bytes::copy_from_slice(body.as_bytes()),
                url: "https://r/".parse().unwrap(),
            };
            assert_eq!(reply.reason(), expected, "{body}");
        }
    }
}
