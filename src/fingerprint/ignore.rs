//! `.dockerignore`, with docker's exact semantics (github.com/moby/patternmatcher).

/// The patterns of one `.dockerignore` file.
#[derive(Clone, Debug, Default)]
pub struct Ignore {}
