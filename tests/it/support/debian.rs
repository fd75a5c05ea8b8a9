//! A real Debian to build images from, made once and kept with what cargo builds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::missing;

/// The archive of a minimal Debian 12. It takes root, debootstrap and a mirror.
pub(crate) fn rootfs() -> &'static Path {
    static ROOTFS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let rootfs = ROOTFS.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-12.tar");
        if !kept.exists() {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let script =
                concat!(env!("CARGO_MANIFEST_DIR"), "/examples/debian/os-base/make-rootfs.sh");
            let made = Command::new("sh")
                .args([script, "bookworm"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            if !made.status.success() {
                println!("{}", String::from_utf8_lossy(&made.stderr));
                return None;
            }
            // Whole or not at all, whoever else makes one.
            fs::rename(folder.path().join("rootfs.tar"), &kept).unwrap();
        }
        Some(kept)
    });
    rootfs.as_deref().unwrap_or_else(|| missing("no Debian can be made"))
}
