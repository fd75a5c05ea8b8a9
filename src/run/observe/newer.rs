//! Finds updates of packages that a published image added to its base.
//!
//! A container of the image lists its updates. A container of its base lists the base's packages, which do
//! not count. Both images are pulled if the engine does not have them.

use std::time::Duration;

use super::FactSources;
use crate::{
    engine::{Engine, ImageCommand, LocalImage, Network},
    fingerprint::BuiltFrom,
    hierarchy::{Base, Hierarchy, Mirror, Node},
    image::{
        Digest, Reference,
        packages::{Installed, Manager, PackageUpdate, ProbeError},
    },
    publish::store::{Store, StoreError},
};

/// Indexes of packages are tens of megabytes, and a mirror may be slow.
const LIMIT: Duration = Duration::from_secs(300);

/// Why the packages of an image are unknown.
#[derive(Debug, thiserror::Error)]
enum ProbeFailure {
    #[error("{0}")]
    Engine(String),
    #[error(transparent)]
    Said(#[from] ProbeError),
}

impl From<ProbeFailure> for String {
    fn from(failure: ProbeFailure) -> Self {
        failure.to_string()
    }
}

pub(super) struct Prober<'a, E, S> {
    pub(super) sources: &'a FactSources<'a, E, S>,
    pub(super) hierarchy: &'a Hierarchy,
    /// The owner of the containers.
    pub(super) run: &'a str,
}

impl<E: Engine, S: Store> Prober<'_, E, S> {
    /// The updates, or a short reason why they are unknown.
    pub(super) async fn updates(
        &self,
        node: &Node,
        manager: Manager,
        published: (&Digest, Option<&BuiltFrom>),
    ) -> Result<Vec<PackageUpdate>, String> {
        let (digest, built_from) = published;
        let fetched = self.sources.store.fetch(&node.repository, digest, node.platform.as_ref());
        let image = fetched.await.map_err(|error| error.to_string())?;
        let below = match self.base(node, built_from).await? {
            None => Installed::default(),
            Some(base) => {
                let installed = self.installed(&image, manager).await?;
                let below = match self.installed(&base, manager).await {
                    // The image installed its package manager itself.
                    Err(ProbeFailure::Said(ProbeError::Missing(_))) => Installed::default(),
                    read => read.map_err(|error| format!("its base: {error}"))?,
                };
                // Most applications add no packages, so their package indexes are not necessary.
                if installed.beyond(&below).iter().next().is_none() {
                    return Ok(vec![]);
                }
                below
            }
        };
        let printed = self.probe(&image, manager.list_updates(), Network::Default).await?;
        let offer = manager.read_updates(&printed).map_err(|error| error.to_string())?;
        Ok(offer.own(&below))
    }

    async fn installed(&self, image: &Digest, manager: Manager) -> Result<Installed, ProbeFailure> {
        let printed = self.probe(image, manager.list_installed(), Network::None).await;
        let printed = printed.map_err(ProbeFailure::Engine)?;
        manager.read_installed(&printed).map_err(ProbeFailure::Said)
    }

    async fn probe(
        &self,
        image: &Digest,
        argv: Vec<String>,
        network: Network,
    ) -> Result<Vec<u8>, String> {
        let probe = ImageCommand { argv, network, timeout: LIMIT };
        let printed = self.sources.engine.probe(image, &probe, self.run).await;
        printed.map(|printed| printed.stdout).map_err(|error| error.to_string())
    }

    /// The ID of the base of the published image; `None` for `scratch`.
    async fn base(
        &self,
        node: &Node,
        built_from: Option<&BuiltFrom>,
    ) -> Result<Option<Digest>, String> {
        let from = node.dockerfile.uses.iter().find(|used| used.is_final);
        let Some(from) = from else { return Ok(None) };
        let unknown = || "what it was built on is not known".to_owned();
        let built_from = built_from.ok_or_else(unknown)?;
        match &from.base {
            Base::Node(name) => {
                let parent = self.hierarchy.get(name).ok_or_else(unknown)?;
                let digest = built_from.parents.get(name).ok_or_else(unknown)?;
                let platform = node.platform.as_ref();
                let fetched = self.sources.store.fetch(&parent.repository, digest, platform).await;
                fetched.map(Some).map_err(|error| error.to_string())
            }
            Base::Upstream(reference) => {
                let upstreams = &built_from.inputs.upstreams;
                let digest = upstreams.get(&reference.to_string()).ok_or_else(unknown)?;
                self.upstream(node, reference, digest).await.map(Some)
            }
            Base::Files(_) => Ok(None),
        }
    }

    /// The digest is that of a manifest, or the ID of an image of the engine.
    async fn upstream(
        &self,
        node: &Node,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Digest, String> {
        let engine = self.sources.engine;
        let places = Mirror::places(self.hierarchy.mirror.as_ref(), &reference.repository);
        let names = places.iter().map(|repository| format!("{repository}@{digest}"));
        for name in names.chain([digest.to_string()]) {
            let found = engine.inspect(&name).await.map_err(|error| error.to_string())?;
            let fits = |image: &LocalImage| {
                node.platform.as_ref().is_none_or(|wanted| *wanted == image.platform)
            };
            if let Some(image) = found.filter(fits) {
                return Ok(image.id);
            }
        }
        let mut failed = String::new();
        for repository in &places {
            let pull = |login| async move {
                let pulled = engine.pull(repository, digest, node.platform.as_ref(), login).await;
                pulled.map_err(StoreError::from)
            };
            match self.sources.registries.with_login(repository.host(), pull).await {
                Ok(image) => return Ok(image),
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed)
    }
}
