//! What an engine can do, decided once when it is connected.
//!
//! The rest of the program, and the tests, ask for a capability by its name. `docs/engines.md` lists what
//! the program does without each.

use std::fmt;

use http::HeaderMap;

use super::api_version::ApiVersion;

/// Docker 23.0 brought BuildKit 0.10, whose Dockerfile frontend reads heredocs, and layers packed by zstd
/// (docs.docker.com/engine/release-notes/23.0). Since then `/build` passes `shmsize` and `ulimits` to BuildKit
/// (github.com/moby/moby, commit b899db6423 of March 2022).
const DOCKER_23: ApiVersion = ApiVersion { major: 1, minor: 42 };
/// Docker 28.0 brought `manifests=` of `GET /images/NAME/json` (docs.docker.com/reference/api/engine/version-history).
const DOCKER_28: ApiVersion = ApiVersion { major: 1, minor: 48 };
/// buildah reads heredocs since 1.33 (github.com/containers/buildah, CHANGELOG.md).
const BUILDAH_WITH_HEREDOCS: ApiVersion = ApiVersion { major: 1, minor: 33 };
/// The value of `driver-type` in the `DriverStatus` of `GET /info` with the containerd image store.
const CONTAINERD_STORE: &str = "io.containerd.snapshotter.v1";

/// Something that not every engine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Builds are done by BuildKit, which asks for the files it lacks.
    BuildKit,
    /// A build gets secrets.
    Secrets,
    /// A build reaches the SSH agent.
    Ssh,
    /// `RUN <<EOF` and `COPY <<EOF`, without a `# syntax=` line.
    Heredocs,
    /// `RUN --mount=type=cache`.
    CacheMounts,
    /// A build has a size of `/dev/shm` and resource limits of its own.
    BuildLimits,
    /// An image is kept together with attestations of where it comes from.
    Attestations,
    /// A build writes its layer cache to a registry.
    CacheExport,
    /// Images with layers that are packed by zstd can be pulled.
    Zstd,
    /// One tag holds images of several platforms.
    MultiPlatform,
    /// An image has a `HEALTHCHECK`, and `healthy:` waits for it.
    Healthcheck,
    /// A build that is cancelled ends at once, with the command that it runs.
    Cancel,
    /// A build context may have names and link targets that are not UTF-8.
    AnyNames,
}

/// What builds an image when the engine is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuilderKind {
    BuildKit,
    /// Podman's.
    Buildah,
    /// Docker's first, where there is no BuildKit.
    Classic,
}

/// What keeps the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStore {
    /// Docker's storage drivers: `overlay2`, `fuse-overlayfs`. An image's ID is the digest of its configuration.
    StorageDriver,
    /// containerd's image store, the default of Docker 29. An image's ID is the digest of its index.
    Containerd,
    Podman,
}

/// What the engine means by the size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeMeaning {
    /// The files of all layers.
    Unpacked,
    /// The layers as they are pushed and pulled, compressed.
    Packed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Capabilities {
    pub builder: BuilderKind,
    pub store: ImageStore,
    /// The store tells unpacked sizes of single manifests, and packed ones of images.
    pub(super) sizes_are_by_manifest: bool,
    heredocs: bool,
    build_limits: bool,
    zstd: bool,
    any_names: bool,
}

/// What the engine says of itself.
pub(super) struct Reported<'a> {
    pub(super) api: ApiVersion,
    /// The newest that the engine speaks.
    pub(super) newest: ApiVersion,
    pub(super) os: &'a str,
    /// Of the answer to `/_ping`.
    pub(super) ping: &'a HeaderMap,
    /// `DriverStatus` of `/info`.
    pub(super) driver: &'a [(String, String)],
}

impl Capability {
    pub const ALL: [Self; 13] = [
        Self::BuildKit,
        Self::Secrets,
        Self::Ssh,
        Self::Heredocs,
        Self::CacheMounts,
        Self::BuildLimits,
        Self::Attestations,
        Self::CacheExport,
        Self::Zstd,
        Self::MultiPlatform,
        Self::Healthcheck,
        Self::Cancel,
        Self::AnyNames,
    ];

    /// As JSON and the documentation call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildKit => "buildkit",
            Self::Secrets => "secrets",
            Self::Ssh => "ssh",
            Self::Heredocs => "heredocs",
            Self::CacheMounts => "cache-mounts",
            Self::BuildLimits => "build-limits",
            Self::Attestations => "attestations",
            Self::CacheExport => "cache-export",
            Self::Zstd => "zstd",
            Self::MultiPlatform => "multi-platform",
            Self::Healthcheck => "healthcheck",
            Self::Cancel => "cancel",
            Self::AnyNames => "any-names",
        }
    }
}

