//! This machine: files of unknown size or owner, random numbers, and the user's git.

pub mod bounded;
pub mod git;
pub mod owner;
pub mod random;
