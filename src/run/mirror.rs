//! Copies upstreams into the mirror, and finds them there.
//!
//! **Invariant:** a copy has the digest of its upstream, so a mirror changes no fingerprint.
//! **Invariant:** the tag of a copy moves only after the copy is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::observe::is_of_host;
use crate::{
    hierarchy::{Hierarchy, Mirror, Node},
    image::{Digest, Platform, Reference, Repository},
    plan::CopyState,
    registry::{Client, CopiedBytes, Copier, CopyError, RegistryError},
};

/// How many upstreams are compared at once.
const ASKED_AT_ONCE: usize = 8;
/// How long to wait for the registry of an upstream that has a copy.
const PATIENCE: Duration = Duration::from_secs(15);

/// The mirror of a hierarchy, for one command.
#[derive(Debug)]
pub struct UpstreamMirror {
    client: Client,
    mirror: Mirror,
    copier: Copier,
    does: MirrorUse,
    /// What each upstream is used for.
    platforms: BTreeMap<Reference, BTreeSet<Platform>>,
    /// The registries that do not answer: they are asked only once.
    down: Mutex<BTreeMap<String, RegistryError>>,
    copied: Mutex<Vec<MirroredUpstream>>,
    copying: Mutex<BTreeSet<Reference>>,
}

/// What a command does with the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorUse {
    /// Reads copies.
    Reads,
    /// Copies what is new.
    Copies,
    /// Compares every upstream with its copy, also those that have a digest and cannot move.
    Checks,
}

/// An upstream and its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredUpstream {
    pub reference: Reference,
    /// The repository of the copy.
    pub repository: Repository,
    /// Its digest in its own registry; `None` if that does not have it.
    pub upstream: Result<Option<Digest>, RegistryError>,
    /// The copy before this command.
    pub copy: Option<Digest>,
    /// What this command copied.
    pub transfer: Option<CopiedBytes>,
    /// Why it was not copied, although its registry has it.
    pub failed: Option<RegistryError>,
}

impl MirroredUpstream {
    pub fn state(&self) -> CopyState {
        match (&self.upstream, &self.copy) {
            (_, _) if self.transfer.is_some() => CopyState::Copied,
            (Err(_), None) => CopyState::Unreachable,
            (Ok(None), None) => CopyState::Missing,
            (Ok(None), Some(_)) => CopyState::OnlyCopy,
            (Err(_), Some(_)) => CopyState::Unconfirmed,
            (Ok(Some(_)), None) if self.failed.is_some() => CopyState::Unreachable,
            (Ok(Some(_)), None) => CopyState::New,
            (Ok(Some(now)), Some(copy)) if now == copy && self.failed.is_none() => {
                CopyState::Current
            }
            (Ok(Some(_)), Some(_)) if self.failed.is_some() => CopyState::Unconfirmed,
            (Ok(Some(_)), Some(_)) => CopyState::Moved,
        }
    }

    /// Why the upstream's registry was no help.
    pub fn trouble(&self) -> Option<&RegistryError> {
        self.failed.as_ref().or(self.upstream.as_ref().err())
    }
}

