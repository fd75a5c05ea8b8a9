//! The connection of a session through `Control.Session`: its bytes travel in messages both ways.
//!
//! Source: github.com/moby/buildkit, `session/grpchijack`.

use bytes::BytesMut;
use h2::SendStream;
use http::HeaderName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    task::JoinSet,
};

use crate::engine::{
    control::{self, Answers, CallError, Control, ControlBytes},
    session::grpc::{put, send},
};

/// The most bytes of a message, as `buildctl` sends them.
const PIECE: usize = 32 << 10;
/// What may wait in either direction.
const BUFFER: usize = 256 << 10;

/// A connection that ends when it is dropped.
pub(super) struct SessionStream {
    pub(super) io: DuplexStream,
    /// Moves the bytes.
    pub(super) moving: JoinSet<()>,
}

impl SessionStream {
    pub(super) async fn open(
        control: &Control,
        headers: Vec<(HeaderName, String)>,
    ) -> Result<Self, CallError> {
        let (sending, response) = control.begin(control::SESSION, headers).await?;
        let (io, other) = duplex(BUFFER);
        let (out, back) = split(other);
        let mut moving = JoinSet::new();
        moving.spawn(send_pieces(out, sending));
        moving.spawn(async move {
            // The server sends the head with its first message.
            if let Ok(answers) = Answers::of(response).await {
                receive_pieces(answers, back).await;
            }
        });
        Ok(Self { io, moving })
    }
}

async fn send_pieces(mut from: ReadHalf<DuplexStream>, mut to: SendStream<bytes::Bytes>) {
    let mut data = vec![0; PIECE];
    while let Ok(read) = from.read(&mut data).await
        && read > 0
    {
        let mut frames = BytesMut::new();
        put(&ControlBytes { data: data[..read].to_vec() }, &mut frames);
        if send(&mut to, frames.freeze()).await.is_err() {
            return;
        }
    }
    _ = to.send_data(bytes::Bytes::new(), true);
}

async fn receive_pieces(mut answers: Answers, mut to: WriteHalf<DuplexStream>) {
    while let Ok(Some(ControlBytes { data })) = answers.next().await {
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::engine::session::grpc::GrpcMessages;

    /// Sends back what it gets, and says which session it is.
    async fn echo(io: DuplexStream) -> String {
        let mut connection = h2::server::handshake(io).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let (head, body) = request.into_parts();
        assert_eq!(head.uri.path(), control::SESSION);
        let echoing = tokio::spawn(async move {
            let mut messages = GrpcMessages::of_answer(body);
            let mut answer: Option<SendStream<bytes::Bytes>> = None;
            while let Ok(Some(ControlBytes { data })) = messages.next().await {
                // The head comes with the first message, as grpc-go sends it.
                let mut head = || respond.send_response(Response::new(()), false).unwrap();
                let answer = match &mut answer {
                    Some(answer) => answer,
                    None => answer.insert(head()),
                };
                let mut frames = BytesMut::new();
                put(&ControlBytes { data }, &mut frames);
                send(answer, frames.freeze()).await.unwrap();
            }
        });
        _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
        echoing.abort();
        head.headers["x-docker-expose-session-uuid"].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn bytes_come_back_in_order_whatever_their_number() {
        let (ours, theirs) = duplex(1 << 16);
        let server = tokio::spawn(echo(theirs));
        let control = Control::over(ours).await.unwrap();
        let id = HeaderName::from_static("x-docker-expose-session-uuid");
        let stream = SessionStream::open(&control, vec![(id, "one".to_owned())]).await.unwrap();
        let SessionStream { io, moving } = stream;
        let (mut reader, mut writer) = split(io);
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        let all = sent.clone();
        let writing = tokio::spawn(async move { writer.write_all(&all).await.map(|()| writer) });
        let mut received = vec![0; sent.len()];
        reader.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        drop((writing.await.unwrap().unwrap(), reader, moving, control));
        assert_eq!(server.await.unwrap(), "one");
    }
}
