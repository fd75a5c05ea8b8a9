//! Which part of a context a build looks at: what its `COPY` lines name, and where links lead.
//!
//! The engine names it so that the rest need not travel. Listing too much is only slow, listing
//! too little breaks the build: in doubt everything is kept. (fsutil `followlinks.go`.)

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use super::requested_files::RequestedFiles;
use crate::fingerprint::context::{ContextEntry, EntryKind};

/// As many links in a row as Linux follows.
const HOPS: usize = 40;

/// What is kept of a context.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    Everything,
    /// These with all that is in them, and the folders on the way there.
    Only {
        whole: BTreeSet<PathBuf>,
        on_the_way: HashSet<PathBuf>,
    },
}

/// More than we can tell apart: keep everything.
struct Endless;

struct Resolver<'a> {
    /// In order of path.
    entries: &'a [ContextEntry],
    whole: BTreeSet<PathBuf>,
    /// What has been, or is being, resolved.
    seen: HashSet<PathBuf>,
}

impl Followed {
    /// `entries` are in order of path.
    pub(super) fn of(asked: &RequestedFiles, entries: &[ContextEntry]) -> Self {
        // Patterns to include are for other frontends than Dockerfiles.
        if asked.follow.is_empty() || !asked.include.is_empty() {
            return Self::Everything;
        }
        let mut resolver = Resolver { entries, whole: BTreeSet::new(), seen: HashSet::new() };
        for wanted in &asked.follow {
            if resolver.resolve(&clean(Path::new(OsStr::from_bytes(wanted))), HOPS).is_err() {
                return Self::Everything;
            }
        }
        if resolver.whole.contains(Path::new("")) {
            return Self::Everything;
        }
        let on_the_way = resolver
            .whole
            .iter()
            .flat_map(|whole| whole.ancestors().skip(1))
            .map(Path::to_owned)
            .collect();
        Self::Only { whole: resolver.whole, on_the_way }
    }

    pub(super) fn keeps(&self, path: &Path) -> bool {
        match self {
            Self::Everything => true,
            Self::Only { whole, on_the_way } => {
                on_the_way.contains(path) || path.ancestors().any(|part| whole.contains(part))
            }
        }
    }
}

impl Resolver<'_> {
    fn resolve(&mut self, wanted: &Path, hops: usize) -> Result<(), Endless> {
        if !self.seen.insert(wanted.to_owned()) {
            return Ok(());
        }
        let hops = hops.checked_sub(1).ok_or(Endless)?;
        let mut current = PathBuf::new();
        let mut parts = wanted.components();
        while let Some(part) = parts.next() {
            if is_pattern(part) {
                return self.keep_all_under(current, hops);
            }
            current.push(part);
            if let Some(target) = self.link(&current) {
                let target = clean(&target.join(parts.as_path()));
                self.whole.insert(current);
                return self.resolve(&target, hops);
            }
        }
        self.whole.insert(current);
        Ok(())
    }

    /// Keeps more than a pattern means, which needs no matching: all that could match, and all
    /// that a link among it leads to.
    fn keep_all_under(&mut self, folder: PathBuf, hops: usize) -> Result<(), Endless> {
        let entries = self.entries;
        for entry in entries.iter().filter(|entry| entry.path.starts_with(&folder)) {
            if let Some(target) = target(entry) {
                self.resolve(&clean(&target), hops)?;
            }
        }
        self.whole.insert(folder);
        Ok(())
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_path().cmp(path)).ok()?;
        target(&self.entries[at])
    }
}

/// Where a link leads, from the context's root.
fn target(entry: &ContextEntry) -> Option<PathBuf> {
    match &entry.kind {
        EntryKind::Link { target } => {
            Some(entry.path.parent().unwrap_or(Path::new("")).join(target))
        }
        EntryKind::File { .. } | EntryKind::Folder => None,
    }
}

/// Whether Go's `filepath.Match` would see more than a name.
fn is_pattern(part: Component<'_>) -> bool {
    part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[\\".contains(byte))
}

/// Relative, without `.` and `..`; the root's parent is the root, as for the engine.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::context::EntryExtras;

    /// `name -> target` is a link, `name/` a folder.
    fn entries(lines: &[&str]) -> Vec<ContextEntry> {
        let entry = |line: &&str| {
            let (path, kind) = match line.split_once(" -> ") {
                Some((path, target)) => (path, EntryKind::Link { target: target.into() }),
                None if line.ends_with('/') => (line.trim_end_matches('/'), EntryKind::Folder),
                None => (*line, EntryKind::File { size: 0 }),
            };
            ContextEntry { path: path.into(), kind, mode: 0o644, extras: EntryExtras::default() }
        };
        let mut entries: Vec<_> = lines.iter().map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    }

    #[test]
    fn what_the_build_looks_at_is_kept() {
        let entries = entries(&[
            "a/",
            "a/b/",
            "a/b/c",
            "a/d",
            "a-b",
            "up/",
            "up/to-a -> ../a/b",
            "root -> /a",
            "out -> ../../a/d",
            "loop -> loop/x",
            "pair -> riap",
            "riap -> pair",
            "dots -> a/../a-b",
        ]);
        let all: Vec<_> = entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        for (follow, kept) in [
            (&[][..], &all[..]),
            (&["/"], &all),
            (&["."], &all),
            (&["a", ""], &all),
            (&["a"], &["a", "a/b", "a/b/c", "a/d"]),
            (&["/a/"], &["a", "a/b", "a/b/c", "a/d"]),
            (&["./a/b/../d"], &["a", "a/d"]),
            (&["a/b/c", "a-b"], &["a", "a/b", "a/b/c", "a-b"]),
            (&["a/none", "none"], &["a"]),
            (&["up/to-a"], &["a", "a/b", "a/b/c", "up", "up/to-a"]),
            (&["up/to-a/c"], &["a", "a/b", "a/b/c", "up", "up/to-a"]),
            (&["root/d", "root/b"], &["a", "a/b", "a/b/c", "a/d", "root"]),
            (&["out"], &["a", "a/d", "out"]),
            (&["dots"], &["a-b", "dots"]),
            (&["pair"], &["pair", "riap"]),
            (&["loop"], &all),
            (&["a/b/*.c"], &["a", "a/b", "a/b/c"]),
            (&["a/[b]/c"], &["a", "a/b", "a/b/c", "a/d"]),
            (&["up/t?-a"], &["a", "a/b", "a/b/c", "up", "up/to-a"]),
            (&["*"], &all),
        ] {
            let follow = follow.iter().map(|path| path.as_bytes().to_vec()).collect();
            let followed =
                Followed::of(&RequestedFiles { follow, ..RequestedFiles::default() }, &entries);
            let found: Vec<_> =
                all.iter().filter(|path| followed.keeps(Path::new(path))).copied().collect();
            assert_eq!(found, kept);
        }
    }

    #[test]
    fn patterns_to_include_are_not_matched_but_everything_is_kept() {
        let entries = entries(&["a", "b"]);
        let asked = RequestedFiles {
            follow: vec![b"a".into()],
            include: vec![b"b".into()],
            ..RequestedFiles::default()
        };
        assert_eq!(Followed::of(&asked, &entries), Followed::Everything);
    }
}
