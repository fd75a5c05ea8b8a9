//! Credential helpers: `docker-credential-<suffix> get`, the server's name on stdin, JSON back.
//!
//! A helper runs in its own process group with a time limit. If it hangs, or leaves a child that holds the
//! pipe, the whole group is killed.
//!
//! Source: <https://github.com/docker/docker-credential-helpers#development>.

use std::{ffi::OsStr, io, process::Stdio, time::Duration};

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::super::{LoginSecret, printable};

/// An answer contains a name and a token; some tokens are long.
const LIMIT: u64 = 1 << 20;
/// How long to read the pipe after the helper has ended.
const GRACE: Duration = Duration::from_millis(500);
/// The message of a helper without a login (docker-credential-helpers `credentials/error.go`).
const NOT_FOUND: [&str; 3] =
    ["credentials not found", "no credentials server URL", "no credentials username"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Runs a helper; `None` if it has no login for this server.
///
/// # Errors
/// A sentence that names the program.
pub(super) async fn get(
    suffix: &str,
    server: &str,
    path: Option<&OsStr>,
    limit: Duration,
) -> Result<Option<LoginSecret>, String> {
    let program = format!("docker-credential-{suffix}");
    if suffix.contains(['/', '\\', '\0']) {
        return Err(format!("`{}` is not the name of a helper", printable(suffix)));
    }
    let mut child = spawn(&program, path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("docker's configuration names the helper `{program}`, which is not in `PATH`")
        }
        _ => format!("the helper `{program}` cannot be started: {error}"),
    })?;
    let mut out = Vec::new();
    let mut err = Vec::new();
    let ended = timeout(limit, converse(&mut *child, server, &mut out, &mut err)).await;
    let Ok(ended) = ended else {
        end(&mut *child).await;
        return Err(format!("the helper `{program}` did not answer within {limit:?}"));
    };
    let (status, held) =
        ended.map_err(|error| format!("the helper `{program}` failed: {error}"))?;
    if held {
        end(&mut *child).await;
    }
    if status.success() {
        let answer: HelperAnswer = serde_json::from_slice(&out)
            .map_err(|_| format!("what the helper `{program}` answered is not a login"))?;
        return Ok(secret(answer));
    }
    let said = String::from_utf8_lossy(if out.is_empty() { &err } else { &out }).into_owned();
    if NOT_FOUND.iter().any(|text| said.contains(text)) {
        return Ok(None);
    }
    Err(format!("the helper `{program}` failed ({status}): {}", printable(&said)))
}

fn secret(HelperAnswer { username, secret }: HelperAnswer) -> Option<LoginSecret> {
    match (username.as_str(), secret.as_str()) {
        (_, "") => None,
        ("<token>", _) => Some(LoginSecret::IdentityToken(secret)),
        _ => Some(LoginSecret::Password { user: username, password: secret }),
    }
}

fn spawn(program: &str, path: Option<&OsStr>) -> io::Result<Box<dyn ChildWrapper>> {
    let mut command = CommandWrap::with_new(program, |command| {
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(path) = path {
            command.env("PATH", path);
        }
    });
    command.wrap(ProcessGroup::leader()).wrap(KillOnDrop);
    command.spawn()
}

/// Runs the helper until it ends, and returns whether another process still holds the pipes.
async fn converse(
    child: &mut dyn ChildWrapper,
    server: &str,
    out: &mut Vec<u8>,
    err: &mut Vec<u8>,
) -> io::Result<(std::process::ExitStatus, bool)> {
    let stdin = child.stdin().take();
    let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
    let ask = async {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input may have closed the pipe.
            _ = stdin.write_all(server.as_bytes()).await;
        }
    };
    let read = async {
        tokio::join!(read(stdout, out), read(stderr, err));
    };
    let ended = async {
        let ((), status) = tokio::join!(ask, child.wait());
        status
    };
    tokio::pin!(read, ended);
    let status = tokio::select! {
        status = &mut ended => status?,
        () = &mut read => return Ok((ended.await?, false)),
    };
    tokio::select! {
        () = &mut read => Ok((status, false)),
        () = sleep(GRACE) => Ok((status, true)),
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(pipe) = pipe {
        // A broken pipe ends the output.
        _ = pipe.take(LIMIT).read_to_end(into).await;
    }
}

/// Kills the helper and its child processes.
async fn end(child: &mut dyn ChildWrapper) {
    if let Err(error) = child.start_kill() {
        tracing::debug!(%error, "a credential helper cannot be killed");
    }
    _ = timeout(GRACE, child.wait()).await;
}
