//! Resolves every upstream to a digest, once, at the start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    check::diagnostic::names,
    engine::{Engine, EngineError, LocalImage},
    hierarchy::Node,
    image::{Digest, Reference, Repository},
    plan::{DigestSource, Missing, Upstream},
    registry::{Client, RegistryError},
    run::mirror::UpstreamMirror,
};

/// Within Docker Hub's limits, which count manifest requests.
const ASKED_AT_ONCE: usize = 8;
/// How many upstreams a message names; it counts the others.
const NAMED: usize = 3;

/// One message for a failure, with all its upstreams.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("cannot resolve {}: {source}", names(references, NAMED))]
    Registry { references: Vec<Reference>, source: RegistryError },
    #[error("the mirror has no copy of {}: {source}", names(references, NAMED))]
    Mirror { references: Vec<Reference>, source: RegistryError },
    #[error(
        "the engine does not have {}, and with `--offline` no registry is asked",
        names(references, NAMED)
    )]
    NotHere { references: Vec<Reference> },
    #[error("{}", several.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several { several: Vec<UpstreamError> },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The results for all upstreams.
#[derive(Default)]
pub(super) struct ResolvedUpstreams {
    /// By the text of the Dockerfiles.
    pub(super) upstreams: BTreeMap<String, Upstream>,
    pub(super) missing: BTreeMap<String, Missing>,
    /// The digests of the image that the engine has for an upstream.
    pub(super) of_one_image: BTreeMap<String, Vec<Digest>>,
    pub(super) warnings: Vec<String>,
    /// The engine does not have them, and no registry was asked.
    pub(super) unasked: Vec<Reference>,
    /// The registries that do not answer, with those of the missing upstreams that they should have.
    pub(super) unreachable: Option<UpstreamError>,
}

impl UpstreamError {
    /// Whether it is about an upstream, by the text of the Dockerfiles.
    pub(super) fn names(&self, upstream: &str) -> bool {
        match self {
            Self::Registry { references, .. }
            | Self::Mirror { references, .. }
            | Self::NotHere { references } => {
                references.iter().any(|reference| reference.to_string() == upstream)
            }
            Self::Several { several } => several.iter().any(|one| one.names(upstream)),
            Self::Engine(_) => false,
        }
    }

    fn of(mut several: Vec<Self>) -> Option<Self> {
        match several.len() {
            0 | 1 => several.pop(),
            _ => Some(Self::Several { several }),
        }
    }

    /// Neither a registry nor the engine has them.
    pub(super) fn not_here(references: Vec<Reference>) -> Self {
        Self::NotHere { references }
    }
}

/// The result for one upstream.
enum Lookup {
    /// The registry has it.
    Sure(Upstream),
    /// The registry does not have it, the engine does.
    OnlyHere(Upstream),
    /// Its registry does not have it, or does not answer; the mirror has a copy.
    OnlyCopy(Upstream, Option<RegistryError>),
    /// The mirror does not answer, or refuses a copy.
    NoMirror(RegistryError),
    /// No registry was asked, and the engine has it.
    Unasked(Upstream),
    /// The registry did not answer; the engine may have it.
    NoAnswer(RegistryError, Option<Upstream>),
    /// Neither the registry nor the engine has it.
    Nowhere,
}

/// Resolves every upstream of these nodes, with notices for the user. If no registry answers for an upstream,
/// it is left out if the plan does not depend on it (`is_spared`).
pub(super) async fn resolve<E: Engine>(
    nodes: &[&Node],
    (engine, registries, mirror): (&E, &Client, Option<&UpstreamMirror>),
    offline: bool,
    is_spared: impl Fn(&Reference) -> bool,
) -> Result<ResolvedUpstreams, UpstreamError> {
    let references: BTreeSet<&Reference> = nodes
        .iter()
        .flat_map(|node| &node.dockerfile.uses)
        .filter_map(|used| used.base.upstream())
        .collect();
    let (down, of_one_image) = (Mutex::default(), Mutex::default());
    let mirror = mirror.filter(|_| !offline);
    let no_mirror = Mutex::default();
    let asking =
        UpstreamLookup { engine, registries, mirror, no_mirror, offline, down, of_one_image };
    let mut found: Vec<(&Reference, Lookup)> = stream::iter(references)
        .map(async |reference| Ok::<_, EngineError>((reference, asking.one(reference).await?)))
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect()
        .await?;
    found.sort_by_key(|(reference, _)| *reference);
    let of_one_image = asking.of_one_image.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut resolved = conclude(found, offline, is_spared)?;
    let no_mirror = asking.no_mirror.into_inner().unwrap_or_else(PoisonError::into_inner);
    resolved.warnings.extend(no_mirror.map(|error| {
        format!("the mirror is not used: {error}: asking the registries of the upstreams")
    }));
    Ok(ResolvedUpstreams { of_one_image, ..resolved })
}

