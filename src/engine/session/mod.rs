//! A BuildKit session: the engine asks us, while it builds, for exactly what it lacks.
//!
//! The roles are turned round. We open a connection to the engine, and on it the *engine* calls us
//! by gRPC: for files of the build context, for the Dockerfile, for secrets. It keeps what it got
//! under our shared key, so that the next build asks only for files that have changed; and the
//! Dockerfile is served from memory, so that it can be a pinned one, and no `COPY . .` sees it.
//!
//! **Invariant:** nothing is served but the entries of the [`Context`], the one Dockerfile, the
//! secrets given at the start and an SSH agent if there was one among them; and a file's bytes only if they are those of the file as listed.
//!
//! Only BuildKit knows sessions. The protocol is that of github.com/moby/buildkit, package
//! `session`, from v0.8 (Docker 20.10) on, and of github.com/tonistiigi/fsutil for the files.

mod requested_files;
mod call;
mod diffcopy;
mod follow;
pub(in crate::engine) mod grpc;
mod sender;
mod ssh;
mod tree;
mod wire;

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::HeaderName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use crate::{
    engine::BuildSecrets,
    fingerprint::context::{Context, ContextEntry, ContextError},
    host::random,
    image::Digest,
};

/// What the engine may ask us for during one build.
///
/// In order: make one; send `POST /session` with its [headers](Self::headers), on a connection of
/// its own; [serve](Self::serve) on what the answer `101` upgrades that to; send `POST
/// /build?version=2&remote=client-session` with `session=` its [ID](Self::id) and an empty body.
/// When the build has answered to its end, whatever the answer, drop the future that serves. A
/// session is for one build: it lists the context once.
pub struct BuildSession {
    id: String,
    shared_key: String,
    served: Arc<Served>,
}

/// The files of a build.
#[derive(Clone, Debug)]
pub struct SessionFiles {
    pub context: Context,
    /// What the build request's `dockerfile=` says: a relative path, mostly just `Dockerfile`. The
    /// file need not exist, in the context or anywhere.
    pub dockerfile_name: String,
    /// Its text, with every base pinned.
    pub dockerfile: Vec<u8>,
}

/// How much the engine has taken of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Files, folders and links listed.
    pub listed: u64,
    /// Files whose content was sent. The rest the engine still had.
    pub files: u64,
    /// Bytes of content in those files.
    pub bytes: u64,
}

/// What all the calls of a session share.
struct Served {
    files: SessionFiles,
    secrets: BuildSecrets,
    /// Every call sees the same list, walked once.
    entries: Mutex<Option<Arc<[ContextEntry]>>>,
    listed: AtomicU64,
    sent_files: AtomicU64,
    sent_bytes: AtomicU64,
}

impl BuildSession {
    pub fn new(files: SessionFiles, secrets: BuildSecrets) -> Self {
        // What the engine keeps from one build to the next is a folder it brings up to date, so
        // two Dockerfiles that leave out different parts of one context had better have one each.
        let place = (files.context.root.as_os_str().as_encoded_bytes(), &files.dockerfile_name);
        let shared_key = Digest::of(format!("rebuild {place:?}").as_bytes()).hex().to_owned();
        Self {
            id: random_id(),
            shared_key,
            served: Arc::new(Served {
                files,
                secrets,
                entries: Mutex::new(None),
                listed: AtomicU64::new(0),
                sent_files: AtomicU64::new(0),
                sent_bytes: AtomicU64::new(0),
            }),
        }
    }

    /// What the build request gives as `session=`. Never the same twice.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The headers of `POST /session`, besides `Connection: Upgrade` and `Upgrade: h2c`.
    ///
    /// One name comes several times: the headers are to be appended, not inserted.
    pub fn headers(&self) -> Vec<(HeaderName, String)> {
        let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
        let mut headers = vec![
            header("x-docker-expose-session-uuid", &self.id),
            header("x-docker-expose-session-name", "rebuild"),
            header("x-docker-expose-session-sharedkey", &self.shared_key),
        ];
        for method in call::METHODS {
            headers.push(header("x-docker-expose-session-grpc-method", method));
        }
        headers
    }

    /// Fails if a name in the context is not UTF-8. Newer engines end a session with such a name, without
    /// telling which. Blocks for as long as the walk takes, which is not repeated.
    pub fn refuse_other_names(&self) -> Result<(), ContextError> {
        match self.served.entries()?.iter().find(|entry| !entry.is_text()) {
            Some(entry) => Err(ContextError::NotText { path: entry.path.clone() }),
            None => Ok(()),
        }
    }

    /// Answers the engine on a connection that `POST /session` has upgraded, until it is gone.
    ///
    /// The engine never ends a session, so returning at all is an error. Once the build is over,
    /// drop this future: that closes the connection and stops whatever still runs.
    pub async fn serve<T>(&self, io: T) -> io::Error
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // The engine asks for each file in a frame of some ten bytes, thousands in a row. h2 takes
        // that for an attack once the frames it has not handed on yet outweigh half the window
        // (`too_many_data_frames`; seen at 2,800 files), so the window is big. It does not fill
        // up: of each frame we keep a number of four bytes.
        let handshake = h2::server::Builder::new()
            .initial_window_size(1 << 30)
            .initial_connection_window_size(1 << 30)
            .handshake::<_, Bytes>(io);
        let mut connection = match handshake.await {
            Ok(connection) => connection,
            Err(error) => return gone(error),
        };
        // Dropped with this future, and so are the calls in it.
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        calls.spawn(call::answer(Arc::clone(&self.served), request, respond));
                    }
                    Some(Err(error)) => return gone(error),
                    None => return gone("the connection was closed"),
                },
                Some(ended) = calls.join_next(), if !calls.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }

    /// How much the engine has taken so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            listed: self.served.listed.load(Ordering::Relaxed),
            files: self.served.sent_files.load(Ordering::Relaxed),
            bytes: self.served.sent_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Served {
    /// In order of path. Blocks, at first for as long as the walk takes.
    fn entries(&self) -> Result<Arc<[ContextEntry]>, ContextError> {
        let mut known = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = &*known {
            return Ok(Arc::clone(entries));
        }
        let mut entries = self.files.context.entries()?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Arc::clone(known.insert(entries.into())))
    }
}

/// Leaves the secrets' values out.
impl fmt::Debug for BuildSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("context", &self.served.files.context.root)
            .field("secrets", &self.served.secrets)
            .finish_non_exhaustive()
    }
}

fn gone(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    let cause = cause.into();
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        format!("the engine ended the session of the build: {cause}"),
    )
}

/// 32 hexadecimal digits. A process that knows an ID could ask for the files of the session.
fn random_id() -> String {
    format!("{:032x}", random::bits())
}

#[cfg(test)]
mod tests;
