//! A test's container: made, and in any case removed.
//!
//! **Invariant:** from the request to make it on, somebody owns its removal: this struct, and once
//! that is dropped, a task that [`Docker::quiesce`] waits for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    errors::Error,
    models::{ContainerCreateBody, ContainerState, HealthConfig},
    query_parameters::{
        KillContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
        WaitContainerOptions,
    },
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{Docker, call::path_with, confined};
use crate::engine::{EngineError, STARTING};

/// Marks what is ours; the value is the run.
pub(super) const RUN_LABEL: &str = "rebuild.run";

/// The beginning of the names of a run's containers. A container inherits the labels of its image, and any image can
/// have [`RUN_LABEL`], so the label alone does not say whose it is.
pub(super) fn name_prefix(run: &str) -> String {
    format!("rebuild-{run}-")
}

/// An engine under load refuses a removal now and then; this is tried again.
const REMOVAL_ATTEMPTS: u32 = 4;
/// An engine that is being restarted is back by then.
const RESTART: Duration = Duration::from_secs(60);

/// Instead of the image's own health check.
pub(super) fn no_healthcheck() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }
}

/// A container of ours that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    pub id: String,
    /// The run that made it.
    pub run: String,
}

/// What we read of each container of `GET /containers/json`. Not its state: podman has states that Docker,
/// and so bollard, does not know.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    /// With a leading slash.
    names: Option<Vec<String>>,
    labels: Option<HashMap<String, String>>,
}

pub(super) struct Container {
    pub(super) id: String,
    removal: Removal,
}

/// Removes a container when it is dropped, even one that is only being made.
struct Removal {
    docker: Docker,
    runtime: Handle,
    made: Option<JoinHandle<Option<String>>>,
}

/// The containers that this process made and has not removed, by ID.
#[derive(Clone, Debug, Default)]
pub(super) struct Containers(Arc<Mutex<BTreeSet<String>>>);

