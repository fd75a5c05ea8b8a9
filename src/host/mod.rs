//! This machine: files of unknown size or owner, random numbers, the user's git, and the environment.

pub mod bounded;
pub mod git;
pub mod owner;
pub mod random;

/// A variable of the environment. An empty one counts as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
