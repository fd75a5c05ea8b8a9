//! The parts of the page of a run, each of which stands for itself.

mod logs;
mod moves;
mod picture;
mod summary;
mod table;
mod timeline;

pub use self::{
    logs::logs,
    moves::{moves, packages},
    picture::picture,
    summary::{badge, summary, warnings},
    table::table,
    timeline::timeline,
};
