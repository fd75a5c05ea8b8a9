//! Which call of the engine's is answered by what.

use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;

use super::{
    Served, diffcopy,
    grpc::{self, GrpcCode, GrpcMessages, Status},
    ssh,
    wire::{GetSecretResponse, HealthCheckResponse, SecretRequest},
};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// What a call about an SSH agent says its ID in: `session/sshforward`, `KeySSHID`.
const AGENT_ID: &str = "buildkit.ssh.id";

/// What we tell the engine we can. The rest it may try all the same, and is told
/// `Unimplemented`, which it takes well: credentials, for example, are never needed, as every base
/// is in the engine before a build begins.
pub(super) const METHODS: [&str; 5] = [HEALTH, FILES, SECRET, AGENT, FORWARD];

/// Answers one call. That the engine no longer listens is no failure of ours.
pub(super) async fn answer(
    served: Arc<Served>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let method = head.uri.path();
    let sent = match method {
        HEALTH => grpc::unary(respond, Ok(HealthCheckResponse { status: 1 })).await,
        SECRET => grpc::unary(respond, secret(&served, body).await).await,
        AGENT => grpc::unary(respond, ssh::check(&served, body).await).await,
        FORWARD => {
            let id = head.headers.get(AGENT_ID).map_or(&b""[..], |id| id.as_bytes());
            ssh::forward(&served, id, body, respond).await
        }
        FILES => diffcopy::answer(served, &head.headers, body, respond).await,
        _ => {
            let message = format!("{method} is not part of this session");
            grpc::refuse(respond, &Status::new(GrpcCode::Unimplemented, message))
        }
    };
    if let Err(error) = sent {
        tracing::debug!(method, %error, "the engine dropped a call of the session");
    }
}

async fn secret(served: &Served, body: RecvStream) -> Result<GetSecretResponse, Status> {
    let request: SecretRequest = GrpcMessages::of(body).next().await?.unwrap_or_default();
    match served.secrets.values.get(&request.id) {
        Some(value) => Ok(GetSecretResponse { data: value.clone() }),
        None => {
            Err(Status::new(GrpcCode::NotFound, format!("no secret has the id {}", request.id)))
        }
    }
}
