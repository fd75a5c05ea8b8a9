//! Uploads of blobs: small ones in one request, others in chunks.
//!
//! Source: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs>.

use bytes::Bytes;
use http::{Method, header};
use url::Url;

use super::{
    Client, RegistryError,
    client::{Access, call},
    endpoint::same_origin,
    exchange::RegistryCall,
    transport::Reply,
};
use crate::image::{Digest, Repository};

/// An upload that has begun and is not finished.
pub(super) struct Upload<'a> {
    repository: &'a Repository,
    /// Where the next request goes.
    url: Url,
    /// The address of the registry's answer, to see whether `url` is on the same server.
    registry: Url,
    /// How many bytes the registry has.
    pub(super) at: u64,
    /// The smallest chunk that the registry accepts, except the last one.
    pub(super) least: usize,
}

/// How an upload begins.
pub(super) enum Begun<'a> {
    /// The registry had the blob in the other repository.
    Mounted,
    Upload(Upload<'a>),
}

/// What became of a chunk.
pub(super) enum Appended {
    Done,
    /// The registry has this many bytes of the blob, and the rest is to be sent again.
    Partly(u64),
    /// The registry does not know the upload any longer.
    Lost,
}

impl Client {
    /// Stores a small blob unless the repository already has it (end-4b and end-6).
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        if self.has_blob(repository, &digest).await? {
            return Ok(digest);
        }
        let Begun::Upload(upload) = self.begin(repository, None).await? else { return Ok(digest) };
        self.finish(upload, &digest, Bytes::copy_from_slice(bytes)).await?;
        Ok(digest)
    }

    pub(super) async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let there = call(repository, Access::Pull, Method::HEAD, &format!("blobs/{digest}"));
        let reply = self.exchange.call(&there).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(there.unexpected(&reply, reply.reason())),
        }
    }

    /// Begins an upload. `mount`: the digest of the blob, and a repository of the same registry that has it.
    pub(super) async fn begin<'a>(
        &self,
        repository: &'a Repository,
        mount: Option<(&Digest, &Repository)>,
    ) -> Result<Begun<'a>, RegistryError> {
        let mut open = opening(repository);
        if let Some((digest, from)) = mount {
            let from = from.path();
            open.scope = format!("{} repository:{from}:pull", open.scope);
            open.query = Some(format!("mount={digest}&from={from}"));
        }
        let mut reply = self.exchange.call(&open).await;
        if mount.is_some() && !matches!(&reply, Ok(reply) if reply.status.is_success()) {
            // The account may write here and not read there; or the registry mounts nothing.
            open = opening(repository);
            reply = self.exchange.call(&open).await;
        }
        let reply = reply?;
        if mount.is_some() && reply.status == 201 {
            return Ok(Begun::Mounted);
        }
        if !reply.status.is_success() {
            return Err(open.unexpected(&reply, reply.reason()));
        }
        let Some(url) = location(&reply) else {
            return Err(open.unexpected(&reply, "it does not say where to send the blob"));
        };
        let least = reply.header("oci-chunk-min-length").and_then(|least| least.parse().ok());
        let (registry, least) = (reply.url, least.unwrap_or(0));
        Ok(Begun::Upload(Upload { repository, url, registry, at: 0, least }))
    }

    /// Sends a chunk once. After a failure, asks the registry how much it has.
    pub(super) async fn append(
        &self,
        upload: &mut Upload<'_>,
        chunk: Bytes,
    ) -> Result<Appended, RegistryError> {
        let (begin, length) = (upload.at, chunk.len() as u64);
        let mut patch = upload.call(Method::PATCH);
        patch = patch.header(header::CONTENT_TYPE, "application/octet-stream");
        patch = patch.header(header::CONTENT_RANGE, &format!("{begin}-{}", begin + length - 1));
        patch.body = Some(chunk);
        let sent = if upload.is_elsewhere() {
            self.exchange.elsewhere_once(&patch, &upload.url).await
        } else {
            self.exchange.once(&patch).await
        };
        match sent {
            Ok(reply) if reply.status.is_success() => {
                upload.at = begin + length;
                upload.moved(&reply);
                Ok(Appended::Done)
            }
            // Not an answer of this upload.
            Err(error @ RegistryError::Refused { .. }) => Err(error),
            Ok(reply) if matches!(reply.status.as_u16(), 405 | 413) => {
                Err(patch.unexpected(&reply, reply.reason()))
            }
            Ok(_) | Err(_) => self.received(upload).await,
        }
    }

    async fn received(&self, upload: &mut Upload<'_>) -> Result<Appended, RegistryError> {
        let status = upload.call(Method::GET);
        let reply = self.send(upload, &status).await?;
        // Nothing was received: some registries leave the header out, others send `0-0`.
        let range = reply.header(header::RANGE).unwrap_or("0-0").to_owned();
        let last = range.rsplit_once('-').and_then(|(_, last)| last.parse::<u64>().ok());
        match (reply.status.as_u16(), last) {
            (200..=299, Some(last)) => {
                upload.moved(&reply);
                upload.at = if last == 0 { 0 } else { last + 1 };
                Ok(Appended::Partly(upload.at))
            }
            _ => Ok(Appended::Lost),
        }
    }

    /// Sends the rest of the blob, and ends the upload.
    ///
    /// # Errors
    /// Also if the registry computes another digest.
    pub(super) async fn finish(
        &self,
        mut upload: Upload<'_>,
        digest: &Digest,
        rest: Bytes,
    ) -> Result<(), RegistryError> {
        upload.url.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut put = upload.call(Method::PUT);
        put = put.header(header::CONTENT_TYPE, "application/octet-stream");
        if upload.at > 0 && !rest.is_empty() {
            let range = format!("{}-{}", upload.at, upload.at + rest.len() as u64 - 1);
            put = put.header(header::CONTENT_RANGE, &range);
        }
        put.body = Some(rest);
        let stored = self.send(&upload, &put).await?;
        if stored.status.is_success() {
            return Ok(());
        }
        Err(put.unexpected(&stored, stored.reason()))
    }

    async fn send(
        &self,
        upload: &Upload<'_>,
        call: &RegistryCall<'_>,
    ) -> Result<Reply, RegistryError> {
        if upload.is_elsewhere() {
            self.exchange.elsewhere(call, &upload.url).await
        } else {
            self.exchange.call(call).await
        }
    }

    /// Checks the right to push to this repository by opening an upload and cancelling it.
    pub async fn may_push(&self, repository: &Repository) -> Result<(), RegistryError> {
        if let Begun::Upload(upload) = self.begin(repository, None).await? {
            self.cancel(&upload).await;
        }
        Ok(())
    }

    /// Ends an upload without a blob. On another host the request would send the login there; there the upload
    /// expires.
    pub(super) async fn cancel(&self, upload: &Upload<'_>) {
        if !same_origin(&upload.url, &upload.registry) {
            return;
        }
        if let Err(error) = self.exchange.call(&upload.call(Method::DELETE)).await {
            tracing::debug!(%error, "an upload was not cancelled");
        }
    }
}

impl<'a> Upload<'a> {
    fn call(&self, method: Method) -> RegistryCall<'a> {
        let mut call = call(self.repository, Access::Push, method, "");
        self.url.path().clone_into(&mut call.path);
        call.query = self.url.query().map(str::to_owned);
        call
    }

    fn is_elsewhere(&self) -> bool {
        !same_host(&self.url, &self.registry)
    }

    /// Each answer names the address of the next request.
    fn moved(&mut self, reply: &Reply) {
        self.url = location(reply).unwrap_or_else(|| self.url.clone());
    }
}

fn opening(repository: &Repository) -> RegistryCall<'_> {
    let mut open = call(repository, Access::Push, Method::POST, "blobs/uploads/");
    // Some registries require the length of an empty body (411 otherwise).
    open.body = Some(Bytes::new());
    open
}

fn location(reply: &Reply) -> Option<Url> {
    reply.header(header::LOCATION).and_then(|to| reply.url.join(to).ok())
}

/// Whether two addresses are the same server, ignoring the scheme: a server behind a TLS proxy reports
/// `http`. Only the path is used, with the original scheme.
fn same_host(a: &Url, b: &Url) -> bool {
    a.host_str() == b.host_str() && a.port() == b.port()
}
