//! What makes a run begin by itself: files that change, and ticks of schedules.
//!
//! **Invariant:** what is said here of files is only where to look: whether anything changed is
//! decided by [`Look`], from what the files are. An event that is lost costs time, and no change.

mod burst;
mod files;
mod ledger;
mod look;
mod ticks;

pub use self::{
    burst::{Bursts, Change, Seen},
    files::{Files, Places, places},
    ledger::{How, Ledger, Trigger},
    look::{Changed, Look},
    ticks::Ticks,
};
