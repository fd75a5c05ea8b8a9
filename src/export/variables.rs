//! The variables of the environment that jobs need: secrets of builds, and those of `notify`.
//!
//! Only their names are in a pipeline. The CI system has the values as secrets of the same names.

use std::collections::BTreeSet;

use super::{Pipeline, PipelineJob, yaml::YamlMap};
use crate::hierarchy::{Hierarchy, Node, Notify, SecretSource};

/// The secret of Kubernetes with the values.
pub(super) const SECRET: &str = "rebuild-secrets";

/// The variables with the secrets of these images.
pub(super) fn of_secrets(nodes: &[&Node]) -> BTreeSet<String> {
    let sources = nodes.iter().flat_map(|node| node.secrets.values());
    let names = sources.filter_map(|source| match source {
        SecretSource::Env(name) => Some(name.clone()),
        SecretSource::File(_) => None,
    });
    // In an expression of GitHub, another character could be code.
    names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).collect()
}

/// The variables with the addresses and tokens of messages.
pub(super) fn of_notify(hierarchy: &Hierarchy) -> BTreeSet<String> {
    let names = hierarchy.notify.iter().flat_map(|notify| {
        let Notify { slack, teams, webhook, repository_dispatch, gitlab_trigger, .. } = notify;
        let tokens = repository_dispatch.iter().map(|one| &one.token);
        let tokens = tokens.chain(gitlab_trigger.iter().map(|one| &one.token));
        [slack, teams, webhook].into_iter().flatten().chain(tokens).cloned()
    });
    names.collect()
}

/// The different sets of secrets that jobs need, and the name of a template for each.
pub(super) fn templates<'p>(
    pipeline: &'p Pipeline,
    name: &str,
) -> Vec<(&'p BTreeSet<String>, String)> {
    let mut sets: Vec<&BTreeSet<String>> = Vec::new();
    for job in &pipeline.jobs {
        if !sets.contains(&&job.secrets) {
            sets.push(&job.secrets);
        }
    }
    // The one without secrets has the bare name.
    sets.sort();
    let numbered = sets.into_iter().scan(0, |number, set| {
        *number += usize::from(!set.is_empty());
        let name = if set.is_empty() { name.to_owned() } else { format!("{name}-{number}") };
        Some((set, name))
    });
    numbered.collect()
}

/// The name of the template of a job.
pub(super) fn template_of<'t>(
    templates: &'t [(&BTreeSet<String>, String)],
    job: &PipelineJob,
) -> &'t str {
    let of_job = templates.iter().find(|(set, _)| **set == job.secrets);
    of_job.map_or("", |(_, name)| name)
}

/// Entries of the `env` of a container. Without the value, the container starts, and `rebuild` names the variable.
pub(super) fn in_kubernetes(names: &BTreeSet<String>) -> impl Iterator<Item = YamlMap> {
    names.iter().map(|name| {
        let key = YamlMap::new().with("name", SECRET).with("key", name).with("optional", true);
        let from = YamlMap::new().flow("secretKeyRef", key);
        YamlMap::new().with("name", name).with("valueFrom", from)
    })
}

/// A comment for the file of Kubernetes, if a job needs a variable.
pub(super) fn comment(pipeline: &Pipeline) -> Option<String> {
    let names = pipeline.variables();
    let literals: Vec<String> =
        names.iter().map(|name| format!("--from-literal={name}=…")).collect();
    (!names.is_empty()).then(|| {
        format!("The secrets: `kubectl create secret generic {SECRET} {}`.", literals.join(" "))
    })
}
