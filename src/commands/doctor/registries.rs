//! Each registry of the hierarchy: the login, the right to push, and its clock against ours.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    commands::{connections::print_delays, error::CommandError},
    hierarchy::Hierarchy,
    image::Repository,
    registry::{Client, Credentials, RegistryError},
    report::doctor::Finding,
};

/// How many repositories are asked at once whether we may push to them.
const AT_ONCE: usize = 8;
/// In seconds. Tokens are good for a few minutes, so a clock that is further off makes them useless.
const CLOCKS_APART: i64 = 60;

pub(super) async fn check(hierarchy: &Hierarchy, offline: bool, findings: &mut Vec<Finding>) {
    if (hierarchy.registry.is_none() && hierarchy.mirror.is_none()) || offline {
        return;
    }
    let credentials = Credentials::from_env();
    let client = match Client::new(credentials.clone()) {
        Ok(client) => client,
        Err(error) => return findings.push(problem("registry", error)),
    };
    print_delays(&client);
    let mut hosts: BTreeMap<&str, BTreeSet<&Repository>> = BTreeMap::new();
    let published = hierarchy.in_build_order().filter(|_| hierarchy.registry.is_some());
    for node in published {
        hosts.entry(node.repository.host()).or_default().insert(&node.repository);
    }
    if let Some(mirror) = &hierarchy.mirror {
        hosts.entry(mirror.prefix.host()).or_default().insert(&mirror.prefix);
    }
    for (host, repositories) in hosts {
        if login(host, &credentials, &client, findings).await
            && registry(host, &client, findings).await
        {
            push(host, &repositories, &client, findings).await;
        }
    }
}

/// Where the login comes from, and whether it can be had.
async fn login(
    host: &str,
    credentials: &Credentials,
    client: &Client,
    findings: &mut Vec<Finding>,
) -> bool {
    match (client.login(host).await, credentials.origin(host)) {
        (Err(error), _) => {
            findings.push(problem("credentials", error));
            return false;
        }
        (Ok(Some(_)), Some(origin)) => {
            findings.push(Finding::ok("credentials", format!("for {host} from {origin}")));
        }
        (Ok(_), _) => findings.push(Finding::ok("credentials", format!("none for {host}"))),
    }
    true
}

/// Whether it answers, takes the login, and has the same time.
async fn registry(host: &str, client: &Client, findings: &mut Vec<Finding>) -> bool {
    let date = match client.date(host).await {
        Ok(date) => date,
        Err(error) => {
            findings.push(problem("registry", error));
            return false;
        }
    };
    findings.push(Finding::ok("registry", format!("{host} answers")));
    if let Some(date) = date {
        let apart = Timestamp::now().as_second() - date.as_second();
        let seconds = apart.abs();
        findings.push(if seconds <= CLOCKS_APART {
            Finding::ok("clock", format!("as that of {host}"))
        } else {
            let how = if apart > 0 { "ahead of" } else { "behind" };
            Finding::warning("clock", format!("{seconds} seconds {how} that of {host}")).hint(Some(
                "set it, or let it be set by NTP: logins and dated tags depend on it".into(),
            ))
        });
    }
    true
}

async fn push(
    host: &str,
    repositories: &BTreeSet<&Repository>,
    client: &Client,
    findings: &mut Vec<Finding>,
) {
    let asked: Vec<Result<(), RegistryError>> = stream::iter(repositories)
        .map(|repository| client.may_push(repository))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut refused = asked.into_iter().filter_map(Result::err);
    match refused.next() {
        None => {
            let n = repositories.len();
            let noun = if n == 1 { "repository" } else { "repositories" };
            findings.push(Finding::ok("push", format!("allowed to {n} {noun} of {host}")));
        }
        Some(error) => {
            let more = refused.count();
            let mut finding = problem("push", error);
            if more > 0 {
                finding.message = format!("{} (and {more} more)", finding.message);
            }
            findings.push(finding);
        }
    }
}

fn problem(what: &'static str, error: RegistryError) -> Finding {
    let hint = error.hint();
    let message = error.to_string();
    Finding::problem(what, CommandError::from(error).exit, message).hint(hint)
}
