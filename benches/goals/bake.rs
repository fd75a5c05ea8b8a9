//! Forty tiny images, as `tree`: `rebuild` beside `docker buildx bake`, which builds the same Dockerfiles.
//!
//! Each side has images of its own names and takes turns, in the engine alone and with a registry:
//! everything for the first time, the root's files changed, nothing changed, one leaf changed. Without a
//! counterpart: the root rebuilt with the same content.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
    registry::Registry,
    tree::Tree,
};

const ROUNDS: usize = 5;
/// Before each run: three seconds after a build of bake, BuildKit writes its trace, which takes a third of the
/// processor time of such a build. Without a pause, the next program would pay for it.
const PAUSE: Duration = Duration::from_secs(5);
/// What is timed in a round, in this order, and the most that `rebuild` may take of bake's time.
const STEPS: [(&str, f64); 4] = [
    ("everything for the first time", 1.0),
    ("root changed", 1.0),
    ("nothing changed", 0.05),
    ("one leaf changed", 0.25),
];

pub(crate) fn run() -> Result<()> {
    let nonce = format!("bench{}", nonce());
    let registry = Registry::start()?;
    let registry = format!("{}/{nonce}", registry.address);
    for (place, to) in [("engine", None), ("registry", Some(registry.as_str()))] {
        let measured = measure(&nonce, place, to);
        engine::forget(&nonce)?;
        measured?;
    }
    Ok(())
}

/// A tree on the disk, and what builds it.
struct Side<'a> {
    tree: Tree,
    folder: tempfile::TempDir,
    to: Option<&'a str>,
    /// Times by `STEPS`.
    times: [Vec<Duration>; STEPS.len()],
}

impl<'a> Side<'a> {
    fn new(to: Option<&'a str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            tree: Tree::new("", &[]),
            folder,
            to,
            times: [const { Vec::new() }; STEPS.len()],
        })
    }

    /// Contexts that no cache knows.
    fn renew(&mut self, prefix: &str) -> Result<()> {
        self.folder = tempfile::tempdir()?;
        self.tree = Tree::new(prefix, &[3, 3, 3]);
        self.tree.write(self.folder.path())
    }

    fn change(&self, step: usize, round: usize) -> Result<()> {
        let leaf = self.tree.nodes.len() - 1;
        let file = match step {
            1 => "n/bin/name".to_owned(),
            3 => format!("{}/file", self.tree.nodes[leaf].folder),
            _ => return Ok(()),
        };
        Ok(fs::write(self.folder.path().join(file), format!("{} {round}", self.tree.name(leaf)))?)
    }

    fn bake_file(&self) -> Result<()> {
        let mut targets = serde_json::Map::new();
        for (index, node) in self.tree.nodes.iter().enumerate() {
            let name = self.tree.name(index);
            let tag = self.to.map_or_else(|| name.clone(), |to| format!("{to}/{name}"));
            let mut target = json!({ "context": node.folder, "tags": [tag] });
            if let Some(parent) = node.parent {
                let from = format!("target:{}", self.tree.nodes[parent].folder);
                target["contexts"] = json!({ self.tree.name(parent): from });
            }
            targets.insert(node.folder.clone(), target);
        }
        let names: Vec<&String> = targets.keys().collect();
        let file = json!({ "group": { "default": { "targets": names } }, "target": targets });
        Ok(fs::write(self.folder.path().join("docker-bake.json"), file.to_string())?)
    }

    fn ours(&self, flags: &[&str]) -> Result<Duration> {
        let registry: Vec<&str> = self.to.into_iter().flat_map(|to| ["--registry", to]).collect();
        let arguments = [&["--progress", "plain"], &registry[..], flags].concat();
        thread::sleep(PAUSE);
        Ok(rebuild_ending(0, self.folder.path(), &arguments)?.took)
    }

    fn bake(&self) -> Result<Duration> {
        bake(self.folder.path(), self.to.is_some())
    }
}

fn bake(folder: &Path, is_pushed: bool) -> Result<Duration> {
    thread::sleep(PAUSE);
    let began = Instant::now();
    let ended = Command::new("docker")
        .args(["buildx", "bake", "--progress", "plain", "-f", "docker-bake.json"])
        .args(is_pushed.then_some("--push"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    if ended.status.success() {
        return Ok(began.elapsed());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let tail: Vec<&str> = said.lines().rev().take(10).collect();
    Err(format!("`docker buildx bake`: {}:\n{}", ended.status, tail.join("\n")).into())
}

fn measure(nonce: &str, place: &str, to: Option<&str>) -> Result<()> {
    let (mut ours, mut theirs) = (Side::new(to)?, Side::new(to)?);
    let mut same = Vec::new();
    for round in 0..ROUNDS {
        let prefix = format!("{nonce}-{place}{round}");
        ours.renew(&format!("{prefix}r"))?;
        theirs.renew(&format!("{prefix}b"))?;
        theirs.bake_file()?;
        for step in 0..STEPS.len() {
            ours.change(step, round)?;
            theirs.change(step, round)?;
            // Who is first changes, since the second finds a warmer machine.
            if round % 2 == 0 {
                ours.times[step].push(ours.ours(&[])?);
                theirs.times[step].push(theirs.bake()?);
            } else {
                theirs.times[step].push(theirs.bake()?);
                ours.times[step].push(ours.ours(&[])?);
            }
        }
        let dockerfile = ours.folder.path().join("n/Dockerfile");
        fs::write(&dockerfile, format!("# A comment.\n{}", fs::read_to_string(&dockerfile)?))?;
        same.push(ours.ours(&[])?);
        engine::forget(&prefix)?;
    }
    for (step, (name, goal)) in STEPS.iter().enumerate() {
        let (ours, theirs) = (&ours.times[step], &theirs.times[step]);
        numbers::line(&format!("{place}: {name}, rebuild"), ours);
        numbers::line("  docker buildx bake", theirs);
        numbers::ratio(ours, theirs, *goal);
    }
    numbers::line(&format!("{place}: root rebuilt, content unchanged, rebuild"), &same);
    numbers::ratio(&same, &ours.times[3], 2.0);
    Ok(())
}
