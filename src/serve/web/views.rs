//! What pages show, and what their JSON has: the same data.

use std::{fs::File, io::Read as _, io::Seek as _, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    hierarchy::{Base, Hierarchy, Node, NodeName},
    host::moment,
    plan::ImageState,
    run::state::StateFolder,
    serve::{
        Server,
        database::{PublishedSize, RunState, StoredRun},
        served::{HierarchyState, ServedHierarchy},
    },
};

/// How many runs a page lists.
const RUNS: u32 = 30;
/// How much of a log a page shows, from its end.
const LOG: u64 = 256 * 1024;
/// How much of a log tells whether it is of a build.
const HEAD: u64 = 4096;

#[derive(Serialize)]
pub struct OverviewView {
    pub hierarchies: Vec<HierarchyCard>,
}

#[derive(Serialize)]
pub struct HierarchyCard {
    pub name: String,
    pub source: String,
    pub commit: Option<String>,
    pub problem: Option<String>,
    pub lag: LagView,
    pub running: Option<RunRow>,
    pub last: Option<RunRow>,
}

#[derive(Serialize)]
pub struct HierarchyView {
    pub name: String,
    pub source: String,
    pub commit: Option<String>,
    /// Why the files cannot be read.
    pub problem: Option<String>,
    /// When the states were read, and why they cannot be read now.
    #[serde(serialize_with = "moment::whole")]
    pub checked_at: Option<Timestamp>,
    pub check_problem: Option<String>,
    #[serde(serialize_with = "moment::whole")]
    pub next_schedule: Option<Timestamp>,
    /// When a run that found no engine or registry starts again, and what it said.
    pub retry: Option<(Timestamp, String)>,
    pub lag: LagView,
    pub images: Vec<ImageRow>,
    pub running: Option<RunRow>,
    pub queued: Vec<RunRow>,
    pub runs: Vec<RunRow>,
    #[serde(skip)]
    pub hierarchy: Option<Arc<Hierarchy>>,
}

/// How far a hierarchy lags behind its inputs.
#[derive(Default, Serialize)]
pub struct LagView {
    pub images: usize,
    pub current: usize,
    pub behind: usize,
    pub held_back: usize,
    pub never_built: usize,
    /// The published image that was built first.
    pub oldest: Option<OldestView>,
    /// Images that wait for package updates.
    pub updates_pending: usize,
    /// Since when the first image is not current.
    #[serde(serialize_with = "moment::whole")]
    pub behind_since: Option<Timestamp>,
}

#[derive(Serialize)]
pub struct OldestView {
    pub image: String,
    #[serde(serialize_with = "moment::whole")]
    pub built_at: Timestamp,
}

#[derive(Clone, Serialize)]
pub struct ImageRow {
    pub name: String,
    /// `null` until the states were read.
    pub state: Option<ImageState>,
    #[serde(serialize_with = "moment::whole")]
    pub built_at: Option<Timestamp>,
    #[serde(serialize_with = "moment::whole")]
    pub behind_since: Option<Timestamp>,
    pub why: Option<String>,
    pub digest: Option<String>,
    /// In bytes: compressed in a registry, unpacked in an engine.
    pub size: Option<u64>,
    pub repository: String,
    pub parents: Vec<String>,
    /// What the current run does with it: `building`, `waiting`, or its outcome.
    pub in_run: Option<String>,
    /// Whether its own build or test failed in its last run.
    pub has_failed: bool,
}

#[derive(Clone, Serialize)]
pub struct RunRow {
    pub id: i64,
    pub hierarchy: String,
    /// As a command line.
    pub request: String,
    pub why: Vec<String>,
    pub state: RunState,
    #[serde(serialize_with = "moment::whole")]
    pub queued_at: Timestamp,
    #[serde(serialize_with = "moment::whole")]
    pub began_at: Option<Timestamp>,
    #[serde(serialize_with = "moment::whole")]
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<i64>,
    pub run: Option<String>,
    pub result: Option<String>,
    /// The run for which its request was queued again.
    pub followed_by: Option<i64>,
    /// Of the run that goes on: the images that are finished, and all that it builds.
    pub done: Option<usize>,
    pub total: Option<usize>,
}

#[derive(Serialize)]
pub struct ImageDetails {
    pub hierarchy: String,
    #[serde(flatten)]
    pub row: ImageRow,
    pub tags: Vec<String>,
    pub is_in_registry: bool,
    pub upstreams: Vec<String>,
    pub children: Vec<String>,
    pub descendants: Vec<String>,
    /// The inputs of the fingerprint, as name and value.
    pub inputs: Vec<(String, String)>,
    pub tests: Vec<TestView>,
    pub sizes: Vec<PublishedSize>,
    pub last_failure: Option<serde_json::Value>,
    pub log: Option<LogView>,
}

