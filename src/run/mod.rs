//! Executes a plan: as many steps at once as allowed, stopping at the first failure.

mod event;

pub use self::event::{
    Event, EventKind, Failure, Outcome, Phase, Promotion, Reporter, StepSummary, StopReason,
    Summary,
};
