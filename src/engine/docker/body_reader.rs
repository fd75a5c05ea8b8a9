//! A body that comes piece by piece, for those who can only wait: they read it in a thread of their
//! own while it is received here.
//!
//! **Invariant:** at most [`IN_FLIGHT`] pieces are in memory. A body that was not received to its end
//! never looks complete, whichever side ended it.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::mpsc;

use super::activity::Activity;

/// A piece is what the connection gives at once, some 400 KiB at most.
const IN_FLIGHT: usize = 16;

enum BodyPiece {
    Data(Bytes),
    End,
}

/// Reads what is received. Not for asynchronous code: it blocks.
pub(super) struct BodyReader {
    receiver: mpsc::Receiver<BodyPiece>,
    rest: Bytes,
    is_ended: bool,
}

pub(super) struct Received(mpsc::Sender<BodyPiece>);

pub(super) fn pieces() -> (Received, BodyReader) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    (Received(sender), BodyReader { receiver, rest: Bytes::new(), is_ended: false })
}

impl Received {
    /// Receives the body to its end, or until nobody reads it any more.
    pub(super) async fn receive<B>(self, mut body: B, activity: &Activity) -> Result<(), B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            activity.touch();
            if self.0.send(BodyPiece::Data(data)).await.is_err() {
                return Ok(());
            }
            // The reader may have taken its time, which is no silence of the engine's.
            activity.touch();
        }
        _ = self.0.send(BodyPiece::End).await;
        Ok(())
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_ended {
            match self.receiver.blocking_recv() {
                Some(BodyPiece::Data(data)) => self.rest = data,
                Some(BodyPiece::End) => self.is_ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.split_to(taken).copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
