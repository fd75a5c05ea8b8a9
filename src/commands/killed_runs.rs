//! What runs that were killed have left: test containers, pins and temporary folders.

use std::{collections::BTreeSet, env, fs, path::PathBuf, time::Duration};

use jiff::Timestamp;

use super::{connections::Connections, output};
use crate::{
    engine::{Docker, Engine as _, EngineError, Leftover},
    fingerprint::{NODE, node_of},
    hierarchy::NodeName,
    host::owner,
    image::{Digest, Tagged},
    run::{failed_of_all_runs, pins_of_all_runs, run_of_failed, run_of_folder, run_of_pin, state},
};

/// For so long an image whose test failed stays, if nothing newer takes its place.
const FAILED_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A younger image without a tag may be one of a run that goes on.
const UNTAGGED_KEPT: Duration = Duration::from_secs(60 * 60);

/// Of runs that are over, and of no others.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) containers: Vec<Leftover>,
    pub(super) pins: Vec<Tagged>,
    /// Copies of build contexts that prepare commands have filled.
    pub(super) folders: Vec<PathBuf>,
    /// Images without a tag.
    pub(super) images: Vec<Digest>,
}

/// Best effort: a leftover is untidy, and no reason not to run.
pub(super) async fn remove(world: &Connections) {
    if !world.has_engine {
        return;
    }
    remove_from(&world.engine, &world.info.endpoint).await;
    for other in world.pool.iter().skip(1) {
        if let Some(engine) = other.engine.docker() {
            remove_from(engine, &other.info.endpoint).await;
        }
    }
}

async fn remove_from(engine: &Docker, endpoint: &str) {
    let removed = async {
        if state::may_have_left_pins(endpoint) {
            state::expect_pins();
            Leftovers::find(engine).await?.remove(engine).await?;
            state::pins_are_removed(endpoint);
            Ok::<_, EngineError>(())
        } else {
            Leftovers::find_but_pins(engine).await?.remove(engine).await
        }
    };
    if let Err(error) = removed.await {
        output::warning(&format!("leftovers of an earlier run cannot be removed: {error}"));
    }
}

impl Leftovers {
    pub(super) async fn find(engine: &Docker) -> Result<Self, EngineError> {
        let patterns = vec![pins_of_all_runs(), failed_of_all_runs()];
        let mut pins: Vec<Tagged> = engine.tags_of(patterns).await?.into_keys().collect();
        pins.retain(|name| {
            let is_old = |run: &str| state::began_before(run, FAILED_KEPT);
            run_of_pin(name).is_some_and(state::is_over) || run_of_failed(name).is_some_and(is_old)
        });
        Ok(Self { pins, ..Self::find_but_pins(engine).await? })
    }

    /// Cheap, where a list of pins takes the engine as long as it has images.
    async fn find_but_pins(engine: &Docker) -> Result<Self, EngineError> {
        let mut containers = engine.leftovers().await?;
        containers.retain(|container| state::is_over(&container.run));
        let (pins, images) = (Vec::new(), Vec::new());
        Ok(Self { containers, pins, folders: folders(), images })
    }

    /// Adds the images of these nodes that no tag names. A run that goes on may have a younger one.
    pub(super) async fn with_images(
        self,
        engine: &Docker,
        nodes: &BTreeSet<NodeName>,
    ) -> Result<Self, EngineError> {
        let before = Timestamp::now() - UNTAGGED_KEPT;
        let mut images = engine.untagged(NODE, before).await?;
        images.retain(|(_, labels)| node_of(labels).is_some_and(|node| nodes.contains(&node)));
        Ok(Self { images: images.into_iter().map(|(id, _)| id).collect(), ..self })
    }

    pub(super) async fn remove(&self, engine: &Docker) -> Result<(), EngineError> {
        let runs: BTreeSet<&str> = self.containers.iter().map(|left| left.run.as_str()).collect();
        for run in runs {
            engine.remove_leftovers(run).await?;
        }
        for name in &self.pins {
            engine.untag(name).await?;
        }
        for image in &self.images {
            engine.remove_untagged(image).await?;
        }
        for folder in &self.folders {
            _ = fs::remove_dir_all(folder);
        }
        Ok(())
    }
}

fn folders() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return Vec::new() };
    let is_left = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_ours = entry.metadata().is_ok_and(|found| owner::is_ours(&found));
        is_ours && name.to_str().and_then(run_of_folder).is_some_and(state::is_over)
    };
    entries.flatten().filter(is_left).map(|entry| entry.path()).collect()
}
