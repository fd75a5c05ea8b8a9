//! Explains connection errors, and decides whether to retry.

use std::{error::Error, io, time::Duration};

use rustls::{CertificateError, InvalidMessage};
use url::Url;

use super::{
    RegistryError,
    endpoint::authority,
    retry::{AttemptFailure, RequestRetry},
};

/// Why no answer arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NoAnswerCause {
    NoSuchHost,
    LookupFailed,
    Refused,
    ConnectTimeout,
    Silence,
    PlainHttp,
    Expired,
    NotYetValid,
    WrongName(Vec<String>),
    UnknownAuthority,
    Tls(String),
    BrokeOff,
    NoRoute(String),
    Other(String),
}

/// Explains the error of a request to `url` for the registry `host`. `has_answered`: whether that server has
/// answered an earlier request.
pub(super) fn explain(
    (host, url): (&str, &Url),
    error: &reqwest::Error,
    idle: Duration,
    has_answered: bool,
) -> AttemptFailure {
    let cause = cause_of(error);
    let server = authority(url);
    let reason = cause.reason(url.host_str().unwrap_or_default(), idle);
    let reason = about(&server, host, reason);
    AttemptFailure {
        error: RegistryError::Unreachable {
            host: host.to_owned(),
            reason,
            hint: cause.hint(&server),
        },
        again: cause.again(has_answered),
    }
}

/// Names a token server or a blob store of the registry, because it is another machine, unless the reason names it.
fn about(server: &str, host: &str, reason: String) -> String {
    let is_named = server == host || reason.contains(&format!("`{server}`"));
    if is_named { reason } else { format!("`{server}`: {reason}") }
}

impl NoAnswerCause {
    /// If the server has answered before, it or the network is restarting: the client waits. If it never has,
    /// its name is probably misspelled.
    fn again(&self, has_answered: bool) -> RequestRetry {
        match self {
            Self::Refused | Self::NoSuchHost | Self::NoRoute(_) if has_answered => {
                RequestRetry::Backoff
            }
            Self::LookupFailed | Self::ConnectTimeout | Self::Silence | Self::BrokeOff => {
                RequestRetry::Backoff
            }
            Self::Refused => RequestRetry::Once,
            Self::NoSuchHost
            | Self::PlainHttp
            | Self::Expired
            | Self::NotYetValid
            | Self::WrongName(_)
            | Self::UnknownAuthority
            | Self::Tls(_)
            | Self::NoRoute(_)
            | Self::Other(_) => RequestRetry::Never,
        }
    }

    fn reason(&self, name: &str, idle: Duration) -> String {
        match self {
            Self::NoSuchHost => format!("there is no host `{name}`"),
            Self::LookupFailed => format!("the name `{name}` cannot be looked up right now"),
            Self::Refused => "connection refused".to_owned(),
            Self::ConnectTimeout => "no connection in time".to_owned(),
            Self::Silence => format!("it sent nothing for {idle:?}"),
            Self::PlainHttp => "it speaks plain HTTP where HTTPS is expected".to_owned(),
            Self::Expired => "its certificate has expired".to_owned(),
            Self::NotYetValid => "its certificate is not valid yet".to_owned(),
            Self::WrongName(names) if names.is_empty() => {
                format!("its certificate is not for `{name}`")
            }
            Self::WrongName(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                format!("its certificate is for {}, not for `{name}`", names.join(", "))
            }
            Self::UnknownAuthority => {
                "its certificate is from an authority that this machine does not know".to_owned()
            }
            Self::Tls(what) => format!("no TLS connection: {what}"),
            Self::BrokeOff => "the connection broke off".to_owned(),
            Self::NoRoute(what) | Self::Other(what) => what.clone(),
        }
    }

