//! What makes a run begin by itself: files that change, and ticks of schedules.
//!
//! **Invariant:** what is said here of files is only where to look: whether anything changed is
//! decided by [`Look`], from what the files are. An event that is lost costs time, and no change.

mod burst;
mod files;
mod trigger_log;
mod snapshot;
mod ticks;

pub use self::{
    burst::{Bursts, Change, Seen},
    files::{Files, places},
    snapshot::{Changed, Look},
    ticks::Ticks,
    trigger_log::{How, Ledger, Trigger},
};
