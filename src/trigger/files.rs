//! Asks the system to tell of files that change. The only door to the library for that.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event};
use tokio::sync::mpsc;

use super::Seen;
use crate::hierarchy::Hierarchy;

/// A folder, and whether what is in its folders counts as well.
pub type Places = BTreeMap<PathBuf, bool>;

pub struct Files {
    watcher: Option<RecommendedWatcher>,
    /// What is watched, with what makes it that very folder: one that is made anew is another.
    watched: BTreeMap<PathBuf, (bool, (u64, u64))>,
    /// Why not all can be watched.
    trouble: Option<String>,
}

impl Files {
    /// Tells a channel.
    pub fn new(sender: mpsc::UnboundedSender<Seen>) -> Self {
        let told = move |seen: notify::Result<Event>| {
            for seen in understood(seen) {
                // Nobody listens any more: then nothing is to be told.
                _ = sender.send(seen);
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(told, config) {
            Ok(watcher) => Self { watcher: Some(watcher), watched: BTreeMap::new(), trouble: None },
            Err(error) => {
                let trouble = Some(error.to_string());
                Self { watcher: None, watched: BTreeMap::new(), trouble }
            }
        }
    }

    /// Watches these places and no others. Says why not, if it cannot: then everything must be looked at
    /// now and then.
    pub fn watch(&mut self, places: &Places) -> Option<&str> {
        let Some(watcher) = &mut self.watcher else { return self.trouble.as_deref() };
        let is_same = |path: &Path, (deep, id): &(bool, (u64, u64))| {
            places.get(path) == Some(deep) && identity(path) == Some(*id)
        };
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, how)| !is_same(path, how))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            // Of a folder that is gone the system has forgotten it by itself.
            _ = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        self.trouble = None;
        for (path, deep) in places {
            if self.watched.contains_key(path) {
                continue;
            }
            let Some(id) = identity(path) else { continue };
            let mode = if *deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            match watcher.watch(path, mode) {
                Ok(()) => _ = self.watched.insert(path.clone(), (*deep, id)),
                Err(error) => self.trouble = Some(format!("`{}`: {error}", path.display())),
            }
        }
        self.trouble.as_deref()
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// Reading a file changes nothing, and we read them ourselves.
fn understood(seen: notify::Result<Event>) -> Vec<Seen> {
    let Ok(event) = seen else { return vec![Seen::Lost] };
    if event.need_rescan() {
        return vec![Seen::Lost];
    }
    match event.kind {
        EventKind::Access(event::AccessKind::Close(event::AccessMode::Write)) => {}
        EventKind::Access(_) => return vec![],
        _ => {}
    }
    event.paths.into_iter().map(Seen::Path).collect()
}

/// What a hierarchy is made of: its file, every context, every Dockerfile, and the folders in which
/// contexts are that may go and come.
pub fn places(file: &Path, hierarchy: Option<&Hierarchy>) -> Places {
    let mut places = Places::new();
    let mut add = |path: &Path, deep: bool| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        *places.entry(path).or_default() |= deep;
    };
    let root = file.parent().unwrap_or(Path::new("/"));
    add(root, false);
    for node in hierarchy.into_iter().flat_map(Hierarchy::in_build_order) {
        add(&node.context, true);
        node.context.parent().into_iter().for_each(|folder| add(folder, false));
        node.dockerfile.path.parent().into_iter().for_each(|folder| add(folder, false));
    }
    // A file that is not valid may only lack a folder.
    if hierarchy.is_none() && root.join("images").is_dir() {
        add(&root.join("images"), true);
    }
    // Contexts in contexts are watched once.
    let deep: Vec<PathBuf> =
        places.iter().filter(|(_, deep)| **deep).map(|(path, _)| path.clone()).collect();
    places.retain(|path, _| !deep.iter().any(|above| path != above && path.starts_with(above)));
    places
}
