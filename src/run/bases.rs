//! Brings the bases of a build into the engine and pins them.
//!
//! **Invariant:** a build contains only names that this module made. They end in the image's ID and are in a
//! domain that cannot exist (`.invalid`, RFC 6761). So a missing name fails at once, and the engine pulls
//! nothing instead.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
};

use futures_util::{StreamExt as _, stream};
use regex::Regex;
use tokio::sync::OnceCell;

use crate::{
    engine::{BuildRequest, BuildSecrets, Engine, EngineError, LocalImage},
    fingerprint::{Parents, context::Context},
    hierarchy::{Base, BuildSettings, Hierarchy, Node, NodeName},
    image::{Digest, Platform, Reference, Repository, Tagged},
    plan::{DigestSource, Missing, Plan},
    publish::store::{Store, StoreError},
    registry::{Client, RegistryError},
};

/// How many pins are removed at once.
const RELEASED_AT_ONCE: usize = 32;

/// The domain of every pin. It cannot exist.
const PIN_DOMAIN: &str = "rebuild.invalid";

/// The domain of images whose tests failed. They outlive their run.
const FAILED_DOMAIN: &str = "failed.rebuild.invalid";

/// No file of a context has this name.
const CONTEXT_DOCKERFILE: &str = ".rebuild-context";

/// The tag under which an engine loads a flattened image.
const FLAT: &str = "flat";

/// The pattern of the repositories of all images whose tests failed.
pub fn failed_of_all_runs() -> String {
    format!("{FAILED_DOMAIN}/*/*")
}

/// The run in which the test of an image failed, if this is the name of such an image.
pub fn run_of_failed(name: &Tagged) -> Option<&str> {
    let rest = name.repository.as_str().strip_prefix(FAILED_DOMAIN)?.strip_prefix('/')?;
    rest.split_once('/').map(|(run, _)| run)
}

/// The name in the engine of a node's image whose test failed in a run.
pub(super) fn failed_image(run: &str, node: &str) -> Tagged {
    let repository: Repository = format!("{FAILED_DOMAIN}/{run}/{}", pin_name(node))
        .parse()
        .expect("a run's ID and a pin's name make a name");
    repository.tagged("rb-failed".parse().expect("it is a tag"))
}

/// The pattern of the repositories of all pins.
pub fn pins_of_all_runs() -> String {
    format!("{PIN_DOMAIN}/*/*")
}

/// Where names of images are that move between the engines of a command with this ID. They end with it, as pins do.
pub fn streamed_images(command: &str) -> Repository {
    format!("{PIN_DOMAIN}/{command}/nstreamed").parse().expect("an ID makes a name")
}

/// The run that made a pin, if this is the name of a pin.
pub fn run_of_pin(name: &Tagged) -> Option<&str> {
    let rest = name.repository.as_str().strip_prefix(PIN_DOMAIN)?.strip_prefix('/')?;
    rest.split_once('/').map(|(run, _)| run)
}

/// The images of a run in the engine: built in it, or pulled for it.
#[derive(Debug)]
pub(super) struct Bases {
    run: String,
    /// By the digest in the store, and for an index also by platform. Each is pulled once for all children.
    images: Mutex<HashMap<ImageKey, Arc<OnceCell<Digest>>>>,
    /// Those with the files of named contexts, by folder and platform.
    contexts: Mutex<HashMap<FolderKey, Arc<OnceCell<Digest>>>>,
    /// Their description in the engine, by ID.
    described: Mutex<HashMap<Digest, Arc<OnceCell<Arc<LocalImage>>>>>,
    /// Pins that builds replace by the image's name and digest in its registry, which the engine pulled.
    lacking: Mutex<BTreeSet<String>>,
    /// The first step sets each once; the others wait for it.
    pins: Mutex<BTreeMap<Tagged, Arc<OnceCell<()>>>>,
}

/// A digest in the store, and the platform for an index.
type ImageKey = (Digest, Option<Platform>);

