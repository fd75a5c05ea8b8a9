//! The integration tests: one crate, so that it links once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test says why it is skipped")]

mod session;
