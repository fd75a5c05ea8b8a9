//! What a step failed by: its image, an engine that went away, or another client of the engine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    attempts::Again,
    step::{Candidate, Done, Trouble, Work},
    step_events::Tell,
};
use crate::{
    engine::{Engine, EngineError},
    exit::Exit,
    publish::store::Store,
};

/// So long an engine may be away before its steps fail.
const AWAY: Duration = Duration::from_secs(60);
/// How often an engine that is away is asked.
const EVERY: Duration = Duration::from_millis(500);

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// A step whose engine went away has failed for that, whatever was said: what the engine takes down with
    /// itself ends like something that failed. `losses` is how often it had gone when the step began.
    pub(super) async fn blame(&self, trouble: Trouble, losses: usize) -> Trouble {
        if trouble.exit == Exit::EngineUnreachable {
            return trouble;
        }
        let engine = &*self.shop.engine;
        let again = match engine.ping().await {
            Err(EngineError::Hangs { .. }) => Again::Never,
            Err(_) => Again::Gone,
            Ok(()) if engine.losses() != losses => Again::Gone,
            Ok(()) => return trouble,
        };
        let message = format!("the Docker engine went away: {}", trouble.message);
        Trouble { message, exit: Exit::EngineUnreachable, step: None, again, ..trouble }
    }

    /// Waits until the engine answers, and says whether it does.
    pub(super) async fn is_back(&self, trouble: &Trouble, tell: &Tell) -> bool {
        let engine = &*self.shop.engine;
        let since = Instant::now();
        let mut is_told = false;
        while let Err(error) = engine.ping().await {
            if since.elapsed() > AWAY || !matches!(error, EngineError::Unreachable { .. }) {
                return false;
            }
            if !std::mem::replace(&mut is_told, true) {
                let wait = AWAY.as_secs();
                tell.warn(&format!("{}: waiting for it for up to {wait} s", trouble.message));
            }
            sleep(EVERY).await;
        }
        true
    }

    /// Another client of a shared engine may have removed the candidate, such as a run of the same inputs that
    /// is through with it, or a base. What is lost is made or brought again.
    pub(super) async fn forget_lost(&self, done: &mut Done) -> bool {
        let engine = &*self.shop.engine;
        let mut is_lost = false;
        if let Some(Candidate { image, .. }) = &done.candidate
            && let Ok(None) = engine.inspect(image.id.as_str()).await
        {
            done.forget_candidate();
            is_lost = true;
        }
        if let Some(pinned) = &done.pinned
            && self.bases.forget_lost(engine, pinned).await
        {
            done.pinned = None;
            is_lost = true;
        }
        is_lost
    }
}
