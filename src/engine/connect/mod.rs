//! The way to the engine: which one is meant, and a byte stream, a request or an upgrade to it.
//!
//! **Invariant:** this is the only place that opens a connection to an engine, so the API version,
//! TLS and the wording of *unreachable* are decided once.

mod context;
mod discover;
mod endpoint;
mod usual_sockets;
mod proxies;
mod ssh;
mod tls;
mod transport;
mod unreachable;

pub(super) use self::{
    discover::{discover, survey},
    endpoint::Endpoint,
    proxies::proxies,
    transport::{Failure, Reply, Transport},
};

use tokio::io::{AsyncRead, AsyncWrite};

/// Whether an address is that of a `buildkitd`.
pub(super) fn is_buildkitd(url: &str) -> bool {
    url.starts_with(endpoint::BUILDKITD)
}

/// Looks up an environment variable; one that is empty counts as not set, as docker has it.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Bytes both ways: a socket, TLS over one, or the pipes of an `ssh`.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}
