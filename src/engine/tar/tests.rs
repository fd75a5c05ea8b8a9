use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use ::tar::{Archive, EntryType};
use futures_util::{StreamExt, TryStreamExt};
use tempfile::TempDir;

use super::{dockerfile::Place, *};

fn context(files: &[(&str, &str)]) -> (TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let context = Context::open(dir.path(), Path::new("Dockerfile")).unwrap();
    (dir, context)
}

fn pinned(context: &Context, path: &Path, classic: bool) -> Dockerfile {
    Dockerfile::new(context, path, "FROM pinned".to_owned(), classic).unwrap()
}

/// All of the stream, or its error.
fn sent(
    context: &Context,
    dockerfile: Dockerfile,
    expected: Option<Digest>,
) -> io::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let chunks = stream(context.clone(), dockerfile, expected).boxed();
        chunks
            .try_fold(Vec::new(), |all, chunk| async move { Ok([all, chunk.into()].concat()) })
            .await
    })
}

/// What the tar holds, one entry a line.
fn listed(tar: &[u8]) -> String {
    let mut text = String::new();
    for entry in Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), MODIFIED);
        if header.entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let mode = header.mode().unwrap();
        let name = entry.path_bytes().escape_ascii().to_string();
        let target = entry.link_name_bytes().map(|bytes| bytes.escape_ascii().to_string());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let target = target.map_or(String::new(), |target| format!(" -> {target}"));
        _ = writeln!(text, "{mode:o} {name}{target} {content:?}");
    }
    text
}

#[test]
fn where_the_dockerfile_goes() {
    let all = [("Dockerfile", "FROM a"), ("x", "X")];
    let ignored = [("Dockerfile", "FROM a"), (".dockerignore", "Dockerfile"), ("x", "X")];
    let both = [("Dockerfile", "FROM a"), (".dockerignore", "*\n!x"), ("x", "X")];
    for (files, classic, name, expected) in [
        (&all[..], true, "Dockerfile", "644 Dockerfile \"FROM pinned\"\n644 x \"X\"\n"),
        (&all, false, "Dockerfile", "644 Dockerfile \"FROM pinned\"\n644 x \"X\"\n"),
        (
            &ignored,
            true,
            ".rebuild.Dockerfile",
            "644 .dockerignore \"Dockerfile\\n.rebuild.Dockerfile\\n\"\n644 x \"X\"\n\
             644 .rebuild.Dockerfile \"FROM pinned\"\n",
        ),
        (
            &ignored,
            false,
            ".rebuild.Dockerfile",
            "644 .dockerignore \"Dockerfile\"\n644 x \"X\"\n644 .rebuild.Dockerfile \"FROM pinned\"\n",
        ),
        (
            &both,
            true,
            ".rebuild.Dockerfile",
            "644 x \"X\"\n644 .rebuild.Dockerfile \"FROM pinned\"\n\
             644 .dockerignore \".dockerignore\\n.rebuild.Dockerfile\\n\"\n",
        ),
        (
            &both,
            false,
            ".rebuild.Dockerfile",
            "644 x \"X\"\n644 .rebuild.Dockerfile \"FROM pinned\"\n",
        ),
    ] {
        let (_dir, context) = context(files);
        let dockerfile = pinned(&context, Path::new("Dockerfile"), classic);
        assert_eq!(dockerfile.name, name);
        let digest = context.digest().unwrap();
        assert_eq!(listed(&sent(&context, dockerfile, Some(digest)).unwrap()), expected);
    }
}

#[test]
fn a_dockerfile_outside_or_behind_a_link() {
    let (dir, context) = context(&[("sub/D", "FROM a"), (".rebuild.Dockerfile", "taken")]);
    symlink("sub/D", dir.path().join("Dockerfile")).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    for (path, name, place) in [
        (Path::new("Dockerfile"), "sub/D", Place::Instead),
        (outside.path(), ".rebuild.Dockerfile_", Place::Extra),
    ] {
        let dockerfile = pinned(&context, path, false);
        assert_eq!((&*dockerfile.name, dockerfile.place), (name, place));
    }
}

