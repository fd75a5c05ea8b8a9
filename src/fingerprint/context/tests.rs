use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
};

use tempfile::TempDir;

use super::*;

/// A folder with these files. A name ending in `/` is a folder, `a -> b` is a link, `fifo:a` is one.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let (name, target) = name.split_once(" -> ").map_or((*name, None), |(n, t)| (n, Some(t)));
        let path = dir.path().join(name.trim_start_matches("fifo:"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = target {
            symlink(target, path).unwrap();
        } else if name.starts_with("fifo:") {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        } else if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
    dir
}

/// What a test does to a folder.
type Change<'a, Folder> = &'a dyn Fn(&Folder);

fn open(dir: &TempDir) -> Context {
    Context::open(dir.path(), Path::new("Dockerfile")).unwrap()
}

/// The entries, one a line.
fn listed(context: &Context) -> String {
    let mut text = String::new();
    for ContextEntry { path, kind, mode, extras } in context.entries().unwrap() {
        let link =
            extras.hard_link.map_or(String::new(), |first| format!(" = {}", first.display()));
        _ = match kind {
            EntryKind::File { size } => writeln!(text, "{mode:o} {} {size}{link}", path.display()),
            EntryKind::Folder => writeln!(text, "{mode:o} {}/", path.display()),
            EntryKind::Link { target } => {
                writeln!(text, "{mode:o} {} -> {}", path.display(), target.display())
            }
        };
    }
    text
}

fn chmod(dir: &TempDir, name: &str, mode: u32) {
    fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn entries_in_order_of_bytes_and_links_not_followed() {
    let dir = folder(&[
        ("b", "bb"),
        ("a/x", "x"),
        ("a-b", ""),
        ("empty/", ""),
        ("out -> /etc", ""),
        ("up -> ../../..//x/", ""),
        ("a/dangling -> nowhere", ""),
        ("new\nline", "1"),
    ]);
    assert_eq!(
        listed(&open(&dir)),
        "755 a/\n644 a-b 0\n777 a/dangling -> nowhere\n644 a/x 1\n644 b 2\n755 empty/\n\
         644 new\nline 1\n777 out -> /etc\n777 up -> ../../..//x/\n"
    );
}

/// Folders that are ignored but hold something that is not are sent, as docker's client does.
#[test]
fn ignored_folders_around_exceptions() {
    let files = [("a/b/c.md", ""), ("a/b/d", ""), ("a/e/f", ""), ("g.md", ""), ("h/i.md", "")];
    for (ignore, expected) in [
        ("*\n!a/b/c.md", "755 a/\n755 a/b/\n644 a/b/c.md 0\n"),
        ("*\n!**/*.md", "755 a/\n755 a/b/\n644 a/b/c.md 0\n644 g.md 0\n755 h/\n644 h/i.md 0\n"),
        ("*\n!a/e", "755 a/\n755 a/e/\n644 a/e/f 0\n"),
        ("*\n!a/none", ""),
        ("**/b\n*.md\n.docker*", "755 a/\n755 a/e/\n644 a/e/f 0\n755 h/\n644 h/i.md 0\n"),
    ] {
        let dir = folder(&files);
        fs::write(dir.path().join(".dockerignore"), ignore).unwrap();
        assert_eq!(listed(&open(&dir)), expected, "{ignore}");
    }
}

#[test]
fn which_ignore_file() {
    let all = [("Dockerfile.dockerignore", "a"), (".dockerignore", "b"), ("a", ""), ("b", "")];
    for (files, dockerfile, expected) in [
        (&all[..], "Dockerfile", ".dockerignore Dockerfile.dockerignore b"),
        (&all[..], "sub/Dockerfile", ".dockerignore Dockerfile.dockerignore a"),
        (&all[1..], "Dockerfile", ".dockerignore a"),
        (&all[2..], "Dockerfile", "a b"),
        (&[("x/D.dockerignore", "**"), ("a", "")], "x/D", ""),
        (&[("a", "")], "a/Dockerfile", "a"),
    ] {
        let dir = folder(files);
        let context = Context::open(dir.path(), Path::new(dockerfile)).unwrap();
        let names = context.entries().unwrap();
        let names: Vec<_> = names.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(names.join(" "), expected, "{dockerfile}");
    }
}

#[test]
fn problems_name_the_file() {
    for (files, expected) in [
        (
            &[("fifo:a/pipe", "")][..],
            "`a/pipe` of the build context is a fifo; docker takes files, folders and symbolic \
             links\nhint: name it in `.dockerignore`",
        ),
        (&[("fifo:a/pipe", ""), (".dockerignore", "**/pipe")][..], ""),
        (
            &[(".dockerignore", "a\n[")][..],
            "`DIR/.dockerignore`, line 2: `[` is not a pattern: a `[` needs its `]`",
        ),
        (
            &[(".dockerignore -> /etc/passwd", "")][..],
            "`DIR/.dockerignore` is a link that leads out of the build context",
        ),
        (&[(".dockerignore -> ign", ""), ("ign", "*")][..], ""),
        (
            &[(".dockerignore/x", "")][..],
            "cannot read `DIR/.dockerignore` of the build context: it is a folder, not a file",
        ),
    ] {
        let dir = folder(files);
        let result =
            Context::open(dir.path(), Path::new("Dockerfile")).and_then(|context| context.digest());
        let text = match &result {
            Ok(_) => String::new(),
            Err(error @ ContextError::Io { source, .. }) => format!("{error}: {source}"),
            Err(error) => error.to_string(),
        };
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(text.replace(root.to_str().unwrap(), "DIR"), expected);
    }
}

#[test]
fn the_root_must_be_a_folder() {
    let dir = folder(&[("a", "")]);
    for name in ["a", "none"] {
        assert!(Context::open(&dir.path().join(name), Path::new("Dockerfile")).is_err(), "{name}");
    }
}

fn mode(dir: &TempDir, name: &str) -> u32 {
    let entries = open(dir).entries().unwrap();
    entries.iter().find(|entry| entry.path == Path::new(name)).unwrap().mode
}

#[test]
fn files_outside_git_have_their_own_modes() {
    let dir = folder(&[("f", ""), ("d/", "")]);
    for (name, mode_given) in [
        ("f", 0o644),
        ("f", 0o400),
        ("f", 0o664),
        ("f", 0o4711),
        ("f", 0o2755),
        ("d", 0o755),
        ("d", 0o700),
        ("d", 0o2775),
        ("d", 0o1777),
    ] {
        chmod(&dir, name, mode_given);
        assert_eq!(mode(&dir, name), mode_given, "{name} {mode_given:o}");
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"];
    let more = ["-c", "protocol.file.allow=always", "-c", "commit.gpgSign=false"];
    let mut command = std::process::Command::new("git");
    command.args(identity).args(more).args(arguments).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tracked_files_have_the_modes_that_git_keeps() {
    let dir = folder(&[("f", ""), ("d/f", ""), ("d-", ""), ("new", ""), ("empty/", "")]);
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "f", "d/f", "d-"]);
    for (name, given, expected) in [
        ("f", 0o600, 0o644),
        ("f", 0o664, 0o644),
        ("f", 0o655, 0o644),
        ("f", 0o700, 0o755),
        // Set after the checkout, and so not by a umask.
        ("f", 0o4711, 0o4711),
        ("f", 0o2755, 0o2755),
        ("d/f", 0o640, 0o644),
        ("d", 0o700, 0o755),
        ("d", 0o2775, 0o755),
        ("d", 0o1777, 0o1777),
        ("new", 0o400, 0o400),
        ("empty", 0o700, 0o700),
    ] {
        chmod(&dir, name, given);
        assert_eq!(mode(&dir, name), expected, "{name} {given:o}");
    }
    chmod(&dir, "new", 0o600);
    git(dir.path(), &["add", "new"]);
    assert_eq!(mode(&dir, "new"), 0o644, "the index is read again");
}

#[test]
fn hard_links_stay_between_files_that_git_does_not_track() {
    let dir = folder(&[("a", "1"), ("t", "1")]);
    let hard_link = |from: &str, to: &str| {
        fs::hard_link(dir.path().join(from), dir.path().join(to)).unwrap();
    };
    for name in ["b", "c"] {
        hard_link("a", name);
    }
    hard_link("t", "u");
    let without = "644 a 1\n644 b 1 = a\n644 c 1 = a\n644 t 1\n644 u 1 = t\n";
    assert_eq!(listed(&open(&dir)), without);
    let linked = open(&dir).digest().unwrap();
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "a", "t", "u"]);
    fs::write(dir.path().join(".dockerignore"), ".git\n.dockerignore\n").unwrap();
    let tracked = "644 a 1\n644 b 1\n644 c 1 = b\n644 t 1\n644 u 1\n";
    assert_eq!(listed(&open(&dir)), tracked);
    assert_ne!(open(&dir).digest().unwrap(), linked);
}

