//! Which engine is meant: `DOCKER_HOST`, a docker context, or the usual socket, in docker's order.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::ClientConfig;
use url::Url;

use super::{
    Environment,
    context::{self, config_dir},
    ssh, tls,
    usual_sockets::UsualSocket,
};
use crate::engine::EngineError;

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// Before the name of a docker context.
const CONTEXT: &str = "context://";
/// Before the address of a `buildkitd`.
pub(super) const BUILDKITD: &str = "buildkitd+";
const DEFAULT_TLS_ADDRESS: &str = "tcp://localhost:2376";

/// Where an engine is, and who says so.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Endpoint {
    pub(super) address: EngineAddress,
    /// As the user wrote it, without a password: `unix:///var/run/docker.sock`.
    pub(in crate::engine) url: String,
    source: EndpointSource,
}

#[derive(Clone, Debug)]
pub(super) enum EngineAddress {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        config: Arc<ClientConfig>,
    },
    /// The command whose stdin and stdout are the connection.
    Command(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EndpointSource {
    Default,
    /// A socket on which an engine of that name usually listens.
    Usual(&'static str),
    Given,
    Variable,
    Context(String),
}

impl Endpoint {
    /// The engine that `docker` would talk to; `given` wins over everything else.
    pub(in crate::engine) fn find(
        given: Option<&str>,
        environment: Environment,
    ) -> Result<Self, EngineError> {
        if let Some(name) = given.and_then(|given| given.strip_prefix(CONTEXT)) {
            let folder = config_dir(environment).ok_or_else(|| context::unknown(name))?;
            let meant = context::read(&folder, name)?;
            let source = EndpointSource::Context(name.to_owned());
            return Self::parse(&meant.host, source, meant.tls.as_ref());
        }
        if let Some(url) = given {
            return Self::with_environment(url, EndpointSource::Given, environment);
        }
        if let Some(url) = environment("DOCKER_HOST") {
            return Self::with_environment(&url, EndpointSource::Variable, environment);
        }
        let folder = config_dir(environment);
        let name = match environment("DOCKER_CONTEXT") {
            Some(name) => Some(name),
            None => folder.as_deref().map(context::current).transpose()?.flatten(),
        };
        match (name, folder) {
            (Some(name), Some(folder)) if name != "default" => {
                let meant = context::read(&folder, &name)?;
                Self::parse(&meant.host, EndpointSource::Context(name), meant.tls.as_ref())
            }
            (Some(name), None) if name != "default" => Err(context::unknown(&name)),
            _ => {
                let tls = tls::is_asked_for(environment);
                let url = if tls { DEFAULT_TLS_ADDRESS } else { DEFAULT_SOCKET };
                Self::with_environment(url, EndpointSource::Default, environment)
            }
        }
    }

    /// A `buildkitd`, by an address such as `buildkitd+unix:///run/buildkit/buildkitd.sock`.
    pub(in crate::engine) fn buildkitd(
        url: &str,
        environment: Environment,
    ) -> Result<Self, EngineError> {
        let refuse = |reason: &str| refuse(url, &EndpointSource::Given, reason.to_owned());
        let address = url.strip_prefix(BUILDKITD).unwrap_or(url);
        match address.split_once("://") {
            Some(("unix", _)) => {}
            Some(("tcp", rest)) => {
                let port = Url::parse(&format!("tcp://{rest}")).ok().and_then(|url| url.port());
                if port.is_none() {
                    return Err(refuse("the port is missing; buildkitd often listens on 1234"));
                }
            }
            _ => return Err(refuse("buildkitd+unix:// and buildkitd+tcp:// are supported")),
        }
        let mut found = Self::with_environment(address, EndpointSource::Given, environment)?;
        if let EngineAddress::Tls { config, .. } = &mut found.address {
            // Servers of gRPC refuse connections that do not agree on HTTP/2.
            Arc::make_mut(config).alpn_protocols = vec![b"h2".to_vec()];
        }
        found.url = format!("{BUILDKITD}{}", found.url);
        Ok(found)
    }

    fn with_environment(
        url: &str,
        source: EndpointSource,
        environment: Environment,
    ) -> Result<Self, EngineError> {
        let material = tls::Material::from_environment(environment)
            .map_err(|reason| refuse(url, &source, reason))?;
        Self::parse(url, source, material.as_ref())
    }

    fn parse(
        text: &str,
        source: EndpointSource,
        tls: Option<&tls::Material>,
    ) -> Result<Self, EngineError> {
        let refuse = |reason: String| refuse(text, &source, reason);
        // Docker takes a bare `host:port` for TCP.
        let full = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
        let (scheme, rest) = full.split_once("://").unwrap_or_default();
        let address = match scheme {
            "unix" if rest.is_empty() => return Err(refuse("the path is missing".to_owned())),
            "unix" => EngineAddress::Unix(PathBuf::from(rest)),
            "tcp" | "http" | "https" => {
                let secure = scheme == "https" || tls.is_some();
                let (host, port) = host_and_port(rest, secure).map_err(&refuse)?;
                if secure {
                    let config = tls::client_config(tls).map_err(&refuse)?;
                    EngineAddress::Tls { host, port, config }
                } else {
                    EngineAddress::Tcp { host, port }
                }
            }
            "ssh" => EngineAddress::Command(ssh::command(&full).map_err(&refuse)?),
            // What stands before `://` may be half of a password with such a sign in it.
            _ if scheme.contains('@') || scheme.contains(':') => {
                return Err(refuse("it is not an address".to_owned()));
            }
            _ => {
                return Err(refuse(format!(
                    "`{scheme}://` is not supported; unix://, tcp:// and ssh:// are"
                )));
            }
        };
        Ok(Self { address, url: without_password(text), source })
    }
}

fn refuse(url: &str, source: &EndpointSource, reason: String) -> EngineError {
    EngineError::Unreachable { endpoint: format!("{}{source}", without_password(url)), reason }
}

/// An address as it may be shown. `ssh://` has the user's name before the host, other schemes may have
/// a token there.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // A password may have a `/` or an `@` in it, so that the last `@` ends it.
    let shown = match (scheme, rest.rsplit_once('@')) {
        ("unix", _) | (_, None) => rest.to_owned(),
        ("ssh", Some((login, host))) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => rest.to_owned(),
        },
        (_, Some((_, host))) => format!("***@{host}"),
    };
    match scheme.rsplit_once('@') {
        _ if scheme.is_empty() => shown,
        Some((_, end)) => format!("***@{end}://{shown}"),
        None => format!("{scheme}://{shown}"),
    }
}

