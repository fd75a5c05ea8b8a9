//! The metadata of a file, which changes with every write.

use std::{path::Path, time::Duration};

use rustix::fs::{Mode, Stat};

use super::walk::FOLDER;

/// How old the last write must be before a stamp is trusted. Of two writes within one tick of a file system's
/// clock (2 s on FAT, the coarsest), the second leaves no trace in a stamp. Git calls such an entry of its
/// index "racy", and does not trust it either.
const SETTLED_AFTER: i64 = 2;

/// Local file systems, by their numbers in Linux's `linux/magic.h`. On any other, such as NFS or FUSE,
/// another machine may write, and metadata may be a minute old.
const LOCAL: [i128; 11] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs, which is what a container has
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
];

/// The numbers are wide enough for every system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: i128,
    inode: i128,
    size: i128,
    modified: (i64, i128),
    /// No program can set this time, so restoring the mtime after a change does not hide it.
    changed: (i64, i128),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: i128::from(stat.st_dev),
            inode: i128::from(stat.st_ino),
            size: i128::from(stat.st_size),
            modified: (stat.st_mtime, i128::from(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, i128::from(stat.st_ctime_nsec)),
        }
    }

    /// The device of a folder, if its stamps can be trusted.
    pub(super) fn trusted_device(folder: &Path) -> Option<i128> {
        let fd = rustix::fs::open(folder, FOLDER, Mode::empty()).ok()?;
        let kind = i128::from(rustix::fs::fstatfs(&fd).ok()?.f_type);
        // 32 bits, which some systems sign-extend.
        let is_local = cfg!(target_os = "linux") && LOCAL.contains(&(kind & 0xffff_ffff));
        is_local.then(|| rustix::fs::fstat(&fd).ok().map(|stat| i128::from(stat.st_dev)))?
    }

    /// File systems that are mounted within the folder are not trusted.
    pub(super) fn is_on(&self, device: i128) -> bool {
        self.device == device
    }

    /// Whether the file was not written in between. Ignores the ctime: a hard link of a backup or of git
    /// changes it, but not the content.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        *self == Self { changed: self.changed, ..other.clone() }
    }

    /// Whether a write after this time (since 1970) will change the stamp.
    pub(super) fn is_settled_at(&self, now: Duration) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let last = self.modified.0.max(self.changed.0);
        last < now.saturating_sub(SETTLED_AFTER)
    }

    /// All fields, each number with a fixed width.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let wide = [self.device, self.inode, self.size, self.modified.1, self.changed.1];
        let times = [self.modified.0, self.changed.0].map(i64::to_be_bytes);
        wide.iter().flat_map(|n| n.to_be_bytes()).chain(times.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written_elsewhere_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let device = Stamp::trusted_device(folder.path()).expect("a temporary folder is local");
        let stamp = |path: &Path| Stamp::of(&rustix::fs::stat(path).unwrap());
        assert!(stamp(folder.path()).is_on(device));
        // No file system that keeps anything, and one that is mounted somewhere in `/`.
        assert_eq!(Stamp::trusted_device(Path::new("/proc")), None);
        assert!(!stamp(Path::new("/proc")).is_on(device));
    }
}
