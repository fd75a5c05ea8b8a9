//! `rebuild serve`: pages that show the state of hierarchies, webhooks that start runs, and the runs themselves.
//!
//! Each run and each query of states is a process of `rebuild`, so that a run behaves as one by hand: the same locks,
//! the same journal, the same recovery. The server decides when they start, and shows what they print.
//!
//! **Invariant:** one run at a time for each hierarchy. A delivery is stored before it is answered, and starts its runs
//! once.

mod checkout;
mod database;
mod dispatch;
mod live_run;
mod messages;
mod metrics;
mod poll;
mod request;
mod served;
mod web;
mod webhook;
mod worker;

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::HeaderName;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub use self::served::HierarchySource;
use self::{
    database::{Database, DatabaseError, RunState},
    metrics::Metrics,
    request::WorkRequest,
    served::ServedHierarchy,
};
use crate::hierarchy::Hierarchy;

/// For this time, processed deliveries are kept, and a copy of one is recognized.
const DELIVERIES_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);
/// So many ended runs of a hierarchy are kept.
const RUNS_KEPT: u32 = 500;
/// So many runs in a row are stopped for newer pushes.
const OVERTAKEN: u32 = 3;
/// How long a run that is stopped with the server may take to clean up and to finish its promotion.
const DRAIN: Duration = Duration::from_secs(60);

/// Reads the files of a hierarchy. An error has all problems as text.
pub type LoadHierarchy = dyn Fn(&Path) -> Result<Hierarchy, String> + Send + Sync;

/// How to serve.
pub struct ServeOptions {
    pub listen: SocketAddr,
    /// The folder of the database, the clones and the events of runs.
    pub data: PathBuf,
    pub hierarchies: Vec<(String, HierarchySource)>,
    pub load: Arc<LoadHierarchy>,
    /// `rebuild` itself.
    pub program: PathBuf,
    /// The options of every command that it starts, without `--file`.
    pub global_arguments: Vec<OsString>,
    /// The options of every run.
    pub run_arguments: Vec<OsString>,
    /// What webhooks are signed with. Without it, every delivery is refused.
    pub webhook_secret: Option<String>,
    /// What a user proves the right to start and cancel runs with.
    pub token: Option<String>,
    /// A header with the name of the user, which a proxy on this machine sets.
    pub trusted_header: Option<HeaderName>,
    /// The names that a loopback address answers to, beside `localhost`.
    pub public_hosts: Vec<String>,
    /// How often branches and upstreams are read.
    pub poll: Duration,
    /// The registry, or the part of one, of the page "fleet".
    pub audit: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("`{}`: {source}", path.display())]
    Data { path: PathBuf, source: std::io::Error },
    #[error("another server uses `{}`", .0.display())]
    InUse(PathBuf),
}

pub struct Server {
    options: ServeOptions,
    database: Database,
    hierarchies: Vec<Arc<ServedHierarchy>>,
    metrics: Metrics,
    /// There are deliveries to process.
    delivered: tokio::sync::Notify,
    /// A message is to be sent now.
    resend: tokio::sync::Notify,
    /// Becomes true when the server is to end.
    stopping: watch::Sender<bool>,
    web: web::WebState,
}

/// A server that listens.
pub struct Listening {
    server: Arc<Server>,
    listener: TcpListener,
    /// Held until the process ends.
    _lock: File,
    pub address: SocketAddr,
    /// The new name of a damaged database.
    pub damaged: Option<PathBuf>,
}

/// Opens the data folder and the port.
pub async fn listen(options: ServeOptions) -> Result<Listening, ServeError> {
    let data = |source| ServeError::Data { path: options.data.clone(), source };
    std::fs::create_dir_all(&options.data).map_err(data)?;
    let lock = lock(&options.data).await?;
    let address = options.listen;
    let cannot = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (database, damaged) = Database::open(&options.data.join("serve.db"))?;
    let hierarchies = options.hierarchies.iter();
    let hierarchies = hierarchies
        .map(|(name, source)| Arc::new(ServedHierarchy::new(name.clone(), source.clone())));
    let server = Arc::new(Server {
        database,
        hierarchies: hierarchies.collect(),
        metrics: Metrics::default(),
        delivered: tokio::sync::Notify::new(),
        resend: tokio::sync::Notify::new(),
        stopping: watch::Sender::new(false),
        web: web::WebState::new(&options),
        options,
    });
    // A page that is asked for at once has the hierarchy.
    for served in &server.hierarchies {
        server.read_files(served).await;
    }
    Ok(Listening { server, listener, _lock: lock, address, damaged })
}

