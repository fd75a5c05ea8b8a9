//! The engines that run containers of the images of a `buildkitd`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use super::Buildkitd;
use crate::{
    engine::{Docker, Engine as _, EngineError},
    image::{Digest, Platform},
};

/// An engine of the pool that runs containers.
#[derive(Clone, Debug)]
pub struct TestHost {
    pub engine: Docker,
    /// Its address.
    pub name: String,
    /// The platforms whose programs it runs without emulation.
    pub platforms: BTreeSet<Platform>,
    pub emulates: bool,
}

impl TestHost {
    pub fn runs(&self, platform: &Platform) -> bool {
        self.emulates || self.platforms.contains(platform)
    }
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    all: Vec<TestHost>,
    /// The IDs in a host of images that it has pulled. The first use pulls.
    pulled: Mutex<PulledImages>,
}

/// By the number of the host, and the image.
type PulledImages = HashMap<(usize, Digest), Arc<OnceCell<Digest>>>;

impl Hosts {
    pub(super) fn new(all: Vec<TestHost>) -> Self {
        Self { all, pulled: Mutex::default() }
    }

    /// The best host for a platform: without emulation, if there is one.
    fn best(&self, platform: &Platform, gone: &[String]) -> Result<&TestHost, EngineError> {
        let fit = self.all.iter().filter(|host| host.runs(platform) && !gone.contains(&host.name));
        fit.max_by_key(|host| host.platforms.contains(platform)).ok_or_else(|| missing(platform))
    }

    pub(super) fn any(&self) -> Result<&TestHost, EngineError> {
        self.all.first().ok_or_else(|| missing("any platform"))
    }

    pub(super) fn has_others(&self, host: &TestHost, gone: &[String]) -> bool {
        self.all.iter().any(|other| other.name != host.name && !gone.contains(&other.name))
    }

    /// The hosts that have an image, with its ID there.
    pub(super) fn having(&self, image: &Digest) -> Vec<(&TestHost, Digest)> {
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let id = |n: usize| pulled.get(&(n, image.clone()))?.get().cloned();
        self.all.iter().enumerate().filter_map(|(n, host)| Some((host, id(n)?))).collect()
    }

    fn cell(&self, host: &TestHost, image: &Digest) -> Arc<OnceCell<Digest>> {
        let n = self.all.iter().position(|other| other.name == host.name).unwrap_or_default();
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        pulled.entry((n, image.clone())).or_default().clone()
    }
}

fn missing(platform: impl std::fmt::Display) -> EngineError {
    EngineError::Answer {
        doing: "starting a container".to_owned(),
        message: format!(
            "buildkitd runs none, and no Docker or podman engine of the pool runs {platform}"
        ),
    }
}

impl Buildkitd {
    /// Brings an image to the engine that runs its containers.
    pub(super) async fn in_host(
        &self,
        image: &Digest,
        gone: &[String],
    ) -> Result<(&TestHost, Digest), EngineError> {
        let known = self.known(image)?;
        let host = self.hosts.best(&known.image.platform, gone)?;
        Ok((host, self.bring_to(host, image).await?))
    }

    /// The ID of an image in a host. It has there the names that it has here, so that it stays.
    pub(super) async fn bring_to(
        &self,
        host: &TestHost,
        image: &Digest,
    ) -> Result<Digest, EngineError> {
        let known = self.known(image)?;
        let (repository, platform) = (known.repository(), &known.image.platform);
        let cell = self.hosts.cell(host, image);
        let pull = async || {
            let login = self.login(repository.host()).await?;
            let id = host.engine.pull(repository, image, Some(platform), login).await?;
            for name in self.images.names_of(image) {
                host.engine.tag(&id, &name).await?;
            }
            Ok(id)
        };
        cell.get_or_try_init(pull).await.cloned()
    }
}
