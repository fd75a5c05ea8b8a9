//! Builds through our own BuildKit session, in the engine of this machine.

mod daemon;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::{Daemon, Listing};
use rebuild::{
    engine::{
        BuildSecrets, Capability,
        session::{BuildSession, SessionFiles, Traffic},
    },
    fingerprint::context::{Context, EntryKind},
    image::Digest,
};
use tempfile::TempDir;

use crate::support::{busybox::busybox, engine::lacks};

/// A build context on the disk.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            folder.write(path, content);
        }
        folder
    }

    fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The files of a build by this Dockerfile.
    fn files(&self, dockerfile: &str) -> SessionFiles {
        SessionFiles {
            context: Context::open(self.0.path(), &self.0.path().join("Dockerfile")).unwrap(),
            dockerfile_name: "Dockerfile".to_owned(),
            dockerfile: dockerfile.into(),
        }
    }

    /// What an image holds into which the whole context was copied.
    fn listing(&self) -> Listing {
        let entries = self.files("").context.entries().unwrap();
        let line = |path: &Path, kind: &EntryKind, mode: u32| match kind {
            EntryKind::Folder => format!("folder {mode:o}"),
            EntryKind::Link { target } => {
                let target = target.as_os_str().as_bytes();
                format!("link {}", target.escape_ascii())
            }
            EntryKind::File { .. } => {
                let content = fs::read(self.0.path().join(path)).unwrap();
                format!("file {mode:o} {}", Digest::of(&content))
            }
        };
        entries.iter().map(|e| (e.path.clone(), line(&e.path, &e.kind, e.mode))).collect()
    }
}

/// Waits until a file just written is old enough for the engine to know it again.
fn settle(folder: &Folder, path: &str) {
    let path = folder.0.path().join(path);
    while fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap().as_millis() < 20 {}
}

fn sent(traffic: Traffic) -> (u64, u64) {
    (traffic.files, traffic.bytes)
}

/// The files and bytes that were sent besides the Dockerfile, which had not changed. BuildKit reads it anew
/// in each build since 0.9 (`llb.DiffNone` in moby/buildkit, `frontend/dockerui/config.go`); before that
/// it took it for a file of the context.
fn sent_of_context(traffic: Traffic, dockerfile: &str) -> (u64, u64) {
    let length = dockerfile.len() as u64;
    match sent(traffic) {
        (files @ 1.., bytes) if bytes >= length => (files - 1, bytes - length),
        sent => sent,
    }
}