fn host_and_port(address: &str, secure: bool) -> Result<(String, u16), String> {
    // Whatever the scheme was: of `http://` a URL would forget port 80, which is not docker's.
    let parsed = Url::parse(&format!("tcp://{address}")).map_err(|error| error.to_string())?;
    if !matches!(parsed.path(), "" | "/") {
        if address.contains('@') {
            return Err("an address has no path".to_owned());
        }
        return Err(format!("an address has no path, but this one ends in `{}`", parsed.path()));
    }
    let host = parsed.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| "the host is missing".to_owned())?;
    let port = parsed.port().unwrap_or(if secure { 2376 } else { 2375 });
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

impl Endpoint {
    /// Where an engine usually listens.
    pub(super) fn usual(place: UsualSocket) -> Self {
        let url = format!("unix://{}", place.socket.display());
        Self {
            address: EngineAddress::Unix(place.socket),
            url,
            source: EndpointSource::Usual(place.engine),
        }
    }

    /// Whether anyone on the network between can read and change what is sent.
    pub(in crate::engine) fn is_exposed(&self) -> bool {
        let is_local = |host: &str| {
            let ip = host.parse::<std::net::IpAddr>();
            host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
        };
        matches!(&self.address, EngineAddress::Tcp { host, .. } if !is_local(host))
    }

    /// Whether it is the address of a `buildkitd`.
    pub(super) fn is_buildkitd(&self) -> bool {
        self.url.starts_with(BUILDKITD)
    }

    /// Whether the user named no engine.
    pub(super) fn is_default(&self) -> bool {
        matches!(self.source, EndpointSource::Default | EndpointSource::Usual(_))
    }

    /// Whether the user named no engine, and other places may have one as well.
    pub(super) fn is_default_socket(&self) -> bool {
        self.is_default() && self.is_socket()
    }

    fn is_socket(&self) -> bool {
        matches!(self.address, EngineAddress::Unix(_))
    }
}

/// Where, and who says so: `unix:///run/x.sock`, from `DOCKER_HOST`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.source)
    }
}

impl fmt::Display for EndpointSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default | Self::Given => Ok(()),
            Self::Usual(engine) => write!(f, " ({engine})"),
            Self::Variable => f.write_str(" (from `DOCKER_HOST`)"),
            Self::Context(name) => write!(f, " (docker context `{name}`)"),
        }
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
