//! What can go wrong with a registry, told apart by what a person does about it.

/// Each names the registry's host and, where there is one, the repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No answer: name, connection, TLS or silence. Worth a retry.
    #[error("cannot reach the registry {host}: {reason}")]
    Unreachable { host: String, reason: String, hint: Option<String> },
    /// 401 or 403, after a fresh token.
    #[error("the registry {host} refuses to {action} `{repository}`: {reason}")]
    Refused { host: String, action: &'static str, repository: String, reason: String },
    /// An answer that makes no sense, or an error status that is not one of the above.
    #[error("the registry {host} answered {status} to {action} `{repository}`: {reason}")]
    Answer { host: String, status: u16, action: &'static str, repository: String, reason: String },
    /// The user's docker configuration or a credential helper of it.
    #[error("no credentials for {host}: {reason}")]
    Credentials { host: String, reason: String },
}
