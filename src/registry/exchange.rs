//! Sends one call: finds the endpoint, logs in, and retries.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::{sync::OnceCell, time::timeout};
use url::Url;

use super::{
    Credentials, RegistryError,
    auth::{Asker, Authenticator},
    challenge::Challenge,
    delays::Delays,
    endpoint::{Endpoint, Scheme, same_origin, schemes},
    retry::{self, AttemptFailure, RequestRetry, Retry},
    transport::{HttpRequest, OpenReply, Patience, Reply, Transport},
};

/// A registry on this machine or in the local network reports its scheme at once.
const PROBE: Duration = Duration::from_secs(3);

/// Options of the client. Only tests change the defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts, as in image names, that may use plain HTTP.
    pub insecure: Vec<String>,
    /// Docker's directory of certificates for hosts: `<host>/*.crt`.
    pub certs: PathBuf,
    /// How many requests may run at once for each host.
    pub parallel: usize,
    pub retry: Retry,
    /// The longest time for connecting.
    pub connect: Duration,
    /// The longest pause within an answer.
    pub idle: Duration,
    /// The longest time for an answer with its redirects: an answer that comes byte by byte has no long
    /// pause. Waiting for other requests does not count.
    pub whole: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            certs: PathBuf::from("/etc/docker/certs.d"),
            parallel: 16,
            retry: Retry::default(),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            // 4 MiB at 14 kB per second.
            whole: Duration::from_secs(300),
        }
    }
}

/// A request to a registry's API.
#[derive(Clone, Debug)]
pub(super) struct RegistryCall<'a> {
    pub host: &'a str,
    /// The verb in "refuses to … `repository`".
    pub action: &'static str,
    pub repository: &'a str,
    /// The necessary token scope.
    pub scope: String,
    pub method: Method,
    /// From the root: `/v2/…`.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    pub limit: usize,
}

impl RegistryCall<'_> {
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // If a media type is not valid in a header, the registry reports the error.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// An unexpected answer, as an error.
    pub(super) fn unexpected(&self, reply: &Reply, reason: impl fmt::Display) -> RegistryError {
        RegistryError::Answer {
            host: self.host.to_owned(),
            status: reply.status.as_u16(),
            action: self.action,
            repository: self.repository.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// An answer whose content is not the expected one.
    pub(super) fn missing(&self, reason: &str) -> RegistryError {
        RegistryError::Answer {
            host: self.host.to_owned(),
            status: 200,
            action: self.action,
            repository: self.repository.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn asker<'a>(&'a self, endpoint: &'a Endpoint) -> Asker<'a> {
        let (action, repository) = (self.action, self.repository);
        Asker { endpoint, scope: &self.scope, action, repository }
    }

    fn request<'a>(&'a self, endpoint: &Endpoint) -> HttpRequest<'a> {
        HttpRequest {
            host: self.host,
            method: self.method.clone(),
            url: self.url(&endpoint.base),
            headers: self.headers.clone(),
            body: self.body.clone(),
            limit: self.limit,
            is_secret: false,
        }
    }

    /// Parts instead of a joined text: a path such as `//elsewhere/` must remain a path of this host.
    fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        url.set_path(&self.path);
        url.set_query(self.query.as_deref());
        url
    }
}

pub(super) struct Exchange {
    options: Options,
    transport: Transport,
    auth: Authenticator,
    endpoints: Mutex<HashMap<String, Arc<OnceCell<Endpoint>>>>,
}

impl Exchange {
    pub(super) fn new(credentials: Credentials, options: Options) -> Self {
        let patience =
            Patience { connect: options.connect, idle: options.idle, whole: options.whole };
        let transport = Transport::new(options.certs.clone(), patience, options.parallel);
        Self {
            options,
            transport,
            auth: Authenticator::new(credentials),
            endpoints: Mutex::default(),
        }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        self.auth.credentials()
    }

    /// Sends the call until it gets an answer that a retry would not change.
    pub(super) async fn call(&self, call: &RegistryCall<'_>) -> Result<Reply, RegistryError> {
        self.call_by(&self.options.retry, call).await
    }

    /// As [`call`](Self::call), with other limits.
    pub(super) async fn call_by(
        &self,
        retry: &Retry,
        call: &RegistryCall<'_>,
    ) -> Result<Reply, RegistryError> {
        retry::run((retry, self.delays()), || self.attempt(call)).await
    }

