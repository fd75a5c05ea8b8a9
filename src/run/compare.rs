//! Compares a candidate with the published image.

use super::{
    labels::{BASE_DIGEST, BESIDE, FLATTEN, is_of_the_build},
    step::Work,
    step_events::Tell,
};
use crate::{
    engine::{Engine, EngineError, LocalImage, PathDifference, Volatile},
    event::{Different, Phase},
    fingerprint::BuiltFrom,
    hierarchy::{Flatten, Node},
    image::Digest,
    publish::store::{Description, Store, StoreError},
};

/// How many differing paths the log of a step contains.
const LISTED: usize = 1000;

/// In bytes. An engine (20.10) exports 80 to 90 MB per second, and both images are read. A refresh reads
/// images of any size.
const READ_WITHOUT_REQUEST: u64 = 256 << 20;
/// In bytes. The sizes of logs and caches vary less.
const SHRUNK: u64 = 64 << 10;
const LARGE: &str =
    "the files are not compared with those of the published image: it has more than 256 MiB\n";

/// The result of the comparison.
pub(super) enum Compared {
    /// The images are equal: the published image and its children stay.
    Same(Digest),
    /// The files were compared.
    Different(Different),
    /// Other layers, or no published image.
    Other,
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Compares with the published image, ignoring `rebuild`'s labels.
    ///
    /// A repeated step makes another layer even with the same files, since their times differ. Then the files
    /// decide.
    pub(super) async fn compare(
        &self,
        candidate: &LocalImage,
        fresh: bool,
        tell: &mut Tell,
    ) -> Result<Compared, StoreError> {
        let Some(published) = &self.step.published else { return Ok(Compared::Other) };
        let node = self.node();
        let Some(before) = self.shop.store.describe(&node.repository, published).await? else {
            return Ok(Compared::Other);
        };
        let now = Description::from(candidate.clone());
        // Edges must be consistent: an image on another base than before is published again.
        let is_rebased = before.labels.get(BASE_DIGEST) != now.labels.get(BASE_DIGEST)
            && !self.is_on_same_upstream(&before);
        let label = |image: &Description, name| image.labels.get(name).cloned().unwrap_or_default();
        let has_other = |name| label(&before, name) != label(&now, name);
        let (is_reshaped, is_described) = (has_other(FLATTEN), has_other(BESIDE));
        let (before, now) = (content(node, before), content(node, now));
        if before == now && !is_rebased && !is_described {
            return Ok(Compared::Same(published.clone()));
        }
        // The files are the same whether their layers are one or not.
        if is_rebased
            || is_reshaped
            || is_described
            || !(fresh || self.is_worth_reading(&before, candidate, tell))
        {
            return Ok(Compared::Other);
        }
        if (before.labels, before.config) != (now.labels, now.config) {
            let different = Compared::Different(Different::Configuration);
            return Ok(if fresh { different } else { Compared::Other });
        }
        tell.phase(Phase::Compare);
        let platform = node.platform.as_ref();
        let before = self.shop.store.fetch(&node.repository, published, platform).await?;
        if !fresh && self.has_shrunk(&before, candidate).await? {
            return Ok(Compared::Other);
        }
        let volatile = Volatile::new(&self.shop.hierarchy.volatile(&node.name))
            .map_err(|error| EngineError::Context(error.to_string()))?;
        let differences = self.shop.engine.differences(&before, &candidate.id, &volatile).await?;
        if !fresh && Different::files(&differences).is_some() {
            return Ok(Compared::Other);
        }
        for PathDifference { path, what } in differences.iter().take(LISTED) {
            tell.output(format!("{what}: /{}\n", path.display()).as_bytes());
        }
        Ok(match Different::files(&differences) {
            Some(different) => Compared::Different(different),
            None => Compared::Same(published.clone()),
        })
    }
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Whether a plain run compares the files: if other images are based on this one or it is flattened, and its
    /// layers may differ only in times. The layer cache of podman and of the classic builder goes with the image
    /// before it was flattened, so that each build runs all steps.
    fn is_worth_reading(
        &self,
        before: &Description,
        candidate: &LocalImage,
        tell: &mut Tell,
    ) -> bool {
        let has_children = self.shop.hierarchy.children(&self.step.node).next().is_some();
        let is_read_anyway = has_children || self.node().flatten != Flatten::No;
        if !is_read_anyway || before.layers.len() != candidate.layers.len() {
            return false;
        }
        let is_small = candidate.size <= READ_WITHOUT_REQUEST;
        if !is_small {
            tell.output(LARGE.as_bytes());
        }
        is_small
    }

    /// Whether the image is smaller than the published one: a new Dockerfile may delete files that the comparison
    /// leaves aside, such as package lists.
    async fn has_shrunk(
        &self,
        before: &Digest,
        candidate: &LocalImage,
    ) -> Result<bool, EngineError> {
        let before = self.shop.engine.inspect(before.as_str()).await?;
        Ok(before.is_some_and(|before| before.size >= candidate.size + SHRUNK))
    }

    /// Whether the published image is based on the same upstream, whose index may have changed.
    fn is_on_same_upstream(&self, before: &Description) -> bool {
        let Some(base) = self.node().upstream() else { return false };
        let record = BuiltFrom::from_labels(&before.labels);
        let was = record.as_ref().and_then(|record| record.inputs.upstreams.get(&base.to_string()));
        was.is_some() && was == self.step.inputs.upstreams.get(&base.to_string())
    }
}

/// The identity of an image: everything except labels that describe the build.
fn content(node: &Node, mut image: Description) -> Description {
    (image.created, image.size, image.stored) = (None, 0, None);
    image.labels.retain(|label, _| !is_of_the_build(node, label));
    image
}
