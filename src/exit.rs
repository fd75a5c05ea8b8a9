//! The exit codes. `docs/exit-codes.md` explains each to the person who sees it.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A bug of ours, or a file we could not write.
    Internal = 1,
    /// Wrong usage, or a hierarchy that is not valid, or `check` found a problem.
    Usage = 2,
    /// `plan --exit-code` and `status --exit-code`: there is work. `audit --exit-code`: a base is behind. `init --strict`: it
    /// has doubts.
    Work = 3,
    BuildFailed = 10,
    TestFailed = 11,
    PushFailed = 12,
    /// The promotion is incomplete, or another run moved the tags meanwhile.
    PromotionFailed = 13,
    EngineUnreachable = 20,
    /// The registry cannot be reached, or refuses us.
    RegistryUnreachable = 21,
    /// Another run holds the lock.
    Locked = 75,
    /// `shell`: the program is not in the image. As in `docker run`.
    NotStarted = 127,
    /// SIGINT: 128 + 2.
    Interrupted = 130,
    /// SIGTERM: 128 + 15.
    Terminated = 143,
}

impl Exit {
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
