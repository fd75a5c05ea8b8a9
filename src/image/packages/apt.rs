//! Debian's and Ubuntu's.

use std::sync::LazyLock;

use regex::Regex;

use super::{Installed, PackageUpdate, ProbeError, markers::CommandSection};

/// `dpkg-query` instead of apt: it is there even where apt has been removed.
pub(super) const INSTALLED: &str = r"
section architecture dpkg --print-architecture
section installed dpkg-query -W -f '= ${db:Status-Status} ${Package} ${Architecture} ${Version}\n'
";

/// What a rebuild would get: its `apt-get install` takes the newest candidate of each package, with
/// the new packages that it needs, and honours holds and pins as `dist-upgrade` does. Phased updates
/// too are as the image itself would see them. Without `-qq`, which takes a downgrade for an error.
pub(super) const UPDATES: &str = r"
section refresh apt-get -q -o APT::Update::Error-Mode=any update
section sources apt-get indextargets --format '= $(SITE)' 'Created-By: Packages'
section updates apt-get -q -s -o Debug::NoLocking=true dist-upgrade
";

/// The old version of a package that is there, then the new one: `Inst a [1] (2 Debian:12 [amd64])`.
/// Without the first it would be newly installed.
static UPGRADED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^Inst (\S+) \[([^]]+)\] \((\S+) ").expect("a valid pattern"));

pub(super) fn installed(printed: &str) -> Result<Installed, ProbeError> {
    // First, since a busybox has a `dpkg` of its own, and no `dpkg-query`.
    let list = CommandSection::find(printed, "installed", "dpkg-query")?.ended_with(&[0])?;
    let native = CommandSection::find(printed, "architecture", "dpkg")?.ended_with(&[0])?;
    let native = native.lines().last().ok_or_else(|| native.cut_off())?;
    let mut installed = Installed::default();
    for [status, package, architecture, version] in list.records()? {
        // `config-files` and such: it is gone, or was never whole.
        if status == "installed" {
            // As apt names it: only what is foreign says so.
            if architecture == native || architecture == "all" {
                installed.add(package.to_owned(), version);
            } else {
                installed.add(format!("{package}:{architecture}"), version);
            }
        }
    }
    Ok(installed)
}

pub(super) fn updates(printed: &str) -> Result<Vec<PackageUpdate>, ProbeError> {
    let refresh = CommandSection::find(printed, "refresh", "apt-get update")?.ended_with(&[0])?;
    // Before version 2.1 apt takes what it could not fetch for a warning, and uses what it has.
    let is_failure = |line: &&str| {
        line.starts_with("W: Failed to fetch") || line.starts_with("W: Some index files failed")
    };
    if let Some(line) = refresh.lines().find(is_failure) {
        return Err(refresh.unreachable(line));
    }
    let sources =
        CommandSection::find(printed, "sources", "apt-get indextargets")?.ended_with(&[0])?;
    if sources.lines().next().is_none() {
        return Err(ProbeError::NoSources("apt-get"));
    }
    let simulated =
        CommandSection::find(printed, "updates", "apt-get dist-upgrade")?.ended_with(&[0])?;
    read_simulation(&simulated)
}

fn read_simulation(simulated: &CommandSection<'_>) -> Result<Vec<PackageUpdate>, ProbeError> {
    let downgraded = downgraded(simulated);
    let mut updates = Vec::new();
    for found in simulated.lines().filter_map(|line| UPGRADED.captures(line)) {
        let [package, from, to] = found.extract().1.map(str::to_owned);
        if !downgraded.contains(&package.as_str()) {
            updates.push(PackageUpdate { package, from, to });
        }
    }
    // `6 upgraded, 1 newly installed, …`: apt's own word for how many there are.
    let total = simulated.lines().find(|line| line.contains(" upgraded, "));
    let total = total.ok_or_else(|| simulated.cut_off())?;
    if total.starts_with(&format!("{} upgraded, ", updates.len())) {
        Ok(updates)
    } else {
        Err(simulated.unreadable(total))
    }
}

/// What a pin would take back to an older version, listed under a line that says so.
fn downgraded<'a>(simulated: &CommandSection<'a>) -> Vec<&'a str> {
    let after = simulated.lines().skip_while(|line| !line.ends_with("will be DOWNGRADED:"));
    let listed = after.skip(1).take_while(|line| line.starts_with(' '));
    listed.flat_map(str::split_whitespace).collect()
}
