//! A small real engine in memory, for tests: it keeps images and tags, and fails what it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, Read},
    sync::Mutex,
    time::Duration,
};

use super::{
    BuildProgress, BuildRequest, Engine, EngineError, Flattening, HistoryStep, ImageCommand,
    LocalImage, Network, PathDifference, ProbeOutput, TestProgress, Volatile,
};
use crate::{
    fingerprint,
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
    /// How the next builds of a node fail, the first first.
    pub(crate) next_builds: BTreeMap<String, Vec<EngineError>>,
    /// How long the engine writes the image of a node after its steps; no time if it does not say.
    pub(crate) exports_take: BTreeMap<String, Duration>,
    /// Nodes whose next build finds every pin removed.
    pub(crate) builds_unpin: BTreeSet<String>,
    /// Nodes whose next build takes the engine down with it: how many pings fail then.
    pub(crate) builds_kill: BTreeMap<String, usize>,
    pub(crate) losses: usize,
    pub(crate) pings_fail: usize,
    /// How often the tests of a node fail before they pass.
    pub(crate) next_tests: BTreeMap<String, usize>,
    /// Nodes whose tests fail.
    pub(crate) tests_fail: BTreeSet<String>,
    /// How long the tests of a node take; at once if it does not say.
    pub(crate) tests_take: BTreeMap<String, Duration>,
    /// How many tests ran at once, at most.
    pub(crate) testing: (usize, usize),
    /// Nodes that come out the same whatever goes in, but for labels.
    pub(crate) constant: BTreeSet<String>,
    /// Nodes whose images always have the same files, though their layers differ.
    pub(crate) same_tree: BTreeSet<String>,
    /// Nodes that come out different each time, also with the layer cache.
    pub(crate) drifting: BTreeSet<String>,
    /// How often something was built into layers of its own: without the layer cache, or drifting.
    pub(crate) fresh: u64,
    /// How many bytes the layer of a node has; 1000 if it does not say.
    pub(crate) sizes: BTreeMap<String, u64>,
    pub(crate) histories: BTreeMap<Digest, Vec<HistoryStep>>,
    /// Tags that refuse to be set.
    pub(crate) refused: BTreeSet<Tagged>,
    /// Tags that cannot be set right now.
    pub(crate) unanswered: BTreeSet<Tagged>,
    /// The newest version of each package that there is.
    pub(crate) repository: BTreeMap<String, String>,
    /// The packages that a node installs: `name`, in the newest version, or `name=version`.
    pub(crate) installs: BTreeMap<String, Vec<&'static str>>,
    /// The packages of each image, its parents' too.
    pub(crate) packages: BTreeMap<Digest, BTreeMap<String, String>>,
    /// Nodes whose package sources cannot be reached.
    pub(crate) unreachable: BTreeSet<String>,
    /// Every node that was built, in the order in which builds ended.
    pub(crate) built: Vec<String>,
    /// Every tag that was set, in order, but for pins.
    pub(crate) tagged: Vec<(Tagged, Digest)>,
}

impl Engine for FakeEngine {
    fn losses(&self) -> usize {
        self.state.lock().unwrap().losses
    }

