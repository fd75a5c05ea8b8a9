//! A hierarchy that is served: where its files are, and what is known of its images.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU32},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::live_run::LiveRun;
use crate::{
    hierarchy::{Base, Hierarchy, Node, NodeName},
    host::{git, moment},
    image::Reference,
    plan::ImageState,
    run::trigger::Ticks,
};

/// Where the files of a hierarchy come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HierarchySource {
    /// A `hierarchy.yaml` of this machine. The server only reads it.
    File(PathBuf),
    /// A repository that the server clones and keeps up to date.
    Clone {
        url: String,
        /// The default branch if not given.
        branch: Option<String>,
        /// The folder of `hierarchy.yaml`, or the file, in the repository.
        path: PathBuf,
        /// The folder of the clone.
        folder: PathBuf,
    },
}

impl HierarchySource {
    /// The hierarchy file.
    pub fn file(&self) -> PathBuf {
        match self {
            Self::File(file) => file.clone(),
            Self::Clone { folder, path, .. } => {
                let path = folder.join(path);
                if path.is_dir() { path.join("hierarchy.yaml") } else { path }
            }
        }
    }

    /// As the user named it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Clone { url, branch, path, .. } => {
                let branch = branch.as_ref().map_or(String::new(), |branch| format!("#{branch}"));
                let path = path.display().to_string();
                let path = if path.is_empty() { path } else { format!(":{path}") };
                format!("{}{branch}{path}", without_password(url))
            }
        }
    }
}

/// An address as it may be shown.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    if parsed.password().is_some() || matches!(parsed.scheme(), "http" | "https") {
        _ = parsed.set_username("");
        _ = parsed.set_password(None);
    }
    parsed.to_string()
}

/// The state of an image, as `rebuild status --format json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageStatus {
    pub node: String,
    pub state: ImageState,
    /// When the published image was built.
    #[serde(serialize_with = "moment::whole")]
    pub since: Option<Timestamp>,
    /// The digest of the published image.
    pub published: Option<String>,
    /// The size of the published image in bytes: compressed in a registry, unpacked in an engine.
    #[serde(default)]
    pub size: Option<u64>,
    /// The name of the reason: docs/events.md.
    #[serde(default)]
    pub reason: String,
    /// Why it is in this state, as a sentence.
    pub cause: String,
    #[serde(default)]
    pub last_failure: Option<serde_json::Value>,
    /// The data of the reason.
    #[serde(flatten)]
    pub data: BTreeMap<String, serde_json::Value>,
}

/// What is known of a hierarchy.
#[derive(Clone, Debug, Default)]
pub struct HierarchyState {
    /// The files as they were read last, if they were valid.
    pub hierarchy: Option<Arc<Hierarchy>>,
    /// Why the files cannot be read.
    pub problem: Option<String>,
    pub images: BTreeMap<String, ImageStatus>,
    /// When the states of the images were read.
    pub checked_at: Option<Timestamp>,
    /// Why they cannot be read now.
    pub check_problem: Option<String>,
    /// Since when the images that are not current are so.
    pub behind_since: BTreeMap<String, Timestamp>,
    /// When the next schedule is due.
    pub next_tick: Option<Timestamp>,
    pub commit: Option<String>,
    /// When a run that found no engine, no registry or another run starts again, and what it said.
    pub retry: Option<(Timestamp, String)>,
}

pub struct ServedHierarchy {
    /// In addresses of the server.
    pub name: String,
    pub source: HierarchySource,
    state: RwLock<Arc<HierarchyState>>,
    live: Mutex<Option<Arc<LiveRun>>>,
    /// Which ticks of schedules are done.
    pub ticks: Mutex<Ticks>,
    /// Held while git changes the files of a clone.
    pub checkout: tokio::sync::Mutex<()>,
    /// How many runs in a row newer pushes have stopped.
    pub overtaken: AtomicU32,
    /// There may be a run to begin.
    pub wake: Notify,
    /// Counts changes, for pages that are open.
    pub changes: watch::Sender<u64>,
}

