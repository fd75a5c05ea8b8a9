//! Tests from outside: what a user of the library or of the program sees.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test, both tell the reader")]

mod architecture;
mod dockerfiles;
mod dockerignore;
mod engine;
mod messages;
mod program;
mod promises;
mod registry;
mod session;
mod since;
mod support;
