//! When something last moved: the only way to tell a slow engine from a dead one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Touched by every piece that is sent or received. Clones share the clock.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    pub(in crate::engine) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(in crate::engine) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nothing has moved.
    pub(in crate::engine) fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Ends once nothing has moved for so long.
    pub(in crate::engine) async fn silent_for(&self, limit: Duration) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A limit beyond all time is no limit.
            let Some(due) = last.checked_add(limit) else { return std::future::pending().await };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_silence_counts() {
        let activity = Activity::begin();
        let start = Instant::now();
        let mover = activity.clone();
        let script = async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                mover.touch();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = activity.silent_for(Duration::from_secs(10)) => {}
            () = script => unreachable!(),
        }
        assert_eq!(start.elapsed(), Duration::from_secs(37));
    }
}
