//! `ssh://`: the engine's socket through `docker system dial-stdio` on the other machine.
//!
//! As github.com/docker/cli does it (`cli/connhelper`), so the user's own `ssh`, keys and
//! configuration are used. The process is killed when the stream is dropped.

use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use url::Url;

/// What `ssh` says about a failure is short; anything longer is a banner.
const LONGEST_COMPLAINT: usize = 4096;
/// A background master of `ControlMaster` keeps stderr open for ever.
const WAIT_FOR_COMPLAINT: Duration = Duration::from_secs(1);

/// `ssh -o ConnectTimeout=30 -T [-l user] [-p port] -- host docker … system dial-stdio`
pub(super) fn command(url: &str) -> Result<Vec<String>, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    if url.password().is_some() {
        return Err("an ssh:// address takes no password; use a key".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| "the host is missing".to_owned())?;
    let mut command: Vec<String> =
        ["ssh", "-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
    if !url.username().is_empty() {
        command.extend(["-l".to_owned(), decoded(url.username())?]);
    }
    if let Some(port) = url.port() {
        command.extend(["-p".to_owned(), port.to_string()]);
    }
    command.extend(["--", host.trim_matches(['[', ']']), "docker"].map(str::to_owned));
    if !matches!(url.path(), "" | "/") {
        let socket = format!("unix://{}", decoded(url.path())?);
        command.extend(["--host".to_owned(), quoted(&socket)]);
    }
    command.extend(["system", "dial-stdio"].map(str::to_owned));
    Ok(command)
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// A word for the shell on the other machine: `ssh` joins all words by spaces.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+@%,=".contains(c);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The stdin and stdout of a command, as one stream.
pub(super) struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    complaint: Complaint,
    /// Killed on drop.
    _child: Child,
}

/// What the command says on stderr, wanted only if it ends without a word on stdout.
struct Complaint {
    text: Arc<Mutex<Vec<u8>>>,
    /// Ends when stderr is closed, or soon after it should have been.
    complete: Pin<Box<dyn Future<Output = ()> + Send>>,
    wanted: bool,
}

pub(super) fn spawn(command: &[String]) -> io::Result<Pipes> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::other("there is no command to run"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: the way to the engine is still needed to clean up.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::other(format!("cannot run `{program}`: {error}")))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the command has no pipes"));
    };
    Ok(Pipes { stdin, stdout, complaint: Complaint::listen(stderr), _child: child })
}

impl Complaint {
    fn listen(mut stderr: ChildStderr) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let drained = tokio::spawn(async move {
            let mut piece = [0; 1024];
            while let Ok(read @ 1..) = stderr.read(&mut piece).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = LONGEST_COMPLAINT.saturating_sub(kept.len());
                kept.extend_from_slice(&piece[..read.min(room)]);
            }
        });
        // Polled only once the command has hung up, so that is when the second begins.
        let complete = Box::pin(async move { _ = timeout(WAIT_FOR_COMPLAINT, drained).await });
        Self { text, complete, wanted: true }
    }

    /// The error of a command that hung up, in its own words if it has not said anything else.
    fn explain(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        if !self.wanted {
            return Poll::Ready(None);
        }
        ready!(self.complete.as_mut().poll(cx));
        self.wanted = false;
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text = if lines.is_empty() { "it hung up".to_owned() } else { lines.join("; ") };
        Poll::Ready(Some(io::Error::other(text)))
    }
}

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.complaint.wanted = false;
        } else if let Some(error) = ready!(self.complaint.explain(cx)) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(cx, bytes)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Poll::Ready(Err(ready!(self.complaint.explain(cx)).unwrap_or(error)))
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn runs_what_docker_runs() {
        for (url, expected) in [
            ("ssh://box", "ssh -o ConnectTimeout=30 -T -- box docker system dial-stdio"),
            (
                "ssh://me@box:2222/run/x.sock",
                "ssh -o ConnectTimeout=30 -T -l me -p 2222 -- box docker --host unix:///run/x.sock \
                 system dial-stdio",
            ),
            (
                "ssh://box/run/my%20docker;touch $HOME/x'y",
                "ssh -o ConnectTimeout=30 -T -- box docker --host \
                 'unix:///run/my docker;touch $HOME/x'\\''y' system dial-stdio",
            ),
        ] {
            assert_eq!(command(url).unwrap().join(" "), expected);
        }
        assert_eq!(
            command("ssh://me:secret@box").unwrap_err(),
            "an ssh:// address takes no password; use a key"
        );
    }

    #[tokio::test]
    async fn joins_the_pipes_and_explains_a_hangup() {
        let shell = |script: &str| spawn(&["sh", "-c", script].map(str::to_owned)).unwrap();

        let mut echo = shell("cat");
        echo.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        echo.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");

        let mut failing = shell("echo 'box: no route' >&2; echo 'bye' >&2; exit 255");
        let error = failing.read(&mut answer).await.unwrap_err();
        assert_eq!(error.to_string(), "box: no route; bye");

        let Err(missing) = spawn(&["/nowhere/ssh".to_owned()]) else { panic!("it ran") };
        assert_eq!(
            missing.to_string(),
            "cannot run `/nowhere/ssh`: No such file or directory (os error 2)"
        );
    }
}
