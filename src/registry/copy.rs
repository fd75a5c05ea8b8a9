//! Copies images from one repository to another, registry to registry.
//!
//! **Invariant:** a manifest is written after everything that it names, and with the same bytes: the copy has the
//! digest of the original. Each blob is checked while it passes.
//! **Invariant:** at most [`BLOBS_AT_ONCE`] chunks of [`CHUNK`] bytes are in memory, whatever the images are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, header};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    Client, Manifest, RegistryError,
    client::{Access, call},
    index::{Members, members},
    retry::{AttemptFailure, RequestRetry},
    transport::OpenReply,
    upload::{Appended, Begun, Upload},
};
use crate::image::{Digest, Hasher, Platform, Repository, Tag};

/// How many blobs are copied at once.
const BLOBS_AT_ONCE: usize = 4;
/// In bytes. S3 takes no smaller parts than 5 MiB.
const CHUNK: usize = 8 << 20;
/// How many members of an index are copied at once. Their blobs share the places of all.
const MEMBERS_AT_ONCE: usize = 4;
/// An index may name an index.
const DEEPEST: usize = 3;
/// How often a blob begins again from its first byte.
const RESTARTS: usize = 3;

/// Copies images. Its limits are those of all copies together.
#[derive(Debug)]
pub struct Copier {
    client: Client,
    places: Semaphore,
    /// The blobs that are being copied: two uploads of one blob at once confuse registries, as
    /// distribution 2.8 with `DIGEST_INVALID`.
    under_way: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Bytes of all copies, also of those that failed.
    sent: AtomicU64,
}

/// What was transferred for a copy, in bytes. Blobs that the repository had do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedBytes {
    /// From another registry.
    pub streamed: u64,
    /// The registry had them in another repository.
    pub mounted: u64,
}

/// The state of a copy under way.
#[derive(Debug, Default)]
struct CopyProgress {
    streamed: AtomicU64,
    mounted: AtomicU64,
    /// The first failure of a part: it ends the others, which cancel their uploads.
    failed: OnceLock<CopyError>,
}

/// Which registry a copy failed at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The one to read from.
    #[error(transparent)]
    Source(RegistryError),
    /// The one to write to.
    #[error(transparent)]
    Target(RegistryError),
}

/// The parts of a manifest or an index that it names.
#[derive(Deserialize)]
struct NamedParts {
    config: Option<BlobEntry>,
    #[serde(default)]
    layers: Vec<BlobEntry>,
}

#[derive(Clone, Deserialize)]
struct BlobEntry {
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default, rename = "mediaType")]
    media_type: String,
}

impl BlobEntry {
    /// Such a layer stays where its manifest says: registries do not store it.
    fn is_foreign(&self) -> bool {
        self.media_type.contains("foreign") || self.media_type.contains("nondistributable")
    }
}

/// From where to where.
#[derive(Clone, Copy)]
struct Route<'a> {
    from: &'a Repository,
    to: &'a Repository,
    progress: &'a CopyProgress,
}

