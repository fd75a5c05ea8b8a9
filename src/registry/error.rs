//! Errors of registries, by the action that they require of the user.

/// Each names the registry's host and, if it has one, the repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No answer: name, connection, TLS or silence, after all retries.
    #[error("cannot reach the registry {host}: {reason}")]
    Unreachable { host: String, reason: String, hint: Option<String> },
    /// 401 or 403, after a fresh token.
    #[error("the registry {host} refuses to {action} `{repository}`: {reason}")]
    Refused { host: String, action: &'static str, repository: String, reason: String },
    /// An invalid answer, or another error status.
    #[error("the registry {host} answered {status} to {action} `{repository}`: {reason}")]
    Answer { host: String, status: u16, action: &'static str, repository: String, reason: String },
    /// An error of the user's docker configuration or a credential helper.
    #[error("no credentials for {host}: {reason}")]
    Credentials { host: String, reason: String },
}

impl RegistryError {
    /// The hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { hint, .. } => hint.clone(),
            // Asked before anything else, of no repository.
            Self::Refused { host, repository, .. } if repository == "/v2/" => {
                Some(format!("log in with `docker login {host}`"))
            }
            Self::Refused { host, action, repository, .. } => Some(format!(
                "log in with `docker login {host}`, as an account that may {action} `{repository}`"
            )),
            Self::Answer { host, status, repository, .. } => status_hint(*status, host, repository),
            Self::Credentials { host, .. } => Some(format!(
                "`docker login {host}` writes this part of docker's configuration anew"
            )),
        }
    }
}

fn status_hint(status: u16, host: &str, repository: &str) -> Option<String> {
    let hint = match status {
        404 => format!(
            "some registries want a repository or project created first: does `{repository}` \
             exist on {host}?"
        ),
        405 => format!(
            "{host} is read-only, or this is switched off there (docker-registry: \
             `storage.maintenance.readonly`, `proxy`; for deletions `storage.delete.enabled`)"
        ),
        413 => format!("a proxy in front of {host} limits the size of a request"),
        429 => {
            format!("a rate limit: wait, or `docker login {host}` as an account with a higher one")
        }
        500..=599 => format!("the fault is on the registry's side: see the logs of {host}"),
        _ => return None,
    };
    Some(hint)
}