#[derive(Serialize)]
pub struct TestView {
    pub test: String,
    /// The ancestor that it is inherited from.
    pub from: Option<String>,
}

#[derive(Serialize)]
pub struct LogView {
    pub run: String,
    /// The end of the log.
    pub text: String,
    /// Whether the log has more before it.
    pub is_cut: bool,
    #[serde(skip)]
    pub path: PathBuf,
}

#[derive(Serialize)]
pub struct RunPage {
    #[serde(flatten)]
    pub run: RunRow,
    pub deliveries: Vec<String>,
}

impl RunRow {
    pub fn of(run: &StoredRun, served: Option<&ServedHierarchy>) -> Self {
        let live = served.and_then(ServedHierarchy::live).filter(|live| live.id == run.id);
        let progress = live.as_ref().map(|live| {
            let progress = live.progress();
            (progress.done, progress.done + progress.unfinished.len(), progress.run.clone())
        });
        let (done, total, name) = match progress {
            Some((done, total, name)) => (Some(done), Some(total), name),
            None => (None, None, None),
        };
        Self {
            id: run.id,
            hierarchy: run.hierarchy.clone(),
            request: run.request.work.to_string(),
            why: run.request.why.clone(),
            state: run.state,
            queued_at: run.queued_at,
            began_at: run.began_at,
            ended_at: run.ended_at,
            exit_code: run.exit_code,
            run: run.run.clone().or(name),
            result: run.result.clone(),
            followed_by: run.followed_by,
            done,
            total,
        }
    }
}

impl LagView {
    fn of(state: &HierarchyState) -> Self {
        let count = |wanted| state.images.values().filter(|image| image.state == wanted).count();
        let all = state.hierarchy.as_ref().map_or(0, |hierarchy| hierarchy.len());
        let built = state.images.values().filter_map(|image| Some((image.since?, &image.node)));
        Self {
            images: all.max(state.images.len()),
            current: count(ImageState::Current),
            behind: count(ImageState::Behind),
            held_back: count(ImageState::NotPromoted) + count(ImageState::Held),
            never_built: count(ImageState::NeverBuilt) + count(ImageState::Missing),
            oldest: built
                .min()
                .map(|(built_at, image)| OldestView { image: image.clone(), built_at }),
            updates_pending: state
                .images
                .values()
                .filter(|image| image.reason == "updates-available")
                .count(),
            behind_since: state.behind_since.values().min().copied(),
        }
    }
}

/// The rows of all images, in build order.
fn rows(served: &ServedHierarchy, state: &HierarchyState) -> Vec<ImageRow> {
    let live = served.live();
    let in_run = |name: &str| {
        let progress = live.as_ref()?.progress();
        if progress.running.contains(name) {
            return Some("building".to_owned());
        }
        if progress.unfinished.contains(name) {
            return Some("waiting".to_owned());
        }
        progress.outcomes.get(name).cloned()
    };
    let row = |node: &Node| {
        let name = node.name.to_string();
        let status = state.images.get(&name);
        let parents = state.hierarchy.iter().flat_map(|hierarchy| hierarchy.parents(&node.name));
        ImageRow {
            state: status.map(|status| status.state),
            built_at: status.and_then(|status| status.since),
            behind_since: state.behind_since.get(&name).copied(),
            why: status.map(|status| status.cause.clone()),
            digest: status.and_then(|status| status.published.clone()),
            size: status.and_then(|status| status.size),
            repository: node.repository.to_string(),
            parents: parents.map(|parent| parent.name.to_string()).collect(),
            in_run: in_run(&name),
            has_failed: status
                .and_then(|status| status.last_failure.as_ref())
                .is_some_and(|failure| failure["setback"]["result"] == "failed"),
            name,
        }
    };
    state.hierarchy.iter().flat_map(|hierarchy| hierarchy.in_build_order().map(row)).collect()
}

impl Server {
    pub(super) async fn overview(&self) -> OverviewView {
        let mut hierarchies = Vec::new();
        for served in &self.hierarchies {
            let state = served.state();
            let runs = self.database.runs(&served.name, 10).await.unwrap_or_default();
            let row = |run: &StoredRun| RunRow::of(run, Some(served));
            hierarchies.push(HierarchyCard {
                name: served.name.clone(),
                source: served.source.shown(),
                commit: state.commit.clone(),
                problem: state.problem.clone().or_else(|| state.check_problem.clone()),
                lag: LagView::of(&state),
                running: runs.iter().find(|run| run.state == RunState::Running).map(row),
                last: runs.iter().find(|run| run.state.is_over()).map(row),
            });
        }
        OverviewView { hierarchies }
    }