impl Route<'_> {
    /// Waits for all parts, also after one has failed: a part that is dropped leaves its upload open.
    async fn all(
        self,
        parts: impl Iterator<Item = impl Future<Output = Result<(), CopyError>>>,
        at_once: usize,
    ) -> Result<(), CopyError> {
        let mut results = stream::iter(parts).buffer_unordered(at_once);
        while let Some(result) = results.next().await {
            if let Err(error) = result {
                _ = self.progress.failed.set(error);
            }
        }
        self.check()
    }

    /// The first failure of any part.
    fn check(self) -> Result<(), CopyError> {
        self.progress.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Copier {
    pub fn new(client: Client) -> Self {
        let (places, sent) = (Semaphore::new(BLOBS_AT_ONCE), AtomicU64::new(0));
        Self { client, places, under_way: Mutex::default(), sent }
    }

    /// The bytes that were sent so far, for all copies together. They only show progress: bytes of a blob that began
    /// again count twice.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether a repository has an image whole: for an index, with the members for these platforms.
    pub async fn has(
        &self,
        repository: &Repository,
        digest: &Digest,
        platforms: &BTreeSet<Platform>,
    ) -> Result<bool, RegistryError> {
        let Some(found) = self.client.manifest(repository, digest.as_str()).await? else {
            return Ok(false);
        };
        let Some(Members { used, .. }) = members(&found.bytes, platforms) else { return Ok(true) };
        let heads = used.iter().map(async |member| {
            Ok::<_, RegistryError>(self.client.head(repository, member.as_str()).await?.is_some())
        });
        let heads: Vec<bool> =
            stream::iter(heads).buffer_unordered(MEMBERS_AT_ONCE).try_collect().await?;
        Ok(heads.into_iter().all(|is_there| is_there))
    }

    /// Copies an image under a tag; of an index the members for these platforms, with their attestations, and the
    /// others too if the registry takes no index without them.
    pub async fn copy(
        &self,
        (from, digest): (&Repository, &Digest),
        (to, tag): (&Repository, &Tag),
        platforms: &BTreeSet<Platform>,
    ) -> Result<CopiedBytes, CopyError> {
        self.copy_under((from, digest), (to, tag.as_str()), platforms).await
    }

    /// The same without a tag.
    pub async fn copy_by_digest(
        &self,
        (from, digest): (&Repository, &Digest),
        to: &Repository,
        platforms: &BTreeSet<Platform>,
    ) -> Result<CopiedBytes, CopyError> {
        self.copy_under((from, digest), (to, digest.as_str()), platforms).await
    }

    async fn copy_under(
        &self,
        (from, digest): (&Repository, &Digest),
        (to, reference): (&Repository, &str),
        platforms: &BTreeSet<Platform>,
    ) -> Result<CopiedBytes, CopyError> {
        let progress = CopyProgress::default();
        let route = Route { from, to, progress: &progress };
        let manifest = self.read(route, digest).await?;
        self.parts(route, &manifest, platforms, (reference, DEEPEST)).await?;
        let CopyProgress { streamed, mounted, .. } = progress;
        let (streamed, mounted) = (streamed.into_inner(), mounted.into_inner());
        Ok(CopiedBytes { streamed, mounted })
    }

    async fn read(&self, route: Route<'_>, digest: &Digest) -> Result<Manifest, CopyError> {
        let found = self.client.manifest(route.from, digest.as_str()).await;
        found.map_err(CopyError::Source)?.ok_or_else(|| {
            let gone = call(route.from, Access::Pull, Method::GET, "");
            CopyError::Source(gone.missing(&format!("it does not have {digest} any more")))
        })
    }

    /// Copies everything that a manifest names, and then the manifest.
    async fn parts(
        &self,
        route: Route<'_>,
        manifest: &Manifest,
        platforms: &BTreeSet<Platform>,
        (reference, depth): (&str, usize),
    ) -> Result<(), CopyError> {
        let put = async || self.client.put_under(route.to, reference, manifest).await;
        let Some(Members { used, others }) = members(&manifest.bytes, platforms) else {
            self.blobs(route, manifest).await?;
            return put().await.map_err(CopyError::Target);
        };
        self.members(route, used, platforms, depth).await?;
        match put().await {
            // distribution (2.8) takes no index with members that it does not have: 400, MANIFEST_BLOB_UNKNOWN.
            Err(RegistryError::Answer { status: 400 | 404, .. }) if !others.is_empty() => {
                self.members(route, others, platforms, depth).await?;
                put().await.map_err(CopyError::Target)
            }
            result => result.map_err(CopyError::Target),
        }
    }

    async fn members(
        &self,
        route: Route<'_>,
        members: Vec<Digest>,
        platforms: &BTreeSet<Platform>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let copies = members.into_iter().map(async |member| {
            let there = self.client.head(route.to, member.as_str()).await;
            if there.map_err(CopyError::Target)?.is_some() || depth == 0 {
                return Ok(());
            }
            let manifest = self.read(route, &member).await?;
            let place = (member.as_str(), depth - 1);
            Box::pin(self.parts(route, &manifest, platforms, place)).await
        });
        route.all(copies, MEMBERS_AT_ONCE).await
    }

    async fn blobs(&self, route: Route<'_>, manifest: &Manifest) -> Result<(), CopyError> {
        let Ok(NamedParts { config, layers }) = serde_json::from_slice(&manifest.bytes) else {
            // The registry judges a manifest of an unknown format.
            return Ok(());
        };
        let blobs = config.into_iter().chain(layers).filter(|blob| !blob.is_foreign());
        let blobs: BTreeMap<Digest, BlobEntry> =
            blobs.map(|blob| (blob.digest.clone(), blob)).collect();
        let copies = blobs.into_values().map(async |blob| {
            let only = {
                let mut all = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(all.entry(blob.digest.clone()).or_default())
            };
            let _only = only.lock().await;
            let _place = self.places.acquire().await.expect("nobody closes it");
            self.blob(route, &blob).await
        });
        route.all(copies, BLOBS_AT_ONCE).await
    }

    async fn blob(&self, route: Route<'_>, blob: &BlobEntry) -> Result<(), CopyError> {
        let target = CopyError::Target;
        for _ in 0..RESTARTS {
            route.check()?;
            if self.client.has_blob(route.to, &blob.digest).await.map_err(target)? {
                return Ok(());
            }
            let is_near = route.from.host() == route.to.host();
            let mount = is_near.then_some((&blob.digest, route.from));
            let upload = match self.client.begin(route.to, mount).await.map_err(target)? {
                Begun::Mounted => {
                    route.progress.mounted.fetch_add(blob.size, Ordering::Relaxed);
                    return Ok(());
                }
                Begun::Upload(upload) => upload,
            };
            if self.stream(route, blob, upload).await? {
                route.progress.streamed.fetch_add(blob.size, Ordering::Relaxed);
                return Ok(());
            }
        }
        let put = call(route.to, Access::Push, Method::PUT, "");
        let reason = format!("it lost the upload of {} {RESTARTS} times", blob.digest);
        Err(CopyError::Target(put.missing(&reason)))
    }

    /// `false`: the registry has lost the upload.
    async fn stream(
        &self,
        route: Route<'_>,
        blob: &BlobEntry,
        mut upload: Upload<'_>,
    ) -> Result<bool, CopyError> {
        let mut source = BlobSource::new(&self.client, route.from, blob);
        let size = CHUNK.max(upload.least);
        loop {
            let next = source.next(size).await.map_err(CopyError::Source);
            let chunk = match next.and_then(|chunk| route.check().map(|()| chunk)) {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.client.cancel(&upload).await;
                    return Err(error);
                }
            };
            self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if source.is_over() {
                let finished = self.client.finish(upload, &blob.digest, chunk).await;
                return match finished {
                    Ok(()) => Ok(true),
                    // It may have counted a chunk twice, or lost the upload.
                    Err(RegistryError::Answer { status: 400 | 404 | 416, .. }) => Ok(false),
                    Err(error) => Err(CopyError::Target(error)),
                };
            }
            if !self.append(&mut upload, chunk).await.map_err(CopyError::Target)? {
                return Ok(false);
            }
        }
    }

    /// Sends a chunk, and what is missing of it again. `false`: the registry has lost the upload.
    async fn append(&self, upload: &mut Upload<'_>, chunk: Bytes) -> Result<bool, RegistryError> {
        let (begin, end) = (upload.at, upload.at + chunk.len() as u64);
        let mut pauses = self.client.exchange.retry().pauses();
        while upload.at < end {
            let before = upload.at;
            let sent = usize::try_from(before - begin).unwrap_or(chunk.len());
            match self.client.append(upload, chunk.slice(sent..)).await? {
                Appended::Done => return Ok(true),
                Appended::Partly(at) if (begin..=end).contains(&at) => {}
                Appended::Partly(_) | Appended::Lost => return Ok(false),
            }
            if upload.at > before {
                pauses = self.client.exchange.retry().pauses();
            } else {
                let Some(pause) = pauses.next() else { return Ok(false) };
                tokio::time::sleep(pause).await;
            }
        }
        Ok(true)
    }
}

