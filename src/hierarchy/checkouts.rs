//! Folders of git repositories, checked out in temporary folders.
//!
//! **Invariant:** each ref is resolved once, so all images of a run that name it get the same commit.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tempfile::TempDir;

use super::named_contexts::GitAddress;
use crate::host::git;

/// The repositories of a hierarchy, by address and ref. The folders are removed with it.
#[derive(Debug, Default)]
pub(super) struct Checkouts(Mutex<HashMap<CheckoutKey, Arc<OnceLock<Checkout>>>>);

/// The URL and the ref.
type CheckoutKey = (String, String);
type Checkout = Result<TempDir, String>;

impl Checkouts {
    /// The folder of an address. The first call fetches the commit, and others wait for it.
    pub(super) fn folder(&self, address: &GitAddress) -> Result<PathBuf, String> {
        let key = (address.url.clone(), address.reference.clone());
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key).or_default())
        };
        let checkout = cell.get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("rebuild-git-").tempdir();
            let folder = folder.map_err(|error| error.to_string())?;
            git::check_out(&address.url, &address.reference, folder.path())
                .map_err(|error| error.to_string())?;
            Ok(folder)
        });
        let root = checkout.as_ref().map_err(Clone::clone)?.path();
        let folder = root.join(&address.folder);
        // A link of the repository could lead to any file of this machine.
        let is_inside = |real: &Path| root.canonicalize().is_ok_and(|root| real.starts_with(root));
        match folder.canonicalize() {
            Ok(real) if real.is_dir() && is_inside(&real) => Ok(real),
            _ => Err(format!("it has no folder `{}`", address.folder)),
        }
    }
}