struct UpstreamLookup<'a, E> {
    engine: &'a E,
    registries: &'a Client,
    mirror: Option<&'a UpstreamMirror>,
    /// Why the mirror is no help to a command that only reads it.
    no_mirror: Mutex<Option<RegistryError>>,
    offline: bool,
    /// The hosts that do not answer: they are asked only once.
    down: Mutex<BTreeMap<String, RegistryError>>,
    of_one_image: Mutex<BTreeMap<String, Vec<Digest>>>,
}

impl<E: Engine> UpstreamLookup<'_, E> {
    /// Uses an image that was built on this engine, unless its name is that of a registry. Looks up any other image in its registry, and uses the
    /// engine's copy if the registry does not answer.
    async fn one(&self, reference: &Reference) -> Result<Lookup, EngineError> {
        let Some(tag) = reference.tag_or_latest().filter(|_| reference.digest.is_none()) else {
            let digest = reference.digest.clone().expect("no tag means a digest");
            let in_registry = || of_registry(reference, digest.clone());
            return Ok(match self.in_mirror(reference).await {
                // It is pulled when a build needs it, and not before.
                None | Some(Lookup::Nowhere | Lookup::NoAnswer(..)) => Lookup::Sure(in_registry()),
                Some(found) => found,
            });
        };
        let local = match self.engine.inspect(&reference.to_string()).await {
            // Registries work without the engine.
            Err(error) if error.is_gone() => None,
            local => local?,
        };
        let here = local.as_ref().map(|image| {
            let digests = digests(reference, image);
            let here = from_engine(reference, image, digests.first().cloned());
            let mut of_one_image = self.of_one_image.lock().unwrap_or_else(PoisonError::into_inner);
            of_one_image.insert(reference.to_string(), digests);
            here
        });
        let is_unpushed = local.is_some_and(|image| image.repo_digests.is_empty());
        if is_unpushed
            && !names_registry(&reference.repository)
            && let Some(here) = here
        {
            return Ok(Lookup::Sure(here));
        }
        if self.offline {
            return Ok(here.map_or(Lookup::Nowhere, Lookup::Unasked));
        }
        match self.in_mirror(reference).await {
            None => {}
            Some(Lookup::Nowhere) => return Ok(here.map_or(Lookup::Nowhere, Lookup::OnlyHere)),
            Some(Lookup::NoAnswer(error, _)) => return Ok(Lookup::NoAnswer(error, here)),
            Some(found) => return Ok(found),
        }
        let host = reference.repository.host();
        if let Some(error) = self.lock_down().get(host).cloned() {
            return Ok(Lookup::NoAnswer(error, here));
        }
        match self.registries.head(&reference.repository, tag.as_str()).await {
            Ok(Some(digest)) => Ok(Lookup::Sure(of_registry(reference, digest))),
            Ok(None) if is_unpushed => Ok(here.map_or(Lookup::Nowhere, Lookup::Sure)),
            Ok(None) => Ok(here.map_or(Lookup::Nowhere, Lookup::OnlyHere)),
            Err(error) => {
                if is_of_host(&error) {
                    self.lock_down().entry(host.to_owned()).or_insert_with(|| error.clone());
                }
                Ok(Lookup::NoAnswer(error, here))
            }
        }
    }

    /// What the mirror and the upstream's registry say, after the upstream was copied if the command copies. `None`:
    /// there is no mirror, or the upstream is in it.
    async fn in_mirror(&self, reference: &Reference) -> Option<Lookup> {
        let mirror = self.mirror?;
        let found = match mirror.look(reference).await? {
            Ok(found) => found,
            Err(error) if mirror.copies() => return Some(Lookup::NoMirror(error)),
            Err(error) => {
                let mut known = self.no_mirror.lock().unwrap_or_else(PoisonError::into_inner);
                known.get_or_insert(error);
                return None;
            }
        };
        let of_mirror = |digest: Digest| Upstream {
            reference: reference.clone(),
            digest,
            place: DigestSource::Mirror,
        };
        let is_copied = found.transfer.is_some();
        Some(match (found.upstream, found.copy, found.failed) {
            (Ok(Some(now)), copy, None) if is_copied || copy.as_ref() == Some(&now) => {
                Lookup::Sure(of_mirror(now))
            }
            (Ok(Some(now)), _, None) => Lookup::Sure(of_registry(reference, now)),
            (Ok(Some(_)) | Err(_), Some(copy), Some(error)) | (Err(error), Some(copy), None) => {
                Lookup::OnlyCopy(of_mirror(copy), Some(error))
            }
            (Ok(None), Some(copy), _) => Lookup::OnlyCopy(of_mirror(copy), None),
            (Ok(Some(_)) | Err(_), None, Some(error)) | (Err(error), None, None) => {
                Lookup::NoAnswer(error, None)
            }
            (Ok(None), None, _) => Lookup::Nowhere,
        })
    }

    fn lock_down(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, RegistryError>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a repository names its registry. Builds on this machine give names without one, or with that of podman.
fn names_registry(repository: &Repository) -> bool {
    let host = repository.host();
    host != "localhost" && repository.as_str().starts_with(host)
}

/// A manifest in the upstream's own registry.
fn of_registry(reference: &Reference, digest: Digest) -> Upstream {
    Upstream { reference: reference.clone(), digest, place: DigestSource::Registry }
}

/// Whether every further request to this host would fail in the same way.
pub(in crate::run) fn is_of_host(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { .. } | RegistryError::Credentials { .. } => true,
        RegistryError::Answer { status, .. } => *status == 429 || *status >= 500,
        RegistryError::Refused { .. } => false,
    }
}

