//! The messages of the session protocol, field for field.
//!
//! Names of files are `string` in the protocol but `bytes` here, which is the same on the wire:
//! docker neither checks nor needs that they are UTF-8.

use bytes::Bytes;

/// github.com/tonistiigi/fsutil, `types/wire.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Packet {
    #[prost(enumeration = "PacketKind", tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) stat: Option<Stat>,
    /// The place of a file in the list.
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum PacketKind {
    /// An entry of the list; without a `stat`, its end.
    Stat = 0,
    /// The engine wants the content of a file.
    Request = 1,
    /// A part of the content; an empty part is its end.
    Data = 2,
    /// The engine has all it wants, and we agree.
    Finish = 3,
    /// Either side gives up, saying why.
    Error = 4,
}

/// github.com/tonistiigi/fsutil, `types/stat.proto`, without devices and extended attributes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) path: Vec<u8>,
    /// As Go's `os.FileMode` has it, which is not as Unix has it.
    #[prost(uint32, tag = "2")]
    pub(super) mode: u32,
    #[prost(uint32, tag = "3")]
    pub(super) uid: u32,
    #[prost(uint32, tag = "4")]
    pub(super) gid: u32,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    /// In nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(super) modified: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) link: Vec<u8>,
}

/// `grpc.health.v1.HealthCheckResponse`; 1 is `SERVING`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `moby.buildkit.secrets.v1.GetSecretRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct SecretRequest {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `moby.buildkit.secrets.v1.GetSecretResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct GetSecretResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) data: Vec<u8>,
}

/// `moby.filesync.v1.CredentialsRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct CredentialsRequest {
    #[prost(string, tag = "1")]
    pub(super) host: String,
}

/// `moby.filesync.v1.CredentialsResponse`. An identity token has no user name. Both are empty without a login.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct CredentialsResponse {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) secret: String,
}

/// `moby.sshforward.v1.CheckAgentRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AgentRequest {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `moby.sshforward.v1.CheckAgentResponse`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Empty {}

/// `moby.sshforward.v1.BytesMessage`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct BytesMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) data: Vec<u8>,
}
