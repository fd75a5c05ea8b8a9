//! The repositories of a registry: `_catalog`, or the API of the product where the registry refuses that.
//!
//! <https://distribution.github.io/distribution/spec/api/#listing-repositories> ·
//! <https://goharbor.io/docs/2.11.0/working-with-projects/using-api-explorer/> ·
//! <https://docs.gitlab.com/api/container_registry/>

use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::{Client, RegistryError, exchange::RegistryCall, listing::next, transport::Reply};
use crate::image::Repository;

/// The limits of a list: a registry may send endless pages.
const PAGES: usize = 5_000;
const REPOSITORIES: usize = 500_000;
const TIME: Duration = Duration::from_secs(15 * 60);
/// A thousand names of 255 characters, and what Harbor sends beside them.
const LIMIT: usize = 32 << 20;

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

/// An entry of Harbor's list.
#[derive(Deserialize)]
struct HarborEntry {
    name: String,
}

/// An entry of GitLab's list.
#[derive(Deserialize)]
struct GitLabEntry {
    path: String,
}

impl Client {
    /// The repositories of a host, or those below a path of it, in the registry's order.
    ///
    /// # Errors
    /// The registry's refusal of `_catalog`, if no other list answers either.
    pub async fn repositories(
        &self,
        host: &str,
        below: Option<&str>,
    ) -> Result<Vec<Repository>, RegistryError> {
        let refused = match self.catalog(host).await {
            Ok(names) => return Ok(named(host, below, names)),
            Err(error @ (RegistryError::Refused { .. } | RegistryError::Answer { .. })) => error,
            Err(error) => return Err(error),
        };
        let project = below.map(|below| below.split('/').next().unwrap_or(below));
        if let Ok(names) = self.harbor(host, project).await {
            return Ok(named(host, below, names));
        }
        if let (Some(below), Some(server)) = (below, self.exchange.token_server(host))
            && let Ok(names) = self.gitlab(host, (&server, below)).await
        {
            return Ok(named(host, Some(below), names));
        }
        Err(refused)
    }

    async fn catalog(&self, host: &str) -> Result<Vec<String>, RegistryError> {
        let mut call = RegistryCall {
            host,
            action: "list",
            repository: "_catalog",
            scope: "registry:catalog:*".to_owned(),
            method: Method::GET,
            path: "/v2/_catalog".to_owned(),
            query: Some("n=1000".to_owned()),
            headers: HeaderMap::new(),
            body: None,
            limit: LIMIT,
        };
        let mut list = List::new(host);
        loop {
            let reply = self.exchange.call(&call).await?;
            if reply.status != 200 {
                return Err(call.unexpected(&reply, reply.reason()));
            }
            let page: CatalogPage = serde_json::from_slice(&reply.body).map_err(|error| {
                call.unexpected(&reply, format!("not a list of repositories: {error}"))
            })?;
            list.add(page.repositories.unwrap_or_default())?;
            let Some(next) = next(&reply) else { return Ok(list.names) };
            let next = next.map_err(|reason| call.unexpected(&reply, reason))?;
            let query = next.query().map(str::to_owned);
            if (next.path(), &query) == (call.path.as_str(), &call.query) {
                return Err(call.unexpected(&reply, "its next page is the same page again"));
            }
            (call.path, call.query) = (next.path().to_owned(), query);
        }
    }

    /// Of a project, or of all projects that the account sees.
    async fn harbor(
        &self,
        host: &str,
        project: Option<&str>,
    ) -> Result<Vec<String>, RegistryError> {
        let path = match project {
            Some(project) => format!("/api/v2.0/projects/{project}/repositories"),
            None => "/api/v2.0/repositories".to_owned(),
        };
        let mut list = List::new(host);
        for page in 1.. {
            let query = format!("page={page}&page_size=100");
            let reply = self.exchange.api(host, None, (&path, &query)).await?;
            let entries: Vec<HarborEntry> = read(host, &reply)?;
            let is_last = entries.len() < 100;
            list.add(entries.into_iter().map(|entry| entry.name).collect())?;
            if is_last {
                break;
            }
        }
        Ok(list.names)
    }

    /// Of a group with its subgroups, or of a project. The API is on the host of the token server.
    async fn gitlab(
        &self,
        host: &str,
        (server, below): (&Url, &str),
    ) -> Result<Vec<String>, RegistryError> {
        let id = below.replace('/', "%2F");
        let mut refused = None;
        for kind in ["groups", "projects"] {
            let path = format!("/api/v4/{kind}/{id}/registry/repositories");
            let mut list = List::new(host);
            let mut page = "1".to_owned();
            let ended = loop {
                let query = format!("per_page=100&page={page}");
                let reply = self.exchange.api(host, Some(server), (&path, &query)).await?;
                let entries: Vec<GitLabEntry> = match read(host, &reply) {
                    Ok(entries) => entries,
                    Err(error) => break Err(error),
                };
                list.add(entries.into_iter().map(|entry| entry.path).collect())?;
                match reply.header("x-next-page").filter(|next| !next.is_empty()) {
                    Some(next) if next != page => next.clone_into(&mut page),
                    _ => break Ok(()),
                }
            };
            match ended {
                Ok(()) => return Ok(list.names),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(Vec::new()), Err)
    }
}

/// A list that grows page by page.
struct List<'a> {
    host: &'a str,
    names: Vec<String>,
    pages: usize,
    began: Instant,
}

impl<'a> List<'a> {
    fn new(host: &'a str) -> Self {
        Self { host, names: Vec::new(), pages: 0, began: Instant::now() }
    }

    fn add(&mut self, names: Vec<String>) -> Result<(), RegistryError> {
        self.names.extend(names);
        self.pages += 1;
        let is_endless =
            self.pages > PAGES || self.names.len() > REPOSITORIES || self.began.elapsed() > TIME;
        if !is_endless {
            return Ok(());
        }
        Err(RegistryError::Unreachable {
            host: self.host.to_owned(),
            reason: format!("its list of repositories goes on after {} names", self.names.len()),
            hint: None,
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(host: &str, reply: &Reply) -> Result<T, RegistryError> {
    let failed = |reason: String| RegistryError::Answer {
        host: host.to_owned(),
        status: reply.status.as_u16(),
        action: "list",
        repository: reply.url.path().to_owned(),
        reason,
    };
    if reply.status != 200 {
        return Err(failed(reply.reason()));
    }
    serde_json::from_slice(&reply.body).map_err(|error| failed(error.to_string()))
}

/// Names as repositories of the host. A name that is not one by the grammar cannot be pulled.
fn named(host: &str, below: Option<&str>, names: Vec<String>) -> Vec<Repository> {
    let is_below = |name: &String| {
        below.is_none_or(|below| {
            name.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let names = names.into_iter().filter(is_below);
    names.filter_map(|name| format!("{host}/{name}").parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repositories_below_a_path_are_listed() {
        let names = ["team", "team/app", "teams/app", "other", "team/Bad"].map(str::to_owned);
        let listed = |below| {
            let listed = named("r.example.com", below, names.to_vec());
            listed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(listed(Some("team")), ["r.example.com/team", "r.example.com/team/app"]);
        assert_eq!(listed(None).len(), 4);
    }
}
