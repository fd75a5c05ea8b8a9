//! What a build may use, and must not keep.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::registry::Login;

/// Secrets of one build. Shown without their values, so that no log and no panic has one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BuildSecrets {
    /// By ID, as in `RUN --mount=type=secret,id=…`.
    pub values: BTreeMap<String, Vec<u8>>,
    /// The socket of an SSH agent, for `RUN --mount=type=ssh`.
    pub agent: Option<PathBuf>,
    /// For the registries with the layer cache.
    pub logins: Vec<Login>,
}

impl fmt::Debug for BuildSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildSecrets")
            .field("values", &self.values.keys())
            .field("agent", &self.agent)
            .field("logins", &self.logins)
            .finish()
    }
}
