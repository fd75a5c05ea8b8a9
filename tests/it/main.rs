//! The tests that need more than one module, or a real engine. One file a subject.

mod dockerignore;
