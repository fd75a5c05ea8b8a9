//! Each capability of builds, tried: the engine does what its capabilities say, and nothing that they deny.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
};

use rebuild::engine::{BuildRequest, Capability, Engine};

use super::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_does_what_its_capabilities_say() {
    let Some(bench) = Bench::new("capabilities").await else { return };
    let agent = tempfile::tempdir().unwrap();
    let agent = agent.path().join("agent.sock");
    let _listener = UnixListener::bind(&agent).unwrap();
    let mut secret =
        bench.request("RUN --mount=type=secret,id=word,required test -s /run/secrets/word");
    secret.secrets.values.insert("word".to_owned(), b"hunter2".to_vec());
    let mut ssh = bench.request("RUN --mount=type=ssh,required test -S \"$SSH_AUTH_SOCK\"");
    ssh.secrets.agent = Some(agent);
    let mut wrong = Vec::new();
    for capability in Capability::ALL {
        let does = match capability {
            Capability::BuildKit => takes_sessions(&bench),
            Capability::Secrets => builds(&bench, &secret).await,
            Capability::Ssh => builds(&bench, &ssh).await,
            Capability::Heredocs => {
                builds(&bench, &bench.request("COPY <<EOF /heredoc\nwords\nEOF")).await
            }
            Capability::CacheMounts => {
                let line = "RUN --mount=type=cache,target=/kept busybox touch /kept/file";
                builds(&bench, &bench.request(line)).await
            }
            Capability::Attestations => is_attested(&bench).await,
            // Of a pull, which needs a registry with such images; and of a test of its own.
            Capability::Zstd | Capability::MultiPlatform | Capability::Cancel => continue,
            Capability::Healthcheck => keeps_healthcheck(&bench).await,
        };
        if does != bench.info.capabilities.has(capability) {
            wrong.push(format!("`{capability}`: the engine does it: {does}"));
        }
    }
    bench.clean().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a build ends well.
async fn builds(bench: &Bench, request: &BuildRequest) -> bool {
    // What is in the cache was not done again.
    let mut request = request.clone();
    request.no_cache = true;
    match bench.docker.build(request, |_| ()).await {
        Ok(image) => {
            bench.docker.tag(&image.id, &bench.tagged("tried")).await.unwrap();
            true
        }
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

/// BuildKit alone opens a session.
fn takes_sessions(bench: &Bench) -> bool {
    let socket = bench.info.endpoint.strip_prefix("unix://").expect("a socket");
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
                X-Docker-Expose-Session-Uuid: it\r\nX-Docker-Expose-Session-Name: it\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    &status == b"HTTP/1.1 101"
}

/// Whether an image is saved together with an attestation.
async fn is_attested(bench: &Bench) -> bool {
    let id = bench.build("attested", "").await;
    saved(id.as_str()).windows(20).any(|bytes| bytes == b"attestation-manifest")
}

async fn keeps_healthcheck(bench: &Bench) -> bool {
    let id = bench.build("checked", "HEALTHCHECK CMD true").await;
    let image = bench.docker.inspect(id.as_str()).await.unwrap().unwrap();
    image.config.contains("Healthcheck")
}

fn saved(image: &str) -> Vec<u8> {
    let output = Command::new("docker").args(["save", image]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}
