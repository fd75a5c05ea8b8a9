//! How much room an engine on this machine has for images.

use std::path::Path;

use crate::host;

/// The bytes that are free where the engine keeps its images; `None` if that is not for us to know.
///
/// A socket may lead into another machine or a container, where the path of the same name here has
/// nothing to do with it: the engine must call this machine by the name that it has.
pub(super) fn room(machine: &str, root: &Path) -> Option<u64> {
    if host::name()? != machine || !root.is_absolute() {
        return None;
    }
    let disk = rustix::fs::statvfs(root).ok()?;
    // File systems that keep nothing, such as /proc, have no blocks at all.
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_of_this_machine() {
        let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(room(here.trim(), folder.path()).unwrap() > 0);
        assert_eq!(room("elsewhere", folder.path()), None);
        assert_eq!(room(here.trim(), Path::new("")), None);
        assert_eq!(room(here.trim(), &folder.path().join("missing")), None);
        assert_eq!(room(here.trim(), Path::new("/proc")), None);
    }
}
