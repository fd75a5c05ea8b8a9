//! Puts the commit and the target into the program, for `rebuild --version`.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=REBUILD_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=REBUILD_TARGET={target}");
    // A debug build has no commit: it would be compiled again after each one.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = env::var("REBUILD_COMMIT").ok().or_else(|| is_release.then(commit).flatten());
    println!("cargo::rustc-env=REBUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// Of the checkout; with `-dirty` if tracked files differ from it.
fn commit() -> Option<String> {
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
