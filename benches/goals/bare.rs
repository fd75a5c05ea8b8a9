//! A tree built with the engine's own calls and nothing else: what any rebuild has to cost.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, engine, tree::Tree};

/// What is ready, what is under way, and what went wrong.
struct State {
    /// By depth and then by place: the order in which the program takes them.
    ready: BTreeSet<(usize, usize)>,
    left: usize,
    error: Option<String>,
}

/// Each image as soon as its parent is there, so many at once.
pub(crate) fn api(tree: &Tree, folder: &Path, jobs: usize) -> Result<Duration> {
    let began = Instant::now();
    let state = State { ready: BTreeSet::from([(0, 0)]), left: tree.nodes.len(), error: None };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let lock = || state.lock().expect("nobody panics with it");
    let work = || {
        loop {
            let mut now = lock();
            let (depth, index) = loop {
                if now.left == 0 || now.error.is_some() {
                    return;
                }
                if let Some(next) = now.ready.pop_first() {
                    break next;
                }
                now = changed.wait(now).expect("nobody panics with it");
            };
            drop(now);
            let built = one(tree, folder, index);
            let mut now = lock();
            now.left -= 1;
            match built {
                Ok(()) => now.ready.extend(tree.children(index).map(|child| (depth + 1, child))),
                Err(error) => now.error = Some(error.to_string()),
            }
            changed.notify_all();
        }
    };
    thread::scope(|scope| (0..jobs).for_each(|_| _ = scope.spawn(work)));
    match state.into_inner()?.error {
        Some(error) => Err(error.into()),
        None => Ok(began.elapsed()),
    }
}

fn one(tree: &Tree, folder: &Path, index: usize) -> Result<()> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", folder.join(&tree.nodes[index].folder))?;
    let image = engine::build(&tar.into_inner()?)?;
    engine::tag(&image, &tree.name(index))
}

/// What a shell script does: `docker build`, one after the other, with the builder it takes itself.
pub(crate) fn docker(tree: &Tree, folder: &Path) -> Result<Duration> {
    let began = Instant::now();
    for (index, node) in tree.nodes.iter().enumerate() {
        let built = Command::new("docker")
            .args(["build", "-t", &tree.name(index)])
            .arg(folder.join(&node.folder))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !built.success() {
            return Err(format!("`docker build` of `{}`: {built}", tree.name(index)).into());
        }
    }
    Ok(began.elapsed())
}
