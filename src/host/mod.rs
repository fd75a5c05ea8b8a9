//! This machine: files of unknown size or owner, random numbers, times, the user's git, and the environment.

pub mod bounded;
pub mod git;
pub mod moment;
pub mod owner;
pub mod random;

/// A variable of the environment. An empty one counts as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How many processors this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The name of this machine.
pub fn name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
