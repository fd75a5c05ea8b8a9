//! Waits for another run of this machine that publishes to the same place.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{error::CommandError, output};
use crate::run::state::{Lock, LockError, StateFolder};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// # Errors
/// If the other run has not ended after this time.
pub(super) async fn lock(place: &str, wait: Duration) -> Result<Lock, CommandError> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match StateFolder::lock(place) {
            Err(error @ LockError::Held { .. }) if began.elapsed() < wait => {
                if !is_told {
                    output::line(&format!("waiting: {error}"));
                    is_told = true;
                }
                sleep(PAUSE.min(wait)).await;
            }
            locked => return Ok(locked?),
        }
    }
}