/// The lock of a data folder. A server that was killed while it started a process leaves the lock to it until the
/// process begins its own program, so a lock that is held is tried again for 5 seconds.
async fn lock(folder: &Path) -> Result<File, ServeError> {
    let data = |source| ServeError::Data { path: folder.to_owned(), source };
    let file = File::create(folder.join("lock")).map_err(data)?;
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(data(source)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(ServeError::InUse(folder.to_owned()))
}

impl Listening {
    /// Serves until `stop` completes. Then reports the number of current runs to `stopping`, stops them, and queues
    /// them again.
    pub async fn serve(self, stop: impl Future<Output = ()>, stopping: impl FnOnce(usize)) {
        let Self { server, listener, damaged, .. } = self;
        if damaged.is_some() {
            for served in &server.hierarchies {
                server.restore_history(served).await;
            }
        }
        let mut tasks = JoinSet::new();
        for served in &server.hierarchies {
            tasks.spawn(Arc::clone(&server).work(served.clone()));
            tasks.spawn(Arc::clone(&server).poll(served.clone()));
        }
        tasks.spawn(Arc::clone(&server).dispatch());
        tasks.spawn(Arc::clone(&server).send_messages());
        tasks.spawn(Arc::clone(&server).audit());
        let pages = tokio::spawn(web::serve(Arc::clone(&server), listener));
        stop.await;
        server.stopping.send_replace(true);
        let live: Vec<_> = server.hierarchies.iter().filter_map(|served| served.live()).collect();
        stopping(live.len());
        for run in live {
            run.stop(RunState::Superseded);
        }
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("a run did not end within {} s", DRAIN.as_secs());
        }
        pages.abort();
        server.database.close().await;
    }
}

impl Server {
    fn served(&self, name: &str) -> Option<&Arc<ServedHierarchy>> {
        self.hierarchies.iter().find(|served| served.name == name)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Until the server is to end.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Queues a run, and wakes its worker.
    async fn start_run(
        &self,
        served: &ServedHierarchy,
        request: WorkRequest,
    ) -> Result<i64, DatabaseError> {
        let run = self.database.enqueue(&served.name, request).await?;
        served.wake.notify_one();
        served.changes.send_modify(|count| *count += 1);
        Ok(run)
    }

    /// Processes stored deliveries, each once: the runs are queued in the transaction that marks the delivery.
    async fn dispatch(self: Arc<Self>) {
        loop {
            match self.database.unprocessed(100).await {
                Ok(deliveries) if deliveries.is_empty() => {
                    tokio::select! {
                        () = self.delivered.notified() => continue,
                        () = self.stopped() => return,
                    }
                }
                Ok(deliveries) => {
                    let all = self.hierarchies.clone();
                    let targets = tokio::task::spawn_blocking(move || {
                        all.into_iter().map(dispatch::DispatchTarget::new).collect::<Vec<_>>()
                    });
                    let targets = Arc::new(targets.await.unwrap_or_default());
                    for (id, event) in deliveries {
                        self.dispatch_one(id, event, targets.clone()).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "deliveries cannot be read");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
            if self.is_stopping() {
                return;
            }
        }
    }

    async fn dispatch_one(
        &self,
        id: i64,
        event: webhook::HookEvent,
        targets: Arc<Vec<dispatch::DispatchTarget>>,
    ) {
        let decided = tokio::task::spawn_blocking(move || dispatch::decide(&event, &targets)).await;
        let dispatch::Decision { starts, outcome } = match decided {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!(%error, delivery = id, "a delivery cannot be processed");
                dispatch::Decision { starts: Vec::new(), outcome: "internal error".to_owned() }
            }
        };
        let requests =
            starts.iter().map(|start| (start.hierarchy.clone(), start.request.clone())).collect();
        if let Err(error) = self.database.process(id, requests, outcome.clone()).await {
            tracing::error!(%error, delivery = id, "a delivery cannot be processed");
            return;
        }
        tracing::info!(delivery = id, %outcome, "processed a delivery");
        for start in starts {
            let Some(served) = self.served(&start.hierarchy) else { continue };
            if let Some(live) = served.live()
                && live.stopped().is_none()
                && is_overtaken(&live, &start.overtakes)
                // Pushes that never cease must not keep every run from its end.
                && served.overtaken.fetch_add(1, Ordering::Relaxed) < OVERTAKEN
            {
                live.stop(RunState::Superseded);
            }
            served.wake.notify_one();
            served.changes.send_modify(|count| *count += 1);
        }
    }
}

/// Whether builds of a run that go on are pointless, since a newer event changed their images.
fn is_overtaken(live: &live_run::LiveRun, changed: &std::collections::BTreeSet<String>) -> bool {
    let progress = live.progress();
    !progress.is_promoting && progress.unfinished.iter().any(|node| changed.contains(node))
}