/// A blob that is read from a registry. A connection that breaks is opened again where it broke.
struct BlobSource<'a> {
    client: &'a Client,
    repository: &'a Repository,
    blob: &'a BlobEntry,
    body: Option<OpenReply>,
    at: u64,
    hasher: Hasher,
    /// What came beyond the last chunk.
    rest: Bytes,
    is_over: bool,
}

impl<'a> BlobSource<'a> {
    fn new(client: &'a Client, repository: &'a Repository, blob: &'a BlobEntry) -> Self {
        let (body, hasher, rest) = (None, Hasher::default(), Bytes::new());
        Self { client, repository, blob, body, at: 0, hasher, rest, is_over: false }
    }

    /// Whether the last chunk was the end of the blob.
    fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next bytes: `size`, or fewer at the end.
    ///
    /// # Errors
    /// The end is reached, and the bytes are not those of the digest.
    async fn next(&mut self, size: usize) -> Result<Bytes, RegistryError> {
        let mut chunk =
            BytesMut::with_capacity(size.min(usize::try_from(self.blob.size).unwrap_or(size)));
        loop {
            let rest = std::mem::take(&mut self.rest);
            let piece = if rest.is_empty() { self.piece().await? } else { rest };
            if piece.is_empty() {
                self.is_over = true;
                let found = std::mem::take(&mut self.hasher).finish();
                if found != self.blob.digest {
                    let get = call(self.repository, Access::Pull, Method::GET, "");
                    let reason = format!("it sent bytes of {found} as {}", self.blob.digest);
                    return Err(get.missing(&reason));
                }
                return Ok(chunk.freeze());
            }
            let room = size - chunk.len();
            if piece.len() > room {
                chunk.extend_from_slice(&piece[..room]);
                self.rest = piece.slice(room..);
                return Ok(chunk.freeze());
            }
            chunk.extend_from_slice(&piece);
        }
    }

