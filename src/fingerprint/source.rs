//! A node's own files, as one digest and as a listing.

use std::{
    fs::File,
    io::{self, Read as _},
};

use super::{
    HashCache, Listing,
    context::{Context, ContextError},
};
use crate::{
    hierarchy::{Hierarchy, Node},
    image::{Digest, Hasher},
};

/// A node's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    pub digest: Digest,
    /// A small listing without the Dockerfile.
    pub files: Listing,
}

/// Hashes the context, the folders of named contexts, and the scripts of a prepare command even if they are ignored. The results of the
/// scripts are not hashed, so that planning does not run them.
pub fn source(
    hierarchy: &Hierarchy,
    node: &Node,
    cache: &HashCache,
) -> Result<NodeFiles, ContextError> {
    let mut files = own(hierarchy, node, cache)?;
    if node.contexts.is_empty() {
        return Ok(files);
    }
    let mut hasher = Hasher::default();
    hasher.update(files.digest.as_str().as_bytes());
    for (name, folder) in &node.contexts {
        let manifest = Context::named(folder)?.manifest(cache)?;
        hasher.update(format!(" {name} {}", manifest.digest()).as_bytes());
        files.files = files.files.and(name, Listing::new(&manifest, None));
    }
    Ok(NodeFiles { digest: hasher.finish(), ..files })
}

/// The same without the named contexts.
fn own(hierarchy: &Hierarchy, node: &Node, cache: &HashCache) -> Result<NodeFiles, ContextError> {
    let context = Context::of(node)?;
    let manifest = context.manifest(cache)?;
    let dockerfile = [&node.context, &context.root]
        .into_iter()
        .find_map(|root| node.dockerfile.path.strip_prefix(root).ok());
    let mut files = Listing::new(&manifest, dockerfile);
    let digest = manifest.digest();
    if node.prepare.is_none() {
        return Ok(NodeFiles { digest, files });
    }
    let mut hasher = Hasher::default();
    hasher.update(digest.as_str().as_bytes());
    let scripts = hierarchy.prepare_files(node).map_err(|path| ContextError::Outside { path })?;
    for (named, real) in scripts {
        let digest = content(context.script(&real)?)
            .map_err(|source| ContextError::Io { path: real, source })?;
        hasher.update(digest.as_str().as_bytes());
        files = files.with(&named, &digest);
    }
    Ok(NodeFiles { digest: hasher.finish(), files })
}

fn content(mut file: File) -> io::Result<Digest> {
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
