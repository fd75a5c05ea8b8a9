//! The packages of an image.

use std::collections::BTreeMap;

/// Each package that is installed, and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed(BTreeMap<String, String>);

impl Installed {
    pub fn version(&self, package: &str) -> Option<&str> {
        self.0.get(package).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(package, version)| (package.as_str(), version.as_str()))
    }

    /// What is not in the parent, or is there in another version.
    #[must_use]
    pub fn beyond(&self, parent: &Self) -> Self {
        let own = |(package, version): &(&str, &str)| parent.version(package) != Some(*version);
        self.iter().filter(own).collect()
    }

    /// A few packages may be there in several versions at once, kernels for one: all are named, in a
    /// fixed order, so that two images with the same compare equal.
    pub(super) fn add(&mut self, package: String, version: &str) {
        let versions = self.0.entry(package).or_default();
        let mut all: Vec<&str> = versions.split(", ").filter(|known| !known.is_empty()).collect();
        all.push(version);
        all.sort_unstable();
        all.dedup();
        *versions = all.join(", ");
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Installed {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(packages: T) -> Self {
        let mut installed = Self::default();
        for (package, version) in packages {
            installed.add(package.to_owned(), version);
        }
        installed
    }
}
