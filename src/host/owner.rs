//! Whose a file is, and files that are for one user only: on a machine with several users, another
//! user's file is not an instruction.
//!
//! **Invariant:** what is made here is readable and writable for this user alone, and no link that
//! another user left in its place is followed.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::Path,
};

use rustix::fs::OFlags;

/// Whether a file or folder belongs to this user, or to root, who may do everything anyway. After
/// `sudo` also to the user who called it.
pub fn is_trusted(file: &Metadata) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let called_by = || std::env::var("SUDO_UID").ok()?.parse::<u32>().ok();
    file.uid() == uid || file.uid() == 0 || uid == 0 && called_by() == Some(file.uid())
}

/// Whether it belongs to this user.
pub fn is_ours(file: &Metadata) -> bool {
    file.uid() == user()
}

/// The number of this user.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a folder, and those above it that are missing, for this user alone.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// To open a file that only this user may read and write, and that is not a link.
pub fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Writes a file that others may read, beside its place and then into it: it is whole or as it was
/// before. It keeps the mode that it had. A link is refused and not replaced, since what it names may be a device. What is no regular
/// file, such as a pipe, is written to.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            return Err(io::Error::other("it is a link, which is not followed"));
        }
        Ok(found) if !found.is_file() => {
            let mut options = File::options();
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            return options.write(true).open(path)?.write_all(bytes);
        }
        Ok(found) => Some(found.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".rebuild-")
        // As any other file: the user's umask takes away what it takes away.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    if let Some(mode) = mode {
        file.as_file().set_permissions(mode)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Refuses a path below `folder` that passes a link.
pub fn check_no_links(folder: &Path, path: &Path) -> io::Result<()> {
    let mut at = folder.to_owned();
    for part in path.components() {
        at.push(part);
        if fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink()) {
            let link = at.strip_prefix(folder).unwrap_or(&at).display();
            return Err(io::Error::other(format!("`{link}` is a link, which is not followed")));
        }
    }
    Ok(())
}

/// Refuses a folder that is a link, that another user owns, or that others may read or write.
pub fn check_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let problem = if found.is_symlink() {
        "it is a link"
    } else if !found.is_dir() {
        "it is not a folder"
    } else if !is_ours(&found) {
        "it belongs to another user"
    } else if found.mode() & 0o077 != 0 {
        "other users may read or write it"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn private_folders_and_files_are_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
        make_folder(&at("a/b")).unwrap();
        private().write(true).create(true).truncate(false).open(at("a/file")).unwrap();
        assert_eq!([mode("a"), mode("a/b"), mode("a/file")], [0o700, 0o700, 0o600]);

        fs::write(at("victim"), "untouched").unwrap();
        symlink("victim", at("link")).unwrap();
        assert!(private().write(true).create(true).truncate(true).open(at("link")).is_err());
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
    }

    #[test]
    fn files_are_replaced_whole_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old"), "a long text that was there before").unwrap();
        fs::write(at("victim"), "untouched").unwrap();
        symlink("victim", at("link")).unwrap();
        symlink(folder.path(), at("folder")).unwrap();
        let reader = File::open(at("old")).unwrap();
        fs::set_permissions(at("old"), fs::Permissions::from_mode(0o640)).unwrap();
        replace(&at("old"), b"new").unwrap();
        assert_eq!(fs::metadata(at("old")).unwrap().mode() & 0o7777, 0o640);
        replace(&at("fresh"), b"new").unwrap();
        assert_eq!(
            [fs::read(at("old")).unwrap(), fs::read(at("fresh")).unwrap()],
            [b"new", b"new"]
        );
        // A reader of the old file is not surprised by half of the new one.
        assert_eq!(io::read_to_string(reader).unwrap(), "a long text that was there before");
        let refused = replace(&at("link"), b"new").unwrap_err().to_string();
        assert_eq!(refused, "it is a link, which is not followed");
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
        replace(Path::new("/dev/null"), b"new").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(replace(&at(""), b"new").is_err());
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 5, "nothing unfinished is left");

        let check = |path: &str| check_no_links(folder.path(), Path::new(path));
        assert_eq!(
            check("folder/x.xml").unwrap_err().to_string(),
            "`folder` is a link, which is not followed"
        );
        assert!(check("link").is_err() && check("none/x.xml").is_ok() && check("old").is_ok());
    }

    #[test]
    fn folders_that_others_can_change_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        make_folder(&at("good")).unwrap();
        symlink("good", at("link")).unwrap();
        fs::write(at("file"), "").unwrap();
        make_folder(&at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o750)).unwrap();
        make_folder(&at("other")).unwrap();
        // Only root can give a file away.
        let is_given = std::os::unix::fs::chown(at("other"), Some(12345), None).is_ok();
        let outcome = |name: &str| match check_private(&at(name)) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        for (name, expected) in [
            ("good", "fine"),
            ("link", "it is a link"),
            ("file", "it is not a folder"),
            ("open", "other users may read or write it"),
            ("other", if is_given { "it belongs to another user" } else { "fine" }),
        ] {
            assert_eq!(outcome(name), expected, "{name}");
        }
    }
}
