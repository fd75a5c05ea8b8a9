//! What a container printed, as much of it as is worth keeping.

use bollard::{
    container::LogOutput,
    query_parameters::{LogsOptions, LogsOptionsBuilder},
};
use futures_util::StreamExt as _;

use super::Docker;
use crate::engine::EngineError;

/// Enough to see what went wrong.
const OUTPUT_KEPT: usize = 64 << 10;
/// Enough for a pattern to be found in.
const STDOUT_KEPT: usize = 1 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandOutput {
    /// The end of stdout and stderr, in the order they were printed.
    pub(super) both: Vec<u8>,
    /// How many bytes of both went before.
    dropped: usize,
    /// The beginning of stdout alone.
    pub(super) stdout: Vec<u8>,
}

impl CommandOutput {
    pub(super) fn take(&mut self, piece: &LogOutput) {
        let bytes = piece.as_ref();
        self.both.extend_from_slice(bytes);
        if self.both.len() > 2 * OUTPUT_KEPT {
            self.trim();
        }
        if matches!(piece, LogOutput::StdOut { .. }) {
            let room = STDOUT_KEPT.saturating_sub(self.stdout.len());
            self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn trim(&mut self) {
        let surplus = self.both.len().saturating_sub(OUTPUT_KEPT);
        self.both.drain(..surplus);
        self.dropped += surplus;
    }

    /// Call it after the last piece.
    pub(super) fn end(&mut self) {
        self.trim();
        if self.dropped > 0 {
            let mark = format!("… {} bytes before these\n", self.dropped);
            self.both.splice(0..0, mark.into_bytes());
            self.dropped = 0;
        }
    }
}

impl Docker {
    /// Reads the log of a container that has ended, or as far as it has come.
    pub(super) async fn output(&self, doing: &str, id: &str) -> Result<CommandOutput, EngineError> {
        let options: LogsOptions = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let read = async {
            let mut output = CommandOutput::default();
            let mut pieces = std::pin::pin!(self.api.logs(id, Some(options)));
            while let Some(piece) = pieces.next().await {
                output.take(&piece.map_err(|error| self.answer(doing, error))?);
            }
            output.end();
            Ok(output)
        };
        self.patiently(doing, read).await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_end_of_both_and_the_beginning_of_stdout() {
        let mut output = CommandOutput::default();
        let piece = |byte: u8| Bytes::from(vec![byte; 40 << 10]);
        for byte in b'a'..=b'z' {
            output.take(&LogOutput::StdOut { message: piece(byte) });
            output.take(&LogOutput::StdErr { message: piece(b'!') });
        }
        output.end();
        let mark = format!("… {} bytes before these\n", 52 * (40 << 10) - OUTPUT_KEPT);
        let kept = output.both.strip_prefix(mark.as_bytes()).unwrap();
        assert_eq!(kept.len(), OUTPUT_KEPT);
        assert_eq!((kept[0], kept[OUTPUT_KEPT - 1]), (b'z', b'!'));
        assert_eq!(output.stdout.len(), STDOUT_KEPT);
        assert_eq!((output.stdout[0], output.stdout[STDOUT_KEPT - 1]), (b'a', b'z'));
        assert!(!output.stdout.contains(&b'!'));
    }
}
