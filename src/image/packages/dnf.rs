//! Fedora's and Red Hat's, version 4 or 5.

use super::{Installed, PackageUpdate, ProbeError, markers::CommandSection};

/// `EPOCHNUM` is 0 for a package without an epoch.
pub(super) const INSTALLED: &str = r"
section architecture rpm -E '%{_arch}'
section installed rpm -qa --qf '= %{NAME} %{ARCH} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n'
";

/// `check-update` fails if a source cannot be reached, or without sources; `repoquery` does not. What
/// it prints differs between versions, with headings and obsoleted packages between the updates, so
/// the list is asked for in a format of ours. A source that may be skipped is not skipped: without it
/// nobody knows what is newer.
pub(super) const UPDATES: &str = r"
all='--setopt=*.skip_if_unavailable=0'
section refresh dnf -q $all --refresh check-update
section updates dnf -q $all repoquery --upgrades --latest-limit=1 --queryformat='= %{name} %{arch} %{evr}\n'
";

/// What `check-update` ends with if there is something newer.
const SOMETHING_NEWER: i32 = 100;

pub(super) fn installed(printed: &str) -> Result<Installed, ProbeError> {
    let native = native(printed)?;
    let list = CommandSection::find(printed, "installed", "rpm")?.ended_with(&[0])?;
    let mut installed = Installed::default();
    for [package, architecture, version] in list.records()? {
        // Keys of repositories are kept among the packages, and never updated.
        if package != "gpg-pubkey" {
            installed.add(named(package, architecture, native), without_epoch_zero(version));
        }
    }
    Ok(installed)
}

pub(super) fn updates(
    printed: &str,
    installed: &Installed,
) -> Result<Vec<PackageUpdate>, ProbeError> {
    let native = native(printed)?;
    let refresh = CommandSection::find(printed, "refresh", "dnf check-update")?;
    let refresh = refresh.ended_with(&[0, SOMETHING_NEWER])?;
    let list = CommandSection::find(printed, "updates", "dnf repoquery")?.ended_with(&[0])?;
    let mut updates = Vec::new();
    for [package, architecture, version] in list.records()? {
        let package = named(package, architecture, native);
        // A package that changes its architecture has no version to come from.
        if let Some(from) = installed.version(&package) {
            let (from, to) = (from.to_owned(), without_epoch_zero(version).to_owned());
            updates.push(PackageUpdate { package, from, to });
        }
    }
    // Obsoleted packages alone are something newer too, and no update of a package.
    let is_obsoleting =
        refresh.lines().any(|line| line.eq_ignore_ascii_case("obsoleting packages"));
    if refresh.code() == SOMETHING_NEWER && updates.is_empty() && !is_obsoleting {
        return Err(list.cut_off());
    }
    Ok(updates)
}

fn native(printed: &str) -> Result<&str, ProbeError> {
    let section = CommandSection::find(printed, "architecture", "rpm")?.ended_with(&[0])?;
    section.lines().last().ok_or_else(|| section.cut_off())
}

/// Only what is foreign says so.
fn named(package: &str, architecture: &str, native: &str) -> String {
    if architecture == native || architecture == "noarch" {
        package.to_owned()
    } else {
        format!("{package}.{architecture}")
    }
}

fn without_epoch_zero(version: &str) -> &str {
    version.strip_prefix("0:").unwrap_or(version)
}
