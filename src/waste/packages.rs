//! Package databases in layers: the packages of an image, and the build tools among them.

use super::rpm;
use crate::image::packages::DatabaseFormat;

/// The packages that a database in a layer lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageDatabase {
    pub path: Vec<u8>,
    /// Names and installed bytes.
    pub packages: Vec<(String, u64)>,
}

/// The largest database that is read, in bytes. That of a desktop has 5 MB, and 30 MB with rpm.
const LARGEST: u64 = 32 << 20;
const DPKG: &[u8] = b"var/lib/dpkg/status";
/// Distroless images have a file for each package.
const DPKG_FILES: &[u8] = b"var/lib/dpkg/status.d/";
/// Fedora moved it, and openSUSE has it in yet another folder.
const RPM: [&[u8]; 3] = [
    b"var/lib/rpm/rpmdb.sqlite",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"usr/share/rpm/rpmdb.sqlite",
];
const APK: [&[u8]; 2] = [b"lib/apk/db/installed", b"usr/lib/apk/db/installed"];

impl PackageDatabase {
    /// Whether this file is a database that can be read.
    pub(super) fn is_at(path: &[u8], size: u64) -> bool {
        let is_file = path.starts_with(DPKG_FILES) && !path.ends_with(b".md5sums");
        size <= LARGEST && (path == DPKG || is_file || APK.contains(&path) || RPM.contains(&path))
    }

    /// `None` without packages.
    pub(super) fn read(path: &[u8], content: &[u8]) -> Option<Self> {
        let packages: Vec<(String, u64)> = if RPM.contains(&path) {
            rpm::packages(content)?
        } else {
            let is_apk = APK.contains(&path);
            let format = if is_apk { DatabaseFormat::Apk } else { DatabaseFormat::Dpkg };
            let text = String::from_utf8_lossy(content);
            format.entries(&text).map(|one| (one.name.to_owned(), one.bytes)).collect()
        };
        (!packages.is_empty()).then(|| Self { path: path.to_owned(), packages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let dpkg = "Package: gcc-12\nStatus: install ok installed\nInstalled-Size: 10\n\n\
                    Package: old\nStatus: deinstall ok config-files\nInstalled-Size: 9\n\n\
                    Package: tiny\nStatus: install ok installed\n";
        let apk = "C:Q1x=\nP:musl\nV:1\nI:4096\n\nP:make\nI:7\nF:usr/bin\nR:make\n";
        for (path, text, expected) in [
            ("var/lib/dpkg/status", dpkg, "gcc-12 10240, tiny 0"),
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nInstalled-Size: 1", "tzdata 1024"),
            ("lib/apk/db/installed", apk, "musl 4096, make 7"),
            ("var/lib/dpkg/status", "\n", ""),
        ] {
            assert!(PackageDatabase::is_at(path.as_bytes(), 1));
            let found = PackageDatabase::read(path.as_bytes(), text.as_bytes());
            let packages = found.map(|found| found.packages).unwrap_or_default();
            let told: Vec<String> =
                packages.iter().map(|(name, size)| format!("{name} {size}")).collect();
            assert_eq!(told.join(", "), expected);
        }
        for path in ["var/lib/dpkg/status-old", "var/lib/dpkg/status.d/tzdata.md5sums", "x"] {
            assert!(!PackageDatabase::is_at(path.as_bytes(), 1), "{path}");
        }
    }
}
