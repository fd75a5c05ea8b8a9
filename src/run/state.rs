//! What stays on this machine: the logs and the journal of each run, the lock between runs, and what
//! makes the next run quicker.
//!
//! **Invariant:** nothing here from earlier runs is needed to be right: without it the next run does
//! the same. A run that cannot write its own journal promotes nothing.

mod alive;
mod kept;

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{alive::Alive, kept::machine};
use crate::{
    host::{owner, random},
    image::Digest,
};

/// The folder of the journals, in that of a hierarchy.
const JOURNALS: &str = "journal";
/// Written when all pins of runs that are over were removed.
const SEARCHED: &str = "pins-removed";
const SEARCHED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Of how many runs the logs are kept.
const RUNS_KEPT: usize = 20;

/// The folder of one hierarchy below `$XDG_STATE_HOME/rebuild`, `~/.local/state` by default.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
}

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    /// A ULID in lower case: sorts by time, and may stand in an image's name.
    pub id: String,
    path: PathBuf,
}

/// Held while a run changes what is published. Released by the system if the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What containers belong to that are made before a run: an ID like a run's, alive until dropped.
#[derive(Debug)]
pub struct Asking {
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

impl State {
    /// Of the hierarchy in this file, by whichever name. Nothing is created before it is needed.
    pub fn of(hierarchy: &Path) -> Self {
        let hierarchy = &fs::canonicalize(hierarchy).unwrap_or_else(|_| hierarchy.to_owned());
        let key = Digest::of(hierarchy.as_os_str().as_encoded_bytes());
        let folder = hierarchy.parent().and_then(Path::file_name).unwrap_or_default();
        Self { root: home().join(format!("{}-{}", folder.display(), &key.hex()[..8])) }
    }

    /// A new run's folder. Logs of the oldest runs are removed.
    pub fn begin_run(&self) -> RunDir {
        let id = new_id();
        let runs = self.root.join("runs");
        forget_old(&runs);
        RunDir { path: runs.join(&id), id }
    }

    /// The logs of a node, the newest run's first: the run, and the file.
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

    /// Where the journals of this hierarchy's runs are.
    pub fn journals(&self) -> PathBuf {
        self.root.join(JOURNALS)
    }

    /// Where notes about the images of this engine are.
    pub fn notes(&self) -> PathBuf {
        self.root.join("notes")
    }

    /// Where it is written down what made runs begin.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("triggers.jsonl")
    }

    /// Makes sure that no other run of this machine publishes to the same place.
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

/// Where our files are or would be; or what keeps us from writing there. Leaves nothing behind.
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

/// A folder for this user alone, as the XDG specification requires: it holds the output of builds.
fn make(folder: &Path) -> io::Result<()> {
    owner::make_folder(folder)?;
    check(folder)
}

/// Refuses a folder for the state in the shared folder for temporary files, if another user can
/// change it.
fn check(folder: &Path) -> io::Result<()> {
    match Home::find() {
        Home::Shared(home) if folder.starts_with(&home) && home.symlink_metadata().is_ok() => {
            owner::check_private(&home)
        }
        _ => Ok(()),
    }
}

/// Where the journals of all hierarchies are: two of them may publish to one place.
pub fn all_journals() -> Vec<PathBuf> {
    let Ok(hierarchies) = fs::read_dir(home()) else { return Vec::new() };
    hierarchies
        .flatten()
        .map(|hierarchy| hierarchy.path().join(JOURNALS))
        .filter(|journals| journals.is_dir())
        .collect()
}

/// Whether a run, of whichever hierarchy, is over, so that what it left behind may be removed.
pub fn is_over(run: &str) -> bool {
    alive::is_over(&home(), run, now_millis())
}

/// Whether a run may have left pins in an engine: one of this machine was killed or could not remove
/// them, or the last search was a day ago, since runs of other machines may use the same engine.
pub fn may_have_left_pins() -> bool {
    let searched = fs::symlink_metadata(home().join(SEARCHED)).and_then(|meta| meta.modified());
    let age = searched.ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age > SEARCHED_FOR) || alive::any_is_over(&home())
}

/// Makes the next run search for pins.
pub fn expect_pins() {
    _ = fs::remove_file(home().join(SEARCHED));
}

/// No pin of a run that is over is left.
pub fn pins_are_removed() {
    let create = || {
        make(&home())?;
        let mut options = owner::private();
        // Writes nothing, and yet the time of the file changes.
        options.write(true).create(true).truncate(true).open(home().join(SEARCHED))
    };
    _ = create();
}

/// Whether a run, of whichever machine, began so long ago.
pub fn began_before(run: &str, age: Duration) -> bool {
    let id = ulid::Ulid::from_string(&run.to_uppercase());
    id.is_ok_and(|id| Duration::from_millis(now_millis().saturating_sub(id.timestamp_ms())) > age)
}

/// Whether a run of this machine is going on.
pub fn is_going_on(run: &str) -> bool {
    alive::is_going_on(&home(), run)
}

impl Asking {
    pub fn begin() -> Self {
        let id = new_id();
        Self { _alive: Alive::declare(&home(), &id), id }
    }
}

impl RunDir {
    /// Tells other runs of this machine that this one is going on, until the answer is dropped.
    pub fn declare_alive(&self) -> Option<Alive> {
        Alive::declare(&home(), &self.id)
    }

    /// In a folder of the caller's choice, for tests.
    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self { id: "run".to_owned(), path: path.to_owned() }
    }

    /// Opens a node's log, to be appended to.
    pub fn log(&self, node: &str) -> io::Result<(PathBuf, File)> {
        make(&self.path)?;
        let path = self.path.join(log_name(node));
        let file = owner::private().create(true).append(true).open(&path)?;
        Ok((path, file))
    }
}

fn log_name(node: &str) -> String {
    format!("{}.log", node.replace('/', "_"))
}

fn new_id() -> String {
    ulid::Ulid::from_parts(now_millis(), random::bits()).to_string().to_lowercase()
}

/// Where the state of all hierarchies is.
enum Home {
    /// In a folder that the user, or the user's session, chose.
    Own(PathBuf),
    /// Where every user of the machine can write: nothing there is used before it is checked.
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

/// The folder of the state. One that another user can change is as if it could not be used: below
/// a file nothing can be read or written.
fn home() -> PathBuf {
    let folder = Home::find().folder();
    if check(&folder).is_err() { Path::new("/dev/null").join("rebuild") } else { folder }
}

fn forget_old(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut old: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    old.sort();
    for path in old.iter().rev().skip(RUNS_KEPT - 1) {
        _ = fs::remove_dir_all(path);
    }
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
    fn a_hierarchy_has_one_folder_whatever_it_is_called() {
        let folder = tempfile::TempDir::new().unwrap();
        let place = folder.path().join("shop");
        fs::create_dir_all(place.join("web")).unwrap();
        fs::write(place.join("hierarchy.yaml"), "").unwrap();
        std::os::unix::fs::symlink(&place, folder.path().join("link")).unwrap();
        let expected = State::of(&place.join("hierarchy.yaml")).journals();
        for name in ["shop/web/../hierarchy.yaml", "link/hierarchy.yaml", "./shop/hierarchy.yaml"] {
            assert_eq!(State::of(&folder.path().join(name)).journals(), expected, "{name}");
        }
    }
}
