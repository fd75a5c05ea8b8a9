//! The calls to a registry: HEAD, GET and PUT of manifests, and GET of small blobs.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use jiff::{Timestamp, fmt::rfc2822};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Credentials, Login, Options, RegistryError, Retry,
    delays::{Delay, Delays},
    exchange::{Exchange, RegistryCall},
    listing, retry,
    transport::Reply,
};
use crate::image::{Digest, Repository, Tag};

/// Every type of manifest that an engine can pull. Without this header some registries convert to schema 1.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const CONTENT_DIGEST: &str = "docker-content-digest";
/// Registries accept manifests up to this size (distribution-spec §Pushing Manifests), and rarely larger
/// ones. The configuration of an image is smaller.
const LIMIT: usize = 4 << 20;

/// A client for any number of registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    pub(super) exchange: Arc<Exchange>,
}

/// The exact bytes of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Manifest {
    pub fn new(media_type: &str, document: &serde_json::Value) -> Self {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        Self { media_type: media_type.to_owned(), bytes, digest }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(credentials: Credentials) -> Result<Self, RegistryError> {
        Self::with_options(credentials, Options::default())
    }

    pub fn with_options(credentials: Credentials, options: Options) -> Result<Self, RegistryError> {
        Ok(Self { exchange: Arc::new(Exchange::new(credentials, options)) })
    }

    /// Calls this whenever a registry keeps a request waiting; replaces the listener before it.
    pub fn on_delay(&self, listener: impl Fn(Delay) + Send + Sync + 'static) {
        self.exchange.delays().listen(listener);
    }

    /// For an engine: delays of its pushes and pulls go to the listener of [`on_delay`](Self::on_delay).
    pub fn delays(&self) -> Arc<Delays> {
        self.exchange.delays().clone()
    }

    /// Whether the registry answers and accepts the login (end-1 of the specification).
    pub async fn ping(&self, host: &str) -> Result<(), RegistryError> {
        self.greet(host).await.map(drop)
    }

    /// The time of the registry, if it sends it. Same request as [`ping`](Self::ping).
    pub async fn date(&self, host: &str) -> Result<Option<Timestamp>, RegistryError> {
        let reply = self.greet(host).await?;
        let date = reply.header(header::DATE).and_then(|date| rfc2822::parse(date).ok());
        Ok(date.map(|date| date.timestamp()))
    }

    async fn greet(&self, host: &str) -> Result<Reply, RegistryError> {
        let call = RegistryCall {
            host,
            action: "serve",
            repository: "/v2/",
            scope: String::new(),
            method: Method::GET,
            path: "/v2/".to_owned(),
            query: None,
            headers: HeaderMap::new(),
            body: None,
            limit: LIMIT,
        };
        let reply = self.exchange.call(&call).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(call.unexpected(&reply, format!("{}: is this a registry?", reply.reason())))
    }

    /// The digest of a tag or digest; `None` if the registry does not have it.
    pub async fn head(
        &self,
        repository: &Repository,
        reference: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        self.head_by(self.exchange.retry(), (repository, reference)).await
    }

    /// As [`head`](Self::head), but its attempts take at most `patience` together.
    pub async fn head_within(
        &self,
        patience: Duration,
        (repository, reference): (&Repository, &str),
    ) -> Result<Option<Digest>, RegistryError> {
        let retry = Retry { budget: patience, ..self.exchange.retry().clone() };
        let head = self.head_by(&retry, (repository, reference));
        timeout(patience, head).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} seconds", patience.as_secs());
            let host = repository.host().to_owned();
            Err(RegistryError::Unreachable { host, reason, hint: None })
        })
    }

    async fn head_by(
        &self,
        retry: &Retry,
        (repository, reference): (&Repository, &str),
    ) -> Result<Option<Digest>, RegistryError> {
        let call = manifest_call(repository, reference, Method::HEAD);
        let reply = self.exchange.call_by(retry, &call).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(call.unexpected(&reply, reply.reason())),
        }
        match digest_of(&reply) {
            Some(digest) => {
                agree(&call, &reply, reference, &digest)?;
                Ok(Some(digest))
            }
            // The header is optional for a registry; the bytes always have a digest.
            None => Ok(self.manifest(repository, reference).await?.map(|manifest| manifest.digest)),
        }
    }

    /// The manifest, checked against its digest; `None` if the registry does not have it.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let call = manifest_call(repository, reference, Method::GET);
        let reply = self.exchange.call(&call).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(call.unexpected(&reply, reply.reason())),
        }
        let digest = Digest::of(&reply.body);
        if let Some(promised) = digest_of(&reply).filter(|promised| *promised != digest) {
            let reason = format!("it sent bytes of {digest} as {promised}");
            return Err(call.unexpected(&reply, reason));
        }
        agree(&call, &reply, reference, &digest)?;
        let Some(media_type) = media_type(&reply) else {
            return Err(call.unexpected(&reply, "what it sent is not a manifest"));
        };
        Ok(Some(Manifest { media_type, bytes: reply.body.into(), digest }))
    }

    /// Moves a tag to a manifest whose blobs the repository already has.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        tag: &Tag,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        self.put_under(repository, tag.as_str(), manifest).await
    }

    /// Stores a manifest under a tag or under its digest.
    pub(super) async fn put_under(
        &self,
        repository: &Repository,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        self.put(repository, reference, manifest).await.map(drop)
    }

    /// As [`put_under`](Self::put_under), with the registry's answer.
    pub(super) async fn put(
        &self,
        repository: &Repository,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<Reply, RegistryError> {
        let mut call = manifest_call(repository, reference, Method::PUT)
            .header(header::CONTENT_TYPE, &manifest.media_type);
        call.body = Some(Bytes::copy_from_slice(&manifest.bytes));
        let reply = self.exchange.call(&call).await?;
        if !reply.status.is_success() {
            return Err(call.unexpected(&reply, reply.reason()));
        }
        match digest_of(&reply).filter(|stored| *stored != manifest.digest) {
            None => Ok(reply),
            Some(stored) => {
                let reason = format!("it stored {} as {stored}", manifest.digest);
                Err(call.unexpected(&reply, reason))
            }
        }
    }

    /// A blob of at most 4 MiB, checked against its digest: an image's configuration.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let call = call(repository, Access::Pull, Method::GET, &format!("blobs/{digest}"));
        let reply = self.exchange.call(&call).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(call.unexpected(&reply, reply.reason())),
        }
        agree(&call, &reply, digest.as_str(), &Digest::of(&reply.body))?;
        Ok(Some(reply.body.into()))
    }

    /// Sends a blob of any size to `pieces` as it comes, and stops if they are not received; `false` if the
    /// repository does not have it. The receiver checks the digest. A transfer that was cut is not retried.
    pub async fn stream_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        pieces: mpsc::Sender<Bytes>,
    ) -> Result<bool, RegistryError> {
        // It also logs in.
        if !self.has_blob(repository, digest).await? {
            return Ok(false);
        }
        let call = call(repository, Access::Pull, Method::GET, &format!("blobs/{digest}"));
        let limits = (self.exchange.retry(), &**self.exchange.delays());
        let mut reply = retry::run(limits, || self.exchange.open(&call)).await?;
        while let Some(piece) = reply.chunk().await.map_err(|failure| failure.error)? {
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        Ok(true)
    }

    /// All tags of a repository, in the registry's order; empty if the repository does not exist.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        let mut call = call(repository, Access::Pull, Method::GET, "tags/list");
        // Harbor and others send 100 tags by default; docker-registry 2.8 sends all.
        call.query = Some("n=1000".to_owned());
        call.action = "list";
        // Many times the size of a thousand tags of 128 characters.
        call.limit = 32 << 20;
        listing::tags(&self.exchange, call, listing::MOST).await
    }

    /// Deletes a manifest by digest with all its tags; or a tag, if the registry supports that.
    ///
    /// `false` if it did not exist.
    pub async fn delete(
        &self,
        repository: &Repository,
        reference: &str,
    ) -> Result<bool, RegistryError> {
        let path = format!("manifests/{reference}");
        let call = call(repository, Access::Delete, Method::DELETE, &path);
        let reply = self.exchange.call(&call).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(call.unexpected(&reply, reply.reason())),
        }
    }

    /// The credentials that docker would use.
    pub async fn login(&self, host: &str) -> Result<Option<Login>, RegistryError> {
        self.exchange.credentials().get(host).await
    }

    /// Passes the login for a host to a push or pull of the engine. If it fails and the login was replaced
    /// meanwhile, it is retried once: engines report an expired login only as text.
    pub async fn with_login<T, E, F>(
        &self,
        host: &str,
        transfer: impl Fn(Option<Login>) -> F,
    ) -> Result<T, E>
    where
        E: From<RegistryError>,
        F: Future<Output = Result<T, E>>,
    {
        let credentials = self.exchange.credentials();
        let login = credentials.get(host).await?;
        let error = match transfer(login.clone()).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match credentials.renew(host, login.as_ref()).await {
            Ok(Some(newer)) => transfer(Some(newer)).await,
            _ => Err(error),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Access {
    Pull,
    Push,
    Delete,
}

pub(super) fn call<'a>(
    repository: &'a Repository,
    access: Access,
    method: Method,
    path: &str,
) -> RegistryCall<'a> {
    let name = repository.path();
    let (action, actions) = match access {
        Access::Pull => ("read", "pull"),
        Access::Push => ("push to", "pull,push"),
        Access::Delete => ("delete from", "delete"),
    };
    RegistryCall {
        host: repository.host(),
        action,
        repository: repository.as_str(),
        scope: format!("repository:{name}:{actions}"),
        method,
        path: format!("/v2/{name}/{path}"),
        query: None,
        headers: HeaderMap::new(),
        body: None,
        limit: LIMIT,
    }
}

