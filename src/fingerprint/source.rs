//! What a node's own files are, as one digest, and as a listing.

use std::{fs, path::Path};

use super::{
    HashCache, Listing,
    context::{Context, ContextError},
};
use crate::{
    hierarchy::Node,
    image::{Digest, Hasher},
};

/// A node's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub digest: Digest,
    /// The same without the Dockerfile, small.
    pub files: Listing,
}

/// The context, and the scripts that a prepare command consists of even where they are ignored.
/// What those scripts make is not hashed, so that planning does not have to run them.
pub fn source(node: &Node, cache: &HashCache) -> Result<Source, ContextError> {
    let context = Context::open(&node.context, &node.dockerfile.path)?;
    let manifest = context.manifest(cache)?;
    let dockerfile = [&node.context, &context.root]
        .into_iter()
        .find_map(|root| node.dockerfile.path.strip_prefix(root).ok());
    let mut files = Listing::new(&manifest, dockerfile);
    let digest = manifest.digest();
    let Some(prepare) = &node.prepare else { return Ok(Source { digest, files }) };
    let mut hasher = Hasher::default();
    hasher.update(digest.as_str().as_bytes());
    for word in prepare {
        let script = node.context.join(word);
        if script.is_file() {
            let bytes = fs::read(&script)
                .map_err(|source| ContextError::Io { path: script.clone(), source })?;
            let digest = Digest::of(&bytes);
            hasher.update(digest.as_str().as_bytes());
            let name = Path::new(word.strip_prefix("./").unwrap_or(word));
            files = files.with(name, &digest);
        }
    }
    Ok(Source { digest: hasher.finish(), files })
}
