//! An engine that misbehaves: a listener that speaks just enough HTTP to do it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    engine::BuildSecrets,
    fingerprint::{
        context::{Context, Modes},
        ignore::Ignore,
    },
    hierarchy::BuildSettings,
};

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const ID: &str = "sha256:7f33abea92c8329c3017e2b24fc33b867f96c2eb35b29dd18ad04ab0c8a698f3";

/// Two images of one layer each.
const OLD: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const NEW: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// What follows the answer's bytes.
#[derive(Clone, Copy)]
enum Then {
    Hangs,
    Closes,
}

/// Answers a build or an export with these bytes; everything else as an engine would that has two
/// images.
async fn engine(scripted: String, then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, scripted.clone(), then));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, scripted: String, then: Then) {
    let mut request = Vec::new();
    let ends = |request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let end = if text.starts_with("POST /v1.41/build") { "\r\n0\r\n\r\n" } else { "\r\n\r\n" };
        text.ends_with(end)
    };
    while !ends(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8_lossy(&request);
    let ok =
        |json: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len());
    let text = match request.split(' ').nth(1).unwrap() {
        // A build by podman is one request, without a session.
        "/_ping" => ok("OK").replacen("\r\n", "\r\nLibpod-API-Version: 5.8.6\r\n", 1),
        "/version" => ok(r#"{"Version":"20.10","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#),
        "/info" => ok(r#"{"NCPU":2}"#),
        path if path.starts_with("/v1.41/build?") => scripted,
        path if path.starts_with("/v1.41/images/get?") => {
            assert_eq!(
                path.replace("%3A", ":"),
                format!("/v1.41/images/get?names={OLD}&names={NEW}")
            );
            scripted
        }
        path if path == format!("/v1.41/libpod/images/{OLD}/json") => {
            ok(&inspected(OLD, &layer(2)))
        }
        path if path == format!("/v1.41/libpod/images/{NEW}/json") => {
            ok(&inspected(NEW, &layer(3)))
        }
        "/v1.41/session" if request.contains("x-a: 1\r\nx-a: 2\r\n") => {
            let head = "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
            _ = stream.write_all(head.as_bytes()).await;
            let (mut from, mut to) = stream.split();
            _ = tokio::io::copy(&mut from, &mut to).await;
            return;
        }
        _ => {
            let json = r#"{"message":"No such image"}"#;
            let length = json.len();
            format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{json}")
        }
    };
    _ = stream.write_all(text.as_bytes()).await;
    if matches!(then, Then::Hangs) {
        // Until the client hangs up.
        _ = stream.read(&mut [0]).await;
    }
}

/// A tar with nothing in it, in so many blocks.
fn layer(blocks: usize) -> String {
    "\0".repeat(512 * blocks)
}

fn inspected(id: &str, layer: &str) -> String {
    let layer = Digest::of(layer.as_bytes());
    format!(
        r#"{{"Id":"{id}","Os":"linux","Architecture":"amd64","RootFS":{{"Layers":["{layer}"]}}}}"#
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

pub(super) fn request(root: &std::path::Path) -> BuildRequest {
    BuildRequest {
        context_digest: None,
        context: Context { root: root.to_owned(), ignore: Ignore::default(), modes: Modes::Own },
        dockerfile: "FROM scratch\n".to_owned(),
        dockerfile_path: root.join("Dockerfile"),
        build_args: BTreeMap::new(),
        secrets: BuildSecrets::default(),
        labels: BTreeMap::new(),
        settings: BuildSettings::default(),
        repository: "app".parse().unwrap(),
        target: None,
        named: [].into(),
        platform: None,
        no_cache: false,
        timeout: Duration::from_secs(60),
        run: "01".to_owned(),
    }
}

#[tokio::test]
async fn no_misbehaviour_is_a_success() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "").unwrap();
    let step = chunk("{\"stream\":\"Step 1/1 : FROM x\"}\n");
    let image = chunk(&format!("{{\"aux\":{{\"ID\":\"{ID}\"}}}}\n"));
    let built = chunk("{\"stream\":\"Successfully built 7f33abea92c8\\n\"}\n");
    let end = "0\r\n\r\n";
    for (what, answer, then, expected) in [
        (
            "a clean early end",
            format!("{HEAD}{step}{end}"),
            Then::Closes,
            "building: the engine answered: the end of the build's messages, and no image",
        ),
        (
            "a clean end after one stage",
            format!("{HEAD}{step}{image}{end}"),
            Then::Closes,
            "building: the engine answered: the end of the build's messages, and no image",
        ),
        (
            "an image that is not there",
            format!("{HEAD}{step}{image}{built}{end}"),
            Then::Closes,
            "building: the engine answered: it built `7f33abea92c8`, and then that there is no such \
             image",
        ),
        (
            "a cut in a chunk",
            format!("{HEAD}{step}20\r\n{{\"stream\":"),
            Then::Closes,
            "cannot reach the Docker engine at ADDRESS: the connection broke (end of file before \
             message length reached); is the engine still running?",
        ),
        (
            "no answer at all",
            String::new(),
            Then::Closes,
            "cannot reach the Docker engine at ADDRESS: the connection broke (connection closed \
             before message completed); is the engine still running?",
        ),
        (
            "headers, then silence",
            HEAD.to_owned(),
            Then::Hangs,
            "the engine said nothing for 1 second while building",
        ),
        (
            "an error without its detail",
            format!("{HEAD}{step}{}{end}", chunk("{\"error\":\"disk full\"}\n")),
            Then::Closes,
            "disk full",
        ),
        (
            "something that is not JSON",
            format!("{HEAD}{}{end}", chunk("<html>\n")),
            Then::Closes,
            "building: the engine answered: `<html>`, which is not the JSON it should be (expected \
             value at line 1 column 1)",
        ),
        (
            "a refusal",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 17\r\n\r\n{\"message\":\"bad\"}"
                .to_owned(),
            Then::Closes,
            "bad",
        ),
        (
            "an internal error",
            "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nbroken".to_owned(),
            Then::Closes,
            "building: the engine answered: broken",
        ),
    ] {
        let address = engine(answer, then).await;
        let options = EngineOptions {
            host: Some(address.clone()),
            idle: Duration::from_secs(1),
            ..EngineOptions::default()
        };
        let (docker, info) = Docker::connect(&options).await.unwrap();
        assert_eq!((info.cpus, info.capabilities.builder), (2, BuilderKind::Buildah));
        let built = docker.build(request(folder.path()), |_| ()).await;
        let told = built.unwrap_err().to_string().replace(&address, "ADDRESS");
        assert_eq!(told, expected, "{what}");
    }
}

#[tokio::test]
async fn no_misbehaviour_makes_two_images_the_same() {
    let archive = |layers: &[String]| {
        let mut tar = ::tar::Builder::new(Vec::new());
        for (n, layer) in layers.iter().enumerate() {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(layer.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, format!("{n}/layer.tar"), layer.as_bytes()).unwrap();
        }
        String::from_utf8(tar.into_inner().unwrap()).unwrap()
    };
    let whole = archive(&[layer(2), layer(3)]);
    let lacking = archive(&[layer(2), layer(4)]);
    let half = &whole[..whole.len() / 2];
    let end = "0\r\n\r\n";
    let silent = "the engine said nothing for 1 second while comparing the files of `111111111111` \
                  and `222222222222`";
    let broken = "cannot reach the Docker engine at ADDRESS: the connection broke (";
    let answered =
        "comparing the files of `111111111111` and `222222222222`: the engine answered: ";
    let lacks = format!("an archive that lacks the layer {}", Digest::of(layer(3).as_bytes()));
    for (what, answer, then, expected) in [
        ("all of it", format!("{HEAD}{}{end}", chunk(&whole)), Then::Closes, "Ok([])".to_owned()),
        (
            "all of it but the end",
            format!("{HEAD}{}", chunk(&whole)),
            Then::Hangs,
            silent.to_owned(),
        ),
        (
            "a clean early end",
            format!("{HEAD}{}{end}", chunk(half)),
            Then::Closes,
            format!("{answered}the archive is cut off"),
        ),
        (
            "a cut",
            format!("{HEAD}{}", chunk(half)),
            Then::Closes,
            format!("{broken}unexpected EOF during chunk size line); is the engine still running?"),
        ),
        ("silence", HEAD.to_owned(), Then::Hangs, silent.to_owned()),
        ("silence in the middle", format!("{HEAD}{}", chunk(half)), Then::Hangs, silent.to_owned()),
        (
            "another layer",
            format!("{HEAD}{}{end}", chunk(&lacking)),
            Then::Closes,
            format!("{answered}{lacks}"),
        ),
        (
            "no archive",
            format!("{HEAD}{}{end}", chunk("{\"message\":\"no\"}")),
            Then::Closes,
            format!("{answered}the archive is cut off"),
        ),
        (
            "a refusal",
            "HTTP/1.1 500 Oops\r\nContent-Length: 17\r\n\r\n{\"message\":\"bad\"}".to_owned(),
            Then::Closes,
            format!("{answered}bad"),
        ),
    ] {
        let address = engine(answer, then).await;
        let options = EngineOptions {
            host: Some(address.clone()),
            idle: Duration::from_secs(1),
            ..EngineOptions::default()
        };
        let (docker, _) = Docker::connect(&options).await.unwrap();
        let (old, new) = (OLD.parse().unwrap(), NEW.parse().unwrap());
        let told = match docker.differences(&old, &new, &Volatile::new(&[]).unwrap()).await {
            Ok(found) => format!("Ok({found:?})"),
            Err(error) => error.to_string().replace(&address, "ADDRESS"),
        };
        assert_eq!(told, expected, "{what}");
    }
}

#[tokio::test]
async fn unreachable_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.sock");
    std::fs::write(&file, "").unwrap();
    let file = format!("unix://{}", file.display());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tcp = format!("tcp://{free}");
    for (host, reason) in [
        ("unix:///nowhere/docker.sock", "there is no such socket; is the docker daemon running?"),
        (file.as_str(), "nobody listens there; is the docker daemon running?"),
        (tcp.as_str(), "nobody listens there; is the docker daemon running?"),
        ("ftp://box", "`ftp://` is not supported; unix://, tcp:// and ssh:// are"),
    ] {
        let options = EngineOptions { host: Some(host.to_owned()), ..EngineOptions::default() };
        let error = Docker::connect(&options).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot reach the Docker engine at {host}: {reason}")
        );
    }
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            _ = stream.read(&mut [0; 4096]).await;
            let json = r#"{"Version":"19.03.15","ApiVersion":"1.40","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;
            let length = json.len();
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{json}");
            _ = stream.write_all(text.as_bytes()).await;
        }
    });
    let options = EngineOptions { host: Some(address.clone()), ..EngineOptions::default() };
    let error = Docker::connect(&options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the Docker engine 19.03.15 at {address} is too old: it speaks API 1.40, and rebuild \
             needs API 1.41 (Docker 20.10) or newer"
        )
    );
}

