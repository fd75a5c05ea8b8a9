//! Reads a registry's answer out of an engine's text about a push or pull.
//!
//! Docker and podman pass on sentences of Go libraries; the sources are in `run::engine_messages`. The error is
//! the one that our own registry client reports for the same answer, so it has the same words and hint.

use std::sync::LazyLock;

use regex::Regex;
use url::Url;

use crate::{
    image::Repository,
    registry::{Login, RegistryError},
};

/// Error codes of registries as Go prints them, with their status. In github.com/distribution/distribution,
/// registry/api/errcode/register.go; the second is Docker's text for 401, the third podman's.
const CODES: [(&str, u16); 9] = [
    ("unauthorized", 401),
    ("no basic auth credentials", 401),
    ("authentication required", 401),
    ("denied", 403),
    ("name unknown", 404),
    ("manifest invalid", 400),
    ("unsupported", 405),
    ("toomanyrequests", 429),
    ("unavailable", 503),
];

/// A push to or pull from a repository.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Transfer<'a> {
    /// The verb in "refuses to … `repository`".
    pub(in crate::engine) action: &'static str,
    pub(in crate::engine) repository: &'a Repository,
    pub(in crate::engine) login: Option<&'a Login>,
    /// What to do about a registry without TLS.
    pub(in crate::engine) plain_http: &'static str,
}

