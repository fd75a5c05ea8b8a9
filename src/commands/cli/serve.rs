use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};

use super::at_least_one;
use crate::hierarchy::duration;

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  rebuild serve                    the page of the hierarchy here: http://127.0.0.1:8080
  rebuild serve --webhook-secret-file hook.secret --token-file admin.token
                                   take pushes of GitHub, GitLab or Gitea, and actions of users
  rebuild serve --repo https://github.com/acme/tools#main:docker
                                   clone a repository and keep it up to date
  curl http://127.0.0.1:8080       the same as JSON";

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Listen on this address; port 0 takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Keep the database, the clones and the events of runs in this folder
    /// [default: `rebuild/serve` in the state folder of the user]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Serve the hierarchy of a repository: `URL[#BRANCH][:PATH]`; repeat it for several
    ///
    /// The server clones it with git, and fetches its branch before each run. PATH is the folder of
    /// hierarchy.yaml. A hierarchy can run programs on this machine, unless `--untrusted` is given.
    #[arg(long = "repo", value_name = "URL")]
    pub repositories: Vec<RepositoryArg>,
    /// Take webhooks that are signed with the secret in this file; the variable `REBUILD_WEBHOOK_SECRET` does the
    /// same
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub webhook_secret_file: Option<PathBuf>,
    /// Let users with the token in this file start, cancel and retry runs
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Take the name of a user from this header, which a proxy on this machine sets, such as `X-Forwarded-User`
    ///
    /// The proxy must remove the header from requests of its clients.
    #[arg(long, value_name = "HEADER")]
    pub trusted_header: Option<http::HeaderName>,
    /// Also answer to this name in addresses; repeat it for several
    ///
    /// On a loopback address without `--trusted-header`, the server answers to `localhost` and IP addresses only: a
    /// page of another site could otherwise read it under a name of its own.
    #[arg(long, value_name = "NAME")]
    pub public_host: Vec<String>,
    /// Read states, branches and upstreams at this interval
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub poll: Duration,
    /// Show the images of this registry, or of a part of it, and their bases: the page "fleet"
    #[arg(long, value_name = "REGISTRY[/PREFIX]")]
    pub audit: Option<String>,
    /// Build at most N images at once [default: the engine's processors plus ten]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<NonZeroUsize>,
    /// After a failure, continue with images that do not depend on the failed one
    #[arg(short, long)]
    pub keep_going: bool,
    /// Write logs as text, or as JSON for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object for each line
    Json,
}

/// `URL[#BRANCH][:PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryArg {
    pub url: String,
    pub branch: Option<String>,
    /// Relative to the repository; empty for its root.
    pub path: PathBuf,
}

impl FromStr for RepositoryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, branch, path) = if let Some((url, rest)) = text.split_once('#') {
            let (branch, path) = rest.split_once(':').unwrap_or((rest, ""));
            (url, Some(branch), path)
        } else {
            let (url, path) = without_branch(text);
            (url, None, path)
        };
        let path = PathBuf::from(path.trim_matches('/'));
        let is_inside =
            path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if url.is_empty() || url.starts_with('-') {
            return Err("write `URL[#BRANCH][:PATH]`".to_owned());
        }
        if branch.is_some_and(|branch| branch.is_empty() || branch.starts_with('-')) {
            return Err("there is no branch after `#`".to_owned());
        }
        if !is_inside {
            return Err(format!("`{}` is not a path in the repository", path.display()));
        }
        Ok(Self { url: url.to_owned(), branch: branch.map(str::to_owned), path })
    }
}

/// `URL[:PATH]`. The colons of a scheme, of a port and of `git@host:path` belong to the address.
fn without_branch(text: &str) -> (&str, &str) {
    let scheme = text.find("://").map_or(0, |at| at + 3);
    let address = &text[scheme..];
    let colon = address.find(':').filter(|colon| scheme == 0 && !address[..*colon].contains('/'));
    let host = match (colon, scheme) {
        (Some(colon), _) => colon + 1,
        (None, 0) => 0,
        (None, _) => address.find('/').unwrap_or(address.len()),
    };
    let at = address[host..].rfind(':').map(|colon| scheme + host + colon);
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_branch_and_a_path() {
        for (text, url, branch, path) in [
            ("https://h/a/b", "https://h/a/b", None, ""),
            ("https://h:8443/a/b.git#main", "https://h:8443/a/b.git", Some("main"), ""),
            ("https://h:8443/a/b:images/x", "https://h:8443/a/b", None, "images/x"),
            ("https://h/a/b#v1/x:images", "https://h/a/b", Some("v1/x"), "images"),
            ("git@h:a/b.git", "git@h:a/b.git", None, ""),
            ("git@h:a/b.git:images", "git@h:a/b.git", None, "images"),
            ("ssh://git@h:22/a:x", "ssh://git@h:22/a", None, "x"),
            ("/srv/git/a", "/srv/git/a", None, ""),
            ("/srv/git/a:x/", "/srv/git/a", None, "x"),
            ("../a#b:c/hierarchy.yaml", "../a", Some("b"), "c/hierarchy.yaml"),
        ] {
            let expected = RepositoryArg {
                url: url.to_owned(),
                branch: branch.map(str::to_owned),
                path: path.into(),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in ["", "#main", "https://h/a#", "--upload-pack=x", "https://h/a#-x", "/a:../b"] {
            assert!(wrong.parse::<RepositoryArg>().is_err(), "{wrong}");
        }
    }
}
