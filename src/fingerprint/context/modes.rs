//! The permission bits of a context's files and folders in an image.
//!
//! Git only stores whether a file can be executed; other bits come from the umask of the checkout. So tracked
//! files get the same mode on every machine, and all others keep their own.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::{ContextEntry, EntryKind, walk::Linked};
use crate::host::{
    bounded,
    git::{self, IndexMode},
};

/// Set-user-ID, set-group-ID, sticky. No checkout sets them, so they are intentional.
const SPECIAL: u32 = 0o7000;
const SET_GROUP: u32 = 0o2000;
const OWNER_EXECUTES: u32 = 0o100;

/// Sets the mode of every tracked entry to its mode in a checkout, which has no [`EntryExtras`](super::EntryExtras).
pub(super) fn normalise<'e>(
    root: &Path,
    entries: impl Iterator<Item = &'e mut ContextEntry>,
    linked: &mut Linked,
) {
    let Some(repository) = TrackedFiles::around(root) else { return };
    let Ok(prefix) = root.strip_prefix(&repository.work_tree) else { return };
    let mut submodules: HashMap<PathBuf, Option<Arc<TrackedFiles>>> = HashMap::new();
    let mut set = |repository: &TrackedFiles, path: &Path, entry: &mut ContextEntry| {
        entry.mode = repository.mode(path, entry);
        if repository.get(path).is_some() {
            linked.remove(&entry.path);
            entry.extras.capabilities = None;
        }
    };
    for entry in entries {
        let path = prefix.join(&entry.path);
        match repository.submodule_of(&path) {
            None => set(&repository, &path, entry),
            Some(folder) => {
                let inner = submodules
                    .entry(folder.to_owned())
                    .or_insert_with(|| TrackedFiles::at(&repository.work_tree.join(folder)));
                let Ok(inside) = path.strip_prefix(folder) else { continue };
                match inner {
                    // The outer repository tracks the folder itself.
                    _ if inside.as_os_str().is_empty() => entry.mode = of_folder(entry.mode),
                    Some(inner) => set(inner, inside, entry),
                    None => {}
                }
            }
        }
    }
}

fn of_folder(mode: u32) -> u32 {
    // The group bit is inherited from the parent folder of the checkout.
    if mode & SPECIAL & !SET_GROUP == 0 { 0o755 } else { mode }
}

/// The tracked files of one work tree.
#[derive(Debug)]
struct TrackedFiles {
    work_tree: PathBuf,
    /// In order of the paths' bytes.
    index: Vec<(PathBuf, IndexMode)>,
    has_submodules: bool,
    /// Whether the file system stores the executable bit; read when necessary.
    keeps_executable: OnceLock<bool>,
}

impl TrackedFiles {
    /// The repository of a folder.
    fn around(folder: &Path) -> Option<Arc<Self>> {
        let work_tree = folder.ancestors().find(|it| it.join(".git").symlink_metadata().is_ok())?;
        Self::at(work_tree)
    }

    /// The repository with this work tree; `None` if git does not open it.
    ///
    /// Read once for each state of its index, which git replaces on every change.
    fn at(work_tree: &Path) -> Option<Arc<Self>> {
        type Known = HashMap<PathBuf, (Stamp, Option<Arc<TrackedFiles>>)>;
        static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
        let stamp = stamp(work_tree).ok()?;
        // Other contexts of the repository wait for this.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some((then, repository)) = known.get(work_tree)
            && *then == stamp
        {
            return repository.clone();
        }
        let repository = match git::index(work_tree) {
            Ok(index) => Some(Arc::new(Self::of(work_tree, index))),
            Err(error) => {
                tracing::warn!(%error, folder = %work_tree.display(), "files keep their own modes");
                None
            }
        };
        known.insert(work_tree.to_owned(), (stamp, repository.clone()));
        repository
    }

    fn of(work_tree: &Path, mut index: Vec<(PathBuf, IndexMode)>) -> Self {
        // Git's order, which differs from that of `Path`.
        index.sort_unstable_by(|(a, _), (b, _)| bytes(a).cmp(bytes(b)));
        let has_submodules = index.iter().any(|(_, mode)| *mode == IndexMode::Submodule);
        let keeps_executable = OnceLock::new();
        Self { work_tree: work_tree.to_owned(), index, has_submodules, keeps_executable }
    }

    fn mode(&self, path: &Path, entry: &ContextEntry) -> u32 {
        match entry.kind {
            EntryKind::Folder if self.tracks_below(path) => of_folder(entry.mode),
            EntryKind::Link { .. } | EntryKind::Folder => entry.mode,
            EntryKind::File { .. } => match self.get(path) {
                Some(tracked) if entry.mode & SPECIAL == 0 => {
                    if self.is_executable(entry.mode, tracked) { 0o755 } else { 0o644 }
                }
                _ => entry.mode,
            },
        }
    }

    /// As in git: `core.fileMode` is off if the file system does not store the bit.
    fn is_executable(&self, mode: u32, tracked: IndexMode) -> bool {
        let (here, there) = (mode & OWNER_EXECUTES != 0, tracked == IndexMode::Executable);
        let keeps = || *self.keeps_executable.get_or_init(|| git::keeps_modes(&self.work_tree));
        if here == there || keeps() { here } else { there }
    }

    fn get(&self, path: &Path) -> Option<IndexMode> {
        let found = self.index.binary_search_by(|(it, _)| bytes(it).cmp(bytes(path)));
        found.ok().map(|place| self.index[place].1)
    }

    fn tracks_below(&self, folder: &Path) -> bool {
        let prefix = [bytes(folder), b"/"].concat();
        let first = self.index.partition_point(|(it, _)| bytes(it) < &*prefix);
        self.index.get(first).is_some_and(|(it, _)| bytes(it).starts_with(&prefix))
    }

    /// The submodule of a path.
    fn submodule_of<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let is_submodule = |folder: &&Path| self.get(folder) == Some(IndexMode::Submodule);
        self.has_submodules.then(|| path.ancestors().find(is_submodule))?
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Identifies a state of an index. A repository without a commit may have no index.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(work_tree: &Path) -> io::Result<Stamp> {
    let mut folder = work_tree.join(".git");
    if fs::metadata(&folder)?.is_file() {
        // For a submodule or a second work tree: `gitdir: PATH`.
        let text = bounded::read(&folder, bounded::TEXT)?;
        let path = text.strip_prefix(b"gitdir: ").unwrap_or(&text).trim_ascii_end();
        folder = work_tree.join(OsStr::from_bytes(path));
    }
    let Ok(found) = fs::metadata(folder.join("index")) else { return Ok(None) };
    Ok(Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec(), found.size())))
}