    /// The next bytes of the body, at most one piece of the connection; nothing at the end.
    async fn piece(&mut self) -> Result<Bytes, RegistryError> {
        let client = self.client;
        let (retry, delays) = (client.exchange.retry(), client.exchange.delays());
        // A piece after an interruption begins a new series of attempts.
        let mut pauses = retry.pauses();
        let mut attempts = 1;
        loop {
            let failure = match self.attempt().await {
                Ok(piece) => {
                    self.at += piece.len() as u64;
                    self.hasher.update(&piece);
                    return Ok(piece);
                }
                Err(failure) => failure,
            };
            self.body = None;
            let pause = match (failure.again, pauses.next()) {
                (RequestRetry::Never, _) | (_, None) => return Err(failure.error),
                (RequestRetry::After(asked), Some(_)) => asked.min(retry.longest),
                (RequestRetry::Once | RequestRetry::Backoff, Some(pause)) => pause,
            };
            tracing::debug!(error = %failure.error, ?pause, at = self.at, "reading on");
            attempts += 1;
            delays.retry(&failure.error, (attempts, retry.attempts), pause);
            tokio::time::sleep(pause).await;
            // Renews a token that has expired meanwhile.
            client.has_blob(self.repository, &self.blob.digest).await?;
        }
    }

    async fn attempt(&mut self) -> Result<Bytes, AttemptFailure> {
        if self.body.is_none() {
            self.body = Some(self.open().await?);
        }
        let Some(body) = &mut self.body else { unreachable!("it was just opened") };
        let piece = body.chunk().await?;
        let (at, size) = (self.at, self.blob.size);
        let get = call(self.repository, Access::Pull, Method::GET, "");
        if let Some(piece) = piece {
            if at + piece.len() as u64 > size {
                let reason = format!("it sent more than the {size} bytes of {}", self.blob.digest);
                return Err(get.missing(&reason).into());
            }
            return Ok(piece);
        }
        if at == size {
            return Ok(Bytes::new());
        }
        let reason = format!("it sent {at} of the {size} bytes of {}", self.blob.digest);
        Err(AttemptFailure { error: get.missing(&reason), again: RequestRetry::Backoff })
    }

    /// Opens the blob at the first byte that is missing.
    async fn open(&self) -> Result<OpenReply, AttemptFailure> {
        let path = format!("blobs/{}", self.blob.digest);
        let mut get = call(self.repository, Access::Pull, Method::GET, &path);
        if self.at > 0 {
            get = get.header(header::RANGE, &format!("bytes={}-", self.at));
        }
        let mut reply = self.client.exchange.open(&get).await?;
        if self.at > 0 && reply.status == 200 {
            // The server ignores ranges: the bytes that are known are read again.
            let mut left = self.at;
            while left > 0 {
                let Some(piece) = reply.chunk().await? else { break };
                let known = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                left -= known as u64;
                reply.unread(piece.slice(known..));
            }
        }
        Ok(reply)
    }
}