    fn hint(&self, server: &str) -> Option<String> {
        let hint = match self {
            Self::NoSuchHost => "check the spelling of the name, and this machine's DNS".to_owned(),
            Self::LookupFailed => "check this machine's network and DNS".to_owned(),
            Self::Refused => format!("is a registry running at {server}?"),
            Self::ConnectTimeout => {
                "a firewall may be in the way, or `HTTPS_PROXY` be needed".to_owned()
            }
            Self::PlainHttp => format!(
                "give {server} a certificate; rebuild sends no password over plain HTTP unless \
                 the registry is on this machine"
            ),
            Self::Expired => {
                format!("renew the certificate of {server}; or is this machine's clock wrong?")
            }
            Self::NotYetValid => "is this machine's clock wrong?".to_owned(),
            Self::WrongName(_) => {
                format!("use the name in the certificate, or have one issued for {server}")
            }
            Self::UnknownAuthority => format!(
                "put the authority's certificate into `/etc/docker/certs.d/{server}/ca.crt`, or \
                 among the system's"
            ),
            Self::Silence | Self::Tls(_) | Self::BrokeOff | Self::NoRoute(_) | Self::Other(_) => {
                return None;
            }
        };
        Some(hint)
    }
}

fn cause_of(error: &reqwest::Error) -> NoAnswerCause {
    let mut texts = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(one) = next {
        if let Some(cause) = known(one) {
            return cause;
        }
        texts.push(one.to_string());
        next = one.source();
    }
    let says = |part: &str| texts.iter().any(|text| text.contains(part));
    // hyper-util does not export its connect error; getaddrinfo's answers have no `ErrorKind`.
    if says("dns error") {
        return if says("Temporary failure") {
            NoAnswerCause::LookupFailed
        } else {
            NoAnswerCause::NoSuchHost
        };
    }
    if error.is_timeout() {
        return if error.is_connect() {
            NoAnswerCause::ConnectTimeout
        } else {
            NoAnswerCause::Silence
        };
    }
    if says("connection closed") || says("end of file") || says("error shutting down") {
        return NoAnswerCause::BrokeOff;
    }
    // The innermost text is the most useful; reqwest's text would repeat the address with its query.
    NoAnswerCause::Other(super::printable(
        texts.last().map_or("the request failed", String::as_str),
    ))
}

/// Checks I/O errors too: their `source` omits the error that they wrap.
fn known(error: &(dyn Error + 'static)) -> Option<NoAnswerCause> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(cause) = error.get_ref().and_then(|inner| known(inner)) {
        return Some(cause);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(NoAnswerCause::Refused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(NoAnswerCause::BrokeOff),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(NoAnswerCause::NoRoute(error.to_string()))
        }
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> NoAnswerCause {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => NoAnswerCause::PlainHttp,
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => NoAnswerCause::UnknownAuthority,
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => NoAnswerCause::Expired,
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => NoAnswerCause::NotYetValid,
        Tls::InvalidCertificate(CertificateError::NotValidForName) => {
            NoAnswerCause::WrongName(Vec::new())
        }
        Tls::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            // `DnsName("a.example.com")` is how rustls writes them.
            let name = |text: &String| text.split('"').nth(1).unwrap_or(text.as_str()).to_owned();
            NoAnswerCause::WrongName(presented.iter().map(name).collect())
        }
        // `openssl req -x509` makes self-signed certificates, for which webpki reports only this.
        Tls::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            NoAnswerCause::UnknownAuthority
        }
        other => NoAnswerCause::Tls(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_is_named_once() {
        let (host, server) = ("docker.io", "registry-1.docker.io");
        let no_host = NoAnswerCause::NoSuchHost.reason(server, Duration::ZERO);
        for (server, reason, expected) in [
            (server, no_host, "there is no host `registry-1.docker.io`"),
            (server, "connection refused".to_owned(), "`registry-1.docker.io`: connection refused"),
            (host, "connection refused".to_owned(), "connection refused"),
        ] {
            assert_eq!(about(server, host, reason), expected);
        }
    }
}
