//! Where a hierarchy is published, for commands that only deal with tags: a registry needs no engine.

use std::sync::Arc;

use super::{connections::registries, error::CommandError};
use crate::{
    engine::docker::{Docker, EngineOptions},
    hierarchy::Hierarchy,
    publish::store::{Local, RemoteTags},
    run::state::StateFolder,
};

pub(super) enum TagTarget {
    Registry { name: String, tags: RemoteTags },
    Engine { name: String, tags: Local<Docker> },
}

impl TagTarget {
    pub(super) async fn of(hierarchy: &Hierarchy) -> Result<Self, CommandError> {
        if let Some(prefix) = &hierarchy.registry {
            let client = registries()?;
            let tags = RemoteTags::new(client, prefix);
            return Ok(Self::Registry { name: prefix.to_string(), tags });
        }
        let (engine, info) = Docker::connect(&EngineOptions::default()).await?;
        let notes = StateFolder::of(&hierarchy.file).notes();
        Ok(Self::Engine {
            name: info.endpoint,
            tags: Local::new(Arc::new(engine)).with_notes(notes),
        })
    }
}
