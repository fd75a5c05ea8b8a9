//! For unit tests: whole runs in memory, and hostile texts for parsers.

pub(crate) mod fuzz;
pub(crate) mod scenario;
