//! Trees of files in an image, beside those of a build that nothing of ours takes part in.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixStream,
    },
    path::Path,
    process::Command,
};

use rebuild::{
    engine::{Capability, Engine as _},
    image::Digest,
};
use rustix::fs::{XattrFlags, setxattr};

use super::{Bench, bench::docker};
use crate::support::missing;

const LINES: &str = "COPY tree /tree/";

/// A tree with every mode that matters, outside any repository.
fn plant(tree: &Path) {
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    fs::create_dir(tree).unwrap();
    for mode in
        [0o644, 0o755, 0o640, 0o400, 0o600, 0o664, 0o711, 0o4755, 0o2755, 0o1644, 0o6711, 0o7777]
    {
        let file = tree.join(format!("file-{mode:o}"));
        fs::write(&file, format!("{mode:o}")).unwrap();
        chmod(&file, mode).unwrap();
    }
    for mode in [0o755, 0o700, 0o750, 0o777, 0o1777, 0o2775, 0o555] {
        let folder = tree.join(format!("folder-{mode:o}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "in it").unwrap();
        chmod(&folder, mode).unwrap();
    }
    fs::create_dir(tree.join("hollow")).unwrap();
    chmod(&tree.join("hollow"), 0o700).unwrap();
    for (name, target) in
        [("link", "file-644"), ("dangling", "../../up//x/"), ("absolute", "/etc/passwd")]
    {
        symlink(target, tree.join(name)).unwrap();
    }
    fs::hard_link(tree.join("file-640"), tree.join("other")).unwrap();
    fs::hard_link(tree.join("folder-755/file"), tree.join("folder-755/other")).unwrap();
    // `cap_net_raw=ep`, which `setcap` writes: BuildKit leaves out extended attributes of a context.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (name, value) in [("user.note", &b"words"[..]), ("security.capability", &capability)] {
        // Not every file system has them, and `security.` is root's.
        if let Err(error) = setxattr(tree.join("file-711"), name, value, XattrFlags::empty()) {
            println!("without `{name}`: {error}");
        }
    }
}

/// The names of extended attributes in the record before an entry.
fn attributes(entry: &mut tar::Entry<'_, &[u8]>) -> Vec<String> {
    let Ok(Some(records)) = entry.pax_extensions() else { return Vec::new() };
    let keys = records.filter_map(|record| record.ok()?.key().ok().map(str::to_owned));
    keys.filter_map(|key| key.strip_prefix("SCHILY.xattr.").map(str::to_owned)).collect()
}

/// A line for each entry below `tree` of an image: kind, mode, owner, target, content and extended attributes.
fn listing(image: &str) -> Vec<String> {
    let container = docker(&["create", image, "none"]);
    let container = container.trim();
    let output = Command::new("docker").args(["export", container]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    docker(&["rm", container]);
    let mut archive = tar::Archive::new(&*output.stdout);
    let line = |mut entry: tar::Entry<'_, &[u8]>| {
        let path = entry.path_bytes().escape_ascii().to_string();
        let path = path.trim_end_matches('/').strip_prefix("tree/")?.to_owned();
        let attributes = attributes(&mut entry);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let target = entry.link_name_bytes().unwrap_or_default().escape_ascii().to_string();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap() & 0o7777);
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let content = Digest::of(&content);
        let content = content.short();
        Some(format!("{path} {kind:?} {mode:o} {owner:?} {target} {content} {attributes:?}"))
    };
    let mut lines: Vec<_> =
        archive.entries().unwrap().filter_map(|entry| line(entry.unwrap())).collect();
    lines.sort();
    lines
}

/// Has the engine build a folder that GNU tar packs, as `docker build - <context.tar` does.
fn build_by_hand(bench: &Bench, dockerfile: &str, name: &str) {
    let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
    let stream = host.strip_prefix("unix://").map(UnixStream::connect);
    let Some(Ok(mut stream)) = stream else {
        missing("no engine answers at a socket");
    };
    fs::write(bench.folder().join("Dockerfile"), dockerfile).unwrap();
    let buildkit = bench.info.capabilities.has(Capability::BuildKit);
    // Docker's client sends the attribute to engines without BuildKit, and nothing of it to BuildKit.
    let attributes: &[&str] = if buildkit {
        &["--format=gnu"]
    } else {
        &["--format=posix", "--xattrs", "--xattrs-include=security.capability"]
    };
    let tar = Command::new("tar")
        .args(["--create", "--sort=name", "--owner=0", "--group=0"])
        .args(attributes)
        .arg("--directory")
        .arg(bench.folder())
        .arg(".")
        .output()
        .unwrap();
    assert!(tar.status.success(), "{tar:?}");
    let version = if buildkit { "2" } else { "1" };
    let head = format!(
        "POST /build?version={version}&t={name}&rm=1&forcerm=1 HTTP/1.0\r\nHost: docker\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        tar.stdout.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&tar.stdout)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK") && !answer.contains("\"error\""), "{answer}");
}

#[tokio::test]
async fn a_tree_arrives_as_any_client_of_the_engine_sends_it() {
    let bench = Bench::new("contexts").await;
    plant(&bench.folder().join("tree"));
    let request = bench.request(LINES);
    let dockerfile = request.dockerfile.replace("LABEL", "LABEL by=hand");
    let ours = bench.docker.build(request, |_| ()).await.unwrap().id;
    bench.docker.tag(&ours, &bench.tagged("ours")).await.unwrap();
    let theirs = bench.tagged("theirs").to_string();
    build_by_hand(&bench, &dockerfile, &theirs);
    let listed = listing(&bench.tagged("ours").to_string());
    assert_eq!(listed, listing(&theirs));
    assert!(
        listed.iter().any(|line| line.starts_with("file-400 Regular 400 (0, 0)")),
        "{listed:?}"
    );
    assert!(listed.iter().any(|line| line.starts_with("hollow Directory 700 ")), "{listed:?}");
    let buildkit = bench.info.capabilities.has(Capability::BuildKit);
    let is_bare = |line: &&String| buildkit || !line.starts_with("file-711");
    let bare = listed.iter().filter(is_bare).all(|line| line.ends_with(" []"));
    assert!(bare, "extended attributes: {listed:?}");
    bench.clean().await;
}
