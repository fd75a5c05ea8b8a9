//! BuildKit's control API: starting builds, and following them.
//!
//! Docker offers it at `POST /grpc`, as gRPC over HTTP/2 after an upgrade; `buildkitd` speaks it on its socket. `buildx`
//! builds the same way. Unlike `POST /build`, it exports caches, writes annotations and attestations, and leaves a
//! build out of the history.

mod wire;

use bytes::{Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderName, Request, header};
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

pub(in crate::engine) use self::wire::{
    CacheOptions, CacheOptionsEntry, ControlBytes, ControlSolve, ControlSolved, ListWorkers,
    StatusRequest, Worker, Workers,
};
use super::session::grpc::{GrpcMessages, put};

pub(in crate::engine) const SOLVE: &str = "/moby.buildkit.v1.Control/Solve";
pub(in crate::engine) const STATUS: &str = "/moby.buildkit.v1.Control/Status";
pub(in crate::engine) const SESSION: &str = "/moby.buildkit.v1.Control/Session";
pub(in crate::engine) const LIST_WORKERS: &str = "/moby.buildkit.v1.Control/ListWorkers";

const WINDOW: u32 = 16 << 20;

/// A call that BuildKit did not answer with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum CallError {
    /// It answered with an error.
    Refused {
        /// A code of gRPC.
        code: i32,
        message: String,
    },
    /// The connection ended.
    Broken(String),
    /// It answered something that is not an answer.
    Invalid(String),
}

/// A connection for the calls of one build. Dropping it cancels them.
pub(in crate::engine) struct Control {
    sender: SendRequest<Bytes>,
    _connection: AbortOnDropHandle<()>,
}

/// The messages that answer a call.
pub(in crate::engine) struct Answers {
    messages: GrpcMessages,
}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Control {
    /// Speaks on a connection to `buildkitd`, or on one that `POST /grpc` has upgraded.
    pub(in crate::engine) async fn over<T>(io: T) -> Result<Self, CallError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(io)
            .await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // The calls report the error.
            _ = connection.await;
        }));
        Ok(Self { sender, _connection: connection })
    }

    /// A call with one answer.
    pub(in crate::engine) async fn call<A: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, CallError> {
        let mut answers = self.stream(method, message).await?;
        let answer = answers.next().await?;
        // The status follows the answer.
        while answers.next::<A>().await?.is_some() {}
        answer.ok_or_else(|| CallError::Invalid("nothing".to_owned()))
    }

    /// A call with any number of answers.
    pub(in crate::engine) async fn stream(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<Answers, CallError> {
        let (mut body, response) = self.begin(method, vec![]).await?;
        let mut frames = BytesMut::new();
        put(message, &mut frames);
        // h2 keeps what the other side does not accept yet.
        body.send_data(frames.freeze(), true)?;
        Answers::of(response).await
    }

    /// A call with any number of messages, and of answers. A header may come several times.
    pub(in crate::engine) async fn begin(
        &self,
        method: &str,
        headers: Vec<(HeaderName, String)>,
    ) -> Result<(SendStream<Bytes>, ResponseFuture), CallError> {
        let mut request = Request::post(format!("http://buildkit{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| CallError::Broken(error.to_string()))?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, body) = sender.send_request(request, false)?;
        Ok((body, response))
    }
}

impl Answers {
    /// Waits for the head of the answers.
    pub(in crate::engine) async fn of(response: ResponseFuture) -> Result<Self, CallError> {
        let (head, body) = response.await?.into_parts();
        // An error may come without a body.
        ended_well(&head.headers)?;
        Ok(Self { messages: GrpcMessages::of_answer(body) })
    }

    /// `None`: all answers came, and the call succeeded.
    pub(in crate::engine) async fn next<A: Message + Default>(
        &mut self,
    ) -> Result<Option<A>, CallError> {
        match self.messages.next().await {
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => {
                let trailers = trailers(self.messages.body()).await?;
                ended_well(&trailers)?;
                Ok(None)
            }
            Err(status) => Err(CallError::Broken(status.message)),
        }
    }
}

async fn trailers(body: &mut RecvStream) -> Result<HeaderMap, CallError> {
    Ok(body.trailers().await?.unwrap_or_default())
}

/// Reads the status of a call, if the headers have one.
fn ended_well(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let code = text("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(0);
    if code == 0 {
        return Ok(());
    }
    let message = text("grpc-message").unwrap_or_default();
    let message = percent_decode_str(&message).decode_utf8_lossy().into_owned();
    Err(CallError::Refused { code, message })
}

#[cfg(test)]
mod tests;