type FolderKey = (PathBuf, Option<Platform>);

/// The bases of one build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pinned {
    /// For each image that the Dockerfile names, in order, the name that replaces it.
    pub(super) names: BTreeMap<usize, String>,
    /// For each of those names, the text of the Dockerfile.
    written: BTreeMap<String, String>,
    /// For each pin, the image's name and digest in its registry.
    pulled: BTreeMap<String, String>,
    /// The base of the final stage: its published name, its digest, and its ID in the engine.
    pub(super) base: Option<(String, Digest, Digest)>,
}

impl Pinned {
    /// The names that are no pins. BuildKit looks them up in their registries.
    pub(super) fn pulled_by_builds(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str).filter(|name| !name.starts_with(PIN_DOMAIN))
    }

    /// Replaces pins in a message of the engine with the names in the Dockerfile.
    pub(super) fn as_written(&self, said: String) -> String {
        if !said.contains(PIN_DOMAIN) {
            return said;
        }
        let said =
            self.written.iter().fold(said, |said, (pin, written)| said.replace(pin, written));
        // BuildKit may report a step that it shares with the build of another image.
        if !said.contains(PIN_DOMAIN) {
            return said;
        }
        let said = other_pins().replace_all(&said, "$image");
        absent_pin()
            .replace(&said, "the engine has no image of `$image` for the platform of this build")
            .into_owned()
    }
}

/// A pin that the engine does not have, or not for this platform: BuildKit then asks the host of its name.
fn absent_pin() -> &'static Regex {
    static PIN: LazyLock<Regex> = LazyLock::new(|| {
        let domain = regex::escape(PIN_DOMAIN);
        let pin = format!(
            r#"^(?:\S+: )?failed to resolve source metadata for (?<image>\S+): failed to do request: \S+ "https?://{domain}/.*"#
        );
        Regex::new(&pin).expect("a valid pattern")
    });
    &PIN
}

/// The pins of this file's [`Bases::pins_of`].
fn other_pins() -> &'static Regex {
    static PINS: LazyLock<Regex> = LazyLock::new(|| {
        let domain = regex::escape(PIN_DOMAIN);
        let pin = format!(r"\b{domain}/[0-9a-z]+/n(?<image>[0-9a-z-]+)(?::[0-9a-f]{{16}}\b)?");
        Regex::new(&pin).expect("a valid pattern")
    });
    &PINS
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BaseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The folder of a named context could not be made an image.
    #[error("the context `{name}`: {source}")]
    Files { name: String, source: EngineError },
    #[error("`{0}` was never published")]
    NeverPublished(String),
    /// An upstream that neither the engine nor its registry has.
    #[error("{}", .missing.why)]
    Missing { missing: Missing, line: usize },
}

/// Which image of an upstream a build needs.
#[derive(Clone, Copy)]
struct WantedImage<'a> {
    platform: Option<&'a Platform>,
    /// Whether builds for other platforms may need the same upstream at the same time. Then its image is pulled by its
    /// own digest: an engine has only one image under the digest of an index.
    is_of_several: bool,
}

/// Where bases come from.
pub(super) struct BaseSources<'a, E, S> {
    pub(super) engine: &'a E,
    pub(super) store: &'a S,
    pub(super) registries: &'a Client,
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) plan: &'a Plan,
}

impl<E, S> BaseSources<'_, E, S> {
    /// Whether a pull failed because the registry no longer has the image.
    async fn is_gone(&self, reference: &Reference, digest: &Digest, error: &BaseError) -> bool {
        let upstream = &self.plan.upstreams[&reference.to_string()];
        let repository = upstream.repository(self.hierarchy.mirror.as_ref());
        let is_refusal = matches!(
            error,
            BaseError::Engine(EngineError::Transfer { .. })
                | BaseError::Store(StoreError::Engine(EngineError::Transfer { .. }))
        );
        is_refusal && matches!(self.registries.head(&repository, digest.as_str()).await, Ok(None))
    }
}

