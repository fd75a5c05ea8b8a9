//! Disks that are soon full, or broken.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Unmounted when it is dropped.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Of so many bytes. `None`, and a line that says so, for those who may not mount one: that takes
    /// root, which a contributor should not need.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(folder.path())
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("skipped: a small disk cannot be mounted");
            return None;
        }
        Some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

/// Takes files, and fails with EIO as soon as something is to be on the disk for good. Unmounted when it
/// is dropped.
pub(crate) struct BrokenDisk {
    folder: TempDir,
}

impl BrokenDisk {
    /// A real file system on a device that ends too early: what is written anew would lie beyond. `None`,
    /// and a line that says so, for those who may not mount one.
    pub(crate) fn new() -> Option<Self> {
        const WHOLE: u64 = 8 << 20;
        const CUT: u64 = 2 << 20;
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        let image = disk.folder.path().join("image");
        let shown = image.display().to_string();
        File::create(&image).unwrap().set_len(WHOLE).unwrap();
        fs::create_dir(disk.path()).unwrap();
        let mount = disk.path().display().to_string();
        let made = succeeds("mkfs.ext2", &["-q", "-F", "-b", "1024", &shown])
            && succeeds("mount", &["-o", "loop", &shown, &mount]);
        if !made {
            println!("skipped: a disk that breaks cannot be mounted");
            return None;
        }
        // Everything before the cut is in use.
        fs::write(disk.path().join("full"), vec![0; usize::try_from(CUT).unwrap()]).unwrap();
        assert!(succeeds("sync", &["-f", &mount]));
        File::options().write(true).open(&image).unwrap().set_len(CUT).unwrap();
        let devices = Command::new("losetup").args(["-n", "-O", "NAME", "-j", &shown]).output();
        let device = String::from_utf8(devices.unwrap().stdout).unwrap();
        assert!(succeeds("losetup", &["-c", device.trim()]), "{device}");
        Some(disk)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(self.path()).output();
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    // Where ordinary users do not look.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    output.is_ok_and(|output| output.status.success())
}
