//! Runs a node's prepare command in a copy of the build context.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::host_command::{HostCommand, HostCommandError};
use crate::{
    fingerprint::context::{Context, ContextError, EntryKind},
    hierarchy::{Hierarchy, Node},
};

/// The prefix of the temporary folder's name; the run and a random part follow.
pub(super) const FOLDER_PREFIX: &str = "rebuild-";

/// The run that made a temporary folder, if its name has the prefix.
pub fn run_of_folder(name: &str) -> Option<&str> {
    name.strip_prefix(FOLDER_PREFIX)?.split_once('-').map(|(run, _)| run)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error(transparent)]
    Command(#[from] HostCommandError),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("cannot copy the build context to `{}`: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
}

/// A prepared copy of a context. Removed on drop, even if it contains a read-only folder.
#[derive(Debug)]
pub(super) struct Prepared(TempDir);

impl Prepared {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        make_writable(self.0.path());
    }
}

/// Makes folders writable, because files in a read-only folder cannot be removed.
fn make_writable(folder: &Path) {
    const ALL: u32 = 0o700;
    let is_writable = |found: &fs::Metadata| found.permissions().mode() & ALL == ALL;
    if !folder.symlink_metadata().is_ok_and(|found| is_writable(&found)) {
        _ = fs::set_permissions(folder, fs::Permissions::from_mode(ALL));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        make_writable(&entry.path());
    }
}

/// Runs the command in a copy of the context and returns that copy.
pub(super) async fn prepare(
    (hierarchy, node): (&Hierarchy, &Node),
    command: &[String],
    context: &Context,
    run: &str,
    output: impl FnMut(&[u8]) + Send,
) -> Result<Prepared, PrepareError> {
    let scripts = hierarchy.prepare_files(node).map_err(|path| ContextError::Outside { path })?;
    let copy = Prepared(copy_context(context, node, &scripts, run)?);
    let variables = vec![
        ("REBUILD_CONTEXT", node.context.clone().into_os_string()),
        ("REBUILD_NODE", node.name.as_str().into()),
    ];
    let (folder, timeout) = (copy.path(), node.timeout);
    HostCommand { argv: command, folder, variables, timeout }.run(output).await?;
    Ok(copy)
}

/// The files for the engine, and also the command's own files and the Dockerfile if they are ignored.
fn copy_context(
    context: &Context,
    node: &Node,
    scripts: &[(PathBuf, PathBuf)],
    run: &str,
) -> Result<TempDir, PrepareError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError::Copy { path, source }
    };
    let prefix = format!("{FOLDER_PREFIX}{run}-");
    let copy = tempfile::Builder::new()
        .prefix(&prefix)
        // Copied files may be readable for their owner only.
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(failed(&std::env::temp_dir()))?;
    let entries = context.entries()?;
    for entry in &entries {
        let to = copy.path().join(&entry.path);
        match &entry.kind {
            EntryKind::Folder => fs::create_dir_all(&to),
            EntryKind::File { .. } => match &entry.extras.hard_link {
                Some(first) => fs::hard_link(copy.path().join(first), &to),
                None => copy_file(&mut context.read(entry)?, &to, entry.mode),
            },
            EntryKind::Link { target } => symlink(target, &to),
        }
        .map_err(failed(&to))?;
    }
    for (named, real) in scripts {
        let to = copy.path().join(named);
        if !to.exists() {
            let mut from = context.script(real)?;
            let mode = from.metadata().map_or(0o600, |found| found.permissions().mode());
            copy_file(&mut from, &to, mode).map_err(failed(&to))?;
        }
    }
    if let Ok(dockerfile) = node.dockerfile.path.strip_prefix(&context.root) {
        let to = copy.path().join(dockerfile);
        if !to.exists() {
            // A link with a target outside the copy.
            _ = fs::remove_file(&to);
            let mut text = node.dockerfile.text.as_bytes();
            copy_file(&mut text, &to, 0o644).map_err(failed(&to))?;
        }
    }
    // At the end, and the entries of a folder before the folder: it may be read-only.
    for entry in entries.iter().rev().filter(|entry| entry.kind == EntryKind::Folder) {
        let to = copy.path().join(&entry.path);
        fs::set_permissions(&to, fs::Permissions::from_mode(entry.mode)).map_err(failed(&to))?;
    }
    Ok(copy)
}

/// A parent folder may be ignored but necessary.
fn copy_file(from: &mut impl io::Read, to: &Path, mode: u32) -> io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(to)?;
    io::copy(from, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_writable_is_made_so() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        for (path, mode) in [(&*inner, 0o000), (inner.parent().unwrap(), 0o555)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        make_writable(folder.path());
        for path in [&*inner, inner.parent().unwrap()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
        }
    }
}
