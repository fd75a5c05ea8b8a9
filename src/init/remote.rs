//! The address of the remote repository, and what it says of variables of CI systems.

use std::path::Path;

use super::evidence::Values;
use crate::host::bounded;

/// The address of the first remote repository.
pub(super) fn address(root: &Path) -> Option<String> {
    let config = bounded::text(&root.join(".git/config")).ok()?;
    let mut urls = config.lines().filter_map(|line| line.trim().strip_prefix("url"));
    Some(urls.find_map(|rest| rest.trim_start().strip_prefix('='))?.trim().to_owned())
}

/// The host and the path of `https://host:port/path.git` and of `user@host:path`.
pub(super) fn host_and_path(remote: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = remote.split_once("://").map_or((None, remote), |(a, b)| (Some(a), b));
    let end = rest.find('/').unwrap_or(rest.len());
    let rest = rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    let (host, path) = match scheme {
        Some("file") => return None,
        Some(_) => rest.split_once('/')?,
        None => rest.split_once(':')?,
    };
    let host = host.split(':').next().unwrap_or(host);
    let path = path.trim_matches('/');
    Some((host, path.strip_suffix(".git").unwrap_or(path)))
}

/// Variables of GitHub Actions and of `CircleCI` for a repository on GitHub:
/// <https://docs.github.com/actions/reference/workflows-and-actions/contexts#github-context>.
pub(super) fn of_github(remote: Option<&str>) -> Values {
    let path = remote.and_then(host_and_path).filter(|(host, _)| *host == "github.com");
    let Some((owner, name)) = path.and_then(|(_, path)| path.split_once('/')) else {
        return Values::new();
    };
    let whole = format!("{owner}/{name}");
    let all = [
        ("github.repository", whole.as_str()),
        ("GITHUB_REPOSITORY", &whole),
        ("github.repository_owner", owner),
        ("GITHUB_REPOSITORY_OWNER", owner),
        ("github.event.repository.name", name),
        ("CIRCLE_PROJECT_USERNAME", owner),
        ("CIRCLE_PROJECT_REPONAME", name),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
