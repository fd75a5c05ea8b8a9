//! A `buildkitd` without Docker: it builds, and pushes each image to its registry.
//!
//! An image is in its registry from the beginning, by its digest only. So its ID here is the digest of its manifest, and
//! names are kept in memory. Containers of an image run on engines beside it, its [`hosts`].
//!
//! **Invariant:** a build sets no tag. A tag is written by [`push`](Engine::push) only.

mod compare;
mod hosts;
mod images;
mod session_stream;
mod solve;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    time::Duration,
};

use tokio::time::timeout;

pub use self::hosts::TestHost;
use self::{
    hosts::Hosts,
    images::{Images, KnownImage},
};
use super::{
    BuildProgress, BuildRequest, Capabilities, Engine, EngineError, EngineInfo, Flattening,
    HistoryStep, ImageCommand, LocalImage, PathDifference, ProbeOutput, TestProgress, Volatile,
    connect::{Endpoint, Failure, Transport, proxies},
    control::{self, CallError, Control, ListWorkers, Worker, Workers},
};
use crate::{
    hierarchy::Test,
    host::{self, environment},
    image::{Digest, Platform, Repository, Tagged},
    registry::{Client, Login, RegistryError},
};

/// It answers within milliseconds, also while it builds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The processors of a machine that is not asked for them.
const UNKNOWN_CPUS: usize = 4;

/// A `buildkitd`, and the registries of its images.
#[derive(Debug)]
pub struct Buildkitd {
    transport: Transport,
    registries: Client,
    /// Its own platform.
    platform: Platform,
    /// Build arguments for the proxies of docker's configuration.
    proxies: BTreeMap<String, String>,
    /// Silence for so long is the end of a build.
    idle: Duration,
    images: Images,
    hosts: Hosts,
}

impl Buildkitd {
    /// Finds out what it is.
    ///
    /// # Errors
    /// It does not answer, or it has no worker.
    pub async fn connect(
        url: &str,
        registries: Client,
        idle: Duration,
    ) -> Result<(Self, EngineInfo), EngineError> {
        let endpoint = Endpoint::buildkitd(url, &environment)?;
        let (url, is_exposed) = (endpoint.url.clone(), endpoint.is_exposed());
        let transport = Transport::new(endpoint);
        let worker = worker(&transport).await?;
        let is_here = url.contains("+unix://");
        let info = EngineInfo {
            version: worker.version.as_ref().map(|it| it.version.clone()).unwrap_or_default(),
            platform: own_platform(&worker)?,
            cpus: if is_here { host::processors() } else { UNKNOWN_CPUS },
            capabilities: Capabilities::BUILDKITD,
            endpoint: url.clone(),
            is_exposed,
            room: None,
            machine: if is_here { host::name() } else { None },
        };
        let buildkitd = Self {
            proxies: proxies(&environment, &url),
            transport,
            registries,
            platform: info.platform.clone(),
            idle,
            images: Images::default(),
            hosts: Hosts::default(),
        };
        Ok((buildkitd, info))
    }

    /// From now on, containers of its images run on these engines.
    pub fn use_hosts(&mut self, hosts: Vec<TestHost>) {
        self.hosts = Hosts::new(hosts);
    }

    fn known(&self, image: &Digest) -> Result<KnownImage, EngineError> {
        self.images.by_id(image).ok_or_else(|| EngineError::Answer {
            doing: format!("looking for the image {}", image.short()),
            message: "this run has not brought it".to_owned(),
        })
    }
}

/// The first worker: `buildctl` uses it, too.
async fn worker(transport: &Transport) -> Result<Worker, EngineError> {
    let asking = async {
        let io = transport.open().await.map_err(Failure::Open)?;
        let broken = |error| match error {
            CallError::Broken(reason) => Failure::Lost(reason),
            CallError::Refused { message, .. } | CallError::Invalid(message) => {
                Failure::Lost(message)
            }
        };
        let control = Control::over(io).await.map_err(broken)?;
        control.call::<Workers>(control::LIST_WORKERS, &ListWorkers {}).await.map_err(broken)
    };
    let endpoint = || transport.endpoint().to_string();
    let workers = match timeout(ANSWERS_WITHIN, asking).await {
        Ok(answer) => answer.map_err(|failure| transport.explain(&failure))?,
        Err(_) => {
            return Err(EngineError::Hangs {
                endpoint: endpoint(),
                doing: "asking for its workers".to_owned(),
                after: ANSWERS_WITHIN,
                is_repeated: false,
            });
        }
    };
    workers.workers.into_iter().next().ok_or_else(|| EngineError::Unreachable {
        endpoint: endpoint(),
        reason: "it has no worker; is `runc` or `containerd` missing there?".to_owned(),
    })
}

