//! Writes a journal, line by line.
//!
//! **Invariant:** after [`Journal::commit`] succeeded, its line survives a crash of the machine. After it
//! failed, the file does not contain the line.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Began, JournalEnd, JournalLine, JournalTime, Move, PastRun, folder::LARGEST};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    host::{bounded, owner},
};

/// The lines of a journal that has no file.
#[cfg(test)]
pub(crate) type Memory = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

/// The journal of the present run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    /// All lines so far, including those that could not be written yet.
    text: Vec<u8>,
    /// How many of these bytes are in the file.
    written: usize,
    past: PastRun,
    /// Whether the file exists.
    is_kept: bool,
    /// Set if a later command must finish the run.
    stays_open: bool,
    output_closed: bool,
    failed: Vec<NodeName>,
    built: Option<usize>,
    /// Why the last line was not written, until the caller takes it.
    failure: Option<JournalError>,
    /// Replaces the file in tests.
    #[cfg(test)]
    memory: Memory,
}

#[derive(Debug, thiserror::Error)]
#[error("the journal `{}` cannot be written: {source}", path.display())]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

impl Journal {
    /// Begins the journal of a new run. If the file cannot be written, `commit` reports the error.
    pub fn begin(path: &Path, began: Began) -> Self {
        let mut journal = Self::new(path.to_owned(), began);
        if let Err(error) = journal.flush() {
            tracing::debug!(%error, "the run has no journal yet");
        }
        journal
    }

    fn new(path: PathBuf, began: Began) -> Self {
        Self {
            path,
            file: None,
            text: line(&JournalLine::Began(began.clone())),
            written: 0,
            past: PastRun::began(began),
            is_kept: true,
            stays_open: false,
            output_closed: false,
            failed: Vec::new(),
            built: None,
            failure: None,
            #[cfg(test)]
            memory: Memory::default(),
        }
    }

    /// The journal of a run that publishes nothing: it has no file.
    pub fn none(began: Began) -> Self {
        Self { is_kept: false, ..Self::new(PathBuf::new(), began) }
    }

    /// Opens the journal of a run that was cut off; `None` if the run is not unfinished. The next write
    /// removes an incomplete last line.
    pub fn reopen(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::of_bytes(path, &bounded::read(path, LARGEST)?))
    }

    fn of_bytes(path: &Path, bytes: &[u8]) -> Option<Self> {
        let (past, whole) = PastRun::read_whole(bytes)?;
        let began = past.began.clone();
        let text = bytes[..whole].to_owned();
        let journal = Self { text, written: whole, past, ..Self::new(path.to_owned(), began) };
        journal.past.is_open().then_some(journal)
    }

    /// A journal in memory: of a new run, or of the same run after it was cut off.
    #[cfg(test)]
    pub(crate) fn in_memory(memory: &Memory, began: impl FnOnce() -> Began) -> Option<Self> {
        let bytes = memory.lock().unwrap().clone();
        let journal = if bytes.is_empty() {
            Some(Self::none(began()))
        } else {
            Self::of_bytes(Path::new(""), &bytes)
        };
        Some(Self { memory: memory.clone(), is_kept: false, ..journal? })
    }

    /// The commit point: tags move only after this line is on the disk.
    pub fn commit(&mut self, moves: &[Move]) -> Result<(), JournalError> {
        let before = (self.text.clone(), self.written);
        let at = Some(JournalTime(Timestamp::now()));
        let committed = JournalLine::Committed { moves: moves.to_owned(), at };
        self.text.extend(line(&committed));
        match self.flush().and_then(|()| self.sync()) {
            Ok(()) => {
                self.past.take(committed);
                Ok(())
            }
            Err(error) => {
                (self.text, self.written) = before;
                // The file may contain half of the line, or a cache may hold it without ever writing it.
                let cut = self.file.as_ref().map(|file| file.set_len(self.written as u64));
                if let Some(Err(error)) = cut {
                    // A disk in that state may show anything later. At worst the next command promotes images
                    // that are tested and stored.
                    tracing::debug!(%error, "the journal may keep a line that does not count");
                }
                Err(error)
            }
        }
    }

    pub fn moved(&mut self, index: usize) {
        self.note(JournalLine::Moved(index));
    }

    pub fn left(&mut self, index: usize) {
        self.note(JournalLine::Left(index));
    }

    pub fn back(&mut self, index: usize) {
        self.note(JournalLine::Back(index));
    }

    pub fn turned(&mut self, why: &str) {
        self.note(JournalLine::Turned { why: why.to_owned() });
    }

    /// Leaves the rest of the promotion to a later command.
    pub fn stay_open(&mut self) {
        self.stays_open = true;
    }

    /// The last line says that the run stopped because the reader of its output closed it.
    pub fn output_is_closed(&mut self) {
        self.output_closed = true;
    }

    /// The last line names these images, and how many others were built.
    pub fn images_ended(&mut self, failed: Vec<NodeName>, built: usize) {
        (self.failed, self.built) = (failed, Some(built));
    }

    /// Writes the last line, unless a later command must finish the run.
    pub fn end(&mut self, exit: Exit, recovered: bool) {
        if self.stays_open {
            return;
        }
        let (at, output_closed) = (Timestamp::now(), self.output_closed);
        let (failed, built) = (std::mem::take(&mut self.failed), self.built);
        let ended = JournalEnd { at, exit, recovered, output_closed, failed, built };
        self.note(JournalLine::Ended(ended));
        if let Some(file) = &self.file {
            _ = file.sync_data();
        }
    }

    /// Its present state.
    pub fn past(&self) -> &PastRun {
        &self.past
    }

    /// Simulates a full or broken disk.
    #[cfg(test)]
    pub(super) fn goes_on_in(&mut self, path: &Path) {
        (self.path, self.file) = (path.to_owned(), None);
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Why the last lines are not in the file; returned once.
    pub fn take_failure(&mut self) -> Option<JournalError> {
        self.failure.take()
    }

    /// After the commit point, a failed write does not change the run.
    fn note(&mut self, one: JournalLine) {
        self.text.extend(line(&one));
        self.past.take(one);
        if let Err(error) = self.flush() {
            self.failure = Some(error);
        }
    }

    /// Writes the missing lines, over an incomplete line of an earlier attempt.
    fn flush(&mut self) -> Result<(), JournalError> {
        self.try_flush().map_err(|source| JournalError { path: self.path.clone(), source })
    }

    fn try_flush(&mut self) -> io::Result<()> {
        #[cfg(test)]
        self.memory.lock().unwrap().clone_from(&self.text);
        if !self.is_kept {
            return Ok(());
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                owner::make_folder(folder)?;
            }
            let mut options = owner::private();
            let file = options.write(true).create(true).truncate(false).open(&self.path)?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if file.metadata()?.len() > self.written as u64 {
            file.set_len(self.written as u64)?;
        }
        file.seek(SeekFrom::Start(self.written as u64))?;
        file.write_all(&self.text[self.written..])?;
        self.written = self.text.len();
        Ok(())
    }

    /// Syncs the file, and the folders that lead to it.
    fn sync(&self) -> Result<(), JournalError> {
        let sync = || {
            self.file.iter().try_for_each(File::sync_all)?;
            let folders = self.path.ancestors().skip(1).take(FOLDERS);
            for folder in folders {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(|source| JournalError { path: self.path.clone(), source })
    }
}

/// `journal`, the folder of the hierarchy, `rebuild`: this run may have created them.
const FOLDERS: usize = 3;

fn line(line: &JournalLine) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("words and numbers can be written");
    text.push(b'\n');
    text
}
