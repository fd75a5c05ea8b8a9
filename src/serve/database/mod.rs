//! What the server keeps: webhook deliveries, runs, and what it saw of images. One file of `SQLite`.
//!
//! **Invariant:** an answer comes after the commit that it is about. Calls that wait together share one commit.

mod deliveries;
mod observations;
mod runs;
mod undelivered;

use std::{
    fs, io, iter,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

pub use self::{
    deliveries::{Delivery, DeliveryState, NewDelivery, Receipt},
    observations::PublishedSize,
    runs::{RunState, StoredRun},
    undelivered::{MessageState, StoredMessage},
};

/// The most calls of one commit.
const TOGETHER: usize = 256;
/// Each brings the file to the version of its place in the list, counted from 1 (`PRAGMA user_version`).
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("followed_by.sql")];

/// A handle to the thread that owns the connection. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{}` was written by a newer version of rebuild", .0.display())]
    Newer(PathBuf),
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database is closed")]
    Closed,
}

/// Does its part in the transaction, and returns what to do after the commit.
type Call = Box<dyn FnOnce(&Connection) -> AfterCommit + Send>;
type AfterCommit = Box<dyn FnOnce(Result<(), &rusqlite::Error>) + Send>;

enum Job {
    Call(Call),
    /// Dropped when the file is closed.
    Close(oneshot::Sender<()>),
}

impl Database {
    /// Opens the file, or creates it. A file that `SQLite` calls damaged is renamed; the second value is its new name.
    ///
    /// # Errors
    /// If the file cannot be written, or a newer version has written it.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>), DatabaseError> {
        let (connection, damaged) = match connect(path) {
            Ok(connection) => (connection, None),
            Err(DatabaseError::Sqlite(error)) if is_damage(&error) => {
                let aside = set_aside(path)
                    .map_err(|source| DatabaseError::File { path: path.to_owned(), source })?;
                (connect(path)?, Some(aside))
            }
            Err(error) => return Err(error),
        };
        let (jobs, received) = mpsc::channel();
        thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || work(connection, &received))
            .map_err(|source| DatabaseError::File { path: path.to_owned(), source })?;
        Ok((Self { jobs }, damaged))
    }

    /// Closes the file after the calls before this one, without a write-ahead log. Calls after it fail.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).is_ok() {
            _ = closed.await;
        }
    }

    /// Runs statements in a transaction, and returns after its commit. An error undoes these statements only.
    async fn call<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |connection| {
            let result = in_savepoint(connection, statements);
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result.map_err(DatabaseError::from),
                    Err(error) => Err(DatabaseError::Sqlite(copy_of(error))),
                };
                _ = answer.send(result);
            })
        });
        self.jobs.send(Job::Call(call)).map_err(|_| DatabaseError::Closed)?;
        answered.await.map_err(|_| DatabaseError::Closed)?
    }
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // A delivery that was answered must survive a power failure: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4096;",
    )?;
    let check: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if check != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(check)).into());
    }
    let version: usize = connection
        .query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))?;
    if version > MIGRATIONS.len() {
        return Err(DatabaseError::Newer(path.to_owned()));
    }
    for (number, statements) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(number + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
    }
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Renames the database, and deletes its write-ahead log, which belongs to the damaged file.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%S");
    let aside = path.with_extension(format!("damaged-{time}"));
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn work(mut connection: Connection, jobs: &mpsc::Receiver<Job>) {
    let mut closing = None;
    while closing.is_none()
        && let Ok(first) = jobs.recv()
    {
        let mut after = Vec::new();
        let committed = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for job in iter::once(first).chain(jobs.try_iter().take(TOGETHER)) {
                match job {
                    Job::Call(call) => after.push(call(&transaction)),
                    Job::Close(done) => {
                        closing = Some(done);
                        break;
                    }
                }
            }
            transaction.commit()
        })();
        for answer in after {
            answer(committed.as_ref().copied());
        }
    }
    drop(connection);
    drop(closing);
}

fn in_savepoint<T>(
    connection: &Connection,
    statements: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT call")?;
    let result = statements(connection);
    connection.execute_batch(match result {
        Ok(_) => "RELEASE call",
        Err(_) => "ROLLBACK TO call; RELEASE call",
    })?;
    result
}

/// A commit has one error, and each call of it gets one.
fn copy_of(error: &rusqlite::Error) -> rusqlite::Error {
    let code =
        error.sqlite_error().map_or(rusqlite::ffi::SQLITE_ERROR, |error| error.extended_code);
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
}

/// Milliseconds since 1970, as all times of the file are.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}
