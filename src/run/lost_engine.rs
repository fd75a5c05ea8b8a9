//! Why a step failed: its image, an engine that stopped, or another client of the engine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    attempts::StepRetry,
    engine_messages::{Outlook, shape},
    step::{Candidate, Done, LostEngine, Work},
    step_events::Tell,
    trouble::Trouble,
};
use crate::{
    engine::{Engine, EngineError},
    exit::Exit,
    publish::store::Store,
};

/// How long an engine may be down before its steps fail.
const AWAY: Duration = Duration::from_secs(60);
/// The interval of requests to an engine that is down.
const EVERY: Duration = Duration::from_millis(500);

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// If the engine stopped during a step, that is the reason for the failure, whatever the message: builds
    /// and tests look failed when the engine stops. `losses` is the number of stops when the step began.
    pub(super) async fn blame(&self, trouble: Trouble, losses: usize) -> Trouble {
        if trouble.exit == Exit::EngineUnreachable {
            return trouble;
        }
        let engine = &*self.shop.engine;
        let again = match engine.ping().await {
            Err(EngineError::Hangs { .. }) => StepRetry::Never,
            Err(_) => StepRetry::Gone,
            Ok(()) if engine.losses() != losses => StepRetry::Gone,
            Ok(()) => return trouble,
        };
        let message = format!("the Docker engine went away: {}", trouble.message);
        Trouble { message, exit: Exit::EngineUnreachable, step: None, again, ..trouble }
    }

    /// Whether the engine stopped or its disk is full, and another engine may do the step.
    pub(super) fn lost_engine(&self, trouble: &Trouble, tell: &Tell) -> Option<LostEngine> {
        if !self.has_others {
            return None;
        }
        let has_stopped =
            trouble.again == StepRetry::Gone || trouble.exit == Exit::EngineUnreachable;
        let is_full =
            shape(&trouble.message) == Some(Outlook::Full) || tell.says("no space left on device");
        let why = trouble.headline().to_owned();
        (has_stopped || is_full).then_some(LostEngine { has_stopped, why })
    }

    /// Waits until the engine answers, and returns whether it does.
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

    /// Whether the engine lacks layers of a base, which it can read from a registry in the next attempt.
    pub(super) async fn lacks_layers(&self, trouble: &Trouble, done: &mut Done) -> bool {
        let Some(pinned) = &done.pinned else { return false };
        let is_lacking =
            self.bases.lacks_layers(&*self.shop.engine, &trouble.message, pinned).await;
        if is_lacking {
            done.pinned = None;
        }
        is_lacking
    }

    /// Another client of a shared engine may have removed the candidate or a base, for example another run of
    /// the same inputs. The step builds or pulls it again.
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
