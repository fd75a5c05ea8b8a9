//! The user's SSH agent, for one build: `moby.sshforward.v1.SSH`.
//!
//! **Invariant:** a build may list the agent's keys and have it sign, and nothing else: it can
//! neither add a key nor take one away, and the keys themselves never leave the agent.

use std::{io, path::Path};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    Served,
    grpc::{self, GrpcAnswer, GrpcCode, GrpcMessages, Status},
    wire::{AgentRequest, BytesMessage, Empty},
};

/// The only ID there is, and the one that a mount without an `id` has.
const ID: &str = "default";
/// What the agent's messages begin with.
/// <https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent>, section 6.1.
const LIST: u8 = 11;
const SIGN: u8 = 13;
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// As OpenSSH's own agent limits them.
const LONGEST: usize = 256 * 1024;

/// Whether a build gets the agent of this ID.
pub(super) async fn check(served: &Served, body: RecvStream) -> Result<Empty, Status> {
    let request: AgentRequest = GrpcMessages::of(body).next().await?.unwrap_or_default();
    agent(served, request.id.as_bytes()).map(|_| Empty {})
}

fn agent<'s>(served: &'s Served, id: &[u8]) -> Result<&'s Path, Status> {
    match &served.secrets.agent {
        Some(agent) if id.is_empty() || id == ID.as_bytes() => Ok(agent),
        Some(_) => {
            let message =
                format!("there is no SSH agent with the id {}", String::from_utf8_lossy(id));
            Err(Status::new(GrpcCode::NotFound, message))
        }
        // An optional mount is left out for this code, and for no other.
        None => {
            Err(Status::new(GrpcCode::Unimplemented, "no SSH agent is forwarded to this build"))
        }
    }
}

/// One connection that something in the build has made to its agent.
pub(super) async fn forward(
    served: &Served,
    id: &[u8],
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let socket = match agent(served, id) {
        Ok(socket) => socket,
        Err(status) => return grpc::refuse(respond, &status),
    };
    let agent = match UnixStream::connect(socket).await {
        Ok(agent) => agent,
        Err(error) => {
            let message = format!("the SSH agent does not answer: {error}");
            return grpc::refuse(respond, &Status::new(GrpcCode::Internal, message));
        }
    };
    let mut answer = GrpcAnswer::begin(&mut respond)?;
    let outcome = converse(GrpcMessages::of(body), agent, &mut answer).await;
    answer.end(outcome)
}

/// Question and answer in turn, as the protocol of the agent has it.
async fn converse(
    mut asked: GrpcMessages,
    mut agent: UnixStream,
    answer: &mut GrpcAnswer,
) -> Result<(), Status> {
    let broken =
        |error: io::Error| Status::new(GrpcCode::Internal, format!("the SSH agent: {error}"));
    let mut received = BytesMut::new();
    while let Some(BytesMessage { data }) = asked.next().await? {
        received.extend_from_slice(&data);
        while let Some(question) = take(&mut received)? {
            let reply = if matches!(question.get(4), Some(&(LIST | SIGN))) {
                agent.write_all(&question).await.map_err(broken)?;
                reply(&mut agent).await.map_err(broken)?
            } else {
                FAILURE.to_vec()
            };
            let mut frames = BytesMut::new();
            grpc::put(&BytesMessage { data: reply }, &mut frames);
            answer.send(frames.freeze()).await?;
        }
    }
    Ok(())
}

/// The first whole message, with its length in front.
fn take(received: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some(mut length) = received.get(..4) else { return Ok(None) };
    let length = length.get_u32() as usize;
    if length > LONGEST {
        return Err(Status::new(GrpcCode::Internal, "a message to the SSH agent is too long"));
    }
    Ok((received.len() >= 4 + length).then(|| received.split_to(4 + length).freeze()))
}

async fn reply(agent: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    agent.read_exact(&mut length).await?;
    let size = u32::from_be_bytes(length) as usize;
    if size > LONGEST {
        return Err(io::Error::other("its answer is too long"));
    }
    let mut reply = vec![0; 4 + size];
    reply[..4].copy_from_slice(&length);
    agent.read_exact(&mut reply[4..]).await?;
    Ok(reply)
}
