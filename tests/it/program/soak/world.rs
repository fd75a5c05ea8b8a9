//! Two machines with a checkout and a state folder each, before one registry and one engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::oracle::{Seen, Settled};
use crate::support::{
    project::{Place, Project},
    proxy::Proxy,
    registry::{Registry, Setup},
    running::Start,
};

const HIERARCHY: &str = "\
version: 1
images:
  ~os: { context: os, tags: [latest, \"1\"] }
  ~web: { context: web, test: [{ run: [/busybox, grep, -q, good, /page] }] }
  ~app: { context: app }
  ~tool: { context: tool }
";

pub(super) const NODES: [&str; 4] = ["os", "web", "app", "tool"];
/// The engine ends in its own time what was cut off.
const ENGINE_ENDS: Duration = Duration::from_secs(30);

/// Somebody's computer.
pub(super) struct Machine {
    pub(super) name: &'static str,
    /// Its checkout of the project.
    pub(super) folder: PathBuf,
    pub(super) state: PathBuf,
    /// The way to the engine.
    pub(super) engine: Proxy,
    /// A run was killed here since the last that was undisturbed, so that something may be left of it.
    pub(super) is_untidy: bool,
}

pub(super) struct World {
    pub(super) project: Project,
    pub(super) registry: Registry,
    /// The way to the registry, for both machines: its address is part of every name.
    pub(super) way: Proxy,
    /// The first is where files are edited.
    pub(super) machines: [Machine; 2],
    /// How many edits there were: no content comes twice, so that newer is always more.
    edits: u32,
    /// Whether the newest page fails its test.
    pub(super) is_bad: bool,
    /// A rollback was disturbed, so that tags may still go to older images.
    pub(super) may_roll_back: bool,
    /// A tag that a person moves while a command works, and where to.
    pub(super) by_hand: Option<(String, String)>,
    pub(super) seen: Seen,
    pub(super) log: Vec<String>,
    /// What is tried now.
    pub(super) under_way: String,
    /// What the last commands said.
    pub(super) said: Vec<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let project = Project::empty();
        let registry = Registry::with(&Setup { delete: true, ..Setup::default() });
        let way = Proxy::to_host(registry.host());
        project.write_os();
        project.write("hierarchy.yaml", HIERARCHY);
        project.write("os/Dockerfile", "FROM scratch\nLABEL soak.os=0\nCOPY bin/busybox name /\n");
        project.write("web/Dockerfile", "FROM ~os:1\nLABEL soak.web=0\nCOPY page /\n");
        project.write("web/page", "good 0\n");
        let step = "RUN [\"/busybox\", \"sh\", \"-c\", \": ~marker; echo app >/app\"]";
        let app = format!("FROM ~web\nLABEL soak.app=0\n{step}\n");
        project.write("app/Dockerfile", &app);
        project.write("tool/Dockerfile", "FROM ~os\nLABEL soak.tool=0\nCOPY page /\n");
        project.write("tool/page", "tool\n");
        fs::create_dir(project.path("../tmp")).unwrap();
        let machine = |name, folder: PathBuf| {
            let state = project.path(&format!("../state-{name}"));
            fs::create_dir(&state).unwrap();
            let engine = Proxy::to_engine(project.engine());
            Machine { name, folder, state, engine, is_untidy: false }
        };
        let machines = [machine("a", project.path("")), machine("b", project.path("../b"))];
        git(&machines[0].folder, &["init", "-q", "-b", "main"]);
        git(&machines[0].folder, &["add", "."]);
        git(&machines[0].folder, &["commit", "-qm", "edit 0"]);
        git(&machines[0].folder, &["clone", "-q", ".", "../b"]);
        Self {
            project,
            registry,
            way,
            machines,
            edits: 0,
            is_bad: false,
            may_roll_back: false,
            by_hand: None,
            seen: Seen::default(),
            log: Vec::new(),
            under_way: String::new(),
            said: Vec::new(),
        }
    }

    /// The images that a node has published and that are still there.
    pub(super) fn published(&self, node: &str) -> Vec<String> {
        let all = self.project.all_tags(Place::Registry(&self.registry));
        let name = format!("~{node}:");
        let of_node = all.into_iter().filter(|(tag, _)| tag.starts_with(&name));
        of_node.map(|(_, digest)| digest).filter(|digest| self.seen.knows(digest)).collect()
    }

    /// The program on a machine.
    pub(super) fn rebuild(&self, machine: usize, arguments: &str) -> Start<'_> {
        let Machine { folder, state, engine, .. } = &self.machines[machine];
        let arguments = format!("-C {} {arguments}", folder.display());
        self.project
            .rebuild(&arguments)
            .env("REBUILD_REGISTRY", format!("{}/demo", self.way.address()))
            .env("DOCKER_HOST", engine.address())
            .env("XDG_STATE_HOME", state)
            .env("TMPDIR", self.tmp())
    }

    fn tmp(&self) -> PathBuf {
        self.project.path("../tmp")
    }

    /// A commit that makes another image of a node.
    pub(super) fn edit(&mut self, node: &str) {
        self.edits += 1;
        let file = format!("{node}/Dockerfile");
        let text = fs::read_to_string(self.project.path(&file)).unwrap();
        let label = format!("LABEL soak.{node}=");
        let edited = text.lines().map(|line| {
            if line.starts_with(&label) {
                format!("{label}{}\n", self.edits)
            } else {
                format!("{line}\n")
            }
        });
        self.project.write(&file, &edited.collect::<String>());
        self.commit();
    }

    /// A commit after which an image comes out the same.
    pub(super) fn remark(&mut self, node: &str) {
        self.edits += 1;
        let file = self.project.path(&format!("{node}/Dockerfile"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("{text}# {}\n", self.edits)).unwrap();
        self.commit();
    }

    /// A commit with a page that fails its test, or with one that does not.
    pub(super) fn spoil(&mut self, is_bad: bool) {
        let word = if is_bad { "bad" } else { "good" };
        self.project.write("web/page", &format!("{word} {}\n", self.edits));
        self.is_bad = is_bad;
        self.edit("web");
    }

    fn commit(&self) {
        let message = format!("edit {}", self.edits);
        git(&self.machines[0].folder, &["commit", "-qam", &message]);
        // That a commit is newer is known only where it is known at all.
        git(&self.machines[1].folder, &["fetch", "-q"]);
    }

    /// The other machine checks out the newest commit.
    pub(super) fn pull(&self) {
        git(&self.machines[1].folder, &["merge", "-q", "--ff-only", "origin/main"]);
    }

    pub(super) fn behave(&self) {
        self.way.behave();
        for machine in &self.machines {
            machine.engine.behave();
        }
    }

    pub(super) fn say(&mut self, line: String) {
        println!("{line}");
        self.log.push(line);
    }

    /// For whoever is to find out what went wrong.
    pub(super) fn situation(&self) -> String {
        let mut lines = self.said.clone();
        let log = ["log", "--format=%h %s", "-n", "12"];
        lines.extend(
            self.machines
                .iter()
                .map(|machine| format!("{} is at:\n{}", machine.name, git(&machine.folder, &log))),
        );
        let history = self.rebuild(0, "history").run();
        lines.push(history.to_string());
        let all = self.project.all_tags(Place::Registry(&self.registry));
        lines.extend(all.iter().map(|(tag, digest)| {
            let (name, _) = tag.split_once(':').unwrap();
            let repository = self.project.name(&format!("demo/{name}"));
            let labels = &self.registry.config(&repository, digest)["config"]["Labels"];
            format!("{tag} {digest} {} {}", labels["rebuild.revision"], labels["rebuild.cause"])
        }));
        lines.join("\n")
    }

    /// With nobody in the way, each machine comes to a good end, nothing remains to be done, and
    /// nothing is left.
    pub(super) fn heal(&mut self) {
        self.behave();
        if self.is_bad {
            self.spoil(false);
        }
        self.pull();
        for machine in 0..2 {
            self.rebuild(machine, "resume").run().exits(0);
            self.rebuild(machine, "").run().exits(0);
            let again = self.rebuild(machine, "").run().exits(0);
            assert!(again.result().starts_with("nothing to do"), "{again}");
            self.rebuild(machine, "history").run().exits(0);
            self.machines[machine].is_untidy = false;
        }
        self.may_roll_back = false;
        self.check_tags(Settled::At(0), true);
        assert_eq!(self.project.left_after(ENGINE_ENDS), [""; 0], "I8");
        let left = fs::read_dir(self.tmp()).unwrap().flatten().map(|entry| entry.path());
        assert!(left.count() == 0, "I8: temporary folders are left");
        self.say("      in order".to_owned());
    }
}

pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Somebody", "-c", "user.email=s@example.com"])
        .args(["-c", "commit.gpgsign=false", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
