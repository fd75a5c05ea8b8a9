//! Short digests of files and arguments, to name the changed ones. Not part of the identity.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    encoding,
    listing::{Listing, short},
};
use crate::{
    hierarchy::{Flatten, Node, Ssh},
    image::Digest,
};

/// In bytes of JSON. Settings beyond this limit are not named.
const LIMIT: usize = 2 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    pub files: Listing,
    /// Eight digits of a digest for `build_args.VERSION`, `labels.a`, `secrets.b`,
    /// `target`, `prepare`, `volatile`, `flatten`, `ssh`, and options of the build such as `network` and `add_hosts.db`. It contains no values, but a short one can be guessed: do not put secrets
    /// into build arguments.
    pub settings: BTreeMap<String, String>,
}

impl Detail {
    pub fn new(node: &Node, files: Listing) -> Self {
        Self { files, settings: settings(node) }
    }
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
    let size = serde_json::to_string(&settings).map_or(usize::MAX, |text| text.len());
    if size > LIMIT { BTreeMap::new() } else { settings }
}

fn digest(value: &impl Serialize) -> String {
    short(&Digest::of(&serde_json::to_vec(value).expect("plain data is always JSON")))
}
