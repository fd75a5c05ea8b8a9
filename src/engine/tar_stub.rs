//! A build context as a tar, in memory: stands in for `tar.rs` until that is merged.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::fingerprint::context::Context;

/// The Dockerfile that takes the place of the one in the context.
#[derive(Clone, Debug)]
pub(super) struct Dockerfile {
    /// Its path in the tar.
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) fn stream(
    context: Context,
    dockerfile: Dockerfile,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
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