#[test]
fn every_kind_of_name() {
    let (dir, context) = context(&[("Dockerfile", "FROM a")]);
    let long = ["d".repeat(90), "e".repeat(200), "f".repeat(10)].join("/");
    fs::create_dir_all(dir.path().join(&long)).unwrap();
    let target = format!("a//b/./{}/", "t".repeat(300));
    symlink(&target, dir.path().join("link")).unwrap();
    fs::write(dir.path().join("new\nline"), "").unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"raw\xff")), "r").unwrap();
    fs::hard_link(dir.path().join("new\nline"), dir.path().join("z")).unwrap();
    let tar = sent(&context, pinned(&context, Path::new("Dockerfile"), false), None).unwrap();
    let (first, second) = ("d".repeat(90), format!("{}/{}", "d".repeat(90), "e".repeat(200)));
    assert_eq!(
        listed(&tar),
        format!(
            "644 Dockerfile \"FROM pinned\"\n755 {first}/ \"\"\n755 {second}/ \"\"\n755 {long}/ \"\"\n\
             777 link -> {target} \"\"\n644 new\\nline \"\"\n644 raw\\xff \"r\"\n644 z -> new\\nline \"\"\n"
        )
    );
    // Two blocks of zeros at the end: it is whole.
    assert!(tar.ends_with(&[0; 1024]));
}

#[test]
fn a_hard_link_to_the_dockerfile_keeps_its_own_text() {
    let (dir, context) = context(&[("Dockerfile", "FROM a")]);
    fs::hard_link(dir.path().join("Dockerfile"), dir.path().join("other")).unwrap();
    let tar = sent(&context, pinned(&context, Path::new("Dockerfile"), false), None).unwrap();
    assert_eq!(listed(&tar), "644 Dockerfile \"FROM pinned\"\n644 other \"FROM a\"\n");
}

/// GNU tar, which wrote the format down, unpacks what the walk saw.
#[test]
fn gnu_tar_agrees() {
    let (dir, context) = context(&[("Dockerfile", "FROM pinned"), (&"n".repeat(250), "1")]);
    symlink("t".repeat(200), dir.path().join("l")).unwrap();
    let tar = sent(&context, pinned(&context, Path::new("Dockerfile"), false), None).unwrap();
    let (copy, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    fs::write(file.path(), tar).unwrap();
    let unpacked = std::process::Command::new("tar")
        .args([OsStr::new("-xf"), file.path().as_os_str(), OsStr::new("-C")])
        .arg(copy.path())
        .status();
    assert!(unpacked.unwrap().success());
    let unpacked = Context::open(copy.path(), Path::new("Dockerfile")).unwrap();
    assert_eq!(unpacked.digest().unwrap(), context.digest().unwrap());
}

#[test]
fn problems_are_the_streams_error() {
    let (dir, context) = context(&[("Dockerfile", "FROM a"), ("f", "1")]);
    let digest = context.digest().unwrap();
    let dockerfile = pinned(&context, Path::new("Dockerfile"), false);
    let error = |expected: Option<Digest>| {
        let error = sent(&context, dockerfile.clone(), expected).unwrap_err();
        error.downcast::<ContextError>().unwrap().to_string()
    };
    fs::write(dir.path().join("f"), "2").unwrap();
    assert_eq!(
        error(Some(digest)),
        format!(
            "the build context `{}` is not what it was when the plan was made\n\
             hint: run `rebuild` again",
            context.root.display()
        )
    );
    fs::remove_dir_all(dir.path()).unwrap();
    let text = error(None);
    assert_eq!(text, format!("cannot read `{}` of the build context", context.root.display()));
}

#[test]
fn a_failed_tar_is_not_whole() {
    let (_dir, context) = context(&[("Dockerfile", "FROM a")]);
    let dockerfile = pinned(&context, Path::new("Dockerfile"), false);
    let mut tar = Vec::new();
    write(&mut tar, &context, &dockerfile, Some(&Digest::of(b"other"))).unwrap_err();
    assert_eq!(tar.len(), 2048);
    tar.clear();
    write(&mut tar, &context, &dockerfile, Some(&context.digest().unwrap())).unwrap();
    assert_eq!(tar.len(), 3072);
}

/// More chunks than may be in flight, and nobody who reads them.
#[tokio::test]
async fn dropping_the_stream_ends_the_work() {
    let (dir, context) = context(&[("Dockerfile", "FROM a")]);
    let big = fs::File::create(dir.path().join("big")).unwrap();
    big.set_len(64 << 20).unwrap();
    let dockerfile = pinned(&context, Path::new("Dockerfile"), false);
    let (sender, mut receiver) = mpsc::channel(IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { buffer: BytesMut::new(), sender };
        write(&mut chunks, &context, &dockerfile, None)
    });
    assert_eq!(receiver.recv().await.unwrap().len(), CHUNK);
    drop(receiver);
    let error = writer.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
