//! An engine of a pool: one that speaks the Docker API, or a `buildkitd`.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use super::{
    BuildProgress, BuildRequest, Buildkitd, Docker, Engine, EngineError, Flattening, HistoryStep,
    ImageCommand, LocalImage, PathDifference, ProbeOutput, TestProgress, Volatile,
};
use crate::{
    hierarchy::Test,
    image::{Digest, Platform, Repository, Tagged},
    registry::Login,
};

#[derive(Debug)]
pub enum AnyEngine {
    Docker(Box<Docker>),
    Buildkitd(Box<Buildkitd>),
}

impl AnyEngine {
    pub fn docker(&self) -> Option<&Docker> {
        match self {
            Self::Docker(engine) => Some(engine),
            Self::Buildkitd(_) => None,
        }
    }
}

/// Passes a call on.
macro_rules! engine {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            AnyEngine::Docker($engine) => $call,
            AnyEngine::Buildkitd($engine) => $call,
        }
    };
}

impl Engine for AnyEngine {
    fn losses(&self) -> usize {
        engine!(self, it => it.losses())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        engine!(self, it => it.ping().await)
    }

    async fn build(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        // Large futures, which would be part of each step.
        engine!(self, it => Box::pin(it.build(request, progress)).await)
    }

    async fn test(
        &self,
        image: &Digest,
        tests: &[&Test],
        run: &str,
        progress: impl FnMut(TestProgress) + Send,
    ) -> Result<Option<String>, EngineError> {
        engine!(self, it => Box::pin(it.test(image, tests, run, progress)).await)
    }

    async fn probe(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        run: &str,
    ) -> Result<ProbeOutput, EngineError> {
        engine!(self, it => it.probe(image, probe, run).await)
    }

    async fn files(
        &self,
        image: &Digest,
        paths: &[String],
        run: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        engine!(self, it => it.files(image, paths, run).await)
    }

    async fn inspect(&self, image: &str) -> Result<Option<LocalImage>, EngineError> {
        engine!(self, it => it.inspect(image).await)
    }

    async fn describe(&self, id: &Digest) -> Result<Option<LocalImage>, EngineError> {
        engine!(self, it => it.describe(id).await)
    }

    async fn history(&self, image: &Digest) -> Result<Vec<HistoryStep>, EngineError> {
        engine!(self, it => it.history(image).await)
    }

    async fn resolve(&self, names: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        engine!(self, it => it.resolve(names).await)
    }

    async fn tags_of(
        &self,
        repositories: Vec<String>,
    ) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        engine!(self, it => it.tags_of(repositories).await)
    }

    async fn tag(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        engine!(self, it => it.tag(image, name).await)
    }

    async fn untag(&self, name: &Tagged) -> Result<(), EngineError> {
        engine!(self, it => it.untag(name).await)
    }

    async fn push(&self, name: &Tagged, login: Option<Login>) -> Result<(), EngineError> {
        engine!(self, it => it.push(name, login).await)
    }

    async fn pull(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
        login: Option<Login>,
    ) -> Result<Digest, EngineError> {
        engine!(self, it => it.pull(repository, digest, platform, login).await)
    }

    async fn flatten(
        &self,
        image: &LocalImage,
        flattening: &Flattening,
    ) -> Result<LocalImage, EngineError> {
        engine!(self, it => it.flatten(image, flattening).await)
    }

    async fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        engine!(self, it => it.differences(old, new, volatile).await)
    }

    async fn export<T: Send + 'static>(
        &self,
        images: Vec<Digest>,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        engine!(self, it => it.export(images, read).await)
    }
}
