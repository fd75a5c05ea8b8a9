//! A registry's HTTP API: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>.
//!
//! A call passes four layers: `client` (the operations), `exchange` (retry and 401), `transport` (one HTTP
//! request, redirects), and `failure` (explains errors).
//!
//! **Invariant:** credentials are sent only to their host, or to the token server that this host names over
//! the same or a safer scheme.

mod auth;
mod catalog;
mod challenge;
mod client;
mod copy;
mod credentials;
mod delays;
mod endpoint;
mod error;
mod exchange;
mod failure;
mod index;
mod listing;
mod platform_index;
mod referrers;
mod retry;
mod tls;
mod transport;
mod upload;
mod web;

pub(crate) use self::endpoint::{authority, is_loopback};
pub use self::{
    client::{Client, Manifest},
    copy::{CopiedBytes, Copier, CopyError},
    credentials::Credentials,
    delays::{Delay, Delays},
    error::RegistryError,
    exchange::Options,
    index::only_image,
    platform_index::{PlatformImages, images_of_index},
    retry::{AttemptFailure, Retry},
    web::{SecretUrl, Web, WebRequest, bearer},
};

/// A user name and a password, or an identity token, for one registry. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry's host, as in the image's name.
    pub host: String,
    pub secret: LoginSecret,
}

#[derive(Clone, PartialEq, Eq)]
pub enum LoginSecret {
    Password { user: String, password: String },
    IdentityToken(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Limits foreign text in a message: one line, 300 characters, no control characters.
fn printable(text: &str) -> String {
    const LIMIT: usize = 300;
    let clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}
