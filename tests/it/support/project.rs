//! A hierarchy in a folder that goes away, and the program run on it as a user would.
//!
//! **Invariant:** the names of a project's images occur nowhere else, so that tests run side by side on
//! one engine. In what is written and read here `~` stands for what makes them unique: `~web` is
//! `it4f1c…-web`. Everything in the engine with such a name is removed in the end, and nothing else.

use std::{
    collections::BTreeMap,
    env, fs,
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, OnceLock},
    time::{Duration, Instant},
};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use super::{registry::Registry, skipped};

/// No run of these tests takes nearly as long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Project {
    folder: TempDir,
    prefix: String,
    engine: String,
}

/// Where a project's images are published.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Engine,
    Registry(&'a Registry),
}

/// The smallest hierarchy that has everything: a chain of three, and a branch.
pub(crate) const HIERARCHY: &str = "\
version: 1
images:
  ~os: { context: os, tags: [latest, \"1\"] }
  ~web: { context: web }
  ~app: { context: app, test: [{ run: [cat, /page] }] }
  ~tool: { context: tool }
";

impl Project {
    /// [`HIERARCHY`] and its contexts. `None`, and a line that says so, without an engine or a busybox.
    pub(crate) fn new() -> Option<Self> {
        let project = Self::empty()?;
        project.write("hierarchy.yaml", HIERARCHY);
        project.write_os();
        project.write("web/Dockerfile", "FROM ~os:1\nCOPY page /page\n");
        project.write("web/page", "one\n");
        project.write("app/Dockerfile", "FROM ~web\nRUN cp /page /app\n");
        project.write("tool/Dockerfile", "FROM ~os\nRUN echo tool >/tool\n");
        Some(project)
    }

    /// [`HIERARCHY`] of images that are nothing but files: where many are built, and none is to run.
    pub(crate) fn of_files() -> Option<Self> {
        let project = Self::empty()?;
        project.write("hierarchy.yaml", &HIERARCHY.replace(", test: [{ run: [cat, /page] }]", ""));
        for (image, from) in [("os", "scratch"), ("web", "~os:1"), ("app", "~web"), ("tool", "~os")]
        {
            let dockerfile = format!("FROM {from}\nCOPY page /{image}\n");
            project.write(&format!("{image}/Dockerfile"), &dockerfile);
            project.write(&format!("{image}/page"), &format!("~{image} one\n"));
        }
        Some(project)
    }

    /// A folder with nothing in it.
    pub(crate) fn empty() -> Option<Self> {
        let Some(engine) = engine() else {
            skipped("no engine answers");
            return None;
        };
        let unique = RandomState::new().hash_one(std::process::id());
        let prefix = format!("it{unique:016x}-");
        let folder = tempfile::tempdir().unwrap();
        for inside in ["project", "state", "docker"] {
            fs::create_dir(folder.path().join(inside)).unwrap();
        }
        let project = Self { folder, prefix, engine };
        if busybox().is_none() {
            skipped("no static busybox");
            return None;
        }
        Some(project)
    }

    /// The quickest hierarchy there is: an image of one file, and one that stands on it.
    pub(crate) fn pair() -> Option<Self> {
        let project = Self::empty()?;
        let base = "~base: { context: base, tags: [latest, \"1\"] }";
        let file = format!("version: 1\nimages:\n  {base}\n  ~app: {{ context: app }}\n");
        project.write("hierarchy.yaml", &file);
        project.write("base/Dockerfile", "FROM scratch\nCOPY name /\n");
        project.write("base/name", "~base\n");
        project.write("app/Dockerfile", "FROM ~base:1\nCOPY page /\n");
        project.write("app/page", "one\n");
        Some(project)
    }

    /// The address of the real engine.
    pub(crate) fn engine(&self) -> &str {
        &self.engine
    }

    /// The context of an image with a shell and a file that is the project's own, so that no other
    /// project's image has the same ID.
    pub(crate) fn write_os(&self) {
        self.write(
            "os/Dockerfile",
            "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
             COPY name /etc/\n",
        );
        self.write("os/name", "~os\n");
        fs::copy(busybox().unwrap(), self.path("os/busybox")).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("project").join(path)
    }

    /// Where the program keeps its logs and locks.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The folder that `DOCKER_CONFIG` names.
    pub(crate) fn docker_config(&self) -> PathBuf {
        self.folder.path().join("docker")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.name(text)).unwrap();
    }

    pub(crate) fn write_script(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The first place where a file says `old` now says `new`.
    pub(crate) fn edit(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        let (old, new) = (self.name(old), self.name(new));
        assert!(text.contains(&old), "{path} does not contain {old:?}");
        fs::write(self.path(path), text.replacen(&old, &new, 1)).unwrap();
    }

    /// With the unique part for each `~`.
    pub(crate) fn name(&self, text: &str) -> String {
        text.replace('~', &self.prefix)
    }

    /// With a `~` for each unique part.
    pub(crate) fn shown(&self, text: &str) -> String {
        text.replace(&self.prefix, "~")
    }

    /// The program, about to be run in the project's folder.
    pub(crate) fn rebuild(&self, arguments: &str) -> Start<'_> {
        let mut command = Command::new(program());
        command.args(self.name(arguments).split_whitespace());
        self.start(command, &self.path(""))
    }

    /// A shell in a folder, about to run a script in which `rebuild` is the program.
    pub(crate) fn shell(&self, folder: &Path, script: &str) -> Start<'_> {
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("rebuild() {{ \"$REBUILD\" \"$@\"; }}\n{script}")]);
        command.env("REBUILD", program());
        self.start(command, folder)
    }

    fn start(&self, mut command: Command, folder: &Path) -> Start<'_> {
        for inherited in [
            "CI",
            "GITHUB_ACTIONS",
            "GITHUB_STEP_SUMMARY",
            "GITHUB_WORKSPACE",
            "GITLAB_CI",
            "DOCKER_BUILDKIT",
            "DOCKER_AUTH_CONFIG",
        ] {
            command.env_remove(inherited);
        }
        command
            .current_dir(folder)
            .env("XDG_STATE_HOME", self.state())
            .env("DOCKER_CONFIG", self.docker_config())
            .env("DOCKER_HOST", &self.engine)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Start { project: self, command }
    }

    /// Runs it to a good end, publishing to this place.
    pub(crate) fn rebuilt(&self, place: Place<'_>) -> Ended {
        self.rebuild("").to(place).run().exits(0)
    }

    /// Removes every image of the project from the engine.
    pub(crate) fn forget_images(&self) {
        // By name, and whatever the test left running in the containers of those images first.
        let Ok(all) = try_listing() else { return };
        let mut names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
        // What was pulled has a digest and no tag.
        let digests = docker(&["images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
        let digests = digests.unwrap_or_default();
        names.extend(digests.lines().filter(|name| !name.contains('<')).map(str::to_owned));
        names.retain(|name| name.contains(&self.prefix) && !name.contains('<'));
        for name in &names {
            let filter = format!("ancestor={name}");
            let containers = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
            for container in containers.unwrap_or_default().lines() {
                _ = docker(&["rm", "--force", container]);
            }
        }
        if !names.is_empty() {
            let mut arguments = vec!["rmi", "--force"];
            arguments.extend(names.iter().map(String::as_str));
            _ = docker(&arguments);
        }
    }

    /// Oracle: where each tag of the project points, build tags left out.
    pub(crate) fn tags(&self, place: Place<'_>) -> BTreeMap<String, String> {
        let mut tags = self.all_tags(place);
        tags.retain(|name, _| !name.contains(":rb-"));
        tags
    }

    /// Oracle: where each tag of the project points: image IDs in the engine, digests in a registry.
    pub(crate) fn all_tags(&self, place: Place<'_>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        match place {
            Place::Engine => {
                for (name, id) in listing() {
                    // What was pushed from here, and what others are pinned to, is elsewhere.
                    if name.starts_with(&self.prefix) {
                        tags.insert(self.shown(&name), id);
                    }
                }
            }
            Place::Registry(registry) => {
                for repository in registry.repositories() {
                    let Some(name) = repository.strip_prefix("demo/") else { continue };
                    // Records of runs are no images.
                    if name == "rebuild-runs" {
                        continue;
                    }
                    for tag in registry.tags(&repository) {
                        let digest = registry.head(&repository, &tag).unwrap();
                        tags.insert(self.shown(&format!("{name}:{tag}")), digest);
                    }
                }
            }
        }
        tags
    }

    /// Oracle: the configuration of the image under a tag, as the engine or the registry has it.
    pub(crate) fn config(&self, place: Place<'_>, tag: &str) -> Value {
        let tag = self.name(tag);
        match place {
            Place::Engine => {
                let inspected = docker(&["inspect", "--format", "{{json .Config}}", &tag]);
                serde_json::from_str(&inspected.unwrap()).unwrap()
            }
            Place::Registry(registry) => {
                let (name, tag) = tag.split_once(':').unwrap();
                registry.config(&format!("demo/{name}"), tag)["config"].clone()
            }
        }
    }

    /// Oracle: the value of a label of the image under a tag; empty if it has no such label.
    pub(crate) fn label(&self, place: Place<'_>, tag: &str, label: &str) -> String {
        self.config(place, tag)["Labels"][label].as_str().unwrap_or_default().to_owned()
    }

    /// Oracle: a command's output in a container of an image of the engine.
    pub(crate) fn output_in(&self, image: &str, command: &[&str]) -> String {
        let image = self.name(image);
        let mut arguments = vec!["run", "--rm", "--network", "none", &image];
        arguments.extend(command);
        self.shown(&docker(&arguments).unwrap())
    }

    /// Oracle: processes in containers whose command line has the project's prefix, containers
    /// that are about it, and names in the engine that only a run under way should have.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let is_ours = line.contains("/rebuild ") || line.starts_with("docker ");
            if line.contains(&self.prefix) && !is_ours {
                found.push(format!("process {}", self.shown(&line)));
            }
        }
        let format = "{{.Names}} {{.Image}} {{.Command}} {{.Labels}}";
        let containers = docker(&["ps", "--all", "--no-trunc", "--format", format]).unwrap();
        let ours = containers.lines().filter(|line| line.contains(&self.prefix));
        found.extend(ours.map(|line| format!("container {}", self.shown(line))));
        found.extend(self.pins().into_iter().map(|pin| format!("name {}", self.shown(&pin))));
        found
    }

    /// What is still [`under_way`](Self::under_way): the engine ends a cancelled build in its own time.
    pub(crate) fn left_after(&self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.under_way();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until something of that kind is [`under_way`](Self::under_way).
    pub(crate) fn wait_until_under_way(&self, kind: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.under_way().iter().any(|line| line.starts_with(kind)) {
            assert!(Instant::now() < deadline, "no {kind} is under way");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The names in `rebuild.invalid` that images of this project are pinned by.
    fn pins(&self) -> Vec<String> {
        let node = format!("/n{}", self.prefix);
        let all = listing().into_iter().map(|(name, _)| name);
        all.filter(|name| name.starts_with("rebuild.invalid/") && name.contains(&node)).collect()
    }

    /// The logs of the newest run, by node.
    pub(crate) fn logs(&self) -> BTreeMap<String, String> {
        // state/rebuild/<hierarchy>/runs/<run>/<node>.log; runs sort by time.
        let inside = |folders: Vec<PathBuf>| -> Vec<PathBuf> {
            let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let runs = inside(vec![self.state().join("rebuild")]);
        let runs = inside(runs.into_iter().map(|hierarchy| hierarchy.join("runs")).collect());
        let logs = inside(runs.into_iter().max().into_iter().collect());
        let log = |path: &PathBuf| {
            let name = path.file_stem().unwrap().to_string_lossy();
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            (self.shown(&name), self.shown(&text))
        };
        logs.iter().map(log).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.forget_images();
    }
}

/// The program before it is started.
pub(crate) struct Start<'a> {
    project: &'a Project,
    command: Command,
}

impl<'a> Start<'a> {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn to(mut self, place: Place<'_>) -> Self {
        if let Place::Registry(registry) = place {
            self.command.env("REBUILD_REGISTRY", format!("{}/demo", registry.host()));
        }
        self
    }

    pub(crate) fn run(self) -> Ended {
        self.start().end()
    }

    pub(crate) fn start(mut self) -> Running<'a> {
        let mut child = self.command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = said.clone();
        let stderr = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        let stderr = Some(stderr);
        Running { project: self.project, child, stdout, read: String::new(), stderr, said }
    }
}

/// The program under way. Killed if the test ends first.
pub(crate) struct Running<'a> {
    project: &'a Project,
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    /// What was read of stdout.
    read: String,
    stderr: Option<std::thread::JoinHandle<()>>,
    /// What was read of stderr.
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running<'_> {
    /// Reads stdout up to a line with this text: with `--progress json` that is when something happens.
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Self {
        self.line_with(text);
        self
    }

    /// The same, and that line.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let text = self.project.name(text);
        let stdout = self.stdout.as_mut().unwrap();
        loop {
            let mut line = String::new();
            let length = stdout.read_line(&mut line).unwrap();
            self.read.push_str(&line);
            assert!(length > 0, "it ended without {text:?}:\n{}", self.read);
            if line.contains(&text) {
                return line;
            }
        }
    }

    /// Waits until stderr says this.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) -> &mut Self {
        let text = self.project.name(text);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
            if said.contains(&text) {
                return self;
            }
            assert!(Instant::now() < deadline, "it does not say {text:?}:\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nobody reads stdout any more.
    pub(crate) fn close_stdout(&mut self) -> &mut Self {
        self.stdout = None;
        self
    }

    pub(crate) fn signal(&mut self, signal: &str) -> &mut Self {
        let arguments = ["-s", signal, &self.child.id().to_string()];
        let status = Command::new("kill").args(arguments).status().unwrap();
        assert!(status.success());
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn end(&mut self) -> Ended {
        self.end_within(PATIENCE)
    }

    pub(crate) fn end_within(&mut self, limit: Duration) -> Ended {
        if let Some(mut stdout) = self.stdout.take() {
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).unwrap();
            self.read.push_str(&String::from_utf8_lossy(&rest));
        }
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.stderr.take().unwrap().join().unwrap();
        let stderr = std::mem::take(&mut *self.said.lock().unwrap());
        Ended {
            status,
            stdout: self.project.shown(&self.read),
            stderr: self.project.shown(&String::from_utf8_lossy(&stderr)),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What came of a run, with `~` for what is unique.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Each of these stands on stderr.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "it does not say {text:?}\n{self}");
        }
        self
    }

    /// Neither on stdout nor on stderr.
    #[track_caller]
    pub(crate) fn never_says(self, texts: &[&str]) -> Self {
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(!said, "it says {text:?}\n{self}");
        }
        self
    }

    /// The last line on stderr, without the time it took.
    pub(crate) fn result(&self) -> String {
        timeless(self.stderr.trim_end().lines().last().unwrap_or_default())
    }

    /// stdout as JSON lines.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let parsed = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}\n{self}"))
        };
        self.stdout.lines().map(parsed).collect()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n-- stdout\n{}-- stderr\n{}--", self.status, self.stdout, self.stderr)
    }
}

