//! What a node's own files are, as one digest.

use std::fs;

use super::context::{Context, ContextError};
use crate::{
    hierarchy::Node,
    image::{Digest, Hasher},
};

/// The context, and the scripts that a prepare command consists of even where they are ignored.
/// What those scripts make is not hashed, so that planning does not have to run them.
pub fn source(node: &Node) -> Result<Digest, ContextError> {
    let context = Context::open(&node.context, &node.dockerfile.path)?.digest()?;
    let Some(prepare) = &node.prepare else { return Ok(context) };
    let mut hasher = Hasher::default();
    hasher.update(context.as_str().as_bytes());
    for script in prepare.iter().map(|word| node.context.join(word)) {
        if script.is_file() {
            let bytes = fs::read(&script)
                .map_err(|source| ContextError::Io { path: script.clone(), source })?;
            hasher.update(Digest::of(&bytes).as_str().as_bytes());
        }
    }
    Ok(hasher.finish())
}