#[test]
fn a_file_system_without_modes_has_the_index_decide() {
    let dir = folder(&[("f", ""), ("program", "")]);
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "."]);
    git(dir.path(), &["update-index", "--chmod=+x", "program"]);
    let modes = || [mode(&dir, "f"), mode(&dir, "program")];
    for name in ["f", "program"] {
        chmod(&dir, name, 0o777);
    }
    assert_eq!(modes(), [0o755, 0o755], "as `git diff` shows it");
    git(dir.path(), &["config", "core.fileMode", "false"]);
    // Git's answer is kept as long as the index.
    git(dir.path(), &["add", "--renormalize", "."]);
    git(dir.path(), &["update-index", "--force-remove", "f"]);
    git(dir.path(), &["update-index", "--add", "--chmod=-x", "f"]);
    assert_eq!(modes(), [0o644, 0o755]);
}

#[test]
fn contexts_within_a_repository_and_its_submodules() {
    let inner = folder(&[("f", "")]);
    git(inner.path(), &["init", "-q"]);
    git(inner.path(), &["add", "."]);
    git(inner.path(), &["commit", "-qm", "first"]);
    let dir = folder(&[("a/images/x/f", ""), ("a/images/x/own", "")]);
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "a/images/x/f"]);
    let url = inner.path().to_str().unwrap();
    git(dir.path(), &["submodule", "--quiet", "add", url, "a/images/x/sub"]);
    let context = dir.path().join("a/images/x");
    for name in ["f", "own", "sub/f"] {
        fs::set_permissions(context.join(name), fs::Permissions::from_mode(0o660)).unwrap();
    }
    fs::write(context.join("sub/own"), "").unwrap();
    for (name, given) in [("sub/own", 0o600), ("sub", 0o700)] {
        fs::set_permissions(context.join(name), fs::Permissions::from_mode(given)).unwrap();
    }
    let modes = |folder: &Path| {
        let entries = Context::open(folder, Path::new("Dockerfile")).unwrap().entries().unwrap();
        let shown = entries.iter().filter(|entry| !entry.path.starts_with("sub/.git"));
        let shown = shown.map(|entry| format!("{} {:o}", entry.path.display(), entry.mode));
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(modes(&context), "f 644, own 660, sub 755, sub/f 644, sub/own 600");
    assert_eq!(modes(&context.join("sub")).replace(".git 644, ", ""), "f 644, own 600");
}

