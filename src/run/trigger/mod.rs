//! Starts runs automatically: after changes of files, and at ticks of schedules.
//!
//! **Invariant:** events only say where to look. [`Look`] decides from the files whether anything changed. A
//! lost event costs time, but no change is lost.

mod burst;
mod files;
mod trigger_log;
mod snapshot;
mod ticks;

pub use self::{
    burst::{Bursts, ChangedPlaces, Seen},
    files::{FileWatcher, places},
    snapshot::{Changed, Look},
    ticks::Ticks,
    trigger_log::{Ledger, RunTrigger, TriggerResult},
};
