//! Which call of the engine's is answered by what.

use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;

use super::{
    Served, diffcopy,
    grpc::{self, GrpcCode, GrpcMessages, Status},
    ssh,
    wire::{
        CredentialsRequest, CredentialsResponse, GetSecretResponse, HealthCheckResponse,
        SecretRequest,
    },
};
use crate::registry::LoginSecret;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
/// BuildKit's name of Docker Hub: `util/resolver/authorizer.go` asks for the host that it connects to.
const DOCKER_HUB: &str = "registry-1.docker.io";
/// What a call about an SSH agent says its ID in: `session/sshforward`, `KeySSHID`.
const AGENT_ID: &str = "buildkit.ssh.id";

/// What we tell the engine we can. The rest it may try all the same, and is told
/// `Unimplemented`, which it takes well. Credentials are only for registries with a layer cache: every base
/// is in the engine before a build begins.
pub(super) const METHODS: [&str; 6] = [HEALTH, FILES, SECRET, AGENT, FORWARD, CREDENTIALS];

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
        CREDENTIALS => grpc::unary(respond, credentials(&served, body).await).await,
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

async fn credentials(served: &Served, body: RecvStream) -> Result<CredentialsResponse, Status> {
    let request: CredentialsRequest = GrpcMessages::of(body).next().await?.unwrap_or_default();
    let host = if request.host == DOCKER_HUB { "docker.io" } else { &request.host };
    let login = served.secrets.logins.iter().find(|login| login.host == host);
    Ok(match login.map(|login| login.secret.clone()) {
        Some(LoginSecret::Password { user, password }) => {
            CredentialsResponse { user, secret: password }
        }
        Some(LoginSecret::IdentityToken(token)) => {
            CredentialsResponse { user: String::new(), secret: token }
        }
        None => CredentialsResponse::default(),
    })
}
