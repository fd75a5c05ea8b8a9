//! The messages of BuildKit's control API, with the fields that we use.
//!
//! Source: github.com/moby/buildkit, `api/services/control/control.proto`.

use std::collections::HashMap;

use prost::Message;

/// `moby.buildkit.v1.SolveRequest`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct ControlSolve {
    #[prost(string, tag = "1")]
    pub(in crate::engine) build: String,
    /// Newer versions accept a list of exporters; all versions accept this one.
    #[prost(string, tag = "3")]
    pub(in crate::engine) exporter: String,
    #[prost(map = "string, string", tag = "4")]
    pub(in crate::engine) exporter_attributes: HashMap<String, String>,
    #[prost(string, tag = "5")]
    pub(in crate::engine) session: String,
    #[prost(string, tag = "6")]
    pub(in crate::engine) frontend: String,
    #[prost(map = "string, string", tag = "7")]
    pub(in crate::engine) options: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(in crate::engine) cache: Option<CacheOptions>,
    #[prost(string, repeated, tag = "9")]
    pub(in crate::engine) entitlements: Vec<String>,
    /// Leaves the build out of the history of builds.
    #[prost(bool, tag = "11")]
    pub(in crate::engine) internal: bool,
}

/// `moby.buildkit.v1.CacheOptions`. Imports are among the options of the frontend.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct CacheOptions {
    #[prost(message, repeated, tag = "4")]
    pub(in crate::engine) exports: Vec<CacheOptionsEntry>,
}

/// `moby.buildkit.v1.CacheOptionsEntry`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct CacheOptionsEntry {
    #[prost(string, tag = "1")]
    pub(in crate::engine) kind: String,
    #[prost(map = "string, string", tag = "2")]
    pub(in crate::engine) attributes: HashMap<String, String>,
}

/// `moby.buildkit.v1.SolveResponse`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct ControlSolved {
    #[prost(map = "string, string", tag = "1")]
    pub(in crate::engine) exporter: HashMap<String, String>,
}

/// `moby.buildkit.v1.StatusRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct StatusRequest {
    #[prost(string, tag = "1")]
    pub(in crate::engine) build: String,
}

/// `moby.buildkit.v1.ListWorkersRequest`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::engine) struct ListWorkers {}

#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct Workers {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::engine) workers: Vec<Worker>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct Worker {
    #[prost(map = "string, string", tag = "2")]
    pub(in crate::engine) labels: HashMap<String, String>,
    /// Its own first, then those that it emulates.
    #[prost(message, repeated, tag = "3")]
    pub(in crate::engine) platforms: Vec<WorkerPlatform>,
    #[prost(message, optional, tag = "5")]
    pub(in crate::engine) version: Option<BuildkitVersion>,
}

/// `pb.Platform`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct WorkerPlatform {
    #[prost(string, tag = "1")]
    pub(in crate::engine) architecture: String,
    #[prost(string, tag = "2")]
    pub(in crate::engine) os: String,
    #[prost(string, tag = "3")]
    pub(in crate::engine) variant: String,
}

/// `moby.buildkit.v1.types.BuildkitVersion`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct BuildkitVersion {
    #[prost(string, tag = "2")]
    pub(in crate::engine) version: String,
}

/// `moby.buildkit.v1.BytesMessage`: a piece of a session.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct ControlBytes {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::engine) data: Vec<u8>,
}
