//! One connection a request, as every docker client has it: an engine's socket is cheap to open,
//! and hanging up is how a build is cancelled.

use std::{
    error::Error as StdError,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, uri::PathAndQuery,
};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{ByteStream, endpoint::Endpoint, endpoint::EngineAddress, ssh, unreachable};
use crate::engine::EngineError;

/// A socket that does not answer by now is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to one engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    /// `/v1.41`, once it is agreed on.
    prefix: OnceLock<String>,
}

/// An engine's answer. Dropping it hangs up, which cancels what the engine was doing.
#[derive(Debug)]
pub(in crate::engine) struct Reply {
    pub(in crate::engine) response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum Failure {
    #[error("cannot connect")]
    Open(#[source] io::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    /// The same of a connection that was upgraded, with the reason.
    #[error("the connection broke")]
    Lost(String),
    #[error("malformed request")]
    Request(#[from] http::Error),
}

impl Transport {
    pub(in crate::engine) fn new(endpoint: Endpoint) -> Self {
        Self(Arc::new(Inner { endpoint, prefix: OnceLock::new() }))
    }

    pub(in crate::engine) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// From now on every request is for this version of the API, such as `1.41`.
    pub(in crate::engine) fn speak(&self, version: &str) {
        // The first agreement stands; there is one negotiation.
        _ = self.0.prefix.set(format!("/v{version}"));
    }

    pub(in crate::engine) async fn open(&self) -> io::Result<Box<dyn ByteStream>> {
        let too_long = |_| io::Error::from(io::ErrorKind::TimedOut);
        timeout(CONNECT_TIMEOUT, self.open_at_leisure()).await.map_err(too_long)?
    }

    async fn open_at_leisure(&self) -> io::Result<Box<dyn ByteStream>> {
        Ok(match &self.0.endpoint.address {
            EngineAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
            EngineAddress::Tcp { host, port } => Box::new(tcp(host, *port).await?),
            EngineAddress::Tls { host, port, config } => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tcp(host, *port).await?;
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
            }
            EngineAddress::Command(command) => Box::new(ssh::spawn(command)?),
        })
    }

    /// Sends a request whose URI is a path, on a connection of its own.
    pub(in crate::engine) async fn request<B>(&self, request: Request<B>) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let request = self.address(request)?;
        let stream = self.open().await.map_err(Failure::Open)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // The error also reaches the caller that waits for the answer or reads its body.
            _ = connection.with_upgrades().await;
        }));
        let response = sender.send_request(request).await?;
        Ok(Reply { response, connection })
    }

    /// Asks the engine to speak something else on this connection (`101`), and hands it over.
    ///
    /// A header that comes several times is sent several times.
    pub(in crate::engine) async fn upgrade(
        &self,
        path: &str,
        protocol: &str,
        headers: impl IntoIterator<Item = (HeaderName, String)>,
    ) -> Result<impl ByteStream + 'static, Failure> {
        let mut request = Request::post(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, protocol);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.request(request.body(Empty::<Bytes>::new())?).await?.detach();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            return Err(Failure::Open(io::Error::other(format!("it answered {status}, not 101"))));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    /// Puts the version before the path, and the host into its header.
    fn address<B>(&self, mut request: Request<B>) -> Result<Request<B>, Failure> {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let prefix = self.0.prefix.get().map_or("", String::as_str);
        // bollard 0.21 drops the version, a later one may not.
        let prefix = if path.starts_with("/v1.") { "" } else { prefix };
        let path = format!("{prefix}{path}");
        *request.uri_mut() = Uri::try_from(path).map_err(http::Error::from)?;
        let host = match &self.0.endpoint.address {
            EngineAddress::Tcp { host, port } | EngineAddress::Tls { host, port, .. } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                HeaderValue::from_str(&format!("{host}:{port}")).map_err(http::Error::from)?
            }
            EngineAddress::Unix(_) | EngineAddress::Command(_) => {
                HeaderValue::from_static("docker")
            }
        };
        request.headers_mut().insert(header::HOST, host);
        Ok(request)
    }

    /// What a failure means to people: one line with what was tried and what to do.
    pub(in crate::engine) fn explain(&self, failure: &Failure) -> EngineError {
        EngineError::Unreachable {
            endpoint: self.0.endpoint.to_string(),
            reason: unreachable::reason(&self.0.endpoint, failure),
        }
    }
}

impl Reply {
    /// The response, and what hangs up when it is dropped.
    pub(in crate::engine) fn into_parts(self) -> (Response<Incoming>, AbortOnDropHandle<()>) {
        (self.response, self.connection)
    }

    /// The plain response; the connection then lives as long as its body is read.
    pub(in crate::engine) fn detach(self) -> Response<Incoming> {
        self.connection.detach();
        self.response
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
