//! A small real engine in memory, for tests: it keeps images and tags, and fails what it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use super::{BuildProgress, BuildRequest, Engine, EngineError, LocalImage, TestResult};
use crate::{
    hierarchy::Test,
    image::{Digest, Platform, Repository, Tagged},
    registry::Login,
};

/// An image is made of its Dockerfile as it was sent, its context and its labels: as with a layer cache,
/// the same twice gives the same image. A `FROM` that names no image of the engine fails.
#[derive(Debug, Default)]
pub(crate) struct FakeEngine {
    pub(crate) state: Mutex<FakeState>,
}

#[derive(Debug, Default)]
pub(crate) struct FakeState {
    pub(crate) images: BTreeMap<Digest, LocalImage>,
    pub(crate) tags: BTreeMap<Tagged, Digest>,
    /// Nodes (by the label that we give them) whose build fails.
    pub(crate) builds_fail: BTreeSet<String>,
    /// Nodes whose tests fail.
    pub(crate) tests_fail: BTreeSet<String>,
    /// Nodes that come out the same whatever goes in, but for labels.
    pub(crate) constant: BTreeSet<String>,
    /// Tags that refuse to be set.
    pub(crate) refused: BTreeSet<Tagged>,
    /// Every node that was built, in the order in which builds ended.
    pub(crate) built: Vec<String>,
    /// Every tag that was set, in order, but for pins.
    pub(crate) tagged: Vec<(Tagged, Digest)>,
}

impl Engine for FakeEngine {
    async fn build(
        &self,
        request: BuildRequest,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<Digest, EngineError> {
        let node = request.labels["rebuild.node"].clone();
        progress(BuildProgress::Step { number: 1, total: 1, text: format!("RUN make {node}") });
        progress(BuildProgress::Output(format!("making {node}\n").into_bytes()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut state = self.state.lock().unwrap();
        if state.builds_fail.contains(&node) {
            return Err(EngineError::Build {
                message: "process did not complete: exit code: 2".to_owned(),
                step: Some(format!("RUN make {node}")),
                exit_code: Some(2),
            });
        }
        let mut layers = Vec::new();
        for from in request.dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
            if from == "scratch" {
                continue;
            }
            let Some(base) = state.tags.get(&tagged(from)) else {
                let message = format!("{from}: no such image");
                return Err(EngineError::Build { message, step: None, exit_code: None });
            };
            layers.clone_from(&state.images[base].layers);
        }
        let files = request.context.digest().unwrap();
        let content = if state.constant.contains(&node) {
            node.clone()
        } else {
            format!("{}{files}", request.dockerfile)
        };
        layers.push(Digest::of(content.as_bytes()));
        let id = Digest::of(format!("{content}{:?}", request.labels).as_bytes());
        let image = LocalImage {
            id: id.clone(),
            size: 1000 * layers.len() as u64,
            layers,
            labels: request.labels,
            config: "{}".to_owned(),
            repo_digests: vec![],
            platform: "linux/amd64".parse().unwrap(),
            created: "2026-11-20T12:00:00Z".parse().ok(),
        };
        state.images.insert(id.clone(), image);
        state.built.push(node);
        Ok(id)
    }

    async fn test(
        &self,
        image: &Digest,
        _test: &Test,
        _run: &str,
    ) -> Result<TestResult, EngineError> {
        let state = self.state.lock().unwrap();
        let node = &state.images[image].labels["rebuild.node"];
        let failure = state.tests_fail.contains(node).then(|| "exit code 1".to_owned());
        Ok(TestResult { failure, output: b"checking\n".to_vec() })
    }

    async fn inspect(&self, image: &str) -> Result<Option<LocalImage>, EngineError> {
        let state = self.state.lock().unwrap();
        let id = match image.parse::<Digest>() {
            Ok(id) => Some(id),
            Err(_) if image.contains('@') => None,
            Err(_) => state.tags.get(&tagged(image)).cloned(),
        };
        Ok(id.and_then(|id| state.images.get(&id).cloned()))
    }

    async fn list(&self) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        Ok(self.state.lock().unwrap().tags.clone())
    }

    async fn tag(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        if state.refused.contains(name) {
            let (doing, message) = (format!("tagging {name}"), "no".to_owned());
            return Err(EngineError::Answer { doing, message });
        }
        state.tags.insert(name.clone(), image.clone());
        if name.repository.host() != "rebuild.invalid" {
            state.tagged.push((name.clone(), image.clone()));
        }
        Ok(())
    }

    async fn untag(&self, name: &Tagged) -> Result<(), EngineError> {
        self.state.lock().unwrap().tags.remove(name);
        Ok(())
    }

    async fn push(&self, name: &Tagged, _login: Option<Login>) -> Result<(), EngineError> {
        let (doing, message) = (format!("pushing {name}"), "no registry here".to_owned());
        Err(EngineError::Transfer { doing, message })
    }

    async fn pull(
        &self,
        repository: &Repository,
        _digest: &Digest,
        _platform: Option<&Platform>,
        _login: Option<Login>,
    ) -> Result<Digest, EngineError> {
        let (doing, message) = (format!("pulling {repository}"), "no registry here".to_owned());
        Err(EngineError::Transfer { doing, message })
    }
}

fn tagged(name: &str) -> Tagged {
    let (repository, tag) = name.rsplit_once(':').unwrap();
    Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
}
