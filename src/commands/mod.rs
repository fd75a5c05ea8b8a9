//! (to come)
use std::{ffi::OsString, process::ExitCode};
pub fn main(_args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::SUCCESS
}
