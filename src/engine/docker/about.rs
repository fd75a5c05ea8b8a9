//! What the engine consists of, and where it keeps its images.

use std::path::PathBuf;

use serde::Deserialize;

use super::Docker;
use crate::engine::EngineError;

/// What `rebuild doctor` reports of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Names and versions as it gives them: `Engine`, `containerd`, `runc`.
    pub components: Vec<(String, String)>,
    /// The folder with its images, on the machine where it runs.
    pub root: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ComponentVersions {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoreInfo {
    #[serde(default)]
    docker_root_dir: String,
}

impl Docker {
    pub async fn about(&self) -> Result<About, EngineError> {
        let version: ComponentVersions = self.get_json("asking for its parts", "/version").await?;
        let info: StoreInfo = self.get_json("asking for its folder", "/info").await?;
        let components = version.components.into_iter();
        Ok(About {
            components: components.map(|part| (part.name, part.version)).collect(),
            root: Some(info.docker_root_dir).filter(|root| !root.is_empty()).map(PathBuf::from),
        })
    }
}
