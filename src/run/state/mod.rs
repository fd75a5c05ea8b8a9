//! The state on this machine: logs and journals of runs, the lock between runs, and caches.
//!
//! **Invariant:** the next run is correct without the files of earlier runs. A run that cannot write its own
//! journal promotes nothing.

mod alive;
mod kept;
mod layer_cache;

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{alive::Alive, kept::machine, layer_cache::LayerCache};
use crate::{
    host::{owner, random},
    image::Digest,
};

/// The folder of journals, in the folder of a hierarchy.
const JOURNALS: &str = "journal";
/// The events of a run, in its folder.
const EVENTS: &str = "events.jsonl";
/// Written after all pins of ended runs were removed.
const SEARCHED: &str = "pins-removed";
const SEARCHED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many runs have logs.
const RUNS_KEPT: usize = 20;

/// The folder of one hierarchy below `$XDG_STATE_HOME/rebuild`, `~/.local/state` by default.
#[derive(Clone, Debug)]
pub struct StateFolder {
    root: PathBuf,
}

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    /// A lower-case ULID: sorts by time, and is valid in an image's name.
    pub id: String,
    path: PathBuf,
}

/// Held while a run publishes. The system releases it when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The owner of containers that are created before a run: an ID like a run's, alive until dropped.
#[derive(Debug)]
pub struct ProbeOwner {
    pub id: String,
    _alive: Option<Alive>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another run is publishing to {what}{}", .holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default())]
    Held { what: String, holder: Option<String> },
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StateFolder {
    /// The state of the hierarchy in this file. Creates no folder until it is needed.
    pub fn of(hierarchy: &Path) -> Self {
        let hierarchy = &fs::canonicalize(hierarchy).unwrap_or_else(|_| hierarchy.to_owned());
        let key = Digest::of(hierarchy.as_os_str().as_encoded_bytes());
        let folder = hierarchy.parent().and_then(Path::file_name).unwrap_or_default();
        Self { root: home().join(format!("{}-{}", folder.display(), &key.hex()[..8])) }
    }

    /// Creates a run's folder, and removes the logs of the oldest runs.
    pub fn begin_run(&self) -> RunDir {
        let id = new_id();
        let runs = self.root.join("runs");
        forget_old(&runs);
        RunDir { path: runs.join(&id), id }
    }

    /// The logs of a node as run and file, the newest first.
    pub fn logs(&self, node: &str) -> Vec<(String, PathBuf)> {
        let Ok(runs) = fs::read_dir(self.root.join("runs")) else { return Vec::new() };
        let log = |run: fs::DirEntry| {
            let path = run.path().join(log_name(node));
            path.is_file().then(|| (run.file_name().to_string_lossy().into_owned(), path))
        };
        let mut logs: Vec<(String, PathBuf)> = runs.flatten().filter_map(log).collect();
        logs.sort();
        logs.reverse();
        logs
    }

    /// The runs whose events are kept, as run and file, the newest first.
    pub fn events(&self) -> Vec<(String, PathBuf)> {
        let Ok(runs) = fs::read_dir(self.root.join("runs")) else { return Vec::new() };
        let events = |run: fs::DirEntry| {
            let path = run.path().join(EVENTS);
            path.is_file().then(|| (run.file_name().to_string_lossy().into_owned(), path))
        };
        let mut all: Vec<(String, PathBuf)> = runs.flatten().filter_map(events).collect();
        all.sort();
        all.reverse();
        all
    }

    /// The log of a node in a run, which may be missing.
    pub fn log_of(&self, run: &str, node: &str) -> PathBuf {
        self.root.join("runs").join(run).join(log_name(node))
    }

    /// The folder of the journals of this hierarchy's runs.
    pub fn journals(&self) -> PathBuf {
        self.root.join(JOURNALS)
    }

    /// The folder of notes about images of this engine.
    pub fn notes(&self) -> PathBuf {
        self.root.join("notes")
    }

    /// The file of triggers.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("triggers.jsonl")
    }

