//! What the jobs of a pipeline hand over through the registry: tested images under build tags, and records.

mod handover;
mod job_place;
mod stage_record;

pub use self::{
    handover::{Handover, Staged, present},
    job_place::JobPlace,
    stage_record::{StageRecord, StageTimes},
};
