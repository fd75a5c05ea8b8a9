//! Connects a command to the engine, to registries and to the store.

use std::sync::Arc;

use super::error::CommandError;
use crate::{
    cli::Builder,
    engine::{
        EngineInfo,
        docker::{BuilderChoice, Docker, EngineOptions},
    },
    hierarchy::Hierarchy,
    registry::{Client, Credentials},
};

/// Everything outside the program that a command talks to.
pub(super) struct World {
    pub(super) engine: Arc<Docker>,
    pub(super) info: EngineInfo,
    pub(super) registries: Client,
    /// Upstreams are what the engine has of them.
    pub(super) offline: bool,
}

impl World {
    pub(super) async fn connect(builder: Builder, offline: bool) -> Result<Self, CommandError> {
        let builder = match builder {
            Builder::Auto => BuilderChoice::Auto,
            Builder::Buildkit => BuilderChoice::BuildKit,
            Builder::Classic => BuilderChoice::Classic,
        };
        let options = EngineOptions { builder, ..EngineOptions::default() };
        let (engine, info) = Docker::connect(&options).await?;
        let registries = Client::new(Credentials::from_env())?;
        Ok(Self { engine: Arc::new(engine), info, registries, offline })
    }

    /// Where images are published, as people call it.
    pub(super) fn publishes_to(&self, hierarchy: &Hierarchy) -> String {
        match &hierarchy.registry {
            Some(registry) => registry.to_string(),
            None => self.info.endpoint.clone(),
        }
    }
}