    /// Locks the target against other runs of this machine.
    ///
    /// `what` is the registry prefix, or the engine's endpoint: two hierarchies may share it.
    pub fn lock(what: &str) -> Result<Lock, LockError> {
        let home = Home::find().folder();
        make(&home).map_err(|source| LockError::Io { path: home.clone(), source })?;
        let path = home.join(format!("{}.lock", Digest::of(what.as_bytes()).short()));
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut options = owner::private();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).ok().filter(|text| !text.trim().is_empty());
                let holder = holder.map(|text| text.trim().to_owned());
                return Err(LockError::Held { what: what.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        (&file).write_all(format!("process {}\n", std::process::id()).as_bytes()).map_err(io)?;
        Ok(Lock { _file: file })
    }
}

/// The folder of the state, or why it is not writable. Leaves no file behind.
pub fn probe() -> Result<PathBuf, LockError> {
    let home = Home::find().folder();
    let there = home.ancestors().find(|folder| folder.exists()).unwrap_or(&home);
    let written = || {
        check(&home)?;
        let mut file = tempfile::tempfile_in(there)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()
    };
    match written() {
        Ok(()) => Ok(home),
        Err(source) => Err(LockError::Io { path: home, source }),
    }
}

/// A folder that only this user can read, as the XDG specification requires: it contains the output of
/// builds.
fn make(folder: &Path) -> io::Result<()> {
    owner::make_folder(folder)?;
    check(folder)
}

/// Refuses a state folder in the shared folder for temporary files if another user can change it.
fn check(folder: &Path) -> io::Result<()> {
    match Home::find() {
        Home::Shared(home) if folder.starts_with(&home) && home.symlink_metadata().is_ok() => {
            owner::check_private(&home)
        }
        _ => Ok(()),
    }
}

/// The folders of journals of all hierarchies: two of them may publish to the same target.
pub fn all_journals() -> Vec<PathBuf> {
    let Ok(hierarchies) = fs::read_dir(home()) else { return Vec::new() };
    hierarchies
        .flatten()
        .map(|hierarchy| hierarchy.path().join(JOURNALS))
        .filter(|journals| journals.is_dir())
        .collect()
}

/// Whether a run of any hierarchy has ended, so that its leftovers may be removed.
pub fn is_over(run: &str) -> bool {
    alive::is_over(&home(), run, now_millis())
}

/// Whether a run may have left pins in the engine at this address. True if a run of this machine was killed or
/// could not remove them, or if the last search was a day ago: runs of other machines may use the same engine.
pub fn may_have_left_pins(engine: &str) -> bool {
    let searched = fs::symlink_metadata(home().join(searched(engine)));
    let searched = searched.and_then(|meta| meta.modified());
    let age = searched.ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age > SEARCHED_FOR) || alive::any_is_over(&home())
}

/// The file whose time is that of the last search in an engine.
fn searched(engine: &str) -> String {
    format!("{SEARCHED}-{}", Digest::of(engine.as_bytes()).short())
}

/// Makes the next run search for pins, whichever engine it uses.
pub fn expect_pins() {
    let Ok(files) = fs::read_dir(home()) else { return };
    let is_search = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(SEARCHED));
    for file in files.flatten().filter(|file| is_search(&file.file_name())) {
        _ = fs::remove_file(file.path());
    }
}

/// Records that no ended run has pins in this engine.
pub fn pins_are_removed(engine: &str) {
    alive::forget_killed(&home(), now_millis());
    let create = || {
        make(&home())?;
        let mut options = owner::private();
        // Writes nothing, but changes the time of the file.
        options.write(true).create(true).truncate(true).open(home().join(searched(engine)))
    };
    _ = create();
}

/// Whether a run of any machine began longer ago than this.
pub fn began_before(run: &str, age: Duration) -> bool {
    let id = ulid::Ulid::from_string(&run.to_uppercase());
    id.is_ok_and(|id| Duration::from_millis(now_millis().saturating_sub(id.timestamp_ms())) > age)
}

/// Whether this run of this machine is still running.
pub fn is_going_on(run: &str) -> bool {
    alive::is_going_on(&home(), run)
}

impl ProbeOwner {
    pub fn begin() -> Self {
        let id = new_id();
        Self { _alive: Alive::declare(&home(), &id), id }
    }
}

impl RunDir {
    /// Marks this run as running for other runs of this machine, until the result is dropped.
    pub fn declare_alive(&self) -> Option<Alive> {
        Alive::declare(&home(), &self.id)
    }

    /// In a given folder, for tests.
    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self { id: "run".to_owned(), path: path.to_owned() }
    }

    /// The path of the report of a node's gate, in a folder that exists.
    pub fn report(&self, node: &str, gate: usize) -> io::Result<PathBuf> {
        make(&self.path)?;
        Ok(self.path.join(format!("{}.gate-{gate}.report", file_name(node))))
    }

    /// Creates the file of the run's events.
    pub fn events(&self) -> io::Result<File> {
        make(&self.path)?;
        owner::private().write(true).create_new(true).open(self.path.join(EVENTS))
    }

    /// Opens a node's log to append to it.
    pub fn log(&self, node: &str) -> io::Result<(PathBuf, File)> {
        make(&self.path)?;
        let path = self.path.join(log_name(node));
        let file = owner::private().create(true).append(true).open(&path)?;
        Ok((path, file))
    }
}

fn log_name(node: &str) -> String {
    format!("{}.log", file_name(node))
}