    /// Sends the call once: an upload is not repeated before the registry has said how much of it has arrived.
    pub(super) async fn once(&self, call: &RegistryCall<'_>) -> Result<Reply, RegistryError> {
        self.attempt(call).await.map_err(|failure| failure.error)
    }

    /// As [`once`](Self::once), without the login, to another server that the registry named.
    pub(super) async fn elsewhere_once(
        &self,
        call: &RegistryCall<'_>,
        url: &Url,
    ) -> Result<Reply, RegistryError> {
        let once = Retry { attempts: 1, ..self.options.retry.clone() };
        self.elsewhere_within(&once, call, url).await
    }

    /// Sends the call without the login to another server that the registry named.
    pub(super) async fn elsewhere(
        &self,
        call: &RegistryCall<'_>,
        url: &Url,
    ) -> Result<Reply, RegistryError> {
        self.elsewhere_within(&self.options.retry, call, url).await
    }

    async fn elsewhere_within(
        &self,
        retry: &Retry,
        call: &RegistryCall<'_>,
        url: &Url,
    ) -> Result<Reply, RegistryError> {
        let registry = self.endpoint(call.host).await?;
        if url.scheme() != "https" && !(registry.is_plain() && url.scheme() == "http") {
            let reason = "it points to an address without HTTPS".to_owned();
            let host = call.host.to_owned();
            return Err(RegistryError::Unreachable { host, reason, hint: None });
        }
        let mut url = url.clone();
        // A user name and a password in an address would become another header.
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            let reason = "it points to no address".to_owned();
            let host = call.host.to_owned();
            return Err(RegistryError::Unreachable { host, reason, hint: None });
        }
        retry::run((retry, self.delays()), || async {
            let request = HttpRequest {
                host: call.host,
                method: call.method.clone(),
                url: url.clone(),
                headers: call.headers.clone(),
                body: call.body.clone(),
                limit: call.limit,
                is_secret: false,
            };
            let reply = self.transport.send(request, None).await?;
            match reply.again() {
                RequestRetry::Never => Ok(reply),
                again => {
                    Err(AttemptFailure { error: call.unexpected(&reply, reply.reason()), again })
                }
            }
        })
        .await
    }

    /// Sends the call once, with the login of earlier calls to this repository, and leaves the body to the caller.
    /// An answer with another status than 200 and 206 is an error.
    pub(super) async fn open(&self, call: &RegistryCall<'_>) -> Result<OpenReply, AttemptFailure> {
        let endpoint = self.endpoint(call.host).await?;
        let asker = call.asker(&endpoint);
        let used = self.auth.known(&self.transport, asker).await?;
        let reply = self.transport.open(call.request(&endpoint), used.as_ref()).await?;
        if matches!(reply.status.as_u16(), 200 | 206) {
            return Ok(reply);
        }
        let reply = reply.whole(call.limit).await?;
        let again = match reply.status.as_u16() {
            // A token has expired: the next attempt gets a new one.
            401 => RequestRetry::Once,
            _ => reply.again(),
        };
        Err(AttemptFailure { error: call.unexpected(&reply, reply.reason()), again })
    }

    /// The token server that a host named.
    pub(super) fn token_server(&self, host: &str) -> Option<Url> {
        self.auth.token_server(host)
    }

    /// A GET of the API that a registry's product has beside `/v2/`: on its own host, or on that of its token server.
    pub(super) async fn api(
        &self,
        host: &str,
        server: Option<&Url>,
        (path, query): (&str, &str),
    ) -> Result<Reply, RegistryError> {
        let endpoint = self.endpoint(host).await?;
        let mut url = server.unwrap_or(&endpoint.base).clone();
        url.set_path(path);
        url.set_query(Some(query));
        // A user name in the address of a token server would override the login.
        _ = url.set_username("");
        _ = url.set_password(None);
        let authorization = self.auth.for_api(&endpoint, server).await?;
        let request = HttpRequest {
            host,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            limit: 32 << 20,
            is_secret: false,
        };
        retry::run((&self.options.retry, self.delays()), || async {
            let reply = self.transport.send(request.clone(), authorization.as_ref()).await?;
            match reply.again() {
                RequestRetry::Never => Ok(reply),
                again => {
                    let error = RegistryError::Answer {
                        host: host.to_owned(),
                        status: reply.status.as_u16(),
                        action: "list",
                        repository: path.to_owned(),
                        reason: reply.reason(),
                    };
                    Err(AttemptFailure { error, again })
                }
            }
        })
        .await
    }

    /// The limits of retries.
    pub(super) fn retry(&self) -> &Retry {
        &self.options.retry
    }

    pub(super) fn delays(&self) -> &Arc<Delays> {
        self.transport.delays()
    }

    async fn attempt(&self, call: &RegistryCall<'_>) -> Result<Reply, AttemptFailure> {
        let endpoint = self.endpoint(call.host).await?;
        let asker = call.asker(&endpoint);
        let request = call.request(&endpoint);
        let mut used = self.auth.known(&self.transport, asker).await?;
        let mut reply = self.transport.send(request.clone(), used.as_ref()).await?;
        // Only the registry itself may ask for the login, not the target of a redirect.
        while reply.status == 401 && same_origin(&reply.url, &endpoint.base) {
            let headers = reply.headers.get_all(header::WWW_AUTHENTICATE);
            let offers = headers.iter().filter_map(|value| value.to_str().ok());
            let Some(challenge) = Challenge::choose(offers) else { break };
            let is_basic = challenge == Challenge::Basic;
            let answer = self.auth.answer(&self.transport, asker, challenge, used.as_ref()).await?;
            reply = self.transport.send(request.clone(), Some(&answer)).await?;
            // A password gets one more attempt, with a new one if it exists. A token was already new.
            if !is_basic || used.replace(answer).is_some() {
                break;
            }
        }
        match (reply.status.as_u16(), reply.again()) {
            (401 | 403, _) => {
                let mut reason = reply.reason();
                if self.credentials().get(call.host).await?.is_none() {
                    reason = format!("there is no login for it, and it says: {reason}");
                }
                Err(asker.refused(&reason).into())
            }
            (_, RequestRetry::Never) => Ok(reply),
            (_, again) => {
                Err(AttemptFailure { error: call.unexpected(&reply, reply.reason()), again })
            }
        }
    }

    async fn endpoint(&self, host: &str) -> Result<Endpoint, RegistryError> {
        let schemes = schemes(host, &self.options.insecure);
        let first = endpoint(host, schemes[0])?;
        if schemes.len() == 1 {
            return Ok(first);
        }
        let cell = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.entry(host.to_owned()).or_default().clone()
        };
        let found = cell.get_or_try_init(async || {
            for scheme in schemes {
                let candidate = endpoint(host, *scheme).map_err(|_| ())?;
                match self.probe(&candidate).await {
                    SchemeProbe::Here => return Ok(candidate),
                    // From here on its certificate counts: a bad certificate must not lead to plain HTTP.
                    SchemeProbe::WantsTls => return endpoint(host, Scheme::Https).map_err(|_| ()),
                    SchemeProbe::Nothing => {}
                }
            }
            Err(())
        });
        // If no server answers, the call itself reports why, and the next call tries again.
        Ok(found.await.cloned().unwrap_or(first))
    }

    /// Whether a registry's API may be at this address. Sends no secret.
    async fn probe(&self, endpoint: &Endpoint) -> SchemeProbe {
        let mut url = endpoint.base.clone();
        url.set_path("/v2/");
        let request = HttpRequest {
            host: &endpoint.host,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            limit: 1 << 20,
            is_secret: false,
        };
        let Ok(Ok(reply)) = timeout(PROBE, self.transport.send(request, None)).await else {
            return SchemeProbe::Nothing;
        };
        // Go's and nginx's TLS servers answer plain HTTP requests with a 400 that contains "HTTPS".
        let says_https = || {
            let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
            reply.status == 400 && text.contains("https")
        };
        if endpoint.is_plain() && (reply.url.scheme() == "https" || says_https()) {
            return SchemeProbe::WantsTls;
        }
        SchemeProbe::Here
    }
}

/// The answer of a host for one scheme.
enum SchemeProbe {
    Here,
    WantsTls,
    Nothing,
}

fn endpoint(host: &str, scheme: Scheme) -> Result<Endpoint, RegistryError> {
    Endpoint::new(host, scheme).ok_or_else(|| RegistryError::Unreachable {
        host: host.to_owned(),
        reason: format!("`{host}` is not the name of a host"),
        hint: None,
    })
}