/// The digest is the same on every machine, and says of every change that it is one.
#[test]
fn the_digest() {
    let files =
        [("a", "1"), ("b/c", "2"), ("l -> a", ""), (".dockerignore", "x"), ("x", "ignored")];
    let digest = |change: &dyn Fn(&TempDir)| {
        let dir = folder(&files);
        change(&dir);
        open(&dir).digest().unwrap()
    };
    let same = digest(&|_| {});
    // It is stored in registries: a new encoding must be on purpose.
    assert_eq!(
        same.as_str(),
        "sha256:baa52633eb737ce618d65df061e991c5ebd91972f0ecd4483967a3f7609fa3e1"
    );
    let path = |dir: &TempDir, name: &str| dir.path().join(name);
    let write = |name: &'static str, text: &'static str| {
        move |dir: &TempDir| fs::write(dir.path().join(name), text).unwrap()
    };
    assert_eq!(digest(&write("x", "ignored as well")), same);
    let old = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(
        digest(&|dir| {
            fs::File::options()
                .write(true)
                .open(path(dir, "a"))
                .unwrap()
                .set_modified(old)
                .unwrap();
        }),
        same
    );
    let changes: [(&str, Change<TempDir>); 9] = [
        ("content", &write("a", "2")),
        ("a name", &|dir| fs::rename(path(dir, "a"), path(dir, "A")).unwrap()),
        ("a new file", &write("n", "")),
        ("a new folder", &|dir| fs::create_dir(path(dir, "n")).unwrap()),
        ("one file less", &|dir| fs::remove_file(path(dir, "b/c")).unwrap()),
        ("executable", &|dir| chmod(dir, "a", 0o755)),
        ("who may read it", &|dir| chmod(dir, "a", 0o600)),
        ("where a link leads", &|dir| {
            fs::remove_file(path(dir, "l")).unwrap();
            symlink("b", path(dir, "l")).unwrap();
        }),
        ("a file instead of a link", &|dir| {
            fs::remove_file(path(dir, "l")).unwrap();
            fs::write(path(dir, "l"), "a").unwrap();
        }),
    ];
    let mut seen = vec![same];
    for (what, change) in changes {
        let digest = digest(change);
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    }
}