/// Without the times that things took: `built in 3.2 s` becomes `built in _`.
pub(crate) fn timeless(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+ h )?(\d+ min )?\d+(\.\d+)? m?s\b").unwrap());
    TIME.replace_all(text, "_").into_owned()
}

/// The engine's address, as the docker CLI finds it; `None` if none answers.
fn engine() -> Option<String> {
    static ENGINE: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        docker(&["version", "--format", "{{.Server.Version}}"]).ok()?;
        let set = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        set.or_else(|| {
            let host = docker(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]);
            Some(host.ok()?.trim().to_owned())
        })
    };
    ENGINE.get_or_init(find).clone()
}

/// The binary under test: it may be another one, such as the one that is to be released.
fn program() -> std::ffi::OsString {
    env::var_os("REBUILD_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_rebuild").into())
}

/// A busybox that needs no loader.
fn busybox() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join("busybox")).find(|file| is_static(file))
}

fn is_static(file: &Path) -> bool {
    // A dynamic program names its loader in its first page.
    fs::read(file).is_ok_and(|program| {
        let first = &program[..program.len().min(4096)];
        program.starts_with(b"\x7fELF") && !first.windows(4).any(|four| four == b"/ld-")
    })
}

/// Every name in the engine, with the image's ID.
fn listing() -> Vec<(String, String)> {
    try_listing().unwrap()
}

fn try_listing() -> Result<Vec<(String, String)>, String> {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let listing = docker(&["images", "--no-trunc", "--format", format])?;
    let lines = listing.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, id)| (name.to_owned(), id.to_owned())).collect())
}

/// The docker CLI, which shares no code with what it judges.
///
/// Other tests remove images at the same time, and an engine that comes upon one of them in that moment
/// gives up: then it is asked again.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    let mut answer = docker_once(arguments);
    for _ in 0..RACES {
        match &answer {
            Err(error) if LOST.iter().any(|lost| error.contains(lost)) => {}
            _ => break,
        }
        answer = docker_once(arguments);
        // The name went with the first try, and the image's parents were what it failed at.
        if arguments[0] == "rmi"
            && answer.as_ref().is_err_and(|error| error.contains("No such image"))
        {
            return Ok(String::new());
        }
    }
    answer
}

/// What an engine says of an image that somebody else is just removing.
const LOST: [&str; 7] = [
    "unknown parent image ID",
    "failed to set parent",
    "unable to find image",
    "failed to get digest sha256:",
    "unrecognized image ID",
    "No such image: sha256:",
    "layer does not exist",
];
const RACES: usize = 5;

fn docker_once(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