impl Capabilities {
    /// Before the engine was asked.
    pub const UNKNOWN: Self = Self {
        builder: BuilderKind::Classic,
        store: ImageStore::StorageDriver,
        sizes_are_by_manifest: false,
        heredocs: false,
        build_limits: false,
        zstd: false,
        any_names: false,
    };

    /// Of a `buildkitd` with a Dockerfile frontend of 2022 or later.
    pub(in crate::engine) const BUILDKITD: Self = Self {
        builder: BuilderKind::BuildKit,
        store: ImageStore::Containerd,
        sizes_are_by_manifest: false,
        heredocs: true,
        build_limits: true,
        zstd: true,
        any_names: false,
    };

    pub(super) fn of(engine: &Reported<'_>) -> Self {
        let header = |name| engine.ping.get(name).and_then(|value| value.to_str().ok());
        // Podman accepts `version=2`, and builds with buildah anyway.
        if header("libpod-api-version").is_some() {
            let buildah = header("libpod-buildah-version").and_then(major_and_minor);
            return Self {
                builder: BuilderKind::Buildah,
                store: ImageStore::Podman,
                sizes_are_by_manifest: false,
                heredocs: buildah.is_some_and(|version| version >= BUILDAH_WITH_HEREDOCS),
                build_limits: true,
                zstd: true,
                any_names: true,
            };
        }
        let has_store = |(key, value): &(String, String)| {
            key == "driver-type" && value.as_str() == CONTAINERD_STORE
        };
        let is_linux = engine.os != "windows";
        let is_new = engine.api >= DOCKER_23;
        let store = if engine.driver.iter().any(has_store) {
            ImageStore::Containerd
        } else {
            ImageStore::StorageDriver
        };
        Self {
            // Every Docker that this program speaks to has it, but on Windows.
            builder: if is_linux { BuilderKind::BuildKit } else { BuilderKind::Classic },
            store,
            sizes_are_by_manifest: store == ImageStore::Containerd && engine.newest >= DOCKER_28,
            heredocs: is_new && is_linux,
            // The classic builder always had them.
            build_limits: is_new || !is_linux,
            zstd: is_new,
            // BuildKit's messages are checked by Google's protobuf since 0.17, in Docker 28.
            any_names: engine.newest < DOCKER_28,
        }
    }

    pub fn has(self, capability: Capability) -> bool {
        let is_buildkit = self.builder == BuilderKind::BuildKit;
        match capability {
            // Secrets and the agent travel over BuildKit's session.
            Capability::BuildKit | Capability::Secrets | Capability::Ssh => is_buildkit,
            Capability::Heredocs => self.heredocs,
            Capability::CacheMounts => self.builder != BuilderKind::Classic,
            Capability::BuildLimits => self.build_limits,
            // Without that store, dockerd's `builder-next/controller.go` exports only `inline` caches.
            Capability::Attestations | Capability::CacheExport => {
                is_buildkit && self.store == ImageStore::Containerd
            }
            Capability::Zstd => self.zstd,
            Capability::MultiPlatform => self.store == ImageStore::Containerd,
            // Podman keeps it if it is asked for Docker's format of images, and runs it when told to.
            Capability::Healthcheck => true,
            // buildah lets the command end first (seen with podman 5.8).
            Capability::Cancel => self.builder != BuilderKind::Buildah,
            Capability::AnyNames => self.any_names,
        }
    }

    pub fn sizes(self) -> SizeMeaning {
        match self.store {
            ImageStore::Containerd if !self.sizes_are_by_manifest => SizeMeaning::Packed,
            _ => SizeMeaning::Unpacked,
        }
    }
}

/// `1.43` of `1.43.2`.
fn major_and_minor(text: &str) -> Option<ApiVersion> {
    let mut parts = text.splitn(3, '.');
    let (major, minor) = (parts.next()?, parts.next()?);
    ApiVersion::parse(&format!("{major}.{minor}"))
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for BuilderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuildKit => "BuildKit",
            Self::Buildah => "buildah",
            Self::Classic => "the classic builder",
        })
    }
}

impl fmt::Display for ImageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StorageDriver => "storage driver",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
        })
    }
}

impl fmt::Display for SizeMeaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpacked => "unpacked",
            Self::Packed => "packed",
        })
    }
}

#[cfg(test)]
#[path = "capabilities_tests.rs"]
mod tests;