fn own_platform(worker: &Worker) -> Result<Platform, EngineError> {
    let text = worker.platforms.first().map(|its| {
        let variant = if its.variant.is_empty() { "" } else { "/" };
        format!("{}/{}{variant}{}", its.os, its.architecture, its.variant)
    });
    let text = text.unwrap_or_default();
    text.parse::<Platform>().map(Platform::normalized).map_err(|_| EngineError::Answer {
        doing: "asking for its workers".to_owned(),
        message: format!("`{text}` as the worker's platform"),
    })
}

/// What a registry's error means for an operation of the engine.
fn transfer(doing: String, cause: RegistryError) -> EngineError {
    EngineError::Transfer { doing, message: cause.to_string(), cause: Some(Box::new(cause)) }
}

impl Engine for Buildkitd {
    /// A build that fails is followed by [`ping`](Engine::ping), which tells.
    fn losses(&self) -> usize {
        0
    }

    async fn ping(&self) -> Result<(), EngineError> {
        worker(&self.transport).await.map(drop)
    }

    async fn build(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        self.build_image(request, progress).await
    }

    async fn test(
        &self,
        image: &Digest,
        tests: &[&Test],
        run: &str,
        mut progress: impl FnMut(TestProgress) + Send,
    ) -> Result<Option<String>, EngineError> {
        let mut gone = Vec::new();
        loop {
            let (host, id) = self.in_host(image, &gone).await?;
            let tested = host.engine.test(&id, tests, run, &mut progress).await;
            match tested {
                // Another engine of the pool may run the tests.
                Err(error) if error.is_gone() && self.hosts.has_others(host, &gone) => {
                    gone.push(host.name.clone());
                }
                tested => return tested,
            }
        }
    }

    async fn probe(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        run: &str,
    ) -> Result<ProbeOutput, EngineError> {
        let (host, id) = self.in_host(image, &[]).await?;
        host.engine.probe(&id, probe, run).await
    }

    async fn files(
        &self,
        image: &Digest,
        paths: &[String],
        run: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        let (host, id) = self.in_host(image, &[]).await?;
        host.engine.files(&id, paths, run).await
    }

    async fn inspect(&self, image: &str) -> Result<Option<LocalImage>, EngineError> {
        Ok(self.images.find(image))
    }

    async fn history(&self, image: &Digest) -> Result<Vec<HistoryStep>, EngineError> {
        self.read_history(image).await
    }

    async fn resolve(&self, names: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        let found = |name: Tagged| Some((name.clone(), self.images.named(&name)?));
        Ok(names.into_iter().filter_map(found).collect())
    }

    async fn tags_of(&self, _: Vec<String>) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        // Names end with the process.
        Ok(BTreeMap::new())
    }

    async fn tag(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        self.images.name(name, image);
        for (host, id) in self.hosts.having(image) {
            host.engine.tag(&id, name).await?;
        }
        Ok(())
    }

    async fn untag(&self, name: &Tagged) -> Result<(), EngineError> {
        let Some(image) = self.images.unname(name) else { return Ok(()) };
        for (host, _) in self.hosts.having(&image) {
            host.engine.untag(name).await?;
        }
        Ok(())
    }

    async fn push(&self, name: &Tagged, _: Option<Login>) -> Result<(), EngineError> {
        self.put_tag(name).await
    }

    async fn pull(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
        _: Option<Login>,
    ) -> Result<Digest, EngineError> {
        self.bring(repository, digest, platform).await
    }

    async fn flatten(&self, _: &LocalImage, _: &Flattening) -> Result<LocalImage, EngineError> {
        Err(EngineError::Answer {
            doing: "flattening an image".to_owned(),
            message: "only a Docker or podman engine can do that".to_owned(),
        })
    }

    async fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        self.compare_layers(old, new, volatile).await
    }

    async fn export<T: Send + 'static>(
        &self,
        images: Vec<Digest>,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let Some(first) = images.first() else {
            return self.hosts.any()?.engine.export(images, read).await;
        };
        let (host, _) = self.in_host(first, &[]).await?;
        let mut there = Vec::new();
        for image in &images {
            there.push(self.bring_to(host, image).await?);
        }
        host.engine.export(there, read).await
    }
}
