//! `.dockerignore` against docker itself: the same random folders with the same random patterns, once
//! through `docker build` of `COPY . /` and once through our walk, must give the same files.
//!
//! The oracle is the classic builder's client, which every docker CLI carries (BuildKit's is a plugin of
//! its own). The two use the same matcher, and differ only in which ignored folders they look into:
//! classic only into those that an exception spells out. So where an exception has wildcards, the
//! oracle's file also spells out, for each folder, an exception for a file that does not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use rebuild::fingerprint::{
    context::{Context, EntryKind},
    ignore::Ignore,
};

use crate::support::missing;

/// Cases of one run, unless `DOCKERIGNORE_CASES` says another number, from `DOCKERIGNORE_SEED` on.
const CASES: u64 = 24;

#[test]
fn the_same_files_as_docker_build() {
    if !engine_answers() {
        missing("no engine answers");
    }
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("DOCKERIGNORE_SEED").unwrap_or(1);
    let end = first + number("DOCKERIGNORE_CASES").unwrap_or(CASES);
    let next = AtomicU64::new(first);
    let failures: Vec<String> = thread::scope(|scope| {
        let work = || {
            let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            seeds.take_while(|seed| *seed < end).filter_map(compare).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {}\n{}", failures.len(), end - first, failures.join("\n"));
}

fn engine_answers() -> bool {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says how one case differs, if it does.
fn compare(seed: u64) -> Option<String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let dir = tempfile::tempdir().unwrap();
    let folders = make_tree(&mut random, dir.path());
    let ignore = make_ignore(&mut random);
    let file = dir.path().join(".dockerignore");
    fs::write(&file, &ignore).unwrap();

    let ours = ours(dir.path());
    if Ignore::parse(ignore.as_bytes()).is_ok() && has_wild_exception(&ignore) {
        let spelled = folders.iter().map(|folder| format!("!{folder}/no-such-file\n"));
        fs::write(&file, format!("{ignore}\n{}", spelled.collect::<Vec<_>>().concat())).unwrap();
    }
    let theirs = theirs(dir.path(), seed);
    (ours != theirs).then(|| {
        let lines = |files: &Result<BTreeSet<String>, String>| match files {
            Ok(files) => {
                files.iter().map(|file| format!("    {file}\n")).collect::<Vec<_>>().concat()
            }
            Err(error) => format!("    error: {error}\n"),
        };
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        format!("seed {seed}, .dockerignore {ignore:?}\n  ours:\n{ours}  docker's:\n{theirs}")
    })
}

/// Refused is refused: of errors, only that there is one is compared.
const REFUSED: &str = "refused";

fn ours(root: &Path) -> Result<BTreeSet<String>, String> {
    let context = Context::open(root, Path::new("Dockerfile")).map_err(|_| REFUSED.to_owned())?;
    let entries = context.entries().map_err(|error| error.to_string())?;
    Ok(entries
        .iter()
        .map(|entry| match &entry.kind {
            EntryKind::File { .. } => line('f', &entry.path, None),
            EntryKind::Folder => line('d', &entry.path, None),
            EntryKind::Link { target } => line('l', &entry.path, Some(target)),
        })
        .collect())
}

fn line(kind: char, path: &Path, target: Option<&Path>) -> String {
    let shown = |path: &Path| path.as_os_str().as_bytes().escape_ascii().to_string();
    let target = target.map_or(String::new(), |target| format!(" -> {}", shown(target)));
    format!("{kind} {}{target}", shown(path))
}

/// What `docker build` of the folder makes of it: the files in the image's layers.
fn theirs(root: &Path, seed: u64) -> Result<BTreeSet<String>, String> {
    let label = format!("rebuild.test.dockerignore={seed}");
    let root = root.to_str().unwrap();
    let built = docker(&["build", "-q", "--no-cache", "--force-rm", "--label", &label, root]);
    let image = built.map_err(|error| {
        if error.contains("syntax error in pattern") || error.contains("illegal exclusion pattern")
        {
            REFUSED.to_owned()
        } else {
            error
        }
    })?;
    let image = Image(String::from_utf8(image).unwrap().trim().to_owned());
    let saved = match docker(&["save", &image.0]) {
        Ok(tar) => contents(&tar),
        // The engine's words for an image without a layer: everything was ignored.
        Err(error) if error.contains("empty export") => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let manifest: serde_json::Value = serde_json::from_slice(&saved["manifest.json"]).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    let mut files = BTreeSet::new();
    for layer in layers {
        for entry in tar::Archive::new(&saved[layer.as_str().unwrap()][..]).entries().unwrap() {
            let entry = entry.unwrap();
            let (path, target) = (entry.path().unwrap(), entry.link_name().unwrap());
            let path = path.components().as_path();
            files.insert(match entry.header().entry_type() {
                tar::EntryType::Directory => line('d', path, None),
                tar::EntryType::Symlink => line('l', path, target.as_deref()),
                _ => line('f', path, None),
            });
        }
    }
    Ok(files)
}

/// The files of a tar, by name.
fn contents(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        contents.insert(entry.path().unwrap().to_str().unwrap().to_owned(), content);
    }
    contents
}

/// Removed at the end, also when a check between fails.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rmi", "-f", &self.0]) {
            _ = writeln!(io::stderr(), "docker rmi {}: {error}", self.0);
        }
    }
}

