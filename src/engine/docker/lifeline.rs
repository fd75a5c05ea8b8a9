//! Whether the engine went away: it answers a request for events for as long as it runs.
//!
//! A container or a step of BuildKit that an engine takes down with itself ends like one that failed: exit
//! code 137, or a text. Only the end of this answer tells the two apart.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::connect::Transport;

/// Events of a kind that no engine has, so that it says nothing.
const EVENTS: &str = "/events?filters=%7B%22event%22%3A%5B%22rebuild-lifeline%22%5D%7D";
/// How often an engine that is not there is tried.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Lifeline {
    losses: Arc<AtomicUsize>,
    watching: OnceLock<AbortOnDropHandle<()>>,
}

impl Lifeline {
    /// How often the engine went away since the first call. Call it within a runtime.
    pub(super) fn losses(&self, transport: &Transport) -> usize {
        self.watching.get_or_init(|| {
            let watching = watch(transport.clone(), Arc::clone(&self.losses));
            AbortOnDropHandle::new(tokio::spawn(watching))
        });
        self.losses.load(Ordering::SeqCst)
    }
}

async fn watch(transport: Transport, losses: Arc<AtomicUsize>) {
    loop {
        if let Ok(reply) = transport.request(get(EVENTS)).await {
            // Without access to events, for example behind a proxy, there is no lifeline.
            if !reply.response.status().is_success() {
                return;
            }
            let (response, _connection) = reply.into_parts();
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
        losses.fetch_add(1, Ordering::SeqCst);
        loop {
            sleep(EVERY).await;
            if let Ok(Ok(reply)) = timeout(EVERY, transport.request(get("/_ping"))).await
                && reply.response.status().is_success()
            {
                break;
            }
        }
    }
}

fn get(path: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static(path);
    request
}
