//! The tests that need more than one module, or a real engine. One file a subject.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod dockerignore;