fn docker(args: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("docker").args(args).env("DOCKER_BUILDKIT", "0").output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Makes files, folders and links, and returns every folder's path.
fn make_tree(random: &mut Random, root: &Path) -> Vec<String> {
    const FOLDERS: [&str; 7] = ["a", "b", "ab", ".h", "x.md", "a b", "é"];
    const FILES: [&str; 13] = [
        "a",
        "b",
        "c",
        "x.md",
        "y.go",
        ".h",
        "a b",
        "é",
        "[z]",
        "s*r",
        "q?",
        "ba\\ck",
        "new\nline",
    ];
    let mut folders = BTreeSet::new();
    for _ in 0..8 + random.below(10) {
        let mut path = String::new();
        for _ in 0..random.below(4) {
            path.push_str(random.of(&FOLDERS));
            path.push('/');
            // A file may have the name already; then so it be.
            if fs::create_dir(root.join(&path)).is_ok() {
                folders.insert(path.trim_end_matches('/').to_owned());
            }
        }
        if !root.join(&path).is_dir() || random.below(8) == 0 {
            continue;
        }
        path.push_str(random.of(&FILES));
        // The tar crate, which reads the oracle's answer, takes the two together for two records.
        let unreadable = path.contains('\n') && !path.is_ascii();
        let path = root.join(path);
        if path.symlink_metadata().is_err() && !unreadable {
            match random.below(8) {
                0 => symlink(random.of(&["a", "../../x", "/b/c"]), path).unwrap(),
                _ => fs::write(path, "text").unwrap(),
            }
        }
    }
    fs::write(root.join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    folders.into_iter().collect()
}

fn make_ignore(random: &mut Random) -> String {
    const PARTS: [&str; 34] = [
        "a",
        "a",
        "a",
        "b",
        "b",
        "ab",
        ".h",
        "x.md",
        "a b",
        "é",
        "c",
        "*",
        "*",
        "**",
        "**",
        "?",
        "*.md",
        "*.*",
        ".*",
        "a*",
        "*b",
        "[a-b]",
        "[^a]",
        "[a*]",
        "a?",
        "**b",
        "a**",
        "\\a",
        "\\*",
        "s\\*r",
        "[[]z]",
        "Dockerfile",
        ".dockerignore",
        "..",
    ];
    let newline = if random.below(6) == 0 { "\r\n" } else { "\n" };
    let mut text = String::new();
    if random.below(10) == 0 {
        text.push('\u{feff}');
    }
    for i in 0..=random.below(6) {
        if random.below(12) == 0 {
            text.push_str(random.of(&["# comment", " # x", "", "  ", "a[", "!", "/", ".", "*"]));
            text.push_str(newline);
        }
        if i > 0 && random.below(5) < 2 {
            text.push('!');
        }
        text.push_str(random.of(&["", "", "", "", "/", "./", " ", "a/../"]));
        for part in 0..=random.below(3) {
            text.push_str(if part > 0 { "/" } else { "" });
            text.push_str(random.of(&PARTS));
        }
        text.push_str(random.of(&["", "", "", "", "/", "  ", "/."]));
        text.push_str(newline);
    }
    text
}

/// Coarser than fsutil's rule, which does no harm: what is spelled out then does not exist either.
fn has_wild_exception(ignore: &str) -> bool {
    ignore.lines().any(|line| line.trim_start_matches([' ', '\u{feff}']).starts_with('!'))
        && ignore.lines().any(|line| line.contains(['?', '[', '\\', '^', '*']))
}

/// Xorshift: enough for tests, and the same cases everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        for shift in [13, -7, 17_i32] {
            let shifted = if shift > 0 { self.0 << shift } else { self.0 >> -shift };
            self.0 ^= shifted;
        }
        usize::try_from((self.0 >> 16) % end as u64).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}