impl ServedHierarchy {
    pub fn new(name: String, source: HierarchySource) -> Self {
        Self {
            name,
            source,
            state: RwLock::default(),
            live: Mutex::default(),
            ticks: Mutex::default(),
            overtaken: AtomicU32::new(0),
            checkout: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
        }
    }

    pub fn state(&self) -> Arc<HierarchyState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut HierarchyState)) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            change(Arc::make_mut(&mut state));
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// The run that goes on.
    pub fn live(&self) -> Option<Arc<LiveRun>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_live(&self, run: Option<Arc<LiveRun>>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = run;
        self.changes.send_modify(|count| *count += 1);
    }

    /// The folder of the repository.
    pub fn folder(&self) -> PathBuf {
        let file = self.source.file();
        file.parent().map_or_else(|| file.clone(), Path::to_owned)
    }

    /// The branch that runs build; `None` if a commit without a branch is checked out.
    pub fn branch(&self) -> Option<String> {
        match &self.source {
            HierarchySource::Clone { branch: Some(branch), .. } => Some(branch.clone()),
            // The clone has the default branch, and then commits of it.
            HierarchySource::Clone { folder, .. } => super::checkout::default_branch(folder),
            HierarchySource::File(_) => git::branch(&self.folder()),
        }
    }

    /// `host/owner/name` of the repository, if it has an address that other machines know too.
    pub fn repository(&self) -> Option<String> {
        match &self.source {
            HierarchySource::Clone { folder, .. } => git::source(folder),
            HierarchySource::File(_) => git::source(&self.folder()),
        }
        .and_then(|url| url.split_once("://").map(|(_, rest)| rest.to_lowercase()))
    }
}

/// The images whose context or Dockerfile holds one of these files, which are relative to the work tree. `None` if the
/// hierarchy file is one of them: any image may have changed.
pub fn images_of_files(
    hierarchy: &Hierarchy,
    work_tree: &Path,
    files: &[String],
) -> Option<BTreeSet<NodeName>> {
    let paths: Vec<PathBuf> = files.iter().map(|file| work_tree.join(file)).collect();
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = real(&hierarchy.file);
    if paths.contains(&file) {
        return None;
    }
    let holds = |node: &Node| {
        let (context, dockerfile) = (real(&node.context), real(&node.dockerfile.path));
        paths.iter().any(|path| path.starts_with(&context) || *path == dockerfile)
    };
    let nodes = hierarchy.in_build_order().filter(|node| holds(node));
    Some(nodes.map(|node| node.name.clone()).collect())
}

/// These images and all their descendants.
pub fn cone(hierarchy: &Hierarchy, images: &BTreeSet<NodeName>) -> BTreeSet<String> {
    let below = images.iter().flat_map(|name| hierarchy.descendants(name)).map(|node| &node.name);
    images.iter().chain(below).map(ToString::to_string).collect()
}

/// The images that are built on one of these upstreams. Each is `host/repository:tag`, or has no host.
pub fn users_of(hierarchy: &Hierarchy, upstreams: &[String]) -> BTreeSet<NodeName> {
    let uses = |node: &Node| {
        node.dockerfile.uses.iter().any(|it| match &it.base {
            Base::Upstream(reference) => upstreams.iter().any(|pushed| names(reference, pushed)),
            Base::Node(_) | Base::Files(_) => false,
        })
    };
    let nodes = hierarchy.in_build_order().filter(|node| uses(node));
    nodes.map(|node| node.name.clone()).collect()
}

/// Whether a reference in a Dockerfile means an image that a registry names so.
fn names(reference: &Reference, pushed: &str) -> bool {
    let Some(tag) = reference.tag_or_latest() else { return false };
    let Ok(pushed) = pushed.parse::<Reference>() else { return false };
    let same = pushed.repository.is_same(&reference.repository)
        // An event without a host.
        || pushed.repository.host() == "docker.io"
            && pushed.repository.path().trim_start_matches("library/")
                == reference.repository.path().trim_start_matches("library/");
    same && pushed.tag_or_latest() == Some(tag)
}

#[cfg(test)]
mod tests;
