//! A hierarchy in a folder that goes away, and the program run on it as a user would.
//!
//! **Invariant:** the names of a project's images occur nowhere else, so that tests run side by side on
//! one engine. In what is written and read here `~` stands for what makes them unique: `~web` is
//! `it4f1c…-web`. Everything in the engine with such a name is removed in the end, and nothing else.

use std::{
    collections::BTreeMap,
    env, fs,
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rebuild::engine::Capability;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    busybox::busybox,
    containers::containers,
    engine::capabilities,
    git::git,
    missing,
    registry::Registry,
    running::{Ended, PATIENCE, Start},
};

pub(crate) struct Project {
    folder: TempDir,
    prefix: String,
    engine: String,
}

/// What one can run in images that stand on [`Project::write_os`].
const APPLETS: [&str; 32] = [
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mv",
    "printf",
    "rm",
    "rmdir",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "tail",
    "test",
    "touch",
    "true",
    "wc",
];

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
    /// [`HIERARCHY`] and its contexts.
    pub(crate) fn new() -> Self {
        let project = Self::empty();
        project.write("hierarchy.yaml", HIERARCHY);
        project.write_os();
        project.write("web/Dockerfile", "FROM ~os:1\nCOPY page /page\n");
        project.write("web/page", "one\n");
        project.write("app/Dockerfile", "FROM ~web\nRUN cp /page /app\n");
        project.write("tool/Dockerfile", "FROM ~os\nRUN echo tool >/tool\n");
        project
    }

    /// [`HIERARCHY`] of images that are nothing but files: where many are built, and none is to run.
    pub(crate) fn of_files() -> Self {
        let project = Self::empty();
        project.write("hierarchy.yaml", &HIERARCHY.replace(", test: [{ run: [cat, /page] }]", ""));
        for (image, from) in [("os", "scratch"), ("web", "~os:1"), ("app", "~web"), ("tool", "~os")]
        {
            let dockerfile = format!("FROM {from}\nCOPY page /{image}\n");
            project.write(&format!("{image}/Dockerfile"), &dockerfile);
            project.write(&format!("{image}/page"), &format!("~{image} one\n"));
        }
        project
    }

    /// A folder with nothing in it.
    pub(crate) fn empty() -> Self {
        let engine = engine().unwrap_or_else(|| missing("no engine answers"));
        let unique = RandomState::new().hash_one(std::process::id());
        let prefix = format!("it{unique:016x}-");
        let folder = super::folder();
        for inside in ["project", "state", "docker"] {
            fs::create_dir(folder.path().join(inside)).unwrap();
        }
        Self { folder, prefix, engine }
    }

    /// The quickest hierarchy there is: an image of one file, and one that stands on it.
    pub(crate) fn pair() -> Self {
        let project = Self::empty();
        let base = "~base: { context: base, tags: [latest, \"1\"] }";
        let file = format!("version: 1\nimages:\n  {base}\n  ~app: {{ context: app }}\n");
        project.write("hierarchy.yaml", &file);
        project.write("base/Dockerfile", "FROM scratch\nCOPY name /\n");
        project.write("base/name", "~base\n");
        project.write("app/Dockerfile", "FROM ~base:1\nCOPY page /\n");
        project.write("app/page", "one\n");
        project
    }

    /// The address of the real engine.
    pub(crate) fn engine(&self) -> &str {
        &self.engine
    }

    /// The context of an image with a shell and a file that is the project's own, so that no other
    /// project's image has the same ID.
    pub(crate) fn write_os(&self) {
        let (name, bin) = ("COPY name /etc/", "COPY bin /bin/");
        // Without BuildKit the cache is made of images: a test that removes its own by force takes a layer that it
        // shares with others along.
        let is_shared = capabilities().is_none_or(|it| it.has(Capability::BuildKit));
        let (first, second) = if is_shared { (bin, name) } else { (name, bin) };
        self.write("os/Dockerfile", &format!("FROM scratch\n{first}\n{second}\n"));
        self.write("os/name", "~os\n");
        fs::create_dir(self.path("os/bin")).unwrap();
        fs::copy(busybox(), self.path("os/bin/busybox")).unwrap();
        // Not all that it knows: every layer of four hundred links takes the engine a while.
        for applet in APPLETS {
            symlink("busybox", self.path("os/bin").join(applet)).unwrap();
        }
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

    /// A commit of everything in the project. Returns its ID.
    #[track_caller]
    pub(crate) fn commit(&self) -> String {
        if !self.path(".git").exists() {
            self.git("init -q -b main .");
        }
        self.git("add --all");
        self.git("commit -q --allow-empty -m change");
        self.git("rev-parse HEAD")
    }

    #[track_caller]
    pub(crate) fn git(&self, arguments: &str) -> String {
        git(&self.path(""), arguments)
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
        if names.is_empty() {
            return;
        }
        let filters: Vec<String> =
            names.iter().map(|name| format!("--filter=ancestor={name}")).collect();
        let with = |command: &[&'static str], each: &[String]| {
            let each = each.iter().map(String::as_str);
            docker(&command.iter().copied().chain(each).collect::<Vec<_>>()).unwrap_or_default()
        };
        let containers = with(&["ps", "--all", "--quiet"], &filters);
        for container in containers.lines() {
            _ = docker(&["rm", "--force", container]);
        }
        with(&["rmi", "--force"], &names);
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
        let all = containers("", "{{.Names}} {{.Image}} {{.Command}} {{.Labels}}");
        let ours = all.iter().filter(|line| line.contains(&self.prefix));
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
            Err(error) if is_race(error) => std::thread::sleep(BETWEEN_RACES),
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

/// What an engine says of an image that another test is just removing.
const LOST: [&str; 5] = [
    "unrecognized image ID",
    "No such image: sha256:",
    "layer does not exist",
    // The containerd image store, in a list of all images.
    "content digest sha256:",
    // Podman, of a build that has answered and still has its container.
    "consider listing external containers",
];
const RACES: usize = 10;
const BETWEEN_RACES: Duration = Duration::from_millis(100);

/// Whether an engine gave up for that alone.
fn is_race(error: &str) -> bool {
    LOST.iter().any(|lost| error.contains(lost))
}

fn docker_once(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("docker");
    if arguments[0] == "build" && capabilities().is_some_and(|it| !it.has(Capability::BuildKit)) {
        command.env("DOCKER_BUILDKIT", "0");
    }
    // An attestation makes an index of an image of one platform.
    command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
