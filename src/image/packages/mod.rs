//! What package managers say about an image: which packages it has, and which have newer versions.
//!
//! Each manager is a script that is run in a container of the image, and a reader of what it prints.
//!
//! **Invariant:** no I/O. "Nothing newer" is only ever read from output that is whole, of a manager
//! that reached every one of its sources; anything else is a [`ProbeError`].

mod apk;
mod apt;
mod database;
mod build_tools;
mod dnf;
mod installed;
mod markers;
mod update;
mod verified;

pub use self::{
    build_tools::is_build_tool,
    database::{DatabaseFormat, PackageEntry},
    installed::Installed,
    update::PackageUpdate,
    verified::{UpdateLine, Verified},
};

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A package manager whose images can be asked what there is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    Apt,
    Apk,
    Dnf,
}

/// What an image has, and what it could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub installed: Installed,
    /// By package.
    pub updates: Vec<PackageUpdate>,
}

/// Why an image's packages are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("the image has no `{0}`")]
    Missing(&'static str),
    #[error("`{0}` has no package sources in the image")]
    NoSources(&'static str),
    /// The last of what the command printed.
    #[error("`{command}` failed with exit code {code}{}", said(.output))]
    Failed { command: &'static str, code: i32, output: String },
    /// It ended well, and says that it did not reach everything.
    #[error("`{command}` did not reach all its sources{}", said(.output))]
    Unreachable { command: &'static str, output: String },
    #[error("what `{0}` printed is cut off")]
    CutOff(&'static str),
    #[error("`{command}` printed `{line}`, which says nothing about a package")]
    Unreadable { command: &'static str, line: String },
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

impl Manager {
    /// The command that prints the installed packages. It needs no network.
    pub fn list_installed(self) -> Vec<String> {
        markers::script(&[self.installed_part()])
    }

    /// The command that prints the installed packages and the newer ones. It needs the network, and
    /// must run as root: the managers' indexes are root's.
    pub fn list_updates(self) -> Vec<String> {
        markers::script(&[self.installed_part(), self.updates_part()])
    }

    /// Reads what [`list_installed`](Self::list_installed) printed on stdout.
    pub fn read_installed(self, stdout: &[u8]) -> Result<Installed, ProbeError> {
        let text = String::from_utf8_lossy(stdout);
        match self {
            Self::Apt => apt::installed(&text),
            Self::Apk => apk::installed(&text),
            Self::Dnf => dnf::installed(&text),
        }
    }

    /// Reads what [`list_updates`](Self::list_updates) printed on stdout.
    pub fn read_updates(self, stdout: &[u8]) -> Result<Offer, ProbeError> {
        let installed = self.read_installed(stdout)?;
        let text = String::from_utf8_lossy(stdout);
        let mut updates = match self {
            Self::Apt => apt::updates(&text),
            Self::Apk => apk::updates(&text),
            Self::Dnf => dnf::updates(&text, &installed),
        }?;
        updates.sort();
        updates.dedup();
        Ok(Offer { installed, updates })
    }

    fn installed_part(self) -> &'static str {
        match self {
            Self::Apt => apt::INSTALLED,
            Self::Apk => apk::INSTALLED,
            Self::Dnf => dnf::INSTALLED,
        }
    }

    fn updates_part(self) -> &'static str {
        match self {
            Self::Apt => apt::UPDATES,
            Self::Apk => apk::UPDATES,
            Self::Dnf => dnf::UPDATES,
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apt => "apt",
            Self::Apk => "apk",
            Self::Dnf => "dnf",
        })
    }
}

impl FromStr for Manager {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "apt" => Ok(Self::Apt),
            "apk" => Ok(Self::Apk),
            "dnf" => Ok(Self::Dnf),
            _ => Err(format!("`{text}` is not a package manager: `apt`, `apk` or `dnf`")),
        }
    }
}

impl Offer {
    /// What is newer of the packages that the image itself added to its parent, or changed.
    pub fn own(mut self, parent: &Installed) -> Vec<PackageUpdate> {
        let own = self.installed.beyond(parent);
        self.updates.retain(|update| own.version(&update.package).is_some());
        self.updates
    }
}

#[cfg(test)]
mod tests;
