//! As much of gRPC as a session needs: messages in frames, and statuses in trailers.
//!
//! The source is "gRPC over HTTP2", `doc/PROTOCOL-HTTP2.md` of github.com/grpc/grpc.

use std::future::poll_fn;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

/// A compression flag and four bytes of length.
const FRAME_HEADER: usize = 5;

/// In a session, the engine sends numbers and, at most, an error text.
const LARGEST_MESSAGE: usize = 1 << 20;
/// Reports of a build contain up to 200 KiB of its output a second.
const LARGEST_RESULT: usize = 64 << 20;

/// Why a call was refused, or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Status {
    pub(in crate::engine) code: GrpcCode,
    pub(in crate::engine) message: String,
}

/// The codes of `doc/statuscodes.md` that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum GrpcCode {
    Ok = 0,
    Cancelled = 1,
    NotFound = 5,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
}

impl Status {
    pub(super) fn new(code: GrpcCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty() {
            let message = percent_encoded(&self.message);
            let message = HeaderValue::try_from(message).expect("only printable ASCII is left");
            headers.insert("grpc-message", message);
        }
        headers
    }
}

/// The stream, or all of the connection, broke.
impl From<h2::Error> for Status {
    fn from(error: h2::Error) -> Self {
        Self::new(GrpcCode::Cancelled, error.to_string())
    }
}

/// Appends a message as a frame.
pub(in crate::engine) fn put(message: &impl Message, frames: &mut BytesMut) {
    let length = message.encoded_len();
    frames.reserve(FRAME_HEADER + length);
    frames.put_u8(0);
    frames.put_u32(u32::try_from(length).expect("we send small messages"));
    message.encode(frames).expect("there is room for it");
}

/// Takes the first whole frame off `received`.
fn take(received: &mut BytesMut, largest: usize) -> Result<Option<Bytes>, Status> {
    if received.len() < FRAME_HEADER {
        return Ok(None);
    }
    let compressed = received[0] != 0;
    let length = (&received[1..FRAME_HEADER]).get_u32() as usize;
    if compressed {
        return Err(Status::new(GrpcCode::Unimplemented, "compressed messages are not understood"));
    }
    if length > largest {
        let message = format!("a message of {length} bytes is too long");
        return Err(Status::new(GrpcCode::Internal, message));
    }
    if received.len() < FRAME_HEADER + length {
        return Ok(None);
    }
    received.advance(FRAME_HEADER);
    Ok(Some(received.split_to(length).freeze()))
}

/// The messages of a request, or of an answer.
pub(in crate::engine) struct GrpcMessages {
    body: RecvStream,
    received: BytesMut,
    largest: usize,
}

impl GrpcMessages {
    pub(super) fn of(body: RecvStream) -> Self {
        Self { body, received: BytesMut::new(), largest: LARGEST_MESSAGE }
    }

    pub(in crate::engine) fn of_answer(body: RecvStream) -> Self {
        Self { largest: LARGEST_RESULT, ..Self::of(body) }
    }

    pub(in crate::engine) fn body(&mut self) -> &mut RecvStream {
        &mut self.body
    }

    /// `None` is the proper end.
    pub(in crate::engine) async fn next<M: Message + Default>(
        &mut self,
    ) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = take(&mut self.received, self.largest)? {
                return M::decode(message)
                    .map(Some)
                    .map_err(|error| Status::new(GrpcCode::Internal, error.to_string()));
            }
            let Some(data) = self.body.data().await.transpose()? else {
                if self.received.is_empty() {
                    return Ok(None);
                }
                return Err(Status::new(GrpcCode::Internal, "a message was cut short"));
            };
            self.body.flow_control().release_capacity(data.len())?;
            self.received.extend_from_slice(&data);
        }
    }
}