impl Transfer<'_> {
    /// `None` if the text names neither an answer nor a broken connection.
    pub(in crate::engine) fn registry_error(&self, text: &str) -> Option<RegistryError> {
        static MANIFEST: LazyLock<Regex> =
            LazyLock::new(|| pattern(r"uploading manifest \S+ to \S+: ([^()]+)\)"));
        static REQUEST: LazyLock<Regex> = LazyLock::new(|| {
            pattern(r#"\b(?:Get|Head|Post|Put|Patch) "?(https?://[^\s"]+?)"?: (.+)"#)
        });
        static STATUS: LazyLock<Regex> = LazyLock::new(|| {
            pattern(concat!(
                r"(?:\bStatusCode: |\bHTTP status: |\bparsing HTTP |\bunexpected status\b.*?: )",
                r#"([45]\d\d)\b(?: response body: )?[\s,:"]*(.*)"#
            ))
        });
        // Podman names each format that it tried.
        if text.starts_with("Uploading manifest failed")
            && let Some(found) = MANIFEST.captures(text)
        {
            return self.registry_error(&found[1]);
        }
        if let Some(found) = STATUS.captures(text) {
            return Some(self.answered(found[1].parse().ok()?, &found[2]));
        }
        let code = CODES.iter().find_map(|&(code, status)| {
            text.match_indices(code).find_map(|(at, _)| {
                let rest = &text[at + code.len()..];
                let is_code = at == 0 || text[..at].ends_with(": ");
                let said = rest.strip_prefix(':').map(str::trim).filter(|said| !said.is_empty());
                let is_whole = rest.is_empty() || rest.starts_with(':');
                (is_code && is_whole).then_some((status, said.unwrap_or(code)))
            })
        });
        if let Some((status, said)) = code {
            return Some(self.answered(status, said));
        }
        let found = REQUEST.captures(text)?;
        self.unreachable(&found[1], &found[2])
    }

    fn answered(&self, status: u16, said: &str) -> RegistryError {
        let (host, action) = (self.repository.host().to_owned(), self.action);
        let repository = self.repository.to_string();
        // A page of a proxy in front of the registry.
        let said = said.split('<').next().unwrap_or_default().trim_matches([' ', '"', ':', '\n']);
        let reason = match (status, self.login, said) {
            (401, None, _) => "it requires a login, and none is configured",
            (401, Some(_), _) => "it does not accept the login",
            (_, _, "") => http::StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("no reason"),
            (_, _, said) => said,
        };
        let reason = reason.to_owned();
        match status {
            401 | 403 => RegistryError::Refused { host, action, repository, reason },
            _ => RegistryError::Answer { host, status, action, repository, reason },
        }
    }

    fn unreachable(&self, url: &str, error: &str) -> Option<RegistryError> {
        let url: Url = url.parse().ok()?;
        let host = self.repository.host().to_owned();
        let (reason, hint) = match error.rsplit(": ").next()? {
            "server gave HTTP response to HTTPS client" => {
                ("it has no TLS", Some(self.plain_http.to_owned()))
            }
            "EOF" | "unexpected EOF" | "connection reset by peer" | "broken pipe" => {
                ("the connection broke off", None)
            }
            "connection refused" => {
                ("connection refused", Some(format!("is a registry running at {host}?")))
            }
            other => (other, None),
        };
        let server = crate::registry::authority(&url);
        let reason =
            if server == host { reason.to_owned() } else { format!("`{server}`: {reason}") };
        Some(RegistryError::Unreachable { host, reason, hint })
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of Docker 28.5 and podman 5.8.
    #[test]
    fn texts_of_engines_become_errors_of_registries() {
        let repository = "r:5000/x/os".parse().unwrap();
        let transfer =
            Transfer { action: "push", repository: &repository, login: None, plain_http: "fix" };
        let podman = "writing blob: initiating layer upload to /v2/x/os/blobs/uploads/ in r:5000: ";
        let manifest = "Uploading manifest failed, attempted the following formats: a/v2+json(writing \
            manifest: uploading manifest rb-1 to r:5000/x/os: manifest invalid), a/v1+prettyjws(writing manifest: \
            uploading manifest rb-1 to r:5000/x/os: manifest invalid)";
        for (text, expected) in [
            ("denied", "refuses to push `r:5000/x/os`: denied"),
            (
                "denied: requested access to the resource is denied",
                "refuses to push `r:5000/x/os`: requested access to the resource is denied",
            ),
            ("denied: <html><h1>403</h1></html>", "refuses to push `r:5000/x/os`: Forbidden"),
            (
                "unauthorized: ",
                "refuses to push `r:5000/x/os`: it requires a login, and none is configured",
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                "answered 500 to push `r:5000/x/os`: Internal Server Error",
            ),
            (&format!("{podman}denied"), "refuses to push `r:5000/x/os`: denied"),
            (
                &format!("{podman}authentication required"),
                "refuses to push `r:5000/x/os`: it requires a login, and none is configured",
            ),
            (&format!("{podman}name unknown"), "answered 404 to push `r:5000/x/os`: name unknown"),
            (
                &format!("{podman}StatusCode: 413, \"<html>413</html>\""),
                "answered 413 to push `r:5000/x/os`: Payload Too Large",
            ),
            (manifest, "answered 400 to push `r:5000/x/os`: manifest invalid"),
            (
                "writing blob: Post \"http://r:5000/v2/x/os/blobs/uploads/\": EOF",
                "the connection broke off",
            ),
            (
                "Get \"https://r:5000/v2/\": http: server gave HTTP response to HTTPS client",
                "it has no TLS",
            ),
            (
                "Get \"http://auth:1/t\": dial tcp 127.0.0.1:1: connect: connection refused",
                "`auth:1`: connection refused",
            ),
            (
                "Get \"http://r:5000/v2/\": no basic auth credentials",
                "refuses to push `r:5000/x/os`: it requires a login, and none is configured",
            ),
            ("the layer is unavailable: because", ""),
            ("tag does not exist: r/x", ""),
        ] {
            let told =
                transfer.registry_error(text).map(|error| error.to_string()).unwrap_or_default();
            let ends = if expected.is_empty() { told.is_empty() } else { told.ends_with(expected) };
            assert!(ends, "{text}: {told}");
        }
        let plain = "Get \"https://r:5000/v2/\": http: server gave HTTP response to HTTPS client";
        assert_eq!(transfer.registry_error(plain).unwrap().hint().as_deref(), Some("fix"));
    }
}
