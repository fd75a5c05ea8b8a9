//! Keeps GitHub Actions from taking output for commands.
//!
//! Between `::stop-commands::TOKEN` and `::TOKEN::` the runner obeys nothing else. The token must not be
//! guessable, or a build could print it. [`super::sanitize`] breaks the markers as well; each of the
//! two suffices.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write},
};

/// Both lines around the output of a run; nothing outside of GitHub Actions.
pub(super) struct Guard(Option<String>);

impl Guard {
    pub(super) fn new(github: bool) -> Self {
        // Each `RandomState` is keyed by the operating system's random numbers; 128 bits of it.
        let random = || RandomState::new().build_hasher().finish();
        Self(github.then(|| format!("rebuild-{:016x}{:016x}", random(), random())))
    }

    pub(super) fn open(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|token| writeln!(out, "::stop-commands::{token}"))
    }

    pub(super) fn close(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|token| writeln!(out, "::{token}::"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_own_token() {
        let lines = |guard: &Guard| {
            let mut out = Vec::new();
            guard.open(&mut out).unwrap();
            guard.close(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(lines(&Guard(Some("t".into()))), "::stop-commands::t\n::t::\n");
        assert_eq!(lines(&Guard::new(false)), "");
        assert_ne!(lines(&Guard::new(true)), lines(&Guard::new(true)));
    }
}
