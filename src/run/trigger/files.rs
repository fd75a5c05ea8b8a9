//! Watches files with the system's events. The only user of the library for that.

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

/// A folder, and whether its subfolders count.
pub type Places = BTreeMap<PathBuf, bool>;

pub struct FileWatcher {
    watcher: Option<RecommendedWatcher>,
    /// The watched folders with their device and inode: a recreated folder is another one.
    watched: BTreeMap<PathBuf, (bool, (u64, u64))>,
    /// Why some folders cannot be watched.
    trouble: Option<String>,
}

impl FileWatcher {
    /// Sends events to a channel.
    pub fn new(sender: mpsc::UnboundedSender<Seen>) -> Self {
        let told = move |seen: notify::Result<Event>| {
            for seen in understood(seen) {
                // The receiver is dropped, so the event is not needed.
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

    /// Watches exactly these places. Returns the reason if it cannot: then the caller must poll.
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
            // The system drops the watch of a deleted folder automatically.
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

/// Ignores reads of files: they change nothing, and `rebuild` reads them itself.
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

/// The places of a hierarchy: its file, every context, every Dockerfile, and the folders in which contexts
/// may appear or disappear.
pub fn places(file: &Path, hierarchy: Option<&Hierarchy>) -> Places {
    let mut places = Places::new();
    let mut add = |path: &Path, deep: bool| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        *places.entry(path).or_default() |= deep;
    };
    let root = file.parent().unwrap_or(Path::new("/"));
    add(root, false);
    let env_file = hierarchy.and_then(|hierarchy| hierarchy.env_file.as_ref());
    env_file.and_then(|file| file.parent()).into_iter().for_each(|folder| add(folder, false));
    for node in hierarchy.into_iter().flat_map(Hierarchy::in_build_order) {
        for context in node.contexts.values().chain([&node.context]) {
            add(context, true);
            context.parent().into_iter().for_each(|folder| add(folder, false));
        }
        node.dockerfile.path.parent().into_iter().for_each(|folder| add(folder, false));
    }
    // An invalid file may only lack a folder.
    if hierarchy.is_none() && root.join("images").is_dir() {
        add(&root.join("images"), true);
    }
    // Contexts in contexts are watched once.
    let deep: Vec<PathBuf> =
        places.iter().filter(|(_, deep)| **deep).map(|(path, _)| path.clone()).collect();
    places.retain(|path, _| !deep.iter().any(|above| path != above && path.starts_with(above)));
    places
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use notify::event::{AccessKind, AccessMode, CreateKind, Flag};

    use super::*;

    #[test]
    fn reading_is_no_change_and_what_was_lost_is_one() {
        let event = |kind| Event::new(kind).add_path("/x".into());
        let path = vec![Seen::Path("/x".into())];
        for (seen, expected) in [
            (Ok(event(EventKind::Access(AccessKind::Open(AccessMode::Read)))), vec![]),
            (Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Read)))), vec![]),
            (Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Write)))), path.clone()),
            (Ok(event(EventKind::Create(CreateKind::File))), path),
            (Ok(event(EventKind::Other).set_flag(Flag::Rescan)), vec![Seen::Lost]),
            (Err(notify::Error::generic("x")), vec![Seen::Lost]),
        ] {
            assert_eq!(understood(seen), expected);
        }
    }

    /// Reads events until this path occurs.
    async fn told(seen: &mut mpsc::UnboundedReceiver<Seen>, path: &Path) {
        let read = async { while seen.recv().await.unwrap() != Seen::Path(path.to_owned()) {} };
        let told = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(told.is_ok(), "nobody told of {}", path.display());
    }

    #[tokio::test]
    async fn a_folder_that_is_made_anew_is_watched_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let context = root.join("web");
        fs::create_dir(&context).unwrap();
        let (sender, mut seen) = mpsc::unbounded_channel();
        let mut files = FileWatcher::new(sender);
        let places: Places = [(root.clone(), false), (context.clone(), true)].into();
        assert_eq!(files.watch(&places), None);
        fs::write(context.join("page"), "one").unwrap();
        told(&mut seen, &context.join("page")).await;

        // Another folder replaces it at once, without a check in between.
        fs::rename(&context, root.join("old")).unwrap();
        fs::create_dir_all(context.join("deep")).unwrap();
        assert_eq!(files.watch(&places), None);
        fs::write(context.join("deep/page"), "two").unwrap();
        told(&mut seen, &context.join("deep/page")).await;

        // A folder that is no longer watched causes no events.
        assert_eq!(files.watch(&[(root.clone(), false)].into()), None);
        fs::write(context.join("page"), "three").unwrap();
        fs::write(root.join("end"), "x").unwrap();
        let mut after = BTreeSet::new();
        let read = async {
            while let Some(Seen::Path(path)) = seen.recv().await {
                let is_end = path == root.join("end");
                after.insert(path);
                if is_end {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.unwrap();
        assert!(!after.contains(&context.join("page")), "{after:?}");
    }

    #[test]
    fn a_hierarchy_is_its_folder_its_contexts_and_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let files = [
            (
                "h/hierarchy.yaml",
                "version: 1\nimages:\n  os: {}\n  web: { context: ../shared/web, dockerfile: ../w.Dockerfile }\n  in: { context: os/inner }\n",
            ),
            ("h/os/Dockerfile", "FROM scratch\n"),
            ("h/os/inner/Dockerfile", "FROM scratch\n"),
            ("shared/w.Dockerfile", "FROM os\n"),
            ("shared/web/page", "x"),
        ];
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let file = root.join("h/hierarchy.yaml");
        let loaded = Hierarchy::load(&file, &crate::hierarchy::LoadOptions::default()).unwrap();
        let found = places(&file, Some(&loaded.hierarchy));
        let expected = [("h", false), ("h/os", true), ("shared", false), ("shared/web", true)];
        assert_eq!(found, expected.map(|(path, deep)| (root.join(path), deep)).into());
    }
}