impl Bases {
    pub(super) fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            images: Mutex::default(),
            contexts: Mutex::default(),
            described: Mutex::default(),
            lacking: Mutex::default(),
            pins: Mutex::default(),
        }
    }

    /// The cached description of an image by its ID; the first user fills it in.
    pub(super) fn image_of(&self, id: &Digest) -> Arc<OnceCell<Arc<LocalImage>>> {
        lock(&self.described).entry(id.clone()).or_default().clone()
    }

    /// Records that the image of this digest is in the engine.
    pub(super) fn learn(&self, digest: &Digest, image: &Digest) {
        let cell = OnceCell::new_with(Some(image.clone()));
        lock(&self.images).insert((digest.clone(), None), Arc::new(cell));
    }

    /// Whether two digests are the same image in this engine, so that a build may find the other's layers.
    pub(super) fn are_same(&self, one: &Digest, other: &Digest) -> bool {
        let images = lock(&self.images);
        let image = |digest: &Digest| images.get(&(digest.clone(), None))?.get();
        one == other || image(one).is_some_and(|one| image(other) == Some(one))
    }

    /// Tags an image so that it stays during this run, even if another process prunes.
    pub(super) async fn pin<E: Engine>(
        &self,
        engine: &E,
        name: &str,
        image: &Digest,
    ) -> Result<Tagged, EngineError> {
        let pin = Tagged {
            repository: self.pins_of(name),
            tag: image.hex()[..16].parse().expect("hexadecimal digits make a tag"),
        };
        let cell = lock(&self.pins).entry(pin.clone()).or_default().clone();
        cell.get_or_try_init(async || engine.tag(image, &pin).await).await?;
        Ok(pin)
    }

    /// A name for the flattened image of a node, which ends with this run as a pin does.
    pub(super) fn reserve_flat(&self, name: &str) -> Tagged {
        let flat = self.pins_of(name).tagged(FLAT.parse().expect("it is a tag"));
        lock(&self.pins).insert(flat.clone(), Arc::new(OnceCell::new_with(Some(()))));
        flat
    }

    /// Stores the description of a new image.
    pub(super) fn learn_built(&self, image: &LocalImage) {
        let described = OnceCell::new_with(Some(Arc::new(image.clone())));
        lock(&self.described).insert(image.id.clone(), Arc::new(described));
    }

    /// Brings every base of a node into the engine and pins it.
    pub(super) async fn pin_all<E: Engine, S: Store>(
        &self,
        node: &Node,
        parents: &Parents,
        sources: &BaseSources<'_, E, S>,
    ) -> Result<Pinned, BaseError> {
        let mut pinned = Pinned::default();
        for (index, used) in node.dockerfile.uses.iter().enumerate() {
            let written = match &used.on_build {
                Some(name) => Some(name.as_str()),
                None => node.dockerfile.text.get(used.span.clone()),
            };
            let (called, digest, repository) = match &used.base {
                Base::Files(name) => {
                    let image = self.files(sources.engine, node, name).await?;
                    let pin = self.pin(sources.engine, "files-of-context", &image).await?;
                    pinned.written.insert(pin.to_string(), name.clone());
                    pinned.names.insert(index, pin.to_string());
                    continue;
                }
                Base::Node(parent) => {
                    let node = sources.hierarchy.get(parent).expect("a parent is a node");
                    let digest = parents
                        .get(parent)
                        .ok_or_else(|| BaseError::NeverPublished(parent.to_string()))?;
                    (base_name(node, written), digest, node.repository.clone())
                }
                Base::Upstream(reference) => {
                    let called = reference.to_string();
                    let Some(upstream) = sources.plan.upstreams.get(&called) else {
                        let missing = sources.plan.missing.get(&called).cloned();
                        let missing = missing.unwrap_or_else(|| Missing::gone(reference));
                        return Err(BaseError::Missing { missing, line: used.line });
                    };
                    let repository = upstream.repository(sources.hierarchy.mirror.as_ref());
                    (called, &upstream.digest, repository)
                }
            };
            let platform = used.platform.as_ref().or(node.platform.as_ref());
            let wanted = WantedImage {
                platform,
                is_of_several: used.platform.is_some() || node.name.platform().is_some(),
            };
            let brought = self.bring(&used.base, digest, wanted, sources).await;
            let image = match (brought, used.base.upstream()) {
                (Err(error), Some(reference))
                    if sources.is_gone(reference, digest, &error).await =>
                {
                    let missing = Missing::gone(reference);
                    return Err(BaseError::Missing { missing, line: used.line });
                }
                (brought, _) => brought?,
            };
            let name = match &used.base {
                Base::Node(parent) => parent.as_str(),
                Base::Upstream(_) | Base::Files(_) => "upstream",
            };
            let pin = self.pin(sources.engine, name, &image).await?.to_string();
            let pulled = format!("{repository}@{digest}");
            let is_lacking = lock(&self.lacking).contains(&pin);
            let name = if is_lacking { pulled.clone() } else { pin.clone() };
            pinned.pulled.insert(pin, pulled);
            // With the values of its variables, as builders print it.
            let shown = written.filter(|text| !text.contains('$')).unwrap_or(&called);
            pinned.written.insert(name.clone(), shown.to_owned());
            pinned.names.insert(index, name);
            if used.is_final {
                pinned.base = Some((called, digest.clone(), image));
            }
        }
        Ok(pinned)
    }

    /// The ID of an image that has the files of a named context. The API of engines takes one context only.
    async fn files<E: Engine>(
        &self,
        engine: &E,
        node: &Node,
        name: &str,
    ) -> Result<Digest, BaseError> {
        let folder = &node.contexts[name];
        let failed = |source| BaseError::Files { name: name.to_owned(), source };
        let key = (folder.clone(), node.platform.clone());
        let cell = lock(&self.contexts).entry(key).or_default().clone();
        let build = async || {
            let context = Context::named(folder)
                .map_err(|error| failed(EngineError::Context(error.to_string())))?;
            let request = BuildRequest {
                dockerfile_path: context.root.join(CONTEXT_DOCKERFILE),
                context,
                context_digest: None,
                dockerfile: "FROM scratch\nCOPY . /\n".to_owned(),
                build_args: BTreeMap::new(),
                secrets: BuildSecrets::default(),
                labels: BTreeMap::new(),
                settings: BuildSettings::default(),
                repository: node.repository.clone(),
                target: None,
                named: BTreeMap::new(),
                platform: node.platform.clone(),
                no_cache: false,
                timeout: node.timeout,
                run: self.run.clone(),
            };
            Ok(engine.build(request, |_| {}).await.map_err(failed)?.id)
        };
        cell.get_or_try_init(build).await.cloned()
    }

    /// The ID of a node's image in the engine. Pulls the image if it is missing.
    pub(super) async fn image<E: Engine, S: Store>(
        &self,
        node: &NodeName,
        digest: &Digest,
        sources: &BaseSources<'_, E, S>,
    ) -> Result<Digest, BaseError> {
        let platform = sources.hierarchy.get(node).and_then(|node| node.platform.as_ref());
        let wanted = WantedImage { platform, is_of_several: false };
        self.bring(&Base::Node(node.clone()), digest, wanted, sources).await
    }

    /// The ID of a base's image in the engine. Pulls the image if it is missing.
    async fn bring<E: Engine, S: Store>(
        &self,
        base: &Base,
        digest: &Digest,
        WantedImage { platform, is_of_several }: WantedImage<'_>,
        sources: &BaseSources<'_, E, S>,
    ) -> Result<Digest, BaseError> {
        let platform_of_index = match base {
            Base::Node(_) | Base::Files(_) => None,
            Base::Upstream(_) => platform.cloned(),
        };
        let key = (digest.clone(), platform_of_index);
        let cell = lock(&self.images).entry(key).or_default().clone();
        let image = cell
            .get_or_try_init(async || match base {
                Base::Files(_) => unreachable!("the files of a context are in no store"),
                Base::Node(parent) => {
                    let parent = sources.hierarchy.get(parent).expect("a parent is a node");
                    Ok(sources.store.fetch(&parent.repository, digest, platform).await?)
                }
                Base::Upstream(reference) => {
                    let upstream = &sources.plan.upstreams[&reference.to_string()];
                    if upstream.place == DigestSource::Engine {
                        if sources.engine.inspect(digest.as_str()).await?.is_some() {
                            return Ok::<_, BaseError>(digest.clone());
                        }
                        // The first engine of a pool has it.
                        let from = (&reference.repository, digest, platform);
                        let fetched = sources.store.fetch(from.0, from.1, from.2).await;
                        return Ok(fetched.unwrap_or_else(|_| digest.clone()));
                    }
                    let repository = &upstream.repository(sources.hierarchy.mirror.as_ref());
                    for repository in BTreeSet::from([repository, &reference.repository]) {
                        let pulled = format!("{repository}@{digest}");
                        if let Some(image) = sources.engine.inspect(&pulled).await?
                            && platform.is_none_or(|platform| image.platform == *platform)
                        {
                            return Ok(image.id);
                        }
                    }
                    let member = match platform.filter(|_| is_of_several) {
                        Some(platform) => {
                            sources.registries.manifest_for(repository, digest, platform).await?
                        }
                        None => None,
                    };
                    let digest = member.as_ref().unwrap_or(digest);
                    let pull = |login| async move {
                        Ok(sources.engine.pull(repository, digest, platform, login).await?)
                    };
                    sources.registries.with_login(repository.host(), pull).await
                }
            })
            .await?;
        Ok(image.clone())
    }

    /// Removes the pins of a node's own images. What fails is left for [`release`](Self::release).
    pub(super) async fn release_own<E: Engine>(&self, engine: &E, node: &str) {
        let repository = self.pins_of(node);
        for pin in self.pins().into_iter().filter(|pin| pin.repository == repository) {
            if engine.untag(&pin).await.is_ok() {
                lock(&self.pins).remove(&pin);
            }
        }
    }

    fn pins_of(&self, name: &str) -> Repository {
        let repository = format!("{PIN_DOMAIN}/{}/{}", self.run, pin_name(name));
        repository.parse().expect("a pin's name is made of good parts")
    }

    /// Removes every pin of this run, and stops if the engine does not answer. The remaining ones are the
    /// [`pins`](Self::pins).
    pub(super) async fn release<E: Engine>(&self, engine: &E) -> Result<(), EngineError> {
        let mut failed = None;
        let mut released = stream::iter(self.pins())
            .map(async |pin| (engine.untag(&pin).await, pin))
            .buffer_unordered(RELEASED_AT_ONCE);
        while let Some((result, pin)) = released.next().await {
            match result {
                Ok(()) => _ = lock(&self.pins).remove(&pin),
                Err(error) if error.is_gone() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The pins that this run has set and not yet removed.
    pub(super) fn pins(&self) -> Vec<Tagged> {
        lock(&self.pins).keys().cloned().collect()
    }

    /// Whether a build failed because the engine lacks layers of a base: then builds name the base in its registry,
    /// and the engine reads them from there.
    ///
    /// containerd's image store pulls no layer whose files it has from another image. If that one has them in another
    /// compression, `BuildKit` asks the registry of the base's name for the layer.
    pub(super) async fn lacks_layers<E: Engine>(
        &self,
        engine: &E,
        message: &str,
        pinned: &Pinned,
    ) -> bool {
        if !message.contains(PIN_DOMAIN) {
            return false;
        }
        let mut is_new = false;
        for (pin, pulled) in &pinned.pulled {
            if matches!(engine.inspect(pulled).await, Ok(Some(_))) {
                is_new |= lock(&self.lacking).insert(pin.clone());
            }
        }
        is_new
    }

    /// Forgets the bases of a build that another client has removed from the engine. Returns whether there
    /// were any.
    pub(super) async fn forget_lost<E: Engine>(&self, engine: &E, pinned: &Pinned) -> bool {
        let mut is_lost = false;
        for name in pinned.names.values() {
            if !matches!(engine.inspect(name).await, Ok(None)) {
                continue;
            }
            is_lost = true;
            lock(&self.pins).retain(|pin, _| pin.to_string() != *name);
            // The tag of a pin is the beginning of the image's ID.
            let id = name.rsplit_once(':').map_or("", |(_, tag)| tag);
            let is_other = |image: &Arc<OnceCell<Digest>>| {
                image.get().is_none_or(|image| !image.hex().starts_with(id))
            };
            lock(&self.images).retain(|_, image| is_other(image));
            lock(&self.contexts).retain(|_, image| is_other(image));
        }
        is_lost
    }
}

/// The published name of a parent: its repository with the tag of the Dockerfile, else with the parent's
/// first stable tag.
fn base_name(parent: &Node, written: Option<&str>) -> String {
    let written = written.and_then(|text| text.parse::<Reference>().ok());
    let tag = written.and_then(|reference| reference.tag).map(|tag| tag.to_string());
    let tag = tag.or_else(|| parent.stable_tags().next().map(ToString::to_string));
    tag.map_or_else(|| parent.repository.to_string(), |tag| format!("{}:{tag}", parent.repository))
}

/// A node's name as one component of a repository's.
fn pin_name(name: &str) -> String {
    let good = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    format!("n{}", name.chars().map(good).collect::<String>().trim_end_matches('-'))
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::test_hierarchy;

    #[test]
    fn messages_contain_no_pin_of_another_image() {
        let own = "rebuild.invalid/01m8/nos:0123456789abcdef";
        let pinned = Pinned {
            written: [(own.to_owned(), "r.io/os:12".to_owned())].into(),
            ..Pinned::default()
        };
        for (said, expected) in [
            (format!("FROM {own}"), "FROM r.io/os:12"),
            (
                "FROM rebuild.invalid/01m8/nweb-onbuild:097f0123456789ab AS x".to_owned(),
                "FROM web-onbuild AS x",
            ),
            ("FROM a".to_owned(), "FROM a"),
            (
                format!(
                    "{own}: failed to resolve source metadata for {own}: failed to do request: Head \
                     \"https://rebuild.invalid/v2/01m8/nos/manifests/0123456789abcdef\": dial tcp: lookup \
                     rebuild.invalid on 10.0.0.53:53: no such host"
                ),
                "the engine has no image of `r.io/os:12` for the platform of this build",
            ),
        ] {
            assert_eq!(pinned.as_written(said), expected);
        }
    }

    #[test]
    fn the_name_of_a_base_has_the_tag_of_the_from_line_or_the_first_stable_tag() {
        let hierarchy = test_hierarchy("os");
        let mut os = hierarchy.get(&"os".into()).unwrap().clone();
        os.repository = "r.io/base/os".parse().unwrap();
        os.tags = ["{date}", "12", "latest"].map(|tag| tag.parse().unwrap()).into();
        for (written, expected) in [
            (Some("r.io/base/os:latest"), "r.io/base/os:latest"),
            (Some("os:12-x"), "r.io/base/os:12-x"),
            (Some("os"), "r.io/base/os:12"),
            (Some("${BASE}"), "r.io/base/os:12"),
            (None, "r.io/base/os:12"),
        ] {
            assert_eq!(base_name(&os, written), expected, "{written:?}");
        }
        os.tags = vec!["{date}".parse().unwrap()];
        assert_eq!(base_name(&os, Some("os")), "r.io/base/os");
    }
}
