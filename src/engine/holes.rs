//! Known holes of engines: which versions have them. A table, as of a day.
//!
//! It has what a build of somebody else's Dockerfile, or a run of somebody else's image, could use
//! against the machine. A version number is only a hint: distributions mend without changing it.

/// When this table was last brought up to date.
pub const HOLES_AS_OF: &str = "2026-11-23";

/// A hole of one part of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub id: &'static str,
    /// As the engine calls the part.
    component: &'static str,
    /// The first version without it, of each branch that was mended; the last one is the first
    /// branch that never had it, or was mended from then on.
    fixed: &'static [Version],
    pub what: &'static str,
}

type Version = (u64, u64, u64);

/// From the advisories: github.com/opencontainers/runc, github.com/containerd/containerd,
/// github.com/moby/buildkit and github.com/moby/moby, `/security/advisories`. `BuildKit` is a part
/// of the engine and has no version of its own there: what counts is the engine that has it mended.
const HOLES: &[Hole] = &[
    Hole {
        id: "CVE-2024-21626",
        component: "runc",
        fixed: &[(1, 1, 12)],
        what: "a container can reach the host's files",
    },
    Hole {
        id: "CVE-2025-31133",
        component: "runc",
        fixed: &[(1, 2, 8), (1, 3, 3)],
        what: "a container can write to the host's /proc",
    },
    Hole {
        id: "CVE-2025-52565",
        component: "runc",
        fixed: &[(1, 2, 8), (1, 3, 3)],
        what: "a container can write to the host's /proc",
    },
    Hole {
        id: "CVE-2025-52881",
        component: "runc",
        fixed: &[(1, 2, 8), (1, 3, 3)],
        what: "a container can get round its security labels",
    },
    Hole {
        id: "CVE-2024-40635",
        component: "containerd",
        fixed: &[(1, 6, 38), (1, 7, 27), (2, 0, 4)],
        what: "an image with a large user number runs as root",
    },
    Hole {
        id: "CVE-2024-23651",
        component: "Engine",
        fixed: &[(24, 0, 9), (25, 0, 2)],
        what: "BuildKit: two builds that share a cache can reach the host's files",
    },
    Hole {
        id: "CVE-2024-23652",
        component: "Engine",
        fixed: &[(24, 0, 9), (25, 0, 2)],
        what: "BuildKit: a build can remove files of the host",
    },
    Hole {
        id: "CVE-2024-23653",
        component: "Engine",
        fixed: &[(24, 0, 9), (25, 0, 2)],
        what: "BuildKit: a frontend can run a container with privileges",
    },
    Hole {
        id: "CVE-2024-24557",
        component: "Engine",
        fixed: &[(24, 0, 9), (25, 0, 2)],
        what: "the classic builder takes a stranger's image for its cache",
    },
    Hole {
        id: "CVE-2024-41110",
        component: "Engine",
        fixed: &[(23, 0, 15), (26, 1, 5), (27, 1, 1)],
        what: "authorization plugins can be got round",
    },
    Hole {
        id: "CVE-2026-34040",
        component: "Engine",
        fixed: &[(29, 3, 1)],
        what: "authorization plugins can be got round",
    },
    Hole {
        id: "CVE-2026-41567",
        component: "Engine",
        fixed: &[(29, 5, 1)],
        what: "an upload of a compressed archive can run a container's program",
    },
];

/// Those that a part has by its version, and the version that would have none of them. None for a
/// version that cannot be read.
pub fn holes(component: &str, version: &str) -> (Vec<&'static Hole>, Option<String>) {
    let Some(version) = parse(version) else { return (Vec::new(), None) };
    let holes: Vec<&Hole> =
        HOLES.iter().filter(|hole| hole.component == component && hole.affects(version)).collect();
    let mended = holes.iter().filter_map(|hole| hole.mended_for(version)).max();
    (holes, mended.map(|(major, minor, patch)| format!("{major}.{minor}.{patch}")))
}

impl Hole {
    fn affects(&self, version: Version) -> bool {
        self.mended_for(version).is_some()
    }

    /// The nearest version without it: of the same branch if that was mended, else of a later one.
    fn mended_for(&self, version: Version) -> Option<Version> {
        let same = |fixed: &&Version| (fixed.0, fixed.1) == (version.0, version.1);
        match self.fixed.iter().find(same) {
            Some(fixed) => (version < *fixed).then_some(*fixed),
            None => self.fixed.iter().find(|fixed| version < **fixed).copied(),
        }
    }
}

/// `20.10.24+dfsg1`, `v1.7.13`, `1.6.20~ds1`: three numbers, and what packagers add.
fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut numbers = text.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_there_below_the_version_that_mends_its_branch() {
        for (component, version, count, mended) in [
            ("runc", "1.1.5+ds1", 4, Some("1.2.8")),
            ("runc", "1.1.12", 3, Some("1.2.8")),
            ("runc", "1.2.7", 3, Some("1.2.8")),
            ("runc", "1.2.8", 0, None),
            ("runc", "1.3.2", 3, Some("1.3.3")),
            ("runc", "v1.3.3", 0, None),
            ("runc", "1.4.0", 0, None),
            ("containerd", "1.6.20~ds1", 1, Some("1.6.38")),
            ("containerd", "v1.7.27", 0, None),
            ("containerd", "2.0.3", 1, Some("2.0.4")),
            ("containerd", "2.1.0", 0, None),
            ("Engine", "24.0.9", 3, Some("29.5.1")),
            ("Engine", "24.0.8", 7, Some("29.5.1")),
            ("Engine", "29.5.0", 1, Some("29.5.1")),
            ("Engine", "29.5.1", 0, None),
            ("Engine", "unknown", 0, None),
            ("Podman Engine", "4.3.1", 0, None),
            ("runc", "", 0, None),
        ] {
            let (found, fixed) = holes(component, version);
            let found = (found.len(), fixed.as_deref());
            assert_eq!(found, (count, mended), "{component} {version}");
        }
    }
}