#[tokio::test]
async fn a_connection_can_be_upgraded() {
    let host = Some(engine(String::new(), Then::Closes).await);
    let options = EngineOptions { host, ..EngineOptions::default() };
    let (docker, _) = Docker::connect(&options).await.unwrap();
    let headers = ["1", "2"].map(|value| ("x-a".parse().unwrap(), value.to_owned()));
    let mut stream = docker.transport.upgrade("/session", "h2c", headers).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");

    let Err(refused) = docker.transport.upgrade("/session", "h2c", []).await else {
        panic!("upgraded")
    };
    let reason = docker.transport.explain(&refused).to_string();
    assert!(reason.ends_with(": it answered 404 Not Found, not 101"), "{reason}");
}

/// What a small call is answered: `None` is silence.
type Answers = Vec<Option<(u16, &'static str)>>;

/// An engine whose calls of one path get these answers in order, and then the last one again and again.
/// Says how often that path was asked for.
async fn small_calls(
    path: &'static str,
    answers: Answers,
) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (count, answers) = (count.clone(), answers.clone());
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let asked = text.split(' ').nth(1).unwrap().to_owned();
                let (status, json) = match &asked[..] {
                    "/_ping" if path != "/_ping" => (200, "OK"),
                    "/version" => (
                        200,
                        r#"{"Version":"20.10","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#,
                    ),
                    "/info" => (200, r#"{"NCPU":2}"#),
                    asked if asked.contains(path) => {
                        let number = count.fetch_add(1, Ordering::SeqCst);
                        if let Some(answer) = answers[number.min(answers.len() - 1)] {
                            answer
                        } else {
                            _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    }
                    _ => (404, r#"{"message":"No such image"}"#),
                };
                let length = json.len();
                let text =
                    format!("HTTP/1.1 {status} It\r\nContent-Length: {length}\r\n\r\n{json}");
                _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn an_engine_that_hangs_or_stumbles_in_a_small_call_is_asked_twice() {
    const IMAGE: &str = r#"{"Id":"sha256:7f33abea92c8329c3017e2b24fc33b867f96c2eb35b29dd18ad04ab0c8a698f3","Os":"linux","Architecture":"amd64","RootFS":{}}"#;
    const BROKEN: Option<(u16, &str)> = Some((500, r#"{"message":"database is locked"}"#));
    let silent = "hangs: no answer within 1 second, twice, while looking at the image `x`";
    let broken = "looking at the image `x`: the engine answered: database is locked";
    for (answers, asked_often, expected) in [
        (vec![Some((200, IMAGE))], 1, Ok(())),
        (vec![None, Some((200, IMAGE))], 2, Ok(())),
        (vec![None], 2, Err(silent)),
        (vec![BROKEN, Some((200, IMAGE))], 2, Ok(())),
        (vec![BROKEN], 2, Err(broken)),
        (vec![Some((404, "{}"))], 1, Err("no such image")),
    ] {
        let (address, asked) = small_calls("/images/x/json", answers.clone()).await;
        let idle = Duration::from_secs(1);
        let options = EngineOptions { host: Some(address), idle, ..EngineOptions::default() };
        let (docker, _) = Docker::connect(&options).await.unwrap();
        let seen = docker.inspect("x").await;
        let seen = seen.and_then(|image| {
            let (doing, message) = ("looking".to_owned(), "no such image".to_owned());
            image.map(drop).ok_or(EngineError::Answer { doing, message })
        });
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), asked_often, "{answers:?}");
        match (seen, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(text)) => assert!(error.to_string().ends_with(text), "{error}"),
            (seen, expected) => panic!("{answers:?}: {seen:?} and not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_longer_call_that_hangs_is_sent_once() {
    let (address, asked) = small_calls("/images/x", vec![None]).await;
    let idle = Duration::from_secs(1);
    let options = EngineOptions { host: Some(address), idle, ..EngineOptions::default() };
    let (docker, _) = Docker::connect(&options).await.unwrap();
    let repository: crate::image::Repository = "x".parse().unwrap();
    let error = docker.untag(&repository.tagged("1".parse().unwrap())).await.unwrap_err();
    assert!(error.is_gone(), "{error:?}");
    let told = error.to_string();
    assert!(told.ends_with("no answer within 1 second while taking the tag `x:1` away"), "{told}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_engine_that_is_slow_to_greet_is_asked_twice() {
    let hangs =
        "hangs: no answer within 1 second, twice, while asking whether it is there (`/_ping`)";
    for (answers, expected) in [(vec![None, Some((200, "OK"))], Ok(())), (vec![None], Err(hangs))] {
        let (address, asked) = small_calls("/_ping", answers).await;
        let idle = Duration::from_secs(1);
        let options = EngineOptions { host: Some(address), idle, ..EngineOptions::default() };
        let connected = Docker::connect(&options).await.map(drop);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
        match (connected, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(text)) => assert!(error.to_string().ends_with(text), "{error}"),
            (connected, expected) => panic!("{connected:?} and not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_container_that_cannot_be_made_names_the_call_that_hangs() {
    let (address, asked) = small_calls("/containers/create", vec![None]).await;
    let idle = Duration::from_secs(1);
    let options = EngineOptions { host: Some(address), idle, ..EngineOptions::default() };
    let (docker, _) = Docker::connect(&options).await.unwrap();
    let probe = ImageCommand {
        argv: vec!["true".to_owned()],
        network: crate::engine::Network::None,
        timeout: Duration::from_secs(60),
    };
    let error = docker.probe(&ID.parse().unwrap(), &probe, "run").await.unwrap_err();
    assert!(error.is_gone(), "{error:?}");
    let told = error.to_string();
    assert!(
        told.ends_with("no answer within 1 second, twice, while creating a container"),
        "{told}"
    );
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_end_of_the_lifeline_is_a_loss() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let (cut, _) = tokio::sync::broadcast::channel::<()>(4);
    let sender = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut cut = sender.subscribe();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let json = match text.split(' ').nth(1).unwrap() {
                    path if path.contains("/events?") => {
                        _ = stream.write_all(HEAD.as_bytes()).await;
                        _ = cut.recv().await;
                        return;
                    }
                    "/version" => {
                        r#"{"Version":"20.10","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#
                    }
                    _ => r#"{"NCPU":2}"#,
                };
                let length = json.len();
                let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{json}");
                _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    let options = EngineOptions { host: Some(address), ..EngineOptions::default() };
    let (docker, _) = Docker::connect(&options).await.unwrap();
    for losses in 0..3 {
        while docker.losses() != losses {
            tokio::task::yield_now().await;
        }
        // The next lifeline is open once it can be cut.
        while cut.send(()).is_err() || docker.losses() == losses {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
