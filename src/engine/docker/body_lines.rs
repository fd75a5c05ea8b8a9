//! The lines of a streamed answer, none of them longer than memory allows.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::activity::Activity;

/// BuildKit's longest messages carry 32 KiB of log as base64 inside JSON; this leaves room.
const LONGEST_LINE: usize = 8 << 20;

pub(super) struct BodyLines<B> {
    body: B,
    buffer: BytesMut,
    /// Up to here the buffer holds no line end.
    searched: usize,
    activity: Activity,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LineError<E: Error + 'static> {
    #[error(transparent)]
    Broken(E),
    #[error("a line of more than {} MiB", LONGEST_LINE >> 20)]
    TooLong,
}

impl<B> BodyLines<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    pub(super) fn new(body: B, activity: Activity) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, activity }
    }

    /// The next line that is not empty, without its end; `None` at the end of the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LineError<B::Error>> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(LineError::TooLong);
            }
            let Some(frame) = self.body.frame().await else {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                return Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()));
            };
            self.activity.touch();
            if let Ok(data) = frame.map_err(LineError::Broken)?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    fn buffered(&mut self) -> Option<Bytes> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.searched + end + 1).freeze();
            self.searched = 0;
            let line = line.slice_ref(line.trim_ascii());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    async fn lines(pieces: &[&str]) -> Vec<String> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))))
            .collect();
        let mut lines = BodyLines::new(StreamBody::new(stream::iter(pieces)), Activity::begin());
        let mut all = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => all.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return all,
                Err(error) => {
                    all.push(format!("error: {error}"));
                    return all;
                }
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        for (pieces, expected) in [
            (&["a\nb\n"][..], &["a", "b"][..]),
            (&["a", "b\r", "\n\n\r\n", "c"], &["ab", "c"]),
            (&["", " \n"], &[]),
        ] {
            assert_eq!(lines(pieces).await, expected);
        }
        let piece = "x".repeat(1 << 20);
        assert_eq!(lines(&[piece.as_str(); 10]).await, ["error: a line of more than 8 MiB"]);
    }
}
