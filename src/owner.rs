//! Whose a file is: on a machine with several users, another user's file is not an instruction.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// Whether a file or folder belongs to this user, or to root, who may do everything anyway. After
/// `sudo` also to the user who called it.
pub fn is_trusted(file: &Metadata) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let called_by = || std::env::var("SUDO_UID").ok()?.parse::<u32>().ok();
    file.uid() == uid || file.uid() == 0 || uid == 0 && called_by() == Some(file.uid())
}

/// Whether it belongs to this user.
pub fn is_ours(file: &Metadata) -> bool {
    file.uid() == user()
}

/// The number of this user.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