/// Sends whole frames, no faster than the other side takes them.
pub(in crate::engine) async fn send(
    stream: &mut SendStream<Bytes>,
    mut frames: Bytes,
) -> Result<(), h2::Error> {
    while !frames.is_empty() {
        stream.reserve_capacity(frames.len());
        let Some(capacity) = poll_fn(|cx| stream.poll_capacity(cx)).await.transpose()? else {
            return Err(h2::Reason::CANCEL.into());
        };
        let now = frames.split_to(capacity.min(frames.len()));
        stream.send_data(now, false)?;
    }
    Ok(())
}

/// The answer to one call, begun.
pub(super) struct GrpcAnswer(SendStream<Bytes>);

impl GrpcAnswer {
    pub(super) fn begin(respond: &mut SendResponse<Bytes>) -> Result<Self, h2::Error> {
        respond.send_response(head(), false).map(Self)
    }

    /// Sends whole frames, no faster than the engine takes them.
    pub(super) async fn send(&mut self, frames: Bytes) -> Result<(), h2::Error> {
        send(&mut self.0, frames).await
    }

    pub(super) fn end(mut self, outcome: Result<(), Status>) -> Result<(), h2::Error> {
        let status = outcome.err().unwrap_or(Status::new(GrpcCode::Ok, ""));
        self.0.send_trailers(status.headers())
    }
}

/// Answers with one message, or none.
pub(super) async fn unary(
    mut respond: SendResponse<Bytes>,
    outcome: Result<impl Message, Status>,
) -> Result<(), h2::Error> {
    match outcome {
        Ok(message) => {
            let mut frames = BytesMut::new();
            put(&message, &mut frames);
            let mut answer = GrpcAnswer::begin(&mut respond)?;
            answer.send(frames.freeze()).await?;
            answer.end(Ok(()))
        }
        Err(status) => refuse(respond, &status),
    }
}

/// Answers with nothing but a status.
pub(super) fn refuse(mut respond: SendResponse<Bytes>, status: &Status) -> Result<(), h2::Error> {
    let mut response = head();
    response.headers_mut().extend(status.headers());
    respond.send_response(response, true).map(drop)
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// As the gRPC specification encodes a status message: everything but printable ASCII, and `%`.
fn percent_encoded(text: &str) -> String {
    const ENCODED: &AsciiSet = &CONTROLS.add(b'%');
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0], &length[..], payload].concat()
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_they_are_cut() {
        let stream = [frame(b"one"), frame(b""), frame(&[7; 1000])].concat();
        for cut in 0..=stream.len() {
            let mut taken = Vec::new();
            let mut received = BytesMut::new();
            for part in [&stream[..cut], &stream[cut..]] {
                received.extend_from_slice(part);
                while let Some(message) = take(&mut received, LARGEST_MESSAGE).unwrap() {
                    taken.push(message.to_vec());
                }
            }
            assert_eq!(taken, [b"one".to_vec(), vec![], vec![7; 1000]], "cut at {cut}");
            assert!(received.is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn what_we_do_not_understand_is_refused() {
        for (bytes, code, message) in [
            (
                &[1, 0, 0, 0, 1, 9][..],
                GrpcCode::Unimplemented,
                "compressed messages are not understood",
            ),
            (&[0, 0, 16, 0, 1], GrpcCode::Internal, "a message of 1048577 bytes is too long"),
        ] {
            let refused = take(&mut BytesMut::from(bytes), LARGEST_MESSAGE).unwrap_err();
            assert_eq!(refused, Status::new(code, message));
        }
    }

    #[test]
    fn statuses_are_trailers() {
        for (status, code, message) in [
            (Status::new(GrpcCode::Ok, ""), "0", None),
            (Status::new(GrpcCode::NotFound, "secret `a` 100%"), "5", Some("secret `a` 100%25")),
            (Status::new(GrpcCode::Aborted, "fö\n"), "10", Some("f%C3%B6%0A")),
        ] {
            let headers = status.headers();
            assert_eq!(headers["grpc-status"], code);
            assert_eq!(headers.get("grpc-message").map(|m| m.to_str().unwrap()), message);
        }
    }
}
