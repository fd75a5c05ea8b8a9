//! One call with all that it takes: the endpoint, the login, and patience.

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
    auth::{Asker, Auth},
    challenge::Challenge,
    endpoint::{Endpoint, Scheme, same_origin, schemes},
    retry::{self, Again, Failure, Retry},
    transport::{Patience, Reply, Request, Transport},
};

/// A registry on this machine or in the next room says at once which scheme it speaks.
const PROBE: Duration = Duration::from_secs(3);

/// How the client behaves; the defaults are right for everybody but tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts, as in image names, that may be spoken to over plain HTTP.
    pub insecure: Vec<String>,
    /// Docker's directory of certificates for single hosts: `<host>/*.crt`.
    pub certs: PathBuf,
    /// How many requests one host gets at the same time.
    pub parallel: usize,
    pub retry: Retry,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a registry may be silent in the middle of an answer.
    pub idle: Duration,
    /// How long an answer may take as a whole, with its redirects: one that comes a byte at a time is
    /// never silent. Waiting for other requests does not count.
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
            // 4 MiB at 14 kB a second.
            whole: Duration::from_secs(300),
        }
    }
}

/// A request to a registry's API.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub host: &'a str,
    /// Ends the sentence "refuses to … `repository`".
    pub action: &'static str,
    pub repository: &'a str,
    /// The token scope it needs.
    pub scope: String,
    pub method: Method,
    /// From the root: `/v2/…`.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    pub limit: usize,
}

impl Call<'_> {
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // A media type that is not fit for a header is left to the registry to complain about.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// An answer that does not help, as an error.
    pub(super) fn unexpected(&self, reply: &Reply, reason: impl fmt::Display) -> RegistryError {
        RegistryError::Answer {
            host: self.host.to_owned(),
            status: reply.status.as_u16(),
            action: self.action,
            repository: self.repository.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Parts, not a joined text: a path such as `//elsewhere/` must stay a path of this host.
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
    auth: Auth,
    endpoints: Mutex<HashMap<String, Arc<OnceCell<Endpoint>>>>,
}

impl Exchange {
    pub(super) fn new(credentials: Credentials, options: Options) -> Self {
        let patience =
            Patience { connect: options.connect, idle: options.idle, whole: options.whole };
        let transport = Transport::new(options.certs.clone(), patience, options.parallel);
        Self { options, transport, auth: Auth::new(credentials), endpoints: Mutex::default() }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        self.auth.credentials()
    }

    /// Sends the call until there is an answer that a retry would not change.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, RegistryError> {
        retry::run(&self.options.retry, || self.attempt(call)).await
    }

    /// Sends the call to another server, which an answer of the registry named: without the login.
    pub(super) async fn elsewhere(
        &self,
        call: &Call<'_>,
        url: &Url,
    ) -> Result<Reply, RegistryError> {
        let registry = self.endpoint(call.host).await?;
        if url.scheme() != "https" && !(registry.is_plain() && url.scheme() == "http") {
            let reason = "it points to an address without HTTPS".to_owned();
            let host = call.host.to_owned();
            return Err(RegistryError::Unreachable { host, reason, hint: None });
        }
        let mut url = url.clone();
        // A name and a password within an address would become a header of their own.
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            let reason = "it points to no address".to_owned();
            let host = call.host.to_owned();
            return Err(RegistryError::Unreachable { host, reason, hint: None });
        }
        retry::run(&self.options.retry, || async {
            let request = Request {
                host: call.host,
                method: call.method.clone(),
                url: url.clone(),
                headers: call.headers.clone(),
                body: call.body.clone(),
                limit: call.limit,
            };
            let reply = self.transport.send(request, None).await?;
            match reply.again() {
                Again::Never => Ok(reply),
                again => Err(Failure { error: call.unexpected(&reply, reply.reason()), again }),
            }
        })
        .await
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let endpoint = self.endpoint(call.host).await?;
        let asker = Asker {
            endpoint: &endpoint,
            scope: &call.scope,
            action: call.action,
            repository: call.repository,
        };
        let request = Request {
            host: call.host,
            method: call.method.clone(),
            url: call.url(&endpoint.base),
            headers: call.headers.clone(),
            body: call.body.clone(),
            limit: call.limit,
        };
        let mut used = self.auth.known(&self.transport, asker).await?;
        let mut reply = self.transport.send(request.clone(), used.as_ref()).await?;
        // Only the registry itself may ask for the login, not where it redirects to.
        while reply.status == 401 && same_origin(&reply.url, &endpoint.base) {
            let headers = reply.headers.get_all(header::WWW_AUTHENTICATE);
            let offers = headers.iter().filter_map(|value| value.to_str().ok());
            let Some(challenge) = Challenge::choose(offers) else { break };
            let is_basic = challenge == Challenge::Basic;
            let answer = self.auth.answer(&self.transport, asker, challenge, used.as_ref()).await?;
            reply = self.transport.send(request.clone(), Some(&answer)).await?;
            // A password gets one more try, with a new one if there is one. A token was new.
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
            (_, Again::Never) => Ok(reply),
            (_, again) => Err(Failure { error: call.unexpected(&reply, reply.reason()), again }),
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
                    Probe::Here => return Ok(candidate),
                    // From here on its certificate counts: a bad one is no reason for plain HTTP.
                    Probe::WantsTls => return endpoint(host, Scheme::Https).map_err(|_| ()),
                    Probe::Nothing => {}
                }
            }
            Err(())
        });
        // If nothing answers, the call itself finds out why, and the next one asks anew.
        Ok(found.await.cloned().unwrap_or(first))
    }

    /// Whether a registry's API may be there. Sends nothing secret.
    async fn probe(&self, endpoint: &Endpoint) -> Probe {
        let mut url = endpoint.base.clone();
        url.set_path("/v2/");
        let request = Request {
            host: &endpoint.host,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            limit: 1 << 20,
        };
        let Ok(Ok(reply)) = timeout(PROBE, self.transport.send(request, None)).await else {
            return Probe::Nothing;
        };
        // Go's and nginx's TLS servers explain plain HTTP requests with a 400 that says "HTTPS".
        let says_https = || {
            let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
            reply.status == 400 && text.contains("https")
        };
        if endpoint.is_plain() && (reply.url.scheme() == "https" || says_https()) {
            return Probe::WantsTls;
        }
        Probe::Here
    }
}

/// What a host answers when asked under one scheme.
enum Probe {
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
