//! A real BuildKit at a socket that speaks its control API.
//!
//! The program `buildkitd` if it is installed, or named by `REBUILD_TEST_BUILDKITD`. Otherwise the BuildKit inside the
//! engine, through its `POST /grpc`: the bytes of that connection are BuildKit's own protocol. It exports to a registry
//! only with the containerd image store.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rebuild::engine::Capability;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::{
    certificates::{Authority, Certificate},
    engine::lacks,
    is_installed,
    project::Project,
};

const PROGRAM: &str = "buildkitd";
const VARIABLE: &str = "REBUILD_TEST_BUILDKITD";
const UPGRADE: &[u8] =
    b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// Runs until it is dropped.
pub(crate) struct Buildkitd {
    folder: TempDir,
    process: Option<Child>,
}

impl Buildkitd {
    /// `None` if there is none; says that the test is skipped.
    pub(crate) fn start(project: &Project) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("buildkitd.sock");
        let process = match program() {
            Some(program) => Some(start(&program, folder.path(), &socket)),
            None if lacks(Capability::CacheExport) => {
                println!("skipped: there is no `{PROGRAM}`, and none behind the engine");
                return None;
            }
            None => {
                bridge(&socket, project.engine().strip_prefix("unix://")?);
                None
            }
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "buildkitd does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self { folder, process })
    }

    pub(crate) fn address(&self) -> String {
        format!("buildkitd+unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("buildkitd.sock")
    }

    /// The same BuildKit behind a port with TLS, which asks for a client certificate of the authority. As servers of
    /// gRPC do, it refuses a connection without the protocol `h2`.
    pub(crate) fn tls_address(&self, authority: &Authority, server: &Certificate) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.root()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&server.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&server.key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("buildkitd+tcp://{}", listener.local_addr().unwrap());
        let socket = self.socket();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    let (acceptor, socket) = (acceptor.clone(), socket.clone());
                    tokio::spawn(async move {
                        let Ok(mut client) = acceptor.accept(client).await else { return };
                        if client.get_ref().1.alpn_protocol() == Some(b"h2") {
                            let mut to = tokio::net::UnixStream::connect(socket).await.unwrap();
                            _ = tokio::io::copy_bidirectional(&mut client, &mut to).await;
                        }
                    });
                }
            });
        });
        address
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It unmounts what it mounted.
            _ = Command::new("kill").arg(process.id().to_string()).status();
            _ = process.wait();
        }
    }
}

fn program() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).filter(|it| !it.is_empty()).map(PathBuf::from);
    named.or_else(|| is_installed(PROGRAM).then(|| PROGRAM.into()))
}

fn start(program: &Path, folder: &Path, socket: &Path) -> Child {
    let mut command = Command::new(program);
    command.arg("--root").arg(folder.join("root"));
    command.arg("--addr").arg(format!("unix://{}", socket.display()));
    command.args(["--oci-worker-net", "host"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Passes each connection on to the BuildKit of an engine.
fn bridge(socket: &Path, engine: &str) {
    let (listener, engine) = (UnixListener::bind(socket).unwrap(), engine.to_owned());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let engine = engine.clone();
            thread::spawn(move || _ = pass(client, &engine));
        }
    });
}

fn pass(client: UnixStream, engine: &str) -> io::Result<()> {
    let mut buildkit = UnixStream::connect(engine)?;
    buildkit.write_all(UPGRADE)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        buildkit.read_exact(&mut byte)?;
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let (mut from, mut to) = (client.try_clone()?, buildkit.try_clone()?);
    let there = thread::spawn(move || {
        _ = io::copy(&mut from, &mut to);
        to.shutdown(std::net::Shutdown::Both)
    });
    let (mut from, mut to) = (buildkit, client);
    _ = io::copy(&mut from, &mut to);
    _ = to.shutdown(std::net::Shutdown::Both);
    _ = there.join();
    Ok(())
}
