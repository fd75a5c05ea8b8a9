//! Each capability of builds, tried: the engine does what its capabilities say, and nothing that they deny.

use std::{
    ffi::OsStr,
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    process::Command,
};

use rebuild::{
    engine::{BuildRequest, Capability, Engine},
    hierarchy::Ulimit,
    image::Digest,
};
use serde_json::{Value, json};

use super::Bench;
use crate::support::registry::Registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_does_what_its_capabilities_say() {
    let bench = Bench::new("capabilities").await;
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
            Capability::BuildLimits => {
                let lines = "RUN test \"$(ulimit -Sn):$(ulimit -Hn)\" = 500:600\n\
                             RUN busybox df -k /dev/shm | busybox grep -q ' 32768 '";
                let mut limited = bench.request(lines);
                limited.settings.shm_size = Some(32 << 20);
                let limit = Ulimit { soft: 500, hard: 600 };
                limited.settings.ulimits.insert("nofile".to_owned(), limit);
                builds(&bench, &limited).await
            }
            Capability::Attestations => keeps_attestations(&bench),
            Capability::CacheExport => exports_cache(&bench).await,
            // Of a pull, which needs a registry with such images; and of a test of its own.
            Capability::Zstd | Capability::MultiPlatform | Capability::Cancel => continue,
            Capability::AnyNames => takes_any_names(&bench).await,
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

/// Whether the layer cache of a build is in a registry after it.
async fn exports_cache(bench: &Bench) -> bool {
    let registry = Registry::start();
    let mut request = bench.request("");
    request.repository = format!("{}/cached", registry.host()).parse().unwrap();
    request.settings.cache.to.push("registry".parse().unwrap());
    builds(bench, &request).await && registry.head("cached", "rb-cache").is_some()
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

/// Whether an image is kept together with an attestation. A build that is asked for through the API makes none.
fn keeps_attestations(bench: &Bench) -> bool {
    let name = bench.tagged("attested").to_string();
    let layout = attested(&name, &bench.info.platform.to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    fs::write(&file, layout).unwrap();
    let loaded = Command::new("docker").arg("load").arg("--input").arg(&file).output().unwrap();
    println!("{loaded:?}");
    loaded.status.success()
        && Command::new("docker").args(["inspect", &name]).output().unwrap().status.success()
        && saved(&name).windows(20).any(|bytes| bytes == b"attestation-manifest")
}

/// An OCI image layout: an index of an empty image and of an attestation for it.
fn attested(name: &str, platform: &str) -> Vec<u8> {
    let mut layout = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        layout.append_data(&mut header, path, bytes).unwrap();
    };
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        add(&format!("blobs/sha256/{}", digest.hex()), bytes);
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    };
    let (os, architecture) = platform.split_once('/').unwrap();
    let empty = [0; 1024];
    let layer = blob("application/vnd.oci.image.layer.v1.tar", &empty);
    let statement = blob("application/vnd.in-toto+json", b"{}");
    let mut manifest = |diff: &Value, os: &str, architecture: &str, layer: &Value| {
        let rootfs = json!({ "type": "layers", "diff_ids": [diff] });
        let config = json!({ "os": os, "architecture": architecture, "rootfs": rootfs });
        let config = config.to_string();
        let config = blob("application/vnd.oci.image.config.v1+json", config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]
        });
        let mut described = blob(MANIFEST, manifest.to_string().as_bytes());
        described["platform"] = json!({ "os": os, "architecture": architecture });
        described
    };
    let image = manifest(&layer["digest"], os, architecture, &layer);
    let mut attestation = manifest(&statement["digest"], "unknown", "unknown", &statement);
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    });
    let index = |manifests: &[&Value]| {
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }).to_string()
    };
    let mut top = blob(INDEX, index(&[&image, &attestation]).as_bytes());
    top["annotations"] = json!({ "io.containerd.image.name": format!("docker.io/library/{name}") });
    add("index.json", index(&[&top]).as_bytes());
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    layout.into_inner().unwrap()
}

/// Whether a file whose name is not UTF-8 arrives. If not, the error names it.
async fn takes_any_names(bench: &Bench) -> bool {
    let folder = bench.folder().join("names");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"latin-\xe9")), "1").unwrap();
    symlink(OsStr::from_bytes(b"nowhere-\xff"), folder.join("link")).unwrap();
    let request = bench.request("COPY names /names/\nRUN test -e /names/latin-*");
    let does = match bench.docker.build(request, |_| ()).await {
        Ok(image) => {
            bench.docker.tag(&image.id, &bench.tagged("names")).await.unwrap();
            true
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(r"`names/latin-\xe9` in the build context"), "{error}");
            false
        }
    };
    fs::remove_dir_all(folder).unwrap();
    does
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
