//! `packaging`: the script behind the GitHub Action, and the hierarchy of the program's own image.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A release `v1` for this machine whose program prints a line.
fn release(folder: &Path) {
    let system = if cfg!(target_os = "macos") { "apple-darwin" } else { "unknown-linux-gnu" };
    let archive = format!("rebuild-{}-{system}.tar.gz", std::env::consts::ARCH);
    let script = format!(
        "mkdir v1 && printf '#!/bin/sh\\necho rebuild 1\\n' >rebuild && chmod +x rebuild && \
         tar -czf v1/{archive} rebuild && cd v1 && sha256sum {archive} >{archive}.sha256"
    );
    assert!(
        Command::new("sh").args(["-c", &script]).current_dir(folder).status().unwrap().success()
    );
}

fn install(folder: &Path, sha256: &str) -> Output {
    Command::new(Path::new(ROOT).join("packaging/install"))
        .args(["v1", folder.join("bin").to_str().unwrap()])
        .env("REBUILD_RELEASES", format!("file://{}", folder.display()))
        .env("REBUILD_SHA256", sha256)
        .output()
        .unwrap()
}

#[test]
fn a_release_is_installed_if_its_checksum_is_right() {
    let folder = tempfile::tempdir().unwrap();
    release(folder.path());
    let refused = install(folder.path(), &"0".repeat(64));
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("does not have the expected checksum"), "{error}");
    assert!(!folder.path().join("bin").exists());

    // That of the release.
    let installed = install(folder.path(), "");
    assert_eq!(String::from_utf8(installed.stdout).unwrap(), "rebuild 1\n");
    assert!(fs::metadata(folder.path().join("bin/rebuild")).unwrap().is_file());
}

/// The release workflow runs `rebuild` with this file, and nothing else does.
#[test]
fn the_hierarchy_of_the_program_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["hierarchy.yaml", "image/Dockerfile"] {
        let to = folder.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(ROOT).join("packaging").join(file), to).unwrap();
    }
    fs::create_dir(folder.path().join("image/bin")).unwrap();
    fs::write(folder.path().join("image/bin/rebuild"), "").unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_rebuild"))
        .args(["check", "--fail-on", "note", "-f"])
        .arg(folder.path().join("hierarchy.yaml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
