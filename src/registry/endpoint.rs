//! The address of a registry's API for the host in an image's name.

use std::net::IpAddr;

use url::{Host, Url};

/// Docker Hub's name in image references.
pub(super) const HUB: &str = "docker.io";
/// The address of Docker Hub's API (docker's `registry.DefaultV2Registry`).
const HUB_API: &str = "registry-1.docker.io";

/// A registry's host and the root of its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// As in the image's name.
    pub host: String,
    /// `https://host/`, or `http://host/` if that is allowed.
    pub base: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Endpoint {
    /// `None` if the host cannot be part of an address.
    pub(super) fn new(host: &str, scheme: Scheme) -> Option<Self> {
        let address = if is_hub(host) { HUB_API } else { host };
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let base = Url::parse(&format!("{scheme}://{address}/")).ok()?;
        Some(Self { host: host.to_owned(), base })
    }

    pub(super) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }
}

/// All names of Docker Hub in image references and configurations.
pub(super) fn is_hub(host: &str) -> bool {
    matches!(host, HUB | "index.docker.io" | HUB_API)
}

/// Which schemes may be tried, in this order.
///
/// Only HTTPS, except for this machine and hosts that the user named: docker also accepts plain HTTP only for
/// 127.0.0.0/8 and `insecure-registries`.
pub(super) fn schemes(host: &str, insecure: &[String]) -> &'static [Scheme] {
    if is_loopback(host) {
        // Usually a test registry without TLS, and no other machine sees the traffic.
        &[Scheme::Http, Scheme::Https]
    } else if insecure.iter().any(|name| name == host) {
        &[Scheme::Https, Scheme::Http]
    } else {
        &[Scheme::Https]
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// `host` or `host:port` of an address, without a default port.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether two addresses have the same scheme, host and port. Only then may the second receive secrets of the
/// first.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_is_elsewhere() {
        for (host, base) in [
            ("docker.io", "https://registry-1.docker.io/"),
            ("ghcr.io", "https://ghcr.io/"),
            ("registry.example.com:5000", "https://registry.example.com:5000/"),
            ("[::1]:5000", "https://[::1]:5000/"),
        ] {
            assert_eq!(Endpoint::new(host, Scheme::Https).unwrap().base.as_str(), base);
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_and_for_named_hosts() {
        use Scheme::{Http, Https};
        let insecure = vec!["lab:5000".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:5000", &[Http, Https][..]),
            ("127.9.9.9", &[Http, Https]),
            ("localhost:80", &[Http, Https]),
            ("[::1]:5000", &[Http, Https]),
            ("lab:5000", &[Https, Http]),
            ("lab", &[Https]),
            ("128.0.0.1:5000", &[Https]),
            ("localhost.example.com", &[Https]),
            ("127.0.0.1.example.com", &[Https]),
            ("docker.io", &[Https]),
        ] {
            assert_eq!(schemes(host, &insecure), expected, "{host}");
        }
    }
}