/// The digests under which an image was pulled or pushed. Podman lists both that of an index and that of the
/// manifest in it, and that of the manifest that it keeps itself.
fn digests(reference: &Reference, image: &LocalImage) -> Vec<Digest> {
    let names = image.repo_digests.iter();
    let names = names.filter(|name| name.repository.is_same(&reference.repository));
    names.filter_map(|name| name.digest.clone()).collect()
}

/// The digest under which it was pulled, so that the fingerprint is the same on other machines.
fn from_engine(reference: &Reference, image: &LocalImage, pulled: Option<Digest>) -> Upstream {
    let reference = reference.clone();
    match pulled {
        Some(digest) => of_registry(&reference, digest),
        None => Upstream { reference, digest: image.id.clone(), place: DigestSource::Engine },
    }
}

/// Builds the message for one reason.
fn conclude(
    found: Vec<(&Reference, Lookup)>,
    offline: bool,
    is_spared: impl Fn(&Reference) -> bool,
) -> Result<ResolvedUpstreams, UpstreamError> {
    let mut upstreams = Vec::new();
    let mut missing = BTreeMap::new();
    let mut spared = Vec::new();
    let (mut only_here, mut unasked, mut not_here) = (vec![], vec![], vec![]);
    let mut only_copies: Vec<(Option<RegistryError>, Vec<&Reference>)> = Vec::new();
    let mut no_mirror: Vec<(Option<RegistryError>, Vec<&Reference>)> = Vec::new();
    // By error: the upstreams that the engine has, and those that it does not have.
    let mut silent: Vec<(RegistryError, Vec<&Reference>, Vec<Reference>)> = Vec::new();
    for (reference, found) in found {
        match found {
            Lookup::Sure(upstream) => upstreams.push(upstream),
            Lookup::OnlyHere(upstream) => {
                only_here.push(reference);
                upstreams.push(upstream);
            }
            Lookup::Unasked(upstream) => {
                unasked.push(reference);
                upstreams.push(upstream);
            }
            Lookup::OnlyCopy(upstream, error) => {
                upstreams.push(upstream);
                add(&mut only_copies, (error, reference));
            }
            Lookup::NoMirror(error) => add(&mut no_mirror, (Some(error), reference)),
            Lookup::Nowhere if offline && is_spared(reference) => spared.push((reference, None)),
            Lookup::Nowhere if offline => not_here.push(reference.clone()),
            Lookup::Nowhere => {
                missing.insert(reference.to_string(), Missing::gone(reference));
            }
            Lookup::NoAnswer(error, None) if is_spared(reference) => {
                spared.push((reference, Some(error)));
            }
            // The registry may have its next upstream.
            Lookup::NoAnswer(error, None) if !is_of_host(&error) => {
                missing.insert(reference.to_string(), unanswered(reference, &error));
            }
            Lookup::NoAnswer(error, here) => {
                let group = silent.iter().position(|(other, ..)| is_same(other, &error));
                let group = group.unwrap_or_else(|| {
                    silent.push((error, vec![], vec![]));
                    silent.len() - 1
                });
                let (_, present, absent) = &mut silent[group];
                if let Some(upstream) = here {
                    present.push(reference);
                    upstreams.push(upstream);
                } else {
                    absent.push(reference.clone());
                }
            }
        }
    }
    let mut warnings = uncertain(&unasked, &only_here, &spared);
    warnings.extend(
        only_copies.iter().map(|(error, references)| of_copies(error.as_ref(), references)),
    );
    let (mut errors, mut unreachable) = (Vec::new(), Vec::new());
    errors.extend(no_mirror.into_iter().filter_map(|(source, references)| {
        let references = references.into_iter().cloned().collect();
        Some(UpstreamError::Mirror { references, source: source? })
    }));
    for (source, here, references) in silent {
        if references.is_empty() {
            warnings.push(format!(
                "cannot ask whether {} moved: {source}: using {} that the engine has",
                names(&here, NAMED),
                images_that(here.len())
            ));
        } else if matches!(source, RegistryError::Credentials { .. }) {
            errors.push(UpstreamError::Registry { references, source });
        } else {
            for reference in &references {
                missing.insert(reference.to_string(), unanswered(reference, &source));
            }
            unreachable.push(UpstreamError::Registry { references, source });
        }
    }
    if let Some(error) = UpstreamError::of(errors) {
        return Err(error);
    }
    let unreachable = UpstreamError::of(unreachable);
    let by_name = |upstream: Upstream| (upstream.reference.to_string(), upstream);
    let upstreams = upstreams.into_iter().map(by_name).collect();
    let of_one_image = BTreeMap::new();
    Ok(ResolvedUpstreams {
        upstreams,
        missing,
        of_one_image,
        warnings,
        unasked: not_here,
        unreachable,
    })
}

