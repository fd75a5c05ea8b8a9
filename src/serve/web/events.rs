//! Server-sent events: what changes while a page is open.
//!
//! **Invariant:** a client that reads slowly costs the place of its next event in a file, and nothing else.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::serve::{
    Server,
    live_run::{EventReader, RunFiles},
    served::ServedHierarchy,
};

/// The most clients that follow events at once.
pub(super) const CLIENTS: usize = 600;
/// Changes of a hierarchy are sent at most so often.
const PAUSE: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type EventStream = Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>;

fn answer(server: &Server, events: impl FnOnce(OwnedSemaphorePermit) -> EventStream) -> Response {
    let Ok(permit) = Arc::clone(&server.web.event_clients).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many clients follow events\n")
            .into_response();
    };
    Sse::new(events(permit)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// An event whenever something of a hierarchy changes.
pub(super) async fn of_hierarchy(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
) -> Response {
    let Some(entry) = server.served(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let receiver = entry.changes.subscribe();
    answer(&server, |permit| Box::pin(changes(receiver, permit)))
}

fn changes(
    mut receiver: watch::Receiver<u64>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // The first event comes at once: something may have changed since the page was made.
    receiver.mark_changed();
    stream::unfold((receiver, permit), |(mut receiver, permit)| async move {
        receiver.changed().await.ok()?;
        tokio::time::sleep(PAUSE).await;
        let count = *receiver.borrow_and_update();
        let event = Event::default().event("changed").data(count.to_string());
        Some((Ok(event), (receiver, permit)))
    })
}

/// The events of a run, from its first one, or after the one that the client got last. Its end is an event `end`.
pub(super) async fn of_run(
    State(server): State<Arc<Server>>,
    Path(run): Path<i64>,
    headers: HeaderMap,
) -> Response {
    let Ok(Some(stored)) = server.database.run(run).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let offset = last.and_then(|value| value.parse().ok()).unwrap_or(0);
    let entry = server.served(&stored.hierarchy).cloned();
    let files = RunFiles::new(&server.options.data, run);
    answer(&server, |permit| {
        let follower = Follower { server: server.clone(), entry, run, files, reader: None, offset };
        Box::pin(stream::unfold((Some(follower), permit), |(follower, permit)| async move {
            let mut follower = follower?;
            let (event, goes_on) = follower.next().await;
            Some((Ok(event), (goes_on.then_some(follower), permit)))
        }))
    })
}

struct Follower {
    server: Arc<Server>,
    entry: Option<Arc<ServedHierarchy>>,
    run: i64,
    files: RunFiles,
    reader: Option<EventReader>,
    offset: u64,
}

impl Follower {
    /// The next event, and whether there may be more.
    async fn next(&mut self) -> (Event, bool) {
        loop {
            // Before the file is read, so that no line between is missed.
            let live = self.entry.as_ref().and_then(|entry| entry.live());
            let live = live.filter(|live| live.id == self.run);
            let mut length = live.as_ref().map(|live| live.length.subscribe());
            if let Some(event) = self.read() {
                return (event, true);
            }
            if let Some(length) = &mut length {
                let offset = self.offset;
                tokio::select! {
                    _ = length.wait_for(|length| *length > offset) => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                continue;
            }
            let is_over = match self.server.database.run(self.run).await {
                Ok(Some(run)) => run.state.is_over(),
                Ok(None) | Err(_) => true,
            };
            if is_over {
                return (Event::default().event("end").data("end"), false);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn read(&mut self) -> Option<Event> {
        if self.reader.is_none() {
            let mut reader = EventReader::new(&self.files.events).ok()?;
            reader.seek(self.offset).ok()?;
            self.reader = Some(reader);
        }
        let reader = self.reader.as_mut()?;
        let line = reader.next().ok()??.to_owned();
        self.offset = reader.offset;
        Some(Event::default().id(self.offset.to_string()).data(line))
    }
}