    async fn ping(&self) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        if state.pings_fail == 0 {
            return Ok(());
        }
        state.pings_fail -= 1;
        let (endpoint, reason) = ("fake".to_owned(), "gone".to_owned());
        Err(EngineError::Unreachable { endpoint, reason })
    }

    async fn build(
        &self,
        request: BuildRequest,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        let node = request.labels["rebuild.node"].clone();
        let text = format!("RUN make {node}");
        progress(BuildProgress::CountedStep { number: 1, total: 1, text });
        progress(BuildProgress::Output(format!("making {node}\n").into_bytes()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let export = self.state.lock().unwrap().exports_take.get(&node).copied();
        if let Some(export) = export {
            progress(BuildProgress::Exporting);
            tokio::time::sleep(export).await;
        }
        let mut state = self.state.lock().unwrap();
        if state.builds_unpin.remove(&node) {
            state.tags.retain(|tag, _| tag.repository.host() != "rebuild.invalid");
        }
        if let Some(next) = state.next_builds.get_mut(&node).filter(|next| !next.is_empty()) {
            return Err(next.remove(0));
        }
        if let Some(pings) = state.builds_kill.remove(&node) {
            state.losses += 1;
            state.pings_fail = pings;
            let message = "process did not complete: exit code: 137".to_owned();
            return Err(EngineError::Build { message, step: None, exit_code: Some(137) });
        }
        if state.builds_fail.contains(&node) {
            return Err(EngineError::Build {
                message: "process did not complete: exit code: 2".to_owned(),
                step: Some(format!("RUN make {node}")),
                exit_code: Some(2),
            });
        }
        let (mut layers, mut packages) = (Vec::new(), BTreeMap::new());
        let (mut size, mut history) = (0, Vec::new());
        for from in request.dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
            if from == "scratch" {
                continue;
            }
            let Some(base) = state.tags.get(&tagged(from)) else {
                let message = format!("{from}: no such image");
                return Err(EngineError::Build { message, step: None, exit_code: None });
            };
            layers.clone_from(&state.images[base].layers);
            size = state.images[base].size;
            history = state.histories.get(base).cloned().unwrap_or_default();
            packages.extend(state.packages.get(base).cloned().unwrap_or_default());
        }
        for package in state.installs.get(&node).into_iter().flatten() {
            let (package, version) = match package.split_once('=') {
                Some((package, version)) => (package, version.to_owned()),
                None => (*package, state.repository[*package].clone()),
            };
            packages.insert(package.to_owned(), version);
        }
        let files = request.context.digest().unwrap();
        let is_fresh = request.no_cache || state.drifting.contains(&node);
        state.fresh += u64::from(is_fresh);
        let fresh = if is_fresh { state.fresh.to_string() } else { String::new() };
        let content = if state.constant.contains(&node) {
            node.clone()
        } else {
            let packages: Vec<String> =
                packages.iter().map(|(name, version)| format!("{name}={version}")).collect();
            // Pins differ from run to run; what they stand for is in the layers.
            let lines = request.dockerfile.lines().filter(|line| !line.starts_with("FROM "));
            let lines: Vec<&str> = lines.collect();
            format!("{}{files}{fresh}{}", lines.join("\n"), packages.join(" "))
        };
        layers.push(Digest::of(content.as_bytes()));
        let bytes = state.sizes.get(&node).copied().unwrap_or(1000);
        history.push(HistoryStep { created_by: format!("/bin/sh -c make {node}"), bytes });
        let id = Digest::of(format!("{content}{:?}", request.labels).as_bytes());
        let image = LocalImage {
            id: id.clone(),
            size: size + bytes,
            layers,
            labels: request.labels,
            config: "{}".to_owned(),
            tags: BTreeSet::new(),
            repo_digests: vec![],
            platform: "linux/amd64".parse().unwrap(),
            created: "2026-11-20T12:00:00Z".parse().ok(),
        };
        state.images.insert(id.clone(), image.clone());
        state.histories.insert(id.clone(), history);
        state.packages.insert(id, packages);
        state.built.push(node);
        Ok(image)
    }

    async fn test(
        &self,
        image: &Digest,
        tests: &[&Test],
        _run: &str,
        mut progress: impl FnMut(TestProgress) + Send,
    ) -> Result<Option<String>, EngineError> {
        for number in 0..tests.len() {
            progress(TestProgress::Begins(number));
            let (node, takes) = {
                let mut state = self.state.lock().unwrap();
                let node = state.images[image].labels["rebuild.node"].clone();
                state.testing.0 += 1;
                state.testing.1 = state.testing.1.max(state.testing.0);
                let takes = state.tests_take.get(&node).copied();
                (node, takes)
            };
            let testing = Testing(self);
            if let Some(takes) = takes {
                tokio::time::sleep(takes).await;
            }
            drop(testing);
            progress(TestProgress::Output(b"checking\n".to_vec()));
            let mut state = self.state.lock().unwrap();
            let next = state.next_tests.get_mut(&node).filter(|next| **next > 0);
            let is_flaky = next.map(|next| *next -= 1).is_some();
            if is_flaky || state.tests_fail.contains(&node) {
                return Ok(Some("exit code 1".to_owned()));
            }
        }
        Ok(None)
    }

    /// Answers as apt does.
    async fn files(
        &self,
        _image: &Digest,
        _paths: &[String],
        _run: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        Ok(BTreeMap::new())
    }

    async fn probe(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        _run: &str,
    ) -> Result<ProbeOutput, EngineError> {
        let state = self.state.lock().unwrap();
        let node = &state.images[image].labels["rebuild.node"];
        let (mut installed, mut newer, mut upgraded) = (String::new(), String::new(), 0);
        for (package, version) in &state.packages[image] {
            _ = writeln!(installed, "= installed {package} all {version}");
            let to = &state.repository[package];
            if version != to {
                _ = writeln!(newer, "Inst {package} [{version}] ({to} fake [all])");
                upgraded += 1;
            }
        }
        let section = |name: &str, text: &str, code: u8| {
            format!("\nrebuild: begin {name}\n{text}\nrebuild: end {name} {code}\n")
        };
        let mut stdout = section("architecture", "amd64\n", 0);
        stdout += &section("installed", &installed, 0);
        if probe.network == Network::Default {
            let is_down = state.unreachable.contains(node);
            let (said, code) =
                if is_down { ("E: Failed to fetch http://fake/\n", 100) } else { ("", 0) };
            stdout += &section("refresh", said, code);
            stdout += &section("sources", "= http://fake\n", 0);
            _ = writeln!(newer, "{upgraded} upgraded, 0 newly installed");
            stdout += &section("updates", &newer, 0);
        }
        Ok(ProbeOutput { stdout: stdout.into_bytes(), stderr: vec![], exit_code: 0 })
    }

    async fn inspect(&self, image: &str) -> Result<Option<LocalImage>, EngineError> {
        let state = self.state.lock().unwrap();
        let id = match image.parse::<Digest>() {
            Ok(id) => Some(id),
            Err(_) if image.contains('@') => None,
            Err(_) => state.tags.get(&tagged(image)).cloned(),
        };
        let tags = |id: &Digest| {
            let its = state.tags.iter().filter(|(_, image)| *image == id);
            its.map(|(tag, _)| tag.clone()).collect()
        };
        Ok(id.and_then(|id| Some(LocalImage { tags: tags(&id), ..state.images.get(&id)?.clone() })))
    }

    async fn history(&self, image: &Digest) -> Result<Vec<HistoryStep>, EngineError> {
        Ok(self.state.lock().unwrap().histories.get(image).cloned().unwrap_or_default())
    }

    async fn resolve(&self, names: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        let tags = &self.state.lock().unwrap().tags;
        let found = |name: Tagged| Some((name.clone(), tags.get(&name)?.clone()));
        Ok(names.into_iter().filter_map(found).collect())
    }

    async fn tags_of(
        &self,
        repositories: Vec<String>,
    ) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        let mut tags = self.state.lock().unwrap().tags.clone();
        tags.retain(|tag, _| repositories.iter().any(|name| name == tag.repository.as_str()));
        Ok(tags)
    }

    async fn tag(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap();
        if state.refused.contains(name) {
            let (doing, message) = (format!("tagging {name}"), "no".to_owned());
            return Err(EngineError::Answer { doing, message });
        }
        if state.unanswered.contains(name) {
            let (endpoint, reason) = ("fake".to_owned(), "gone".to_owned());
            return Err(EngineError::Unreachable { endpoint, reason });
        }
        state.tags.insert(name.clone(), image.clone());
        if !name.repository.host().ends_with("rebuild.invalid") {
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
        Err(EngineError::Transfer { doing, message, cause: None })
    }

    async fn pull(
        &self,
        repository: &Repository,
        _digest: &Digest,
        _platform: Option<&Platform>,
        _login: Option<Login>,
    ) -> Result<Digest, EngineError> {
        let (doing, message) = (format!("pulling {repository}"), "no registry here".to_owned());
        Err(EngineError::Transfer { doing, message, cause: None })
    }

    async fn flatten(
        &self,
        image: &LocalImage,
        flattening: &Flattening,
    ) -> Result<LocalImage, EngineError> {
        let mut state = self.state.lock().unwrap();
        let (kept, replaced) = image.layers.split_at(flattening.kept);
        let flat = Digest::of(format!("{replaced:?}").as_bytes());
        let layers: Vec<Digest> = kept.iter().cloned().chain([flat]).collect();
        let id = Digest::of(format!("{layers:?}{:?}", image.labels).as_bytes());
        let size = 1000 * layers.len() as u64;
        let packages = state.packages.get(&image.id).cloned().unwrap_or_default();
        state.packages.insert(id.clone(), packages);
        let image = LocalImage { id: id.clone(), size, layers, ..image.clone() };
        state.images.insert(id.clone(), image.clone());
        state.tags.insert(flattening.name.clone(), id);
        Ok(image)
    }

    /// Each image of a node that does not always have the same files has one that is its own.
    async fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        _volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        let state = self.state.lock().unwrap();
        let image = |id: &Digest| {
            state.images.get(id).ok_or_else(|| EngineError::Refused {
                doing: "comparing files".to_owned(),
                status: 404,
                message: format!("No such image: {id}"),
            })
        };
        let (old, new) = (image(old)?, image(new)?);
        let node = &new.labels["rebuild.node"];
        let same_node = old.labels.get("rebuild.node") == Some(node);
        if old.layers == new.layers || (same_node && state.same_tree.contains(node)) {
            return Ok(vec![]);
        }
        Ok(vec![PathDifference {
            path: node.into(),
            what: fingerprint::ListingDifference::Changed,
        }])
    }

    /// Its images have no files.
    async fn export<T: Send + 'static>(
        &self,
        _images: Vec<Digest>,
        _read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (doing, message) = ("exporting".to_owned(), "no files here".to_owned());
        Err(EngineError::Answer { doing, message })
    }
}

/// A test under way, which may be cancelled.
struct Testing<'a>(&'a FakeEngine);

impl Drop for Testing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().testing.0 -= 1;
    }
}

fn tagged(name: &str) -> Tagged {
    let (repository, tag) = name.rsplit_once(':').unwrap();
    Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
}
