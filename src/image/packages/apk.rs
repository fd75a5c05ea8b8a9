//! Alpine's.

use std::sync::LazyLock;

use regex::Regex;

use super::{Installed, PackageUpdate, ProbeError, markers::CommandSection};

/// The database itself, as `apk info` joins name and version with a hyphen, which both may contain.
pub(super) const INSTALLED: &str = r#"
installed() {
    for folder in /usr/lib/apk/db /lib/apk/db; do
        [ -e "$folder/installed" ] || continue
        sed -n '/^[PV]:/p' "$folder/installed"
        return
    done
    return 127
}
section installed installed
"#;

/// `apk version` would also list what a rebuild does not get, such as what `apk add name=1` pins.
pub(super) const UPDATES: &str = r"
sources() {
    cat /etc/apk/repositories /etc/apk/repositories.d/*.list /lib/apk/repositories.d/*.list 2>/dev/null |
        sed -n '/^[[:space:]]*[^#[:space:]]/s/^/= /p'
}
section sources sources
section refresh apk update
section updates apk upgrade -s
";

/// `( 2/13) Upgrading musl@edge (1.2.4-r2 -> 1.2.5-r0)`. What is installed, purged, downgraded or
/// replaced has another verb.
static UPGRADED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\( *[0-9]+/[0-9]+\) Upgrading ([^\s@]+)(?:@\S+)? \((\S+) -> (\S+)\)$")
        .expect("a valid pattern")
});

pub(super) fn installed(printed: &str) -> Result<Installed, ProbeError> {
    let list = CommandSection::find(printed, "installed", "apk")?.ended_with(&[0])?;
    let mut installed = Installed::default();
    let mut package = None;
    for line in list.lines() {
        match (line.split_once(':'), package.take()) {
            (Some(("P", name)), None) => package = Some(name),
            // `.build-deps` and such are no packages, only names for a set of them.
            (Some(("V", version)), Some(name)) => {
                if !name.starts_with('.') {
                    installed.add(name.to_owned(), version);
                }
            }
            _ => return Err(list.unreadable(line)),
        }
    }
    if package.is_some() { Err(list.cut_off()) } else { Ok(installed) }
}

pub(super) fn updates(printed: &str) -> Result<Vec<PackageUpdate>, ProbeError> {
    let sources = CommandSection::find(printed, "sources", "apk")?.ended_with(&[0])?;
    if sources.lines().next().is_none() {
        return Err(ProbeError::NoSources("apk"));
    }
    let refresh = CommandSection::find(printed, "refresh", "apk update")?.ended_with(&[0])?;
    // Else `2 unavailable, 0 stale; 5 distinct packages available`.
    if !refresh.lines().any(|line| line.starts_with("OK: ")) {
        return Err(refresh.unreachable(refresh.lines().last().unwrap_or_default()));
    }
    let simulated = CommandSection::find(printed, "updates", "apk upgrade")?.ended_with(&[0])?;
    if !simulated.lines().any(|line| line.starts_with("OK: ")) {
        return Err(simulated.cut_off());
    }
    let mut updates = Vec::new();
    for line in simulated.lines().filter(|line| line.contains(") Upgrading ")) {
        let found = UPGRADED.captures(line).ok_or_else(|| simulated.unreadable(line))?;
        let [package, from, to] = found.extract().1.map(str::to_owned);
        updates.push(PackageUpdate { package, from, to });
    }
    Ok(updates)
}