const ALL: &str = "FROM scratch\nCOPY . /in/\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_image_holds_what_the_context_lists() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[
        (".dockerignore", "Dockerfile\nsecret\n"),
        ("Dockerfile", "FROM nowhere.invalid/never\n"),
        ("secret", "not for the engine"),
        ("a", "1"),
        ("a-b", "2"),
        ("a.b/c", "3"),
        ("dir/sub/deep", "4"),
        ("new\nline", "5"),
        ("ünïcode", "6"),
        ("empty", ""),
    ]);
    let root = folder.0.path();
    fs::create_dir_all(root.join("dir/hollow")).unwrap();
    let program = folder.write("program", "#!/bin/sh\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    if !lacks(Capability::AnyNames) {
        folder.write(OsStr::from_bytes(b"latin-\xe9"), "7");
        symlink(OsStr::from_bytes(b"nowhere-\xff"), root.join("dangling")).unwrap();
    }
    symlink("dir/sub", root.join("link")).unwrap();
    symlink("/etc/passwd", root.join("outside")).unwrap();

    let files = folder.files(&format!("{ALL}LABEL pinned=yes\n"));
    let image = daemon.build(files, &[], "").await.unwrap();

    assert_eq!(image.listing().await, folder.listing());
    assert_eq!(image.inspect().await["Config"]["Labels"]["pinned"], "yes");
    let names: Vec<_> = folder.listing().into_keys().collect();
    assert!(!names.iter().any(|name| name == "Dockerfile" || name == "secret"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_travels_again() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[("a", "old a"), ("b", "old b"), ("dir/c", "old c")]);

    settle(&folder, "dir/c");
    let first = daemon.build(folder.files(ALL), &[], "").await.unwrap();
    assert_eq!(first.traffic.files, 4, "with the Dockerfile");
    let again = daemon.build(folder.files(ALL), &[], "").await.unwrap();
    assert_eq!(sent_of_context(again.traffic, ALL), (0, 0));

    folder.write("b", "new b");
    settle(&folder, "b");
    let changed = daemon.build(folder.files(ALL), &[], "").await.unwrap();
    assert_eq!(sent_of_context(changed.traffic, ALL), (1, 5));
    assert_eq!(changed.listing().await, folder.listing());

    let other = ALL.replace("/in/", "/ni/");
    let moved = daemon.build(folder.files(&other), &[], "").await.unwrap();
    assert_eq!(sent(moved.traffic), (1, other.len() as u64), "another Dockerfile of equal length");
    assert_eq!(moved.listing().await, Listing::new());

    fs::remove_file(folder.0.path().join("a")).unwrap();
    let fewer = daemon.build(folder.files(ALL), &[], "").await.unwrap();
    assert_eq!(fewer.listing().await, folder.listing());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_do_not_depend_on_when_files_were_written() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[("a", "content"), ("b", "more")]);
    let dockerfile = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
    // If the times were in the layers, all three would differ. A busy engine on fuse-overlayfs was once
    // seen to make one that does.
    let mut layers = Vec::new();
    for _ in 0..3 {
        for name in ["a", "b"] {
            let content = fs::read(folder.0.path().join(name)).unwrap();
            fs::remove_file(folder.0.path().join(name)).unwrap();
            folder.write(name, content);
        }
        let image = daemon.build(folder.files(dockerfile), &[], "&nocache=1").await.unwrap();
        assert!(image.traffic.files >= 2, "{:?}", image.traffic);
        layers.push(image.inspect().await["RootFS"]["Layers"].clone());
    }
    let [one, two, three] = &layers[..] else { unreachable!() };
    assert!(one == two || two == three || one == three, "{layers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_dockerfile_names_travels() {
    let Some(daemon) = Daemon::find() else { return };
    for (copy, files, expected) in [
        ("COPY one /in/one/", 1, &["one", "one/x"][..]),
        ("COPY link/y /in/", 1, &["y"]),
        ("COPY up/y /in/", 1, &["y"]),
        ("COPY one two/y /in/", 2, &["x", "y"]),
        ("COPY two/*.txt /in/", 2, &["z.txt"]),
        ("COPY missing* one/x /in/", 3, &["x"]),
    ] {
        let folder = Folder::with(&[("one/x", "1"), ("two/y", "2"), ("two/z.txt", "3")]);
        symlink("two", folder.0.path().join("link")).unwrap();
        symlink("../link", folder.0.path().join("hop")).unwrap();
        symlink("./one/../hop", folder.0.path().join("up")).unwrap();
        let files_of = folder.files(&format!("FROM scratch\n{copy}\n"));
        let image = daemon.build(files_of, &[], "").await.unwrap();
        let listing: Vec<_> = image.listing().await.into_keys().collect();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(listing, expected, "{copy}");
        assert_eq!(image.traffic.files, files + 1, "{copy}: those and the Dockerfile");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_files_are_applied_once_and_can_be_copied() {
    let Some(daemon) = Daemon::find() else { return };
    // As many headers as there are lines come back from the engine.
    let long = "some/folder/that/is/not/there\n".repeat(5_000);
    for (files, copy, expected) in [
        (&[(".dockerignore", &*format!("{long}a"))][..], "COPY b /in/", &["b"][..]),
        (&[(".dockerignore", "a")], "COPY . /in/", &[".dockerignore", "b", "c"]),
        (&[(".dockerignore", "a")], "COPY .dockerignore /in/", &[".dockerignore"]),
        (&[(".dockerignore", "*\n!c")], "COPY . /in/", &["c"]),
        (
            // The more specific one counts alone, though the engine gets to see only the other.
            &[(".dockerignore", "a"), ("Dockerfile.dockerignore", "b\n*ignore")],
            "COPY . /in/",
            &["a", "c"],
        ),
    ] {
        let folder = Folder::with(&[("a", "1"), ("b", "2"), ("c", "3")]);
        for (path, content) in files {
            folder.write(path, content);
        }
        let files = folder.files(&format!("FROM scratch\n{copy}\n"));
        let image = daemon.build(files, &[], "").await.unwrap();
        let listing: Vec<_> = image.listing().await.into_keys().collect();
        assert_eq!(listing, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{copy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_arrive_and_leave_no_trace() {
    let Some(daemon) = Daemon::find() else { return };
    let busybox = busybox();
    let folder = Folder::with(&[]);
    let busybox = folder.write("busybox", fs::read(busybox).unwrap());
    fs::set_permissions(busybox, fs::Permissions::from_mode(0o755)).unwrap();
    let dockerfile = r#"FROM scratch
COPY busybox /busybox
RUN --mount=type=secret,id=token,required ["/busybox", "sh", "-c", "/busybox wc -c < /run/secrets/token > /in"]
"#;
    let value = b"hunter2-hunter2\x00\xff";
    let files = || folder.files(dockerfile);
    let image = daemon.build(files(), &[("token", value)], "&networkmode=none").await.unwrap();
    let tar = image.export().await;
    assert!(!tar.windows(value.len()).any(|bytes| bytes == value));
    let found = tar::Archive::new(&*tar).entries().unwrap().find_map(|entry| {
        let mut entry = entry.unwrap();
        let is_it = entry.path().unwrap() == Path::new("in");
        is_it.then(|| std::io::read_to_string(&mut entry).unwrap())
    });
    assert_eq!(found.as_deref(), Some("17\n"));

    let missing = daemon.build(files(), &[("other", value)], "&nocache=1").await.unwrap_err();
    assert!(missing.contains("secret token") && missing.contains("not found"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_tiny_files() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[]);
    for number in 0..5_000 {
        folder.write(format!("{}/{number}", number % 50), format!("{number}"));
    }
    let image = daemon.build(folder.files(ALL), &[], "").await.unwrap();
    assert_eq!((image.traffic.listed, image.traffic.files), (5_051, 5_001));
    assert_eq!(image.listing().await, folder.listing());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_file_takes_little_memory() {
    let Some(daemon) = Daemon::find() else { return };
    let size = 200 << 20;
    let folder = Folder::with(&[]);
    let file = fs::File::create(folder.0.path().join("big")).unwrap();
    file.set_len(size).unwrap();
    let before = peak_memory();
    let dockerfile = "FROM scratch\nCOPY big /in/\n";
    let image = daemon.build(folder.files(dockerfile), &[], "").await.unwrap();
    let grown = peak_memory() - before;
    assert_eq!(sent(image.traffic), (2, size + dockerfile.len() as u64));
    let export = image.export().await;
    let mut archive = tar::Archive::new(&*export);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let big = entries.find(|entry| entry.path().unwrap() == Path::new("in/big"));
    assert_eq!(big.unwrap().size(), size);
    // Other tests run in this process at the same time, hence the tolerance.
    assert!(grown < size / 2, "{grown} bytes");
}

/// In bytes, the most that this process ever had in memory.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_at_the_same_time_do_not_mix() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[("a", "1"), ("b", "2"), ("dir/c", "3")]);
    let build = |name: &'static str| {
        let files = folder.files(&format!("{ALL}LABEL name={name}\n"));
        let daemon = &daemon;
        async move { daemon.build(files, &[], "&nocache=1").await.unwrap() }
    };
    let images = tokio::join!(build("one"), build("two"), build("three"), build("four"));
    for (image, name) in
        [(images.0, "one"), (images.1, "two"), (images.2, "three"), (images.3, "four")]
    {
        assert_eq!(image.inspect().await["Config"]["Labels"]["name"], name);
        assert_eq!(image.listing().await, folder.listing());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_sent_fails_the_build_by_name() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[("a", "1")]);
    let _socket = std::os::unix::net::UnixListener::bind(folder.0.path().join("talk")).unwrap();
    let error = daemon.build(folder.files(ALL), &[], "").await.unwrap_err();
    assert!(error.contains("`talk` of the build context is a socket"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_fails_the_build() {
    let Some(daemon) = Daemon::find() else { return };
    let folder = Folder::with(&[]);
    let file = fs::File::create(folder.0.path().join("big")).unwrap();
    file.set_len(1 << 30).unwrap();
    let files = folder.files(ALL);
    let session = BuildSession::new(files.clone(), BuildSecrets::default());
    let io = daemon.open(&session).await;
    let cut = async {
        tokio::select! {
            error = session.serve(io) => panic!("{error}"),
            () = async { while session.traffic().bytes < 1 << 20 { tokio::task::yield_now().await } } => {}
        }
    };
    let both = async { tokio::join!(daemon.build_in(&session, &files, ""), cut).0 };
    let built = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    built.unwrap_err();
}