impl UpstreamMirror {
    /// For the upstreams of these nodes. `None` without `mirror:`. `platform` is that of nodes without one.
    pub fn of<'n>(
        hierarchy: &Hierarchy,
        nodes: impl Iterator<Item = &'n Node>,
        (client, platform): (&Client, &Platform),
        does: MirrorUse,
    ) -> Option<Self> {
        let mirror = hierarchy.mirror.clone()?;
        let mut platforms: BTreeMap<Reference, BTreeSet<Platform>> = BTreeMap::new();
        for node in nodes {
            for used in &node.dockerfile.uses {
                let Some(reference) = used.base.upstream() else { continue };
                let own = node.platform.as_ref().unwrap_or(platform);
                let platform = used.platform.as_ref().unwrap_or(own).clone();
                platforms.entry(reference.clone()).or_default().insert(platform);
            }
        }
        Some(Self {
            client: client.clone(),
            mirror,
            copier: Copier::new(client.clone()),
            does,
            platforms,
            down: Mutex::default(),
            copied: Mutex::default(),
            copying: Mutex::default(),
        })
    }

    /// Whether the command writes to the mirror.
    pub fn copies(&self) -> bool {
        self.does == MirrorUse::Copies
    }

    /// The upstreams that this command copied.
    pub fn copied(&self) -> Vec<MirroredUpstream> {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner).clone();
        copied.sort_by(|one, other| one.reference.cmp(&other.reference));
        copied
    }

    /// The upstreams that are being copied now, and the bytes that this command has sent.
    pub fn progress(&self) -> (Vec<Reference>, u64) {
        (self.copying().iter().cloned().collect(), self.copier.sent())
    }

    /// Compares every upstream with its copy, and copies it. Upstreams that are in the mirror themselves are left
    /// out. An error is one of the mirror.
    pub async fn look_at_all(&self) -> Vec<(Reference, Result<MirroredUpstream, RegistryError>)> {
        let mut found: Vec<_> = stream::iter(self.platforms.keys())
            .map(async |reference| Some((reference.clone(), self.look(reference).await?)))
            .buffer_unordered(ASKED_AT_ONCE)
            .filter_map(async |found| found)
            .collect()
            .await;
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// Compares an upstream with its copy, and copies it if the command may. `None`: it is in the mirror itself. An
    /// error is one of the mirror.
    pub async fn look(
        &self,
        reference: &Reference,
    ) -> Option<Result<MirroredUpstream, RegistryError>> {
        let repository = self.mirror.repository_of(&reference.repository)?;
        Some(self.compare(reference, repository).await)
    }

    async fn compare(
        &self,
        reference: &Reference,
        repository: Repository,
    ) -> Result<MirroredUpstream, RegistryError> {
        let none = BTreeSet::new();
        let platforms = self.platforms.get(reference).unwrap_or(&none);
        let tag = Mirror::tag_of(reference);
        let copy = self.copy_under(&repository, tag.as_str()).await?;
        // A digest is the same everywhere.
        let is_sure = reference.digest.is_some() && reference.digest == copy;
        let upstream = if is_sure && self.does != MirrorUse::Checks {
            Ok(copy.clone())
        } else {
            self.ask(reference, copy.is_some()).await
        };
        let reference = reference.clone();
        let mut found = MirroredUpstream {
            reference,
            repository,
            upstream,
            copy,
            transfer: None,
            failed: None,
        };
        let Ok(Some(digest)) = &found.upstream else { return Ok(found) };
        if !self.copies() {
            return Ok(found);
        }
        let is_current = found.copy.as_ref() == Some(digest);
        if is_current && self.copier.has(&found.repository, digest, platforms).await? {
            return Ok(found);
        }
        let (from, to) = (&found.reference.repository, (&found.repository, &tag));
        self.copying().insert(found.reference.clone());
        let ended = self.copier.copy((from, digest), to, platforms).await;
        self.copying().remove(&found.reference);
        match ended {
            Ok(bytes) => {
                found.transfer = Some(bytes);
                let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
                copied.push(found.clone());
            }
            Err(CopyError::Target(error)) => return Err(error),
            Err(CopyError::Source(error)) => found.failed = Some(error),
        }
        Ok(found)
    }

    /// The copy under a tag. A mirror that does not answer is asked once.
    async fn copy_under(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        let host = repository.host();
        if let Some(error) = self.down().get(host) {
            return Err(error.clone());
        }
        let copy = self.client.head(repository, tag).await;
        self.note_down(host, &copy);
        copy
    }

    fn copying(&self) -> MutexGuard<'_, BTreeSet<Reference>> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down(&self) -> MutexGuard<'_, BTreeMap<String, RegistryError>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_down(&self, host: &str, answer: &Result<Option<Digest>, RegistryError>) {
        if let Err(error) = answer
            && is_of_host(error)
        {
            self.down().entry(host.to_owned()).or_insert_with(|| error.clone());
        }
    }

    /// The digest of an upstream in its own registry. One that has a copy is not waited for.
    async fn ask(
        &self,
        reference: &Reference,
        has_copy: bool,
    ) -> Result<Option<Digest>, RegistryError> {
        let (repository, host) = (&reference.repository, reference.repository.host());
        let name = match (&reference.digest, reference.tag_or_latest()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_else(crate::image::Tag::latest).to_string(),
        };
        if let Some(error) = self.down().get(host) {
            return Err(error.clone());
        }
        let answer = if has_copy {
            self.client.head_within(PATIENCE, (repository, &name)).await
        } else {
            self.client.head(repository, &name).await
        };
        self.note_down(host, &answer);
        answer
    }
}
