//! A root file system, a builder, and images that are gone when the test is over.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rebuild::{
    engine::{
        BuildProgress, BuildRequest, BuildSecrets, Docker, Engine, EngineError, EngineInfo,
        EngineOptions,
    },
    fingerprint::{
        context::{Context, Modes},
        ignore::Ignore,
    },
    hierarchy::BuildSettings,
    image::{Digest, Tagged},
};
use tempfile::TempDir;

use crate::support::{busybox::busybox, containers::containers, missing};

pub(crate) struct Bench {
    pub(crate) docker: Docker,
    pub(crate) info: EngineInfo,
    /// Unique to this test in this process, and part of every name it gives.
    pub(crate) name: String,
    folder: TempDir,
}

impl Bench {
    /// `None`, with a word to the reader, if there is no engine or no busybox here.
    pub(crate) async fn new(test: &str) -> Self {
        let connected = Docker::connect(&EngineOptions::default()).await;
        let (docker, info) = connected.unwrap_or_else(|error| missing(&error.to_string()));
        let busybox = busybox();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Dockerfile"), "FROM not-what-is-built\n").unwrap();
        let bin = folder.path().join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for name in ["sh", "sleep", "tail"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let name = format!("engine-it-{test}-{}", std::process::id());
        Self { docker, info, name, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `FROM scratch`, a shell, and these lines. The label keeps tests that run at the same time
    /// from sharing layers, which one would take away under the other.
    pub(crate) fn request(&self, lines: &str) -> BuildRequest {
        let name = &self.name;
        BuildRequest {
            context_digest: None,
            context: Context {
                root: self.folder().to_owned(),
                ignore: Ignore::default(),
                modes: Modes::Git,
            },
            dockerfile: format!("FROM scratch\nLABEL test={name}\nCOPY root /\n{lines}\n"),
            dockerfile_path: self.folder().join("Dockerfile"),
            build_args: BTreeMap::new(),
            secrets: BuildSecrets::default(),
            labels: BTreeMap::new(),
            settings: BuildSettings::default(),
            repository: name.parse().unwrap(),
            target: None,
            named: [].into(),
            platform: None,
            no_cache: false,
            timeout: Duration::from_secs(300),
            run: name.clone(),
        }
    }

    /// Builds, and tags at once as `<name>:<tag>`.
    pub(crate) async fn build(&self, tag: &str, lines: &str) -> Digest {
        let id = self.docker.build(self.request(lines), |_| ()).await.unwrap().id;
        self.docker.tag(&id, &self.tagged(tag)).await.unwrap();
        id
    }

    pub(crate) fn tagged(&self, tag: &str) -> Tagged {
        let repository: rebuild::image::Repository = self.name.parse().unwrap();
        repository.tagged(tag.parse().unwrap())
    }

    /// Everything a build says, and how it ended.
    pub(crate) async fn told(
        &self,
        request: BuildRequest,
    ) -> (Vec<String>, String, Result<Digest, EngineError>) {
        let (mut steps, mut output) = (Vec::new(), Vec::new());
        let built = self
            .docker
            .build(request, |progress| match progress {
                BuildProgress::Step { number, total, text, .. }
                | BuildProgress::CountedStep { number, total, text } => {
                    steps.push(format!("{number}/{total} {text}"));
                }
                BuildProgress::Output(bytes) => output.extend(bytes),
                BuildProgress::Exporting => {}
            })
            .await;
        (steps, String::from_utf8(output).unwrap(), built.map(|image| image.id))
    }

    /// Takes away every tag this test made.
    pub(crate) async fn clean(self) {
        for name in self.docker.tags_of(vec![self.name.clone()]).await.unwrap().keys() {
            self.docker.untag(name).await.unwrap();
        }
        self.docker.quiesce().await;
    }
}

/// What `docker` prints.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a process or a container of the machine was started with this word.
pub(crate) fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let mut commands = processes.filter_map(|path: PathBuf| fs::read(path.join("cmdline")).ok());
    let has = |command: &[u8]| String::from_utf8_lossy(command).contains(word);
    commands.any(|command| has(&command))
        || containers("", "{{.Command}}").iter().any(|command| command.contains(word))
}

/// The states of a run's containers.
pub(crate) fn left(run: &str) -> String {
    containers(&format!("rebuild.run={run}"), "{{.Status}}").join("\n")
}

/// Polls, as nothing on the outside tells when it happens; a minute is for a busy machine.
pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
