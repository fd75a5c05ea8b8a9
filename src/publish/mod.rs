//! Where images are published, and how their tags move: parents before children, all or none.

pub mod failures;
pub mod gc;
pub mod journal;
pub mod promote;
pub mod store;