fn manifest_call<'a>(
    repository: &'a Repository,
    reference: &str,
    method: Method,
) -> RegistryCall<'a> {
    let access = if method == Method::PUT { Access::Push } else { Access::Pull };
    let call = call(repository, access, method, &format!("manifests/{reference}"));
    if matches!(access, Access::Pull) { call.header(header::ACCEPT, MANIFESTS) } else { call }
}

/// The digest that the registry names, if its algorithm is supported.
fn digest_of(reply: &Reply) -> Option<Digest> {
    reply.header(CONTENT_DIGEST)?.trim().parse().ok()
}

/// A request for a digest must return that digest.
fn agree(
    call: &RegistryCall<'_>,
    reply: &Reply,
    reference: &str,
    digest: &Digest,
) -> Result<(), RegistryError> {
    match reference.parse::<Digest>() {
        Ok(asked) if asked != *digest => {
            Err(call.unexpected(reply, format!("it sent {digest} when asked for {asked}")))
        }
        _ => Ok(()),
    }
}

/// From the header, else from the manifest itself.
fn media_type(reply: &Reply) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct ManifestKind {
        #[serde(rename = "mediaType")]
        media_type: String,
    }
    let header = reply.header(header::CONTENT_TYPE).unwrap_or_default();
    let header = header.split(';').next().unwrap_or_default().trim();
    if header.contains("manifest") || header.contains("index") {
        return Some(header.to_owned());
    }
    serde_json::from_slice::<ManifestKind>(&reply.body).ok().map(|kind| kind.media_type)
}
