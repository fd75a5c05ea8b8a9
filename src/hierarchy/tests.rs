use std::{fmt::Write as _, fs, path::Path, time::Instant};

use tempfile::TempDir;

use super::*;
use crate::diagnostic::{self, Rendering};

/// A folder with these files: `path` on a line of its own after `==`, then its text.
fn folder(files: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.split("== ").skip(1) {
        let (path, text) = file.split_once('\n').unwrap();
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn load(folder: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let platform = options.platform.clone().or_else(|| "linux/amd64".parse().ok());
    let options = LoadOptions { platform, ..options.clone() };
    Hierarchy::load(&folder.join("hierarchy.yaml"), &options)
}

fn told(folder: &Path, problems: &[crate::diagnostic::Diagnostic]) -> String {
    diagnostic::render(problems, Rendering { colour: false, current_dir: folder })
}

/// What a person sees.
fn problems(files: &str) -> String {
    let folder = folder(files);
    match load(folder.path(), &LoadOptions::default()) {
        Ok(loaded) => told(folder.path(), &loaded.warnings),
        Err(error) => told(folder.path(), &error.problems),
    }
}

#[test]
fn show() {
    for files in [
        "== hierarchy.yaml\nversion: 2\nregistr: x\nimages:\n  a:\n    contxt: x\n    max_size: 12 parsecs\n    test:\n      - run: test -x \"/bin/sh\"\n      - healthy: soon\n      - network: yes\n        run: [x]\n  b: {tags: [\"{day}\", -x, 12, 12], on_failure: ignore}\n  B: {}\n  a: {}\n",
        "== hierarchy.yaml\nversion: 1\nimages:\n  a: {}\n  b:\n  c: { parents: [bb], context: b}\n  d: {context: nope}\n== images/a/Dockerfile\nFROM b\nCOPY --from=$X / /\nFROM $Y AS y # no\n== b/Dockerfile\nFROM debian\n",
        "== hierarchy.yaml\nversion: 1\nimages:\n  a: {}\n  b: {}\n  c: {}\n== a/Dockerfile\nFROM b\n== b/Dockerfile\nFROM scratch\nCOPY --from=c / /\n== c/Dockerfile\nARG X=a\nFROM ${X}\n",
        "== hierarchy.yaml\nversion: 1\n---\nversion: 1\n",
        "== hierarchy.yaml\nversion: 1\nimages: [\n",
        "== hierarchy.yaml\nversion: 1\nimages:\n\ta: {}\n",
        "== hierarchy.yaml\n",
        "== hierarchy.yaml\nversion: 1\nregistry: r.io/base\nimages:\n  a:\n    tags: [\"12\", \"12-{date}\"]\n  b: {parents: [a]}\n== a/Dockerfile\nFROM scratch\n== b/Dockerfile\nFROM r.io/base/a:13\n",
    ] {
        println!("{}\n--------", problems(files));
    }
}
