//! Arguments → run → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rebuild::commands::main(std::env::args_os())
}