#[test]
fn the_manifest_has_the_digest_of_each_file() {
    let dir = folder(&[("a/b", "abc"), ("l -> a", "")]);
    let manifest = open(&dir).manifest(&HashCache::default()).unwrap();
    let mut text = String::new();
    for (entry, digest) in &manifest.entries {
        let digest = digest.as_ref().map_or("-", Digest::short);
        _ = writeln!(text, "{} {digest}", entry.path.display());
    }
    assert_eq!(text, "a -\na/b ba7816bf8f01\nl -\n");
}

#[test]
fn names_that_are_not_utf8() {
    let dir = folder(&[(".dockerignore", "a*")]);
    for name in [&b"a\xff"[..], b"b\xff\xfe"] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let manifest = open(&dir).manifest(&HashCache::default()).unwrap();
    let paths: Vec<_> = manifest.entries.iter().map(|(e, _)| e.path.as_os_str()).collect();
    assert_eq!(paths, [OsStr::new(".dockerignore"), OsStr::from_bytes(b"b\xff\xfe")]);
}

/// What happens between the walk and the last byte, to the file at `d/f`.
#[test]
fn a_change_while_it_is_read_is_noticed() {
    let rewrite = |dir: &Path, text: &str| fs::write(dir.join("d/f"), text).unwrap();
    let cases: [(&str, Change<Path>, Change<Path>, bool); 9] = [
        ("nothing", &|_| {}, &|_| {}, false),
        ("shorter before", &|d| rewrite(d, "1"), &|_| {}, true),
        ("longer while", &|_| {}, &|d| rewrite(d, "123456789"), true),
        ("shorter while", &|_| {}, &|d| rewrite(d, ""), true),
        (
            "as long while",
            &|_| {},
            &|d| {
                rewrite(d, "abcdef");
                let file = fs::File::options().write(true).open(d.join("d/f")).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            },
            true,
        ),
        ("gone", &|d| fs::remove_file(d.join("d/f")).unwrap(), &|_| {}, true),
        (
            "a link",
            &|d| {
                fs::remove_file(d.join("d/f")).unwrap();
                symlink("/etc/passwd", d.join("d/f")).unwrap();
            },
            &|_| {},
            true,
        ),
        (
            "below a link",
            &|d| {
                fs::rename(d.join("d"), d.join("e")).unwrap();
                symlink("e", d.join("d")).unwrap();
            },
            &|_| {},
            true,
        ),
        // Replacing a whole file leaves the open one unchanged.
        (
            "replaced while",
            &|_| {},
            &|d| {
                fs::write(d.join("n"), "other").unwrap();
                fs::rename(d.join("n"), d.join("d/f")).unwrap();
            },
            false,
        ),
    ];
    for (what, before, meanwhile, noticed) in cases {
        let dir = folder(&[("d/f", "123456")]);
        let context = open(&dir);
        let entry = context.entries().unwrap().pop().unwrap();
        before(dir.path());
        let result = context.read(&entry).and_then(|mut content| {
            let mut rest = [0; 2];
            content.read_exact(&mut rest).unwrap();
            meanwhile(dir.path());
            content
                .read_to_end(&mut Vec::new())
                .map_err(|error| ContextError::from_read(error, &entry.path))
        });
        let expected = if noticed { "`d/f` changed while it was read" } else { "" };
        assert_eq!(result.err().map_or(String::new(), |e| e.to_string()), expected, "{what}");
    }
}

#[test]
fn a_fifo_in_a_files_place_does_not_hang() {
    let dir = folder(&[("fifo:f", "")]);
    let entry = ContextEntry {
        path: "f".into(),
        kind: EntryKind::File { size: 0 },
        mode: 0o644,
        extras: EntryExtras::default(),
    };
    assert!(matches!(open(&dir).read(&entry), Err(ContextError::Changed { .. })));
}

#[test]
fn a_path_out_of_the_context_is_not_opened() {
    let dir = folder(&[("a", "")]);
    for path in ["../a", "/etc/passwd", "a/../../a"] {
        let kind = EntryKind::File { size: 0 };
        let entry =
            ContextEntry { path: path.into(), kind, mode: 0o644, extras: EntryExtras::default() };
        assert!(open(&dir).read(&entry).is_err(), "{path}");
    }
}
