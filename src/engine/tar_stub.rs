//! A build context as a tar, in memory: stands in for `tar.rs`, with its signatures, until that is
//! merged.

use std::{io, path::Path};

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::{
    fingerprint::context::{Context, ContextError},
    image::Digest,
};

/// The Dockerfile that takes the place of the one in the context.
#[derive(Clone, Debug)]
pub(super) struct Dockerfile {
    /// Its path in the tar.
    pub(super) name: String,
    text: String,
}

impl Dockerfile {
    pub(super) fn new(
        context: &Context,
        path: &Path,
        text: String,
        _classic: bool,
    ) -> Result<Self, ContextError> {
        let real = context.root.join(path).canonicalize();
        let real = real.map_err(|source| ContextError::Io { path: path.to_owned(), source })?;
        let inside = real.strip_prefix(&context.root).ok().and_then(Path::to_str);
        Ok(Self { name: inside.unwrap_or(".rebuild.Dockerfile").to_owned(), text })
    }
}

pub(super) fn stream(
    context: Context,
    dockerfile: Dockerfile,
    _expected: Option<Digest>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::once(async move {
        let mut archive = tar::Builder::new(Vec::new());
        archive.follow_symlinks(false);
        archive.append_dir_all(".", &context.root)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, &dockerfile.name, dockerfile.text.as_bytes())?;
        archive.into_inner().map(Bytes::from)
    })
}
