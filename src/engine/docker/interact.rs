//! A program in a container that a user talks to.

use bollard::{models::ContainerCreateBody, query_parameters::ResizeContainerTTYOptionsBuilder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::{
    Docker,
    call::path_with,
    confined::confined,
    container::{Container, RUN_LABEL, no_healthcheck},
    test::{LOG, MEMORY},
};
use crate::{engine::EngineError, image::Digest};

const DOING: &str = "talking to a container";

/// What to start, and for whom.
#[derive(Debug)]
pub struct ShellSession {
    pub argv: Vec<String>,
    /// Columns and rows, if the user sits at a terminal.
    pub terminal: Option<(u16, u16)>,
    /// What the user types; closed at its end.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// New sizes of the terminal.
    pub sizes: mpsc::Receiver<(u16, u16)>,
}

impl Docker {
    /// Runs a program in a fresh container of an image, passes on what it prints, and removes the container.
    /// The exit code is the program's.
    pub async fn interact(
        &self,
        image: &Digest,
        mut session: ShellSession,
        (run, print): (&str, impl FnMut(&[u8])),
    ) -> Result<i64, EngineError> {
        let has_terminal = session.terminal.is_some();
        let body = ContainerCreateBody {
            image: Some(image.to_string()),
            entrypoint: Some(std::mem::take(&mut session.argv)),
            tty: Some(has_terminal),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            healthcheck: Some(no_healthcheck()),
            labels: Some([(RUN_LABEL.to_owned(), run.to_owned())].into()),
            host_config: Some(confined(&self.limits, "default", MEMORY, LOG)),
            ..Default::default()
        };
        let container = Container::create(self, body).await?;
        let ended = self.talk(&container, session, print).await;
        container.remove_after(&ended).await;
        ended
    }

    async fn talk(
        &self,
        container: &Container,
        mut session: ShellSession,
        mut print: impl FnMut(&[u8]),
    ) -> Result<i64, EngineError> {
        let lost = |error: std::io::Error| EngineError::Answer {
            doing: DOING.to_owned(),
            message: error.to_string(),
        };
        let all = [("stream", "1"), ("stdin", "1"), ("stdout", "1"), ("stderr", "1")];
        let path = path_with(&format!("/containers/{}/attach", container.id), &all);
        let stream = self.transport.upgrade(&path, "tcp", []).await;
        let stream = match stream {
            Ok(stream) => stream,
            Err(failure) => {
                // Podman already prepares the program here; only the start says why that fails.
                container.start(self).await?;
                return Err(self.transport.explain(&failure));
            }
        };
        let (mut output, mut input) = tokio::io::split(stream);
        container.start(self).await?;
        if let Some(size) = session.terminal {
            self.resize(container, size).await;
        }
        let mut frames = Frames { is_raw: session.terminal.is_some(), rest: Vec::new() };
        let mut bytes = vec![0; 16 * 1024];
        let mut is_typing = true;
        loop {
            tokio::select! {
                read = output.read(&mut bytes) => match read.map_err(lost)? {
                    0 => break,
                    length => frames.take(&bytes[..length], &mut print),
                },
                typed = session.input.recv(), if is_typing => {
                    // A program that has ended reads no more; what it printed is still to come.
                    is_typing = if let Some(typed) = typed {
                        input.write_all(&typed).await.is_ok() && input.flush().await.is_ok()
                    } else {
                        _ = input.shutdown().await;
                        false
                    };
                }
                Some(size) = session.sizes.recv() => self.resize(container, size).await,
            }
        }
        container.wait(self).await?;
        Ok(container.state(self).await?.exit_code.unwrap_or(-1))
    }

    /// Best effort: the program may have ended.
    async fn resize(&self, container: &Container, (columns, rows): (u16, u16)) {
        let size = ResizeContainerTTYOptionsBuilder::default();
        let size = size.w(i32::from(columns)).h(i32::from(rows)).build();
        _ = self.api.resize_container_tty(&container.id, size).await;
    }
}

/// Output without a terminal comes in frames: a byte for the stream, three of nothing, four for the length.
struct Frames {
    is_raw: bool,
    rest: Vec<u8>,
}

impl Frames {
    fn take(&mut self, bytes: &[u8], print: &mut impl FnMut(&[u8])) {
        if self.is_raw {
            return print(bytes);
        }
        self.rest.extend_from_slice(bytes);
        while let Some((head, body)) = self.rest.split_at_checked(8) {
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let Some((payload, rest)) = body.split_at_checked(length) else { break };
            print(payload);
            self.rest = rest.to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_pieces() {
        let stream = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x00\x02\0\0\0\0\0\0\x04 two";
        for size in [1, 5, 100] {
            let mut frames = Frames { is_raw: false, rest: Vec::new() };
            let mut printed = Vec::new();
            for piece in stream.chunks(size) {
                frames.take(piece, &mut |bytes: &[u8]| printed.extend_from_slice(bytes));
            }
            assert_eq!(printed, b"one two", "{size}");
        }
    }
}