fn file_name(node: &str) -> String {
    node.replace('/', "_")
}

/// The ID of a new run, or of a new plan: it begins with the time.
pub fn new_id() -> String {
    ulid::Ulid::from_parts(now_millis(), random::bits()).to_string().to_lowercase()
}

/// The folder of the state of all hierarchies.
enum Home {
    /// In a folder that the user or the user's session chose.
    Own(PathBuf),
    /// In a folder where every user of the machine can write: checked before use.
    Shared(PathBuf),
}

impl Home {
    fn folder(self) -> PathBuf {
        match self {
            Self::Own(folder) | Self::Shared(folder) => folder,
        }
    }

    fn find() -> Self {
        Self::of(|name| env::var_os(name).map(PathBuf::from))
    }

    fn of(variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let absolute = |name| variable(name).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .map(|folder| Self::Own(folder.join("rebuild")));
        let temporary = || absolute("TMPDIR").unwrap_or_else(|| "/tmp".into());
        let name = || format!("rebuild-{}", owner::user());
        state.unwrap_or_else(|| Self::Shared(temporary().join(name())))
    }
}

/// The folder of the state. If another user can change it, the result is a path below a file, where reads and
/// writes fail.
/// The folder of `rebuild serve`.
pub fn serve_folder() -> PathBuf {
    home().join("serve")
}

fn home() -> PathBuf {
    let folder = Home::find().folder();
    if check(&folder).is_err() { Path::new("/dev/null").join("rebuild") } else { folder }
}

fn forget_old(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut old: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    old.sort();
    // Runs that built nothing must not displace the logs of others.
    let (logs, others): (Vec<&PathBuf>, Vec<&PathBuf>) = old.iter().partition(|run| has_logs(run));
    let unneeded = |runs: Vec<&PathBuf>| {
        for path in runs.iter().rev().skip(RUNS_KEPT - 1) {
            _ = fs::remove_dir_all(path);
        }
    };
    unneeded(logs);
    unneeded(others);
}

fn has_logs(run: &Path) -> bool {
    let is_log = |file: fs::DirEntry| file.path().extension().is_some_and(|end| end == "log");
    fs::read_dir(run).is_ok_and(|files| files.flatten().any(is_log))
}

fn now_millis() -> u64 {
    let now = jiff::Timestamp::now().as_millisecond();
    u64::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_home_the_state_is_in_a_folder_of_this_user() {
        let find = |set: &[(&str, &str)]| {
            let set: std::collections::BTreeMap<_, _> = set.iter().copied().collect();
            match Home::of(|name| set.get(name).map(PathBuf::from)) {
                Home::Own(path) => format!("own {}", path.display()),
                Home::Shared(path) => format!("shared {}", path.display()),
            }
        };
        let uid = owner::user();
        for (set, expected) in [
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")][..], "own /x/rebuild".to_owned()),
            (&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], "own /h/.local/state/rebuild".to_owned()),
            (&[("TMPDIR", "/scratch")], format!("shared /scratch/rebuild-{uid}")),
            (&[("HOME", ""), ("TMPDIR", "scratch")], format!("shared /tmp/rebuild-{uid}")),
        ] {
            assert_eq!(find(set), expected);
        }
    }

    #[test]
    fn runs_that_built_nothing_do_not_displace_logs() {
        let folder = tempfile::TempDir::new().unwrap();
        for n in 0..60 {
            let run = folder.path().join(format!("{n:02}"));
            fs::create_dir(&run).unwrap();
            fs::write(run.join(EVENTS), "").unwrap();
            if n % 10 == 0 {
                fs::write(run.join("app.log"), "").unwrap();
            }
        }
        forget_old(folder.path());
        let left = |with_logs| {
            let runs = fs::read_dir(folder.path()).unwrap().flatten();
            runs.filter(|run| has_logs(&run.path()) == with_logs).count()
        };
        assert_eq!((left(true), left(false)), (6, RUNS_KEPT - 1));
    }

    #[test]
    fn a_hierarchy_has_one_folder_whatever_it_is_called() {
        let folder = tempfile::TempDir::new().unwrap();
        let place = folder.path().join("shop");
        fs::create_dir_all(place.join("web")).unwrap();
        fs::write(place.join("hierarchy.yaml"), "").unwrap();
        std::os::unix::fs::symlink(&place, folder.path().join("link")).unwrap();
        let expected = StateFolder::of(&place.join("hierarchy.yaml")).journals();
        for name in ["shop/web/../hierarchy.yaml", "link/hierarchy.yaml", "./shop/hierarchy.yaml"] {
            assert_eq!(StateFolder::of(&folder.path().join(name)).journals(), expected, "{name}");
        }
    }
}
