//! Repositories as people have them, made up: many Dockerfiles that share a few repositories by tag.
//!
//! A Dockerfile does not say what image it makes. Each [`Layout`] is a way in which people let others
//! know: by folders, by file names, by what is beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

pub(crate) const REPOSITORIES: [&str; 7] =
    ["runtime-deps", "runtime", "aspnet", "sdk", "monitor", "monitor-base", "samples"];
const VERSIONS: [&str; 10] =
    ["6.0", "7.0", "8.0", "9.0", "10.0", "11.0", "12.0", "13.0", "14.0", "15.0"];
const SYSTEMS: [&str; 9] = [
    "bookworm-slim",
    "bookworm",
    "alpine3.19",
    "alpine3.20",
    "jammy",
    "jammy-chiseled",
    "jammy-chiseled-extra",
    "azurelinux3.0",
    "azurelinux3.0-distroless",
];
const HOST: &str = "mcr.example.com/dotnet";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `src/runtime/8.0/bookworm-slim/amd64/Dockerfile`, tag `8.0-bookworm-slim`.
    Folders,
    /// The same, tag `8.0.11-bookworm-slim-amd64`.
    Patched,
    /// `8.0/runtime/bookworm-slim/Dockerfile`.
    VersionFirst,
    /// `runtime/8.0-bookworm-slim/Dockerfile`, `ARG TAG`.
    TagFolder,
    /// `runtime/Dockerfile.8.0-bookworm-slim`.
    Endings,
    /// `docker/runtime-8.0-bookworm-slim.Dockerfile`.
    Files,
    /// `images/0042/Dockerfile`, and a Makefile beside it.
    Makefiles,
    /// `images/0042/Dockerfile`, and a compose file beside it.
    Compose,
}

pub(crate) const LAYOUTS: [Layout; 8] = [
    Layout::Folders,
    Layout::Patched,
    Layout::VersionFirst,
    Layout::TagFolder,
    Layout::Endings,
    Layout::Files,
    Layout::Makefiles,
    Layout::Compose,
];

/// From each Dockerfile to those that make what it names, by path.
pub(crate) type Edges = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// Writes some 600 Dockerfiles, and says which stands on which.
pub(crate) fn write(root: &Path, layout: Layout) -> Edges {
    let mut edges = Edges::new();
    let mut number = 0;
    for (index, repository) in REPOSITORIES.iter().enumerate() {
        for version in VERSIONS {
            for system in SYSTEMS {
                number += 1;
                let image = Image { repository, version, system, number };
                let mut parents: Vec<Image<'_>> = Vec::new();
                let at = |repository: usize, system| {
                    let place = VERSIONS.iter().position(|one| *one == version).unwrap();
                    let column = SYSTEMS.iter().position(|one| *one == system).unwrap();
                    Image {
                        repository: REPOSITORIES[repository],
                        version,
                        system,
                        number: (repository * VERSIONS.len() + place) * SYSTEMS.len() + column + 1,
                    }
                };
                // Not all in one line: two stand on `runtime`, and one copies from another system.
                match index {
                    0 => {}
                    3 => parents.push(at(1, system)),
                    _ => parents.push(at(index - 1, system)),
                }
                if index == 6 && system != "jammy" {
                    parents.push(at(3, "jammy"));
                }
                let path = image.path(layout);
                image.write(root, layout, &parents);
                edges.insert(path, parents.iter().map(|parent| parent.path(layout)).collect());
            }
        }
    }
    edges
}

#[derive(Clone, Copy)]
struct Image<'a> {
    repository: &'a str,
    version: &'a str,
    system: &'a str,
    number: usize,
}

impl Image<'_> {
    fn path(&self, layout: Layout) -> PathBuf {
        let Self { repository, version, system, number } = self;
        PathBuf::from(match layout {
            Layout::Folders | Layout::Patched => {
                format!("src/{repository}/{version}/{system}/amd64/Dockerfile")
            }
            Layout::VersionFirst => format!("{version}/{repository}/{system}/Dockerfile"),
            Layout::TagFolder => format!("{repository}/{version}-{system}/Dockerfile"),
            Layout::Endings => format!("{repository}/Dockerfile.{version}-{system}"),
            Layout::Files => format!("docker/{repository}-{version}-{system}.Dockerfile"),
            Layout::Makefiles | Layout::Compose => {
                format!("images/{number:04}/Dockerfile")
            }
        })
    }

    fn tag(&self, layout: Layout) -> String {
        let Self { version, system, .. } = self;
        match layout {
            Layout::Patched => format!("{version}.11-{system}-amd64"),
            _ => format!("{version}-{system}"),
        }
    }

    fn name(&self, layout: Layout) -> String {
        format!("{HOST}/{}:{}", self.repository, self.tag(layout))
    }

    fn write(&self, root: &Path, layout: Layout, parents: &[Image<'_>]) {
        let path = root.join(self.path(layout));
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        let mut text = String::new();
        match parents.first() {
            None => text += "FROM scratch\n",
            Some(base) if layout == Layout::TagFolder => {
                _ = writeln!(
                    text,
                    "ARG REPO={HOST}/{}\nARG TAG={}\nFROM ${{REPO}}:${{TAG}}",
                    base.repository,
                    base.tag(layout)
                );
            }
            Some(base) => {
                _ = writeln!(
                    text,
                    "ARG REPO={HOST}/{}\nFROM $REPO:{}",
                    base.repository,
                    base.tag(layout)
                );
            }
        }
        for other in parents.iter().skip(1) {
            _ = writeln!(text, "COPY --from={} / /other", other.name(layout));
        }
        _ = writeln!(text, "ENV NUMBER={}", self.number);
        fs::write(&path, text).unwrap();
        match layout {
            Layout::Makefiles => {
                let text = format!(
                    "IMAGE = {HOST}/{}\nTAG = {}\n\nbuild:\n\tdocker build -t $(IMAGE):$(TAG) .\n",
                    self.repository,
                    self.tag(layout)
                );
                fs::write(folder.join("Makefile"), text).unwrap();
            }
            Layout::Compose => {
                let text = format!(
                    "services:\n  image:\n    build: .\n    image: {}\n",
                    self.name(layout)
                );
                fs::write(folder.join("compose.yaml"), text).unwrap();
            }
            _ => {}
        }
    }
}
