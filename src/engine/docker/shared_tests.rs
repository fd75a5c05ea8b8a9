//! A shared container on an engine that misbehaves.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    engine::{Docker, Engine as _, EngineOptions, TestProgress},
    hierarchy::{Check, Test},
    image::Digest,
};

const ID: &str = "sha256:7f33abea92c8329c3017e2b24fc33b867f96c2eb35b29dd18ad04ab0c8a698f3";

/// Answers every inspection of a program with this text, and says so with what it knows of itself. Its programs
/// print `out` and close their output. A second container, for a test alone, is refused.
async fn engine(greeting: &'static str, inspected: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap();
                let path = path.trim_start_matches("/v1.41").split('?').next().unwrap();
                let image =
                    format!(r#"{{"Id":"{ID}","Os":"linux","Architecture":"amd64","RootFS":{{}}}}"#);
                let json = match path {
                    "/_ping" => "OK",
                    "/version" => {
                        r#"{"Version":"20.10","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#
                    }
                    "/info" => r#"{"NCPU":2,"Architecture":"amd64","OSType":"linux"}"#,
                    "/containers/create" if request.contains(".rebuild-init") => {
                        r#"{"Id":"c","Warnings":[]}"#
                    }
                    "/containers/create" => "not for a test alone",
                    "/containers/c/changes" => "[]",
                    "/containers/c/exec" => r#"{"Id":"e"}"#,
                    "/exec/e/json" => inspected,
                    path if path.ends_with(&format!("{ID}/json")) => &image,
                    _ => "",
                };
                let text = if path == "/exec/e/start" {
                    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\
                     \x01\0\0\0\0\0\0\x04out\n"
                        .to_owned()
                } else {
                    let length = json.len();
                    format!("HTTP/1.1 200 OK\r\n{greeting}Content-Length: {length}\r\n\r\n{json}")
                };
                _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    address
}

/// With its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some(head) = text.find("\r\n\r\n") else { return false };
    let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    request.len() >= head + 4 + length
}

#[tokio::test]
async fn a_program_has_passed_only_if_the_engine_says_how_it_ended() {
    const DOCKER: &str = "";
    const PODMAN: &str = "Libpod-API-Version: 5.8.6\r\nApi-Version: 1.41\r\n";
    let slow = "still running after 1 second";
    for (greeting, inspected, expected) in [
        (DOCKER, r#"{"Running":false,"ExitCode":0}"#, None),
        (DOCKER, r#"{"Running":false,"ExitCode":4}"#, Some("exit code 4")),
        (DOCKER, r#"{"Running":true,"ExitCode":0}"#, Some(slow)),
        (DOCKER, r#"{"Running":false,"ExitCode":null}"#, Some(slow)),
        (DOCKER, "{}", Some(slow)),
        (PODMAN, r#"{"Running":false,"ExitCode":0,"CanRemove":true}"#, None),
        // Not started yet.
        (PODMAN, r#"{"Running":false,"ExitCode":0,"CanRemove":false}"#, Some(slow)),
    ] {
        let host = Some(engine(greeting, inspected).await);
        let options = EngineOptions { host, ..EngineOptions::default() };
        let (docker, _) = Docker::connect(&options).await.unwrap();
        let check = Check::Run { argv: vec!["x".to_owned()], stdout: Some("^out$".to_owned()) };
        let test = Test {
            check,
            timeout: std::time::Duration::from_secs(1),
            network: false,
            read_only: false,
            isolated: false,
            inherit: true,
        };
        let mut printed = Vec::new();
        let image: Digest = ID.parse().unwrap();
        let failure = docker
            .test(&image, &[&test, &test], "run", |progress| {
                if let TestProgress::Output(bytes) = progress {
                    printed.extend(bytes);
                }
            })
            .await
            .unwrap();
        assert_eq!(failure.as_deref(), expected, "{greeting}{inspected}");
        let often = if expected.is_none() { 2 } else { 1 };
        assert_eq!(String::from_utf8(printed).unwrap(), "out\n".repeat(often), "{inspected}");
    }
}
