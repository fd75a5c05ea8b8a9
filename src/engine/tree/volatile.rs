//! Paths that a rebuild changes without anybody caring.
//!
//! **Invariant:** what is left aside by default says nothing about how a container behaves. A folder
//! that a server needs, such as `/var/log/nginx`, counts wherever it is; so does a log that is a
//! link to `/dev/stdout`.

use std::path::Path;

use crate::fingerprint::ignore::{Ignore, IgnoreError};

/// Left aside whatever is there.
const WHOLE: &[&str] = &[
    // The engine mounts something over these, so that no container sees what the image has.
    ".dockerenv",
    "dev",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
    // Nobody counts on what is left here, and folders have a random name.
    "tmp/**",
    "var/tmp/**",
    // Python writes them when it likes, with the times of the files that they are made of.
    "**/__pycache__",
];

/// Left aside are files, and of those that are in both images the content.
const CONTENTS: &[&str] = &[
    // Logs and caches, those of root and of users too. What debconf was answered is no cache.
    "var/log/**",
    "var/cache/**",
    "!var/cache/debconf/*.dat",
    "root/.cache/**",
    "root/.npm/_cacache/**",
    "root/.npm/_logs/**",
    "root/.wget-hsts",
    "home/*/.cache/**",
    "run/**",
    // What the files were before: `etc/passwd-`.
    "etc/*-",
    "var/lib/dpkg/*-old",
    // What packages there are to be had, not those that are installed.
    "var/lib/apt/lists/**",
    // Databases with the times of installing. The files of the packages are compared.
    "lib/apk/db/scripts.tar*",
    "usr/lib/apk/db/scripts.tar*",
    "usr/lib/sysimage/libdnf5/**",
    "usr/lib/sysimage/rpm/**",
    "var/lib/dnf/**",
    "var/lib/rpm/**",
    "var/lib/yum/**",
    // Random, and each machine is to have its own.
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    // Times, in the files themselves, of when systemd last looked.
    "etc/.updated",
    "var/.updated",
];

/// Which paths are left aside when the files of two images are compared.
#[derive(Clone, Debug)]
pub struct Volatile {
    whole: Ignore,
    contents: Ignore,
}

impl Volatile {
    /// The default list, and these patterns after it. They are patterns as in a `.dockerignore`, relative
    /// to the image's root: the last that matches a path wins, and `!` takes one back in.
    ///
    /// # Errors
    /// The line is the number of the pattern, counted from 1.
    pub fn new(extra: &[String]) -> Result<Self, IgnoreError> {
        let list = |default: &[&str]| -> Result<Ignore, IgnoreError> {
            let default = Ignore::parse(default.join("\n").as_bytes())?;
            default.with(extra.join("\n").as_bytes())
        };
        Ok(Self { whole: list(WHOLE)?, contents: list(CONTENTS)? })
    }

    /// Whether the path does not count at all.
    pub(super) fn leaves_out(&self, path: &Path) -> bool {
        self.whole.excludes(path)
    }

    /// Whether it does not count what is in the file, or that there is one.
    pub(super) fn leaves_out_content(&self, path: &Path) -> bool {
        self.contents.excludes(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_lists() {
        let page = include_str!("../../../docs/how-it-decides.md");
        let (_, section) = page.split_once("## When a refreshed image counts as the same").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let lists: Vec<Vec<&str>> = section
            .split("```\n")
            .skip(1)
            .step_by(2)
            .map(|list| list.lines().filter(|line| !line.starts_with('#')).collect())
            .collect();
        assert_eq!(lists, [WHOLE, CONTENTS]);
    }
}
