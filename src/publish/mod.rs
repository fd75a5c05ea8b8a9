//! Stores images, and moves their tags: parents before children, all or none.

pub mod destinations;
pub mod failures;
pub mod gc;
pub mod holds;
pub mod indexes;
pub mod journal;
pub mod pipeline;
pub mod promote;
pub mod provenance;
pub mod store;
