//! The whole session against an engine that is a few lines of HTTP/2 client.

mod engine;

use std::{fs, os::unix::fs::symlink, path::Path};

use bytes::Bytes;
use engine::{ask, call, connect};
use h2::client::SendRequest;
use prost::Message as _;
use tempfile::TempDir;

use crate::registry::{Login, LoginSecret};

use super::{
    wire::{
        CredentialsRequest, CredentialsResponse, GetSecretResponse, HealthCheckResponse, Packet,
        SecretRequest, Stat,
    },
    *,
};

const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), content).unwrap();
    }
    folder
}

fn session(folder: &TempDir, dockerfile: (&str, &str)) -> BuildSession {
    let files = SessionFiles {
        context: Context::open(folder.path(), Path::new(dockerfile.0)).unwrap(),
        dockerfile_name: dockerfile.0.to_owned(),
        dockerfile: dockerfile.1.into(),
    };
    let values = [("token".to_owned(), b"hunter2".to_vec())].into();
    let login = |host: &str, secret| Login { host: host.to_owned(), secret };
    let password = LoginSecret::Password { user: "me".to_owned(), password: "hunter2".to_owned() };
    let token = LoginSecret::IdentityToken("token".to_owned());
    let logins = vec![login("docker.io", password), login("r.example:5000", token)];
    BuildSession::new(files, BuildSecrets { values, agent: None, logins })
}

/// Lets the engine do something in a session.
async fn during<T>(session: &BuildSession, engine: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::select! {
        error = session.serve(ours) => panic!("{error}"),
        done = async { engine(connect(theirs).await).await } => done,
    }
}

/// `path mode size`, and the time in seconds if that is constant.
fn lines(list: &[Stat]) -> Vec<String> {
    let line = |stat: &Stat| {
        assert_eq!((stat.uid, stat.gid, stat.modified / 1_000_000_000), (0, 0, 315_532_800));
        let (path, link) = (stat.path.escape_ascii(), stat.link.escape_ascii());
        format!("{path} {:x} {} {link}", stat.mode, stat.size).trim_end().to_owned()
    };
    list.iter().map(line).collect()
}

#[tokio::test]
async fn the_context_is_listed_and_sent() {
    let folder = folder(&[("a/b", "in a"), ("a-b", ""), ("z", "last"), (".dockerignore", "z")]);
    symlink("../else", folder.path().join("a/link")).unwrap();
    fs::write(folder.path().join("big"), vec![7; 100_000]).unwrap();
    let session = session(&folder, ("Dockerfile", "FROM scratch"));
    during(&session, async |engine| {
        let mut files = call(&engine, FILES, &[("dir-name", "context")]).await;
        assert_eq!(
            lines(&files.list().await),
            [
                ".dockerignore 1a4 1",
                "a 800001ed 0",
                "a/b 1a4 4",
                "a/link 80001ff 7 ../else",
                "a-b 1a4 0",
                "big 1a4 100000"
            ]
        );
        // The first before the second is asked for, and two at once.
        files.request(2);
        assert_eq!(files.file(2).await.unwrap(), b"in a");
        files.request(5);
        files.request(4);
        assert_eq!(files.file(5).await.unwrap(), vec![7; 100_000]);
        assert_eq!(files.file(4).await.unwrap(), b"");
        assert_eq!(files.finish().await, "0 ");
    })
    .await;
    assert_eq!(session.traffic(), Traffic { listed: 6, files: 3, bytes: 100_004 });
}

#[tokio::test]
async fn only_the_part_asked_for_is_listed() {
    let folder = folder(&[("a/b", "1"), ("c", "2")]);
    let session = session(&folder, ("Dockerfile", ""));
    during(&session, async |engine| {
        let headers = [("dir-name", "context"), ("followpaths", "a")];
        let mut files = call(&engine, FILES, &headers).await;
        assert_eq!(lines(&files.list().await), ["a 800001ed 0", "a/b 1a4 1"]);
        assert_eq!(files.finish().await, "0 ");
    })
    .await;
}

