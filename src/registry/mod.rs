//! A registry's HTTP API: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>.
//!
//! **Invariant:** credentials are sent only to the host they are for, or to the token server that
//! this host names over the same or a safer scheme.

mod client;
mod credentials;
mod error;

pub use self::{
    client::{Client, Manifest},
    credentials::Credentials,
    error::RegistryError,
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
