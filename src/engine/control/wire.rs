//! The messages of BuildKit's control API, with the fields that we use.
//!
//! Sources: github.com/moby/buildkit, `api/services/control/control.proto` and
//! `frontend/gateway/pb/gateway.proto`. A definition (LLB) is only passed on, so it is bytes here, which is the
//! same on the wire.

use std::collections::HashMap;

use bytes::Bytes;
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
    #[prost(string, repeated, tag = "9")]
    pub(in crate::engine) entitlements: Vec<String>,
    /// Leaves the build out of the history of builds.
    #[prost(bool, tag = "11")]
    pub(in crate::engine) internal: bool,
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
}

/// `moby.buildkit.v1.frontend.SolveRequest`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct FrontendSolve {
    #[prost(string, tag = "2")]
    pub(in crate::engine) frontend: String,
    #[prost(map = "string, string", tag = "3")]
    pub(in crate::engine) options: HashMap<String, String>,
    #[prost(bool, tag = "5")]
    pub(in crate::engine) allow_result: bool,
    #[prost(bool, tag = "6")]
    pub(in crate::engine) allow_references: bool,
    #[prost(map = "string, bytes", tag = "13")]
    pub(in crate::engine) inputs: HashMap<String, Bytes>,
}

/// `moby.buildkit.v1.frontend.SolveResponse`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct FrontendSolved {
    #[prost(message, optional, tag = "3")]
    pub(in crate::engine) result: Option<FrontendResult>,
}

/// `moby.buildkit.v1.frontend.Result`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct FrontendResult {
    /// Of a result for one platform.
    #[prost(message, optional, tag = "3")]
    pub(in crate::engine) reference: Option<ResultReference>,
    /// Of a result by platform.
    #[prost(message, optional, tag = "4")]
    pub(in crate::engine) references: Option<ResultReferences>,
    #[prost(map = "string, bytes", tag = "10")]
    pub(in crate::engine) metadata: HashMap<String, Bytes>,
    #[prost(map = "string, bytes", tag = "12")]
    pub(in crate::engine) attestations: HashMap<String, Bytes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct ResultReference {
    #[prost(string, tag = "1")]
    pub(in crate::engine) id: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(in crate::engine) definition: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct ResultReferences {
    #[prost(map = "string, message", tag = "1")]
    pub(in crate::engine) references: HashMap<String, ResultReference>,
}

/// `moby.buildkit.v1.frontend.ReturnRequest`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct Return {
    #[prost(message, optional, tag = "1")]
    pub(in crate::engine) result: Option<FrontendResult>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::engine) error: Option<RpcStatus>,
}

/// `moby.buildkit.v1.frontend.ReturnResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::engine) struct Returned {}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(in crate::engine) code: i32,
    #[prost(string, tag = "2")]
    pub(in crate::engine) message: String,
}

/// `pb.Definition`: a graph of operations, each encoded. Their digests identify the vertices of a build.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::engine) struct Definition {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(in crate::engine) operations: Vec<Bytes>,
}