/// Warns of upstreams that no registry has confirmed.
fn uncertain(
    unasked: &[&Reference],
    only_here: &[&Reference],
    spared: &[(&Reference, Option<RegistryError>)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !unasked.is_empty() {
        let (n, s) = (unasked.len(), if unasked.len() == 1 { "" } else { "s" });
        let list = names(unasked, NAMED);
        warnings.push(format!(
            "offline: {n} upstream{s} ({list}) as the engine has {}, moved or not",
            if n == 1 { "it" } else { "them" }
        ));
    }
    if !only_here.is_empty() {
        let (verb, n) = (if only_here.len() == 1 { "is" } else { "are" }, only_here.len());
        warnings.push(format!(
            "{} {verb} not in the registry: using {} that the engine has",
            names(only_here, NAMED),
            images_that(n)
        ));
    }
    let mut by_cause: Vec<(Option<&RegistryError>, Vec<&Reference>)> = Vec::new();
    for (reference, error) in spared {
        let error = error.as_ref();
        let is_of = |cause: Option<&RegistryError>| match (cause, error) {
            (Some(cause), Some(error)) => is_same(cause, error),
            (cause, error) => cause.is_none() && error.is_none(),
        };
        match by_cause.iter_mut().find(|(cause, _)| is_of(*cause)) {
            Some((_, references)) => references.push(reference),
            None => by_cause.push((error, vec![reference])),
        }
    }
    for (cause, references) in by_cause {
        let list = names(&references, NAMED);
        let why = cause.map_or("no registry is asked".to_owned(), ToString::to_string);
        let it = if references.len() == 1 { "it" } else { "them" };
        warnings.push(format!(
            "cannot resolve {list}: {why}: planned anyway, since no image that needs {it} was ever published"
        ));
    }
    warnings
}

/// Adds an upstream to those with the same cause.
fn add<'r>(
    groups: &mut Vec<(Option<RegistryError>, Vec<&'r Reference>)>,
    (cause, reference): (Option<RegistryError>, &'r Reference),
) {
    let is_it = |other: &Option<RegistryError>| match (other, &cause) {
        (Some(other), Some(cause)) => is_same(other, cause),
        (other, cause) => other.is_none() && cause.is_none(),
    };
    match groups.iter_mut().find(|(other, _)| is_it(other)) {
        Some((_, references)) => references.push(reference),
        None => groups.push((cause, vec![reference])),
    }
}

fn of_copies(error: Option<&RegistryError>, references: &[&Reference]) -> String {
    let list = names(references, NAMED);
    let copies = if references.len() == 1 { "the newest copy" } else { "the newest copies" };
    if let Some(error) = error {
        return format!("cannot ask whether {list} moved: {error}: using {copies} in the mirror");
    }
    let verb = if references.len() == 1 { "is" } else { "are" };
    format!("{list} {verb} not in the registry any more: using {copies} in the mirror")
}

fn images_that(n: usize) -> &'static str {
    if n == 1 { "the image" } else { "the images" }
}

fn unanswered(reference: &Reference, error: &RegistryError) -> Missing {
    let why = format!("cannot resolve `{reference}`: {error}");
    Missing { why, is_of_registry: true, hint: error.hint() }
}

/// Whether two failures have the same cause: the same host does not answer.
fn is_same(a: &RegistryError, b: &RegistryError) -> bool {
    use RegistryError::{Answer, Credentials, Unreachable};
    match (a, b) {
        (Unreachable { host: a, .. }, Unreachable { host: b, .. })
        | (Credentials { host: a, .. }, Credentials { host: b, .. }) => a == b,
        (Answer { host, status, .. }, Answer { host: other, status: its, .. }) => {
            host == other && status == its && is_of_host(a)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    /// Lines of `reference: what came of it`, where that is `sure`, `gone` (only the engine has
    /// it), `unasked`, `nowhere`, or a host that is down, with `here` if the engine has the image.
    fn concluded(lines: &str, offline: bool) -> String {
        let lines: Vec<(Reference, &str)> = lines
            .lines()
            .map(|line| line.trim().split_once(": ").unwrap())
            .map(|(reference, came)| (reference.parse().unwrap(), came))
            .collect();
        let found = lines.iter().map(|(reference, came)| {
            let digest = Digest::of(b"x");
            let here =
                Upstream { reference: reference.clone(), digest, place: DigestSource::Engine };
            let found = match *came {
                "sure" => Lookup::Sure(here),
                "gone" => Lookup::OnlyHere(here),
                "unasked" => Lookup::Unasked(here),
                "nowhere" => Lookup::Nowhere,
                "copy" => Lookup::OnlyCopy(here, None),
                "refused" => Lookup::NoAnswer(
                    RegistryError::Refused {
                        host: reference.repository.host().to_owned(),
                        action: "pull",
                        repository: reference.repository.path(),
                        reason: "denied".to_owned(),
                    },
                    None,
                ),
                down => {
                    let (host, is_here) = down.split_once(' ').unwrap_or((down, ""));
                    let error = RegistryError::Unreachable {
                        host: host.to_owned(),
                        reason: format!("no route, asking for {reference}"),
                        hint: None,
                    };
                    Lookup::NoAnswer(error, (is_here == "here").then_some(here))
                }
            };
            (reference, found)
        });
        match conclude(found.collect(), offline, |reference| {
            reference.to_string().ends_with("-new")
        }) {
            Ok(ResolvedUpstreams { unasked, .. }) if !unasked.is_empty() => {
                UpstreamError::not_here(unasked).to_string()
            }
            Ok(ResolvedUpstreams { unreachable: Some(error), .. }) | Err(error) => {
                error.to_string()
            }
            Ok(ResolvedUpstreams { upstreams, missing, warnings, .. }) => {
                let missing = missing.into_values().map(|missing| missing.why);
                let said: Vec<String> = missing.chain(warnings).collect();
                format!("{}: {}", upstreams.len(), said.join("; "))
            }
        }
    }

    #[test]
    fn one_reason_is_told_once() {
        for (lines, offline, expected) in [
            ("a:1: sure\nb:1: sure", false, "2: "),
            (
                "r.io/a: r.io here\nr.io/b: r.io here\nr.io/c: r.io here\nr.io/d: r.io here\nr.io/e: r.io here",
                false,
                "5: cannot ask whether `r.io/a`, `r.io/b`, `r.io/c` and 2 more moved: cannot reach \
                 the registry r.io: no route, asking for r.io/a: using the images that the engine has",
            ),
            (
                "r.io/a: r.io here\nr.io/b: r.io\nr.io/c: r.io\nq.io/x: q.io here",
                false,
                "cannot resolve `r.io/b` and `r.io/c`: cannot reach the registry r.io: no route, \
                 asking for r.io/a",
            ),
            (
                "r.io/a: r.io\nq.io/b: q.io\nx: nowhere\ny: nowhere",
                false,
                "cannot resolve `r.io/a`: cannot reach the registry r.io: no route, asking for r.io/a\n\
                 cannot resolve `q.io/b`: cannot reach the registry q.io: no route, asking for q.io/b",
            ),
            (
                "a: gone",
                false,
                "1: `a` is not in the registry: using the image that the engine has",
            ),
            (
                "a: copy\nb: sure\nc: copy",
                false,
                "3: `a` and `c` are not in the registry any more: using the newest copies in the mirror",
            ),
            ("a: unasked", true, "1: offline: 1 upstream (`a`) as the engine has it, moved or not"),
            (
                "a: unasked\nb: unasked\nc: sure",
                true,
                "3: offline: 2 upstreams (`a` and `b`) as the engine has them, moved or not",
            ),
            (
                "a: nowhere\nb: unasked",
                true,
                "the engine does not have `a`, and with `--offline` no registry is asked",
            ),
            // Only if nothing depends on it.
            (
                "r.io/a-new: r.io\nr.io/b-new: r.io\nc: sure",
                false,
                "1: cannot resolve `r.io/a-new` and `r.io/b-new`: cannot reach the registry r.io: no route, \
                 asking for r.io/a-new: planned anyway, since no image that needs them was ever published",
            ),
            (
                "r.io/a-new: r.io\nq.io/b-new: q.io\nr.io/c-new: r.io",
                false,
                "0: cannot resolve `r.io/a-new` and `r.io/c-new`: cannot reach the registry r.io: no route, asking \
                 for r.io/a-new: planned anyway, since no image that needs them was ever published; \
                 cannot resolve `q.io/b-new`: cannot reach the registry q.io: no route, asking for q.io/b-new: \
                 planned anyway, since no image that needs it was ever published",
            ),
            (
                "a-new: nowhere",
                true,
                "0: cannot resolve `a-new`: no registry is asked: planned anyway, since no image that needs it was \
                 ever published",
            ),
            (
                "a-new: nowhere",
                false,
                "0: `a-new` does not exist: neither the engine nor its registry has it",
            ),
            // These only affect the images that need them.
            (
                "x: nowhere\ny: sure\nr.io/z: refused",
                false,
                "1: cannot resolve `r.io/z`: the registry r.io refuses to pull `z`: denied; `x` does not exist: \
                 neither the engine nor its registry has it",
            ),
            (
                "r.io/a-new: r.io\nr.io/b: r.io",
                false,
                "cannot resolve `r.io/b`: cannot reach the registry r.io: no route, asking for r.io/b",
            ),
        ] {
            assert_eq!(concluded(lines, offline), expected, "{lines}");
        }
    }
}
