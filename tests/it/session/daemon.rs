//! As much of a Docker client as these tests need: plain requests on a unix socket.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rebuild::engine::{
    BuildSecrets, Capability,
    session::{BuildSession, SessionFiles, Traffic},
};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::support::{engine::lacks, missing};

#[derive(Debug)]
pub(super) struct Daemon {
    socket: PathBuf,
}

/// What a build has made; gone from the engine once dropped.
#[derive(Debug)]
pub(super) struct Image<'a> {
    daemon: &'a Daemon,
    name: String,
    pub(super) traffic: Traffic,
}

/// One line of a tar listing.
pub(super) type Listing = BTreeMap<PathBuf, String>;

static NAMES: AtomicU32 = AtomicU32::new(0);

impl Daemon {
    /// `None`, having said so, if there is no engine, or none with BuildKit.
    pub(super) fn find() -> Option<Self> {
        if lacks(Capability::BuildKit) {
            return None;
        }
        let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
        let found = host.strip_prefix("unix://").map(PathBuf::from);
        let socket = found.filter(|socket| net::UnixStream::connect(socket).is_ok());
        let none = || missing(&format!("no engine answers at {host}"));
        Some(Self { socket: socket.unwrap_or_else(none) })
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let io = TokioIo::new(UnixStream::connect(&self.socket).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    }

    /// Sends JSON, or nothing, and returns the body of a good answer.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> Bytes {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1.41{path}"))
            .header("Host", "docker")
            .header("Content-Type", "application/json")
            .body(Full::from(if body.is_null() { String::new() } else { body.to_string() }));
        let response = self.send(request.unwrap()).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Opens the connection of a session.
    pub(super) async fn open(&self, session: &BuildSession) -> TokioIo<hyper::upgrade::Upgraded> {
        let mut request = Request::post("/v1.41/session")
            .header("Host", "docker")
            .header("Connection", "Upgrade")
            .header("Upgrade", "h2c");
        for (name, value) in session.headers() {
            request = request.header(name, value);
        }
        let response = self.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), 101);
        TokioIo::new(hyper::upgrade::on(response).await.unwrap())
    }

    /// Builds with a session of its own; an error is the engine's message.
    pub(super) async fn build(
        &self,
        files: SessionFiles,
        secrets: &[(&str, &[u8])],
        options: &str,
    ) -> Result<Image<'_>, String> {
        let secrets = secrets.iter().map(|&(id, value)| (id.to_owned(), value.to_vec())).collect();
        let session = BuildSession::new(
            files.clone(),
            BuildSecrets { values: secrets, ..BuildSecrets::default() },
        );
        let io = self.open(&session).await;
        tokio::select! {
            error = session.serve(io) => panic!("{error}"),
            built = self.build_in(&session, &files, options) => {
                built.map(|name| Image { daemon: self, name, traffic: session.traffic() })
            }
        }
    }

    /// Builds within a session that is served elsewhere.
    pub(super) async fn build_in(
        &self,
        session: &BuildSession,
        files: &SessionFiles,
        options: &str,
    ) -> Result<String, String> {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("rebuild-session-test:{}-{number}", std::process::id());
        let (id, dockerfile) = (session.id(), &files.dockerfile_name);
        let path = format!(
            "/build?version=2&remote=client-session&session={id}&buildid={id}&t={name}\
             &dockerfile={dockerfile}&rm=1&forcerm=1{options}"
        );
        let answer = self.ask(Method::POST, &path, Value::Null).await;
        let lines = serde_json::Deserializer::from_slice(&answer).into_iter::<Value>();
        let lines: Vec<_> = lines.map(Result::unwrap).collect();
        match lines.iter().find_map(|line| line["error"].as_str()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(name),
        }
    }

    fn remove(&self, path: &str) {
        let mut stream = net::UnixStream::connect(&self.socket).unwrap();
        write!(stream, "DELETE /v1.41{path}?force=1 HTTP/1.0\r\n\r\n").unwrap();
        _ = stream.read_to_end(&mut Vec::new());
    }
}

impl Image<'_> {
    pub(super) async fn inspect(&self) -> Value {
        let path = format!("/images/{}/json", self.name);
        serde_json::from_slice(&self.daemon.ask(Method::GET, &path, Value::Null).await).unwrap()
    }

    /// The tar of all its files.
    pub(super) async fn export(&self) -> Bytes {
        let body = serde_json::json!({ "Image": self.name, "Cmd": ["none"] });
        let created = self.daemon.ask(Method::POST, "/containers/create", body).await;
        let created: Value = serde_json::from_slice(&created).unwrap();
        let container = format!("/containers/{}", created["Id"].as_str().unwrap());
        let tar = self.daemon.ask(Method::GET, &format!("{container}/export"), Value::Null).await;
        self.daemon.remove(&container);
        tar
    }

    /// All it holds under `in`, where these tests copy to: the engine itself adds to the root.
    pub(super) async fn listing(&self) -> Listing {
        let tar = self.export().await;
        let mut listing = Listing::new();
        for entry in tar::Archive::new(&*tar).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            let Ok(path) = path.strip_prefix("in") else { continue };
            if path.as_os_str().is_empty() {
                continue;
            }
            let header = entry.header();
            let mode = header.mode().unwrap() & 0o7777;
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap()),
                (0, 0),
                "{}",
                path.display()
            );
            let line = match header.entry_type() {
                tar::EntryType::Directory => format!("folder {mode:o}"),
                tar::EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap();
                    format!("link {}", target.escape_ascii())
                }
                tar::EntryType::Regular => {
                    let mut content = Vec::new();
                    let path = path.to_owned();
                    entry.read_to_end(&mut content).unwrap();
                    let digest = rebuild::image::Digest::of(&content);
                    listing.insert(path, format!("file {mode:o} {digest}"));
                    continue;
                }
                other => format!("{other:?}"),
            };
            listing.insert(path.to_owned(), line);
        }
        listing
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        self.daemon.remove(&format!("/images/{}", self.name));
    }
}
