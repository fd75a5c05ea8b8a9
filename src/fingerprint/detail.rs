//! Short digests of files and arguments, to name the changed ones. Not part of the identity.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    encoding,
    listing::{Listing, readable, short},
};
use crate::{
    hierarchy::{Flatten, Hierarchy, Node, Ssh},
    image::Digest,
};

/// In bytes of JSON. Settings beyond this limit are not named.
const LIMIT: usize = 2 * 1024;
/// The prefix of the checks among the settings.
const CHECKS: &str = "checks.";
/// The prefix of fields of the entry that are not part of the identity.
const ENTRY: &str = "entry.";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    pub files: Listing,
    /// Eight digits of a digest for `build_args.VERSION`, `labels.a`, `secrets.b`,
    /// `target`, `prepare`, `volatile`, `flatten`, `ssh`, and options of the build such as `network` and `add_hosts.db`. It contains no values, but a short one can be guessed: do not put secrets
    /// into build arguments.
    ///
    /// Beside them are `entry.context` and `entry.dockerfile`, and the checks as `checks.tests`: see
    /// [`Checks::parts`](super::Checks::parts). Older versions of `rebuild` left them out.
    pub settings: BTreeMap<String, String>,
}

impl Detail {
    pub fn new(
        (hierarchy, node): (&Hierarchy, &Node),
        files: Listing,
        checks: &BTreeMap<String, Digest>,
    ) -> Self {
        let mut all = settings(node);
        let checks = checks.iter().map(|(name, digest)| (format!("{CHECKS}{name}"), short(digest)));
        let paths = paths(hierarchy, node).into_iter();
        let paths = paths.map(|(name, path)| (format!("{ENTRY}{name}"), digest(&readable(path))));
        let others: Vec<_> = checks.chain(paths).collect();
        let without = all.clone();
        all.extend(others);
        Self { files, settings: if size(&all) > LIMIT { without } else { all } }
    }

    /// The settings of the build.
    pub fn build_settings(&self) -> BTreeMap<&str, &str> {
        let all = self.settings.iter().map(|(name, digest)| (name.as_str(), digest.as_str()));
        let is_other = |name: &str| name.starts_with(CHECKS) || name.starts_with(ENTRY);
        all.filter(|(name, _)| !is_other(name)).collect()
    }

    /// Whether both have this field of the entry, `context` or `dockerfile`, with other paths.
    pub fn has_other_path(&self, field: &str, other: &Self) -> bool {
        let path = |detail: &Self| detail.settings.get(&format!("{ENTRY}{field}")).cloned();
        path(self).zip(path(other)).is_some_and(|(one, other)| one != other)
    }

    /// Whether this path of the context is the Dockerfile.
    pub fn is_dockerfile(&self, path: &str) -> bool {
        self.settings.get(&format!("{ENTRY}dockerfile")) == Some(&digest(&path))
    }

    /// The parts of the checks; empty if they are not known.
    pub fn checks(&self) -> BTreeMap<&str, &str> {
        let all = self.settings.iter();
        all.filter_map(|(name, digest)| Some((name.strip_prefix(CHECKS)?, digest.as_str())))
            .collect()
    }
}

/// The context relative to hierarchy.yaml, and the Dockerfile relative to the context; the Dockerfile relative to
/// hierarchy.yaml if it is outside the context.
fn paths<'a>(hierarchy: &'a Hierarchy, node: &'a Node) -> BTreeMap<&'static str, &'a Path> {
    let root = hierarchy.root();
    let context = node.context.strip_prefix(root);
    let dockerfile = &node.dockerfile.path;
    let dockerfile =
        dockerfile.strip_prefix(&node.context).or_else(|_| dockerfile.strip_prefix(root));
    let paths = [("context", context), ("dockerfile", dockerfile)];
    paths.into_iter().filter_map(|(name, path)| Some((name, path.ok()?))).collect()
}

fn settings(node: &Node) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for (group, map) in [("build_args", &node.build_args), ("labels", &node.labels)] {
        let named = |(name, value): (&String, &String)| {
            let name = format!("{group}.{name}");
            let digest = digest(&(&name, value));
            (name, digest)
        };
        settings.extend(map.iter().map(named));
    }
    settings.extend(node.target.iter().map(|target| ("target".to_owned(), digest(target))));
    settings.extend(node.prepare.iter().map(|command| ("prepare".to_owned(), digest(command))));
    let secrets = node.secrets.iter();
    settings.extend(
        secrets.map(|(id, source)| (format!("secrets.{id}"), short(&encoding::secret(id, source)))),
    );
    settings
        .extend(node.settings.named().iter().map(|(name, value)| (name.clone(), digest(value))));
    if !node.volatile.is_empty() {
        settings.insert("volatile".to_owned(), digest(&node.volatile));
    }
    if node.flatten != Flatten::No {
        settings.insert("flatten".to_owned(), digest(&node.flatten.as_str()));
    }
    if node.ssh == Ssh::Agent {
        settings.insert("ssh".to_owned(), digest(&true));
    }
    if size(&settings) > LIMIT { BTreeMap::new() } else { settings }
}

fn size(settings: &BTreeMap<String, String>) -> usize {
    serde_json::to_string(settings).map_or(usize::MAX, |text| text.len())
}

fn digest(value: &impl Serialize) -> String {
    short(&Digest::of(&serde_json::to_vec(value).expect("plain data is always JSON")))
}
