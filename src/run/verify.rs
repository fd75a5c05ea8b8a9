//! Checks, after the last step, whether the refreshed images and their descendants have the updates.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::{Executed, bases::Bases, step::Workshop};
use crate::{
    engine::{Engine, ImageCommand, Network},
    hierarchy::{Node, NodeName},
    image::{
        Digest,
        packages::{Installed, Manager, PackageUpdate, ProbeError, Verified},
    },
    publish::store::Store,
};

/// A list is printed in a second.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Verifying<'a, E, S> {
    pub(super) shop: &'a Workshop<E, S>,
    pub(super) bases: &'a Bases,
    pub(super) done: &'a Executed,
}

/// A node that was rebuilt for updates.
struct Updated<'a> {
    node: &'a Node,
    manager: Manager,
    updates: &'a [PackageUpdate],
}

impl<E: Engine, S: Store> Verifying<'_, E, S> {
    /// Whether an image was rebuilt for updates.
    pub(super) fn is_needed(&self) -> bool {
        self.updated().next().is_some()
    }

    /// The packages of each image, and the images whose packages could not be listed, with the reason.
    pub(super) async fn verify(&self) -> (Verified, Vec<(NodeName, String)>) {
        let updated: Vec<Updated<'_>> = self.updated().collect();
        let asked: BTreeSet<(&NodeName, Manager)> = updated
            .iter()
            .flat_map(|it| self.with_descendants(it.node).map(|node| (&node.name, it.manager)))
            .collect();
        let answers: Vec<_> = stream::iter(asked)
            .filter_map(async |(name, manager)| Some((name, manager, self.digest(name)?)))
            .map(async |(name, manager, digest)| {
                ((name, manager), self.installed(name, manager, digest).await)
            })
            .buffer_unordered(self.shop.options.jobs.get())
            .collect()
            .await;
        let (mut known, mut unknown) = (BTreeMap::new(), Vec::new());
        for ((name, manager), installed) in answers {
            match installed {
                Ok(installed) => _ = known.insert((name, manager), installed),
                Err(why) => unknown.push((name.clone(), why)),
            }
        }
        unknown.sort();

        let mut verified = Verified::default();
        for Updated { node, manager, updates } in updated {
            let Some(after) = known.get(&(&node.name, manager)) else { continue };
            let expected = verified.node(node.name.as_str(), updates, after);
            for below in self.shop.hierarchy.descendants(&node.name) {
                if let Some(after) = known.get(&(&below.name, manager)) {
                    verified.descendant(below.name.as_str(), &expected, after);
                }
            }
        }
        (verified, unknown)
    }

    fn updated(&self) -> impl Iterator<Item = Updated<'_>> {
        self.shop.plan.steps.iter().filter(|step| !step.updates.is_empty()).filter_map(|step| {
            self.digest(&step.node)?;
            let node = self.shop.hierarchy.get(&step.node)?;
            Some(Updated { node, manager: node.refresh.packages?, updates: &step.updates })
        })
    }

    fn with_descendants<'n>(&'n self, node: &'n Node) -> impl Iterator<Item = &'n Node> {
        std::iter::once(node).chain(self.shop.hierarchy.descendants(&node.name))
    }

    /// The new image of a node; `None` if it failed, or was not part of the run.
    fn digest(&self, name: &NodeName) -> Option<&Digest> {
        self.done.outcomes.get(name).and_then(|(outcome, _)| outcome.digest())
    }

    async fn installed(
        &self,
        name: &NodeName,
        manager: Manager,
        digest: &Digest,
    ) -> Result<Installed, String> {
        let shop = self.shop;
        let image = self.bases.image(name, digest, &shop.base_sources()).await;
        let image = image.map_err(|error| error.to_string())?;
        let argv = manager.list_installed();
        let probe = ImageCommand { argv, network: Network::None, timeout: LIMIT };
        let printed = shop.engine.probe(&image, &probe, &shop.run.id).await;
        let printed = printed.map_err(|error| error.to_string())?;
        match manager.read_installed(&printed.stdout) {
            // An image that copied only some files from its parent.
            Err(ProbeError::Missing(_)) => Ok(Installed::default()),
            read => read.map_err(|error| error.to_string()),
        }
    }
}