impl Containers {
    fn add(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Container {
    /// Makes it. The engine may finish the making after we stop waiting, so the making is a task
    /// that goes on, and the removal waits for it.
    pub(super) async fn create(
        docker: &Docker,
        body: ContainerCreateBody,
    ) -> Result<Self, EngineError> {
        const DOING: &str = "creating a container";
        let (tell, told) = tokio::sync::oneshot::channel();
        let engine = docker.clone();
        let made = docker.pending.spawn(async move {
            let create = || async {
                let made = confined::create(&engine.api, &engine.limits, body.clone());
                made.await.map_err(|error| engine.answer(DOING, error))
            };
            let made = engine.quickly(DOING, create).await;
            let id = made.as_ref().ok().cloned();
            if let Some(id) = &id {
                engine.containers.add(id);
            }
            _ = tell.send(made);
            id
        });
        let removal =
            Removal { docker: docker.clone(), runtime: Handle::current(), made: Some(made) };
        Ok(Self { id: told.await.map_err(|_| docker.hung_up())??, removal })
    }

    /// Removes it now, so that its image is free; in the background if the engine has gone away. A failure is
    /// logged: the next start finds it.
    pub(super) async fn remove_after<T>(mut self, result: &Result<T, EngineError>) {
        let is_gone = result.as_ref().is_err_and(EngineError::is_gone);
        if let Some(removal) = self.removal.begin()
            && !is_gone
        {
            _ = removal.await;
        }
    }

    pub(super) async fn start(&self, docker: &Docker) -> Result<(), EngineError> {
        let start = docker.api.start_container(&self.id, None::<StartContainerOptions>);
        let start = async { start.await.map_err(|error| docker.answer(STARTING, error)) };
        docker.patiently(STARTING, start).await
    }

    /// Waits for its end; the exit code is then in its [`state`](Self::state).
    pub(super) async fn wait(&self, docker: &Docker) -> Result<(), EngineError> {
        let mut ends =
            std::pin::pin!(docker.api.wait_container(&self.id, None::<WaitContainerOptions>));
        match ends.next().await {
            // bollard makes an error of an exit code that is not zero.
            Some(Err(Error::DockerContainerWaitError { .. }) | Ok(_)) => Ok(()),
            Some(Err(error)) => Err(docker.answer("waiting for a container", error)),
            None => Err(docker.hung_up()),
        }
    }

    pub(super) async fn kill(&self, docker: &Docker) -> Result<(), EngineError> {
        const DOING: &str = "killing a container";
        let kill = docker.api.kill_container(&self.id, None::<KillContainerOptions>);
        let kill = async { kill.await.map_err(|error| docker.answer(DOING, error)) };
        match docker.patiently(DOING, kill).await {
            // It has ended in the meantime.
            Err(EngineError::Refused { status: 404 | 409, .. }) => Ok(()),
            killed => killed,
        }
    }

    pub(super) async fn state(&self, docker: &Docker) -> Result<ContainerState, EngineError> {
        const DOING: &str = "inspecting a container";
        let path = format!("/containers/{}/json", self.id);
        let mut seen: Value = docker.get_json(DOING, &path).await?;
        // Podman's name for the health of a container that has ended; Docker, and so bollard, does not know it.
        if let Some(health) = seen.pointer_mut("/State/Health/Status")
            && health == "stopped"
        {
            *health = "unhealthy".into();
        }
        let state = seen.get_mut("State").map(Value::take).unwrap_or_default();
        serde_json::from_value(state).map_err(|error| EngineError::Answer {
            doing: DOING.to_owned(),
            message: error.to_string(),
        })
    }
}

impl Removal {
    fn begin(&mut self) -> Option<JoinHandle<()>> {
        let made = self.made.take()?;
        let docker = self.docker.clone();
        let remove = async move {
            if let Ok(Some(id)) = made.await
                && let Err(error) = docker.remove_container(&id).await
            {
                tracing::warn!("a test container is left behind: {error}");
            }
        };
        Some(self.docker.pending.spawn_on(remove, &self.runtime))
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // The task goes on without its handle.
        _ = self.begin();
    }
}

impl Docker {
    /// Containers of ours that are there, of whatever run.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, EngineError> {
        self.labelled(RUN_LABEL).await
    }

    /// Containers that this process made and that are not removed.
    pub fn containers_left(&self) -> Vec<String> {
        self.containers.all()
    }

    /// Removes the containers of one run, and says how many there were.
    pub async fn remove_leftovers(&self, run: &str) -> Result<usize, EngineError> {
        let left = self.labelled(&format!("{RUN_LABEL}={run}")).await?;
        for container in &left {
            self.remove_container(&container.id).await?;
        }
        Ok(left.len())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<Leftover>, EngineError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = path_with("/containers/json", &[("all", "true"), ("filters", &filters)]);
        let listed: Vec<Listed> = self.get_json("listing containers", &path).await?;
        let ours = listed.into_iter().filter_map(|Listed { id, names, labels }| {
            let run = labels?.remove(RUN_LABEL)?;
            let prefix = name_prefix(&run);
            let is_ours = |name: &String| name.trim_start_matches('/').starts_with(&prefix);
            names?.iter().any(is_ours).then_some(Leftover { id, run })
        });
        Ok(ours.collect())
    }

    async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let doing = format!("removing the container `{id}`");
        let began = Instant::now();
        let (mut attempt, mut pause) = (1, Duration::from_millis(200));
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let remove = self.api.remove_container(id, Some(options));
            let remove = async { remove.await.map_err(|error| self.answer(&doing, error)) };
            match self.patiently(&doing, remove).await {
                Ok(()) | Err(EngineError::Refused { status: 404, .. }) => break,
                Err(EngineError::Unreachable { .. }) if began.elapsed() < RESTART => {
                    sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Err(error) if attempt == REMOVAL_ATTEMPTS => return Err(error),
                // The next one would be as silent.
                Err(error @ EngineError::Hangs { .. }) => return Err(error),
                // 409: somebody else is at it; see whether they succeed.
                Err(_) => sleep(pause).await,
            }
            attempt += 1;
            pause *= 3;
        }
        self.containers.remove(id);
        Ok(())
    }
}
