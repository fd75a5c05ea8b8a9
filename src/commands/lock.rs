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
            locked => return locked.map_err(|error| refused(error, wait)),
        }
    }
}

/// Commands that wait have `--wait`.
fn refused(error: LockError, waited: Duration) -> CommandError {
    let is_held = matches!(error, LockError::Held { .. });
    let error = CommandError::from(error);
    if !is_held {
        return error;
    }
    let how = if waited.is_zero() { "`--wait 10m`" } else { "`--wait` with a longer time" };
    error.hint(format!("nothing was changed; {how} waits for it to end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_the_flag_only_where_it_helps() {
        let held = || LockError::Held { what: "r.io/base".to_owned(), holder: None };
        for (error, hint) in [
            (refused(held(), Duration::ZERO), "`--wait 10m` waits for it to end"),
            (
                refused(held(), Duration::from_secs(1)),
                "`--wait` with a longer time waits for it to end",
            ),
            (held().into(), "run the command again when that run has ended"),
        ] {
            let told = error.to_string();
            assert!(told.ends_with(&format!("hint: nothing was changed; {hint}")), "{told}");
        }
    }
}
