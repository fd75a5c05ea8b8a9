//! The databases of dpkg and apk, which are text files of an image.
//!
//! Formats: `man 5 deb-control` for dpkg, <https://wiki.alpinelinux.org/wiki/Apk_spec> for apk. The databases of
//! rpm are binary and not read.

/// A package that a database lists as installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageEntry<'t> {
    pub name: &'t str,
    pub version: &'t str,
    /// The installed bytes; 0 if the database does not say.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFormat {
    Dpkg,
    Apk,
}

impl DatabaseFormat {
    /// The packages of a database.
    pub fn entries(self, text: &str) -> impl Iterator<Item = PackageEntry<'_>> {
        text.split("\n\n").filter_map(move |block| self.entry(block))
    }

    fn entry(self, block: &str) -> Option<PackageEntry<'_>> {
        let field =
            |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let (name, version, size, unit) = match self {
            Self::Apk => (field("P:")?, field("V:"), field("I:"), 1),
            // A removed package may leave its configuration. Distroless files have no status.
            Self::Dpkg if field("Status:").is_some_and(|it| !it.ends_with(" installed")) => {
                return None;
            }
            Self::Dpkg => (field("Package:")?, field("Version:"), field("Installed-Size:"), 1024),
        };
        let size = size.and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
        let bytes = size.saturating_mul(unit);
        Some(PackageEntry { name, version: version.unwrap_or_default(), bytes })
    }

    /// The version of the software, without the distribution's epoch and revision: `7.88.1` of `7.88.1-10+deb12u5`.
    pub fn upstream(self, version: &str) -> &str {
        let version = version.split_once(':').map_or(version, |(_, version)| version);
        let revision = match self {
            Self::Dpkg => version.rfind('-'),
            Self::Apk => version.rfind("-r"),
        };
        revision.map_or(version, |at| &version[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_epoch_and_revision() {
        for (format, version, expected) in [
            (DatabaseFormat::Dpkg, "7.88.1-10+deb12u5", "7.88.1"),
            (DatabaseFormat::Dpkg, "1:2.3-4-5", "2.3-4"),
            (DatabaseFormat::Dpkg, "12.4", "12.4"),
            (DatabaseFormat::Apk, "8.5.0-r0", "8.5.0"),
            (DatabaseFormat::Apk, "1.2.5", "1.2.5"),
        ] {
            assert_eq!(format.upstream(version), expected, "{version}");
        }
    }
}