#[tokio::test]
async fn the_dockerfile_comes_from_memory() {
    let folder = folder(&[("Dockerfile", "FROM elsewhere")]);
    let mut times = Vec::new();
    for text in ["FROM scratch", "FROM cratchs", "FROM scratch"] {
        let session = session(&folder, ("docker/prod.Dockerfile", text));
        during(&session, async |engine| {
            let headers = [("dir-name", "dockerfile"), ("followpaths", "ignored here")];
            let mut files = call(&engine, FILES, &headers).await;
            let list = files.list().await;
            let paths: Vec<_> =
                list.iter().map(|stat| stat.path.escape_ascii().to_string()).collect();
            assert_eq!(paths, ["docker", "docker/prod.Dockerfile"]);
            times.push(list[1].modified);
            files.request(1);
            assert_eq!(files.file(1).await.unwrap(), text.as_bytes());
            assert_eq!(files.finish().await, "0 ");
        })
        .await;
    }
    assert_ne!(times[0], times[1], "or the engine would keep the first");
    assert_eq!(times[0], times[2]);
}

/// Waits until a file is old enough to be known again.
fn settle(path: &Path) {
    while fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap().as_millis() < 20 {}
}

#[tokio::test]
async fn a_version_of_a_file_is_told_by_its_time() {
    let folder = folder(&[("a", "old"), ("b", "same")]);
    let mut times = Vec::new();
    for content in [None, Some("new")] {
        if let Some(content) = content {
            // As a build tool does that wants nobody to notice.
            let before = fs::metadata(folder.path().join("a")).unwrap().modified().unwrap();
            fs::write(folder.path().join("a"), content).unwrap();
            let file = fs::File::options().write(true).open(folder.path().join("a")).unwrap();
            file.set_modified(before).unwrap();
        }
        settle(&folder.path().join("b"));
        let session = session(&folder, ("Dockerfile", ""));
        during(&session, async |engine| {
            let mut files = call(&engine, FILES, &[("dir-name", "context")]).await;
            let list = files.list().await;
            lines(&list);
            times.push((list[0].modified, list[1].modified));
        })
        .await;
    }
    assert_ne!(times[0].0, times[1].0);
    assert_eq!(times[0].1, times[1].1);
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_listed_is_not_sent() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &str); 4] = [
        ("longer", |path| fs::write(path, "other").unwrap(), "`a` changed while it was read"),
        (
            "the same length",
            |path| {
                let other = path.with_file_name("other");
                fs::write(&other, "odd").unwrap();
                fs::rename(other, path).unwrap();
            },
            "`a` changed while it was read",
        ),
        ("gone", |path| fs::remove_file(path).unwrap(), "`a` changed while it was read"),
        (
            "a link",
            |path| {
                fs::remove_file(path).unwrap();
                symlink("/etc/hostname", path).unwrap();
            },
            "`a` changed while it was read",
        ),
    ];
    for (name, change, message) in changes {
        let folder = folder(&[("a", "old")]);
        let session = session(&folder, ("Dockerfile", ""));
        during(&session, async |engine| {
            let mut files = call(&engine, FILES, &[("dir-name", "context")]).await;
            files.list().await;
            change(&folder.path().join("a"));
            files.request(0);
            assert_eq!(files.file(0).await.unwrap_err(), message, "{name}");
            assert_eq!(files.status().await, format!("10 {message}"), "{name}");
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_no_file_cannot_be_asked_for() {
    let folder = folder(&[("a/b", "1")]);
    let session = session(&folder, ("Dockerfile", ""));
    for id in [0, 2, u32::MAX] {
        during(&session, async |engine| {
            let mut files = call(&engine, FILES, &[("dir-name", "context")]).await;
            files.list().await;
            files.request(id);
            let message = format!("the engine asked for file {id}, which does not exist");
            assert_eq!(files.file(id).await.unwrap_err(), message);
            assert_eq!(files.status().await, format!("10 {message}"));
        })
        .await;
    }
}

#[tokio::test]
async fn calls_get_answers() {
    let folder = folder(&[]);
    let session = session(&folder, ("Dockerfile", ""));
    during(&session, async |engine| {
        let mut health = call(&engine, "/grpc.health.v1.Health/Check", &[]).await;
        assert_eq!(health.next().await, Some(HealthCheckResponse { status: 1 }));
        assert_eq!(health.status().await, "0 ");

        for (id, value, status) in
            [("token", Some("hunter2"), "0 "), ("tokem", None, "5 no secret has the id tokem")]
        {
            let method = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
            let mut secret = ask(&engine, method, &SecretRequest { id: id.to_owned() }).await;
            if let Some(value) = value {
                assert_eq!(secret.next().await, Some(GetSecretResponse { data: value.into() }));
            }
            assert_eq!(secret.status().await, status);
        }

        for (host, user, secret) in [
            ("registry-1.docker.io", "me", "hunter2"),
            ("r.example:5000", "", "token"),
            ("docker.io.example", "", ""),
        ] {
            let method = "/moby.filesync.v1.Auth/Credentials";
            let request = CredentialsRequest { host: host.to_owned() };
            let mut answer = ask(&engine, method, &request).await;
            let expected = CredentialsResponse { user: user.to_owned(), secret: secret.to_owned() };
            assert_eq!(answer.next().await, Some(expected), "{host}");
            assert_eq!(answer.status().await, "0 ");
        }

        for (method, headers, expected) in [
            (FILES, &[("dir-name", "home")][..], "5 there is no folder home"),
            (FILES, &[], "5 there is no folder "),
            (
                "/moby.filesync.v1.Auth/FetchToken",
                &[],
                "12 /moby.filesync.v1.Auth/FetchToken is not part of this session",
            ),
            ("/", &[], "12 / is not part of this session"),
        ] {
            assert_eq!(call(&engine, method, headers).await.status().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_engine_is_an_error() {
    let folder = folder(&[("a", "1")]);
    let session = session(&folder, ("Dockerfile", ""));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let engine = async {
        let (client, connection) = h2::client::handshake(theirs).await.unwrap();
        let dies = async {
            let mut files = call(&client, FILES, &[("dir-name", "context")]).await;
            files.list().await;
        };
        tokio::select! {
            _ = connection => panic!("too early"),
            () = dies => {}
        }
    };
    let (error, ()) = tokio::join!(session.serve(ours), engine);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(
        error.to_string().starts_with("the engine ended the session of the build: "),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_it_closes_the_connection() {
    let folder = folder(&[("a", "1")]);
    let session = session(&folder, ("Dockerfile", ""));
    let mut open = during(&session, async |engine| {
        let mut files = call(&engine, FILES, &[("dir-name", "context")]).await;
        files.list().await;
        files
    })
    .await;
    let end = open.from_us.data().await;
    assert!(end.is_none_or(|data| data.is_err()));
}

#[test]
fn headers_and_debug_output() {
    let folder = folder(&[]);
    let [one, two] = [(), ()].map(|()| session(&folder, ("Dockerfile", "")));
    let other = session(&folder, ("Dockerfile.other", ""));
    assert_ne!(one.id(), two.id());
    assert_eq!(one.shared_key, two.shared_key);
    assert_ne!(one.shared_key, other.shared_key);
    let method = "x-docker-expose-session-grpc-method";
    let expected = [
        ("x-docker-expose-session-uuid", one.id()),
        ("x-docker-expose-session-name", "rebuild"),
        ("x-docker-expose-session-sharedkey", &one.shared_key),
        (method, "/grpc.health.v1.Health/Check"),
        (method, "/moby.filesync.v1.FileSync/DiffCopy"),
        (method, "/moby.buildkit.secrets.v1.Secrets/GetSecret"),
        (method, "/moby.sshforward.v1.SSH/CheckAgent"),
        (method, "/moby.sshforward.v1.SSH/ForwardAgent"),
        (method, "/moby.filesync.v1.Auth/Credentials"),
    ];
    let headers = one.headers();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    assert_eq!(headers, expected);
    let debug = format!("{one:?}");
    assert!(debug.contains("token") && !debug.contains("hunter2"), "{debug}");
    let bytes = format!("{:?}", b"hunter2");
    assert!(!debug.contains(&bytes), "{debug}");
}

#[test]
fn packets_are_as_fsutil_writes_them() {
    // Computed by hand from `wire.proto` and `stat.proto`.
    let stat = Stat { path: b"a\xff".to_vec(), mode: 420, size: 3, modified: 1, ..Stat::default() };
    for (packet, bytes) in [
        (Packet::default(), &[][..]),
        (
            Packet { stat: Some(stat), ..Packet::default() },
            b"\x12\x0b\x0a\x02a\xff\x10\xa4\x03\x28\x03\x30\x01",
        ),
        (
            Packet { kind: 2, id: 300, data: Bytes::from_static(b"xy"), stat: None },
            b"\x08\x02\x18\xac\x02\x22\x02xy",
        ),
        (Packet { kind: 3, ..Packet::default() }, b"\x08\x03"),
    ] {
        assert_eq!(packet.encode_to_vec(), bytes, "{packet:?}");
        assert_eq!(Packet::decode(bytes).unwrap(), packet);
    }
}