    pub(super) async fn hierarchy_view(&self, served: &ServedHierarchy) -> HierarchyView {
        let state = served.state();
        let runs = self.database.runs(&served.name, RUNS).await.unwrap_or_default();
        let of = |wanted: fn(RunState) -> bool| {
            let runs = runs.iter().filter(move |run| wanted(run.state));
            runs.map(|run| RunRow::of(run, Some(served))).collect::<Vec<_>>()
        };
        HierarchyView {
            name: served.name.clone(),
            source: served.source.shown(),
            commit: state.commit.clone(),
            problem: state.problem.clone(),
            checked_at: state.checked_at,
            check_problem: state.check_problem.clone(),
            next_schedule: state.next_tick,
            retry: state.retry.clone().map(|(at, why)| (moment::whole_seconds(at), why)),
            lag: LagView::of(&state),
            images: rows(served, &state),
            running: of(|state| state == RunState::Running).pop(),
            queued: of(|state| state == RunState::Queued),
            runs: of(RunState::is_over),
            hierarchy: state.hierarchy.clone(),
        }
    }

    pub(super) async fn image_view(
        &self,
        served: &ServedHierarchy,
        image: &str,
    ) -> Option<ImageDetails> {
        let state = served.state();
        let hierarchy = state.hierarchy.clone()?;
        let name: NodeName = image.into();
        let node = hierarchy.get(&name)?;
        let row = rows(served, &state).into_iter().find(|row| row.name == image)?;
        let names = |nodes: Vec<&Node>| nodes.iter().map(|node| node.name.to_string()).collect();
        let upstream = |base: &Base| match base {
            Base::Upstream(reference) => Some(reference.to_string()),
            Base::Node(_) | Base::Files(_) => None,
        };
        let mut upstreams: Vec<String> =
            node.dockerfile.uses.iter().filter_map(|it| upstream(&it.base)).collect();
        upstreams.sort();
        upstreams.dedup();
        let failure = state.images.get(image).and_then(|image| image.last_failure.clone());
        Some(ImageDetails {
            hierarchy: served.name.clone(),
            row,
            tags: node.tags.iter().map(ToString::to_string).collect(),
            is_in_registry: hierarchy.registry.is_some(),
            upstreams,
            children: names(hierarchy.children(&name).collect()),
            descendants: names(hierarchy.descendants(&name).collect()),
            inputs: inputs(&hierarchy, node),
            tests: tests(&hierarchy, node),
            sizes: self.database.sizes(&served.name, image).await.unwrap_or_default(),
            last_failure: failure.filter(|failure| !failure.is_null()),
            log: log(&hierarchy, image),
        })
    }
}

/// What is in the fingerprint, for people: docs/how-it-decides.md.
fn inputs(hierarchy: &Hierarchy, node: &Node) -> Vec<(String, String)> {
    let shown = |path: &std::path::Path| {
        path.strip_prefix(hierarchy.root()).unwrap_or(path).display().to_string()
    };
    let mut inputs = vec![
        ("Dockerfile".to_owned(), shown(&node.dockerfile.path)),
        ("context".to_owned(), shown(&node.context)),
    ];
    let mut add = |key: String, value: String| inputs.push((key, value));
    if let Some(target) = &node.target {
        add("target".to_owned(), target.clone());
    }
    add("platform".to_owned(), hierarchy.platform_of(node).to_string());
    for (name, value) in &node.build_args {
        add(format!("build argument {name}"), value.clone());
    }
    for (name, value) in &node.labels {
        add(format!("label {name}"), value.clone());
    }
    for id in node.secrets.keys() {
        add("secret".to_owned(), id.clone());
    }
    if let Some(prepare) = &node.prepare {
        add("prepare".to_owned(), prepare.join(" "));
    }
    for (name, folder) in &node.contexts {
        add(format!("context {name}"), shown(folder));
    }
    inputs
}

/// The tests that a candidate must pass, inherited ones first.
fn tests(hierarchy: &Hierarchy, node: &Node) -> Vec<TestView> {
    let tests = hierarchy.tests_with_origin(&node.name).map(|(origin, test)| TestView {
        test: test.check.shown(),
        from: (origin.name != node.name).then(|| origin.name.to_string()),
    });
    tests.collect()
}

/// The end of the log of an image's last build.
pub(super) fn log(hierarchy: &Hierarchy, image: &str) -> Option<LogView> {
    let logs = StateFolder::of(&hierarchy.file).logs(image);
    // The newest of a build. A run that found the image stored has a log of two lines.
    let is_of_build = |(_, path): &&(String, PathBuf)| {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.is_ok() && String::from_utf8_lossy(&head).contains(" building\n")
    };
    let (run, path) = logs.iter().find(is_of_build).or(logs.first())?.clone();
    let mut file = File::open(&path).ok()?;
    let length = file.metadata().ok()?.len();
    let is_cut = length > LOG;
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(LOG))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line may be cut.
    let text = match text.split_once('\n') {
        Some((_, rest)) if is_cut => rest.to_owned(),
        _ => text,
    };
    Some(LogView { run, text, is_cut, path })
}
