//! Checks a candidate against its budget, after its tests and before it is stored.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    attempts::StepRetry,
    bases::Pinned,
    compare::Compared,
    labels::BASE_DIGEST,
    observe::engine_layers,
    step::{Candidate, Done, Work},
    step_events::Tell,
    trouble::Trouble,
};
use crate::{
    dockerfile::history::{instruction, may_have_layer},
    engine::{Engine, HistoryStep, LocalImage},
    event::Phase,
    exit::Exit,
    hierarchy::{Base, Node, OnExcess},
    image::{Digest, Platform, Repository},
    publish::store::{Store, StoreError},
    size::{
        CandidateSize, LayerOwner, LayerShare, LayerStep, OverBudget, WastedPart, causes, excesses,
    },
    waste::{ImageLayers, LayerIndex, wasted_parts},
};

/// An upstream may be in a registry that this machine cannot reach, and a message only needs its layers.
const UPSTREAM: Duration = Duration::from_secs(5);

/// Layers of an image, from the first one up to those of one owner.
struct LayerCut<'a> {
    owner: LayerOwner,
    /// The number of layers up to and with its own.
    end: usize,
    node: Option<&'a Node>,
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Measures the candidate once. `done` has the limits that it exceeds.
    pub(super) async fn check_budget(
        &self,
        done: &mut Done,
        tell: &mut Tell,
    ) -> Result<(), Trouble> {
        let budget = &self.node().budget;
        if done.is_measured || !budget.has_limits() {
            return Ok(());
        }
        let Some(Candidate { image, added, compared, .. }) = &done.candidate else {
            unreachable!("only a candidate is measured");
        };
        tell.phase(Phase::Measure);
        let before = match (budget.growth, compared) {
            (None, _) | (_, Compared::Same(_)) => None,
            (Some(_), Compared::Different(_) | Compared::Other) => self.published(tell).await,
        };
        let wasted = match budget.waste {
            Some(_) => self.wasted(image, done.pinned.as_ref(), tell).await?,
            None => vec![],
        };
        let found = CandidateSize {
            size: image.size,
            own: *added,
            layers: image.layers.len() as u64,
            waste: wasted.iter().map(|part| part.bytes).fold(0, u64::saturating_add),
            before: before.as_ref().map(|before| before.size),
        };
        let excesses = excesses(budget, found);
        if !excesses.is_empty() {
            let shares = self.shares(image).await;
            let shares_before = match &before {
                Some(before) => self.shares(before).await,
                None => vec![],
            };
            let shares = (&shares[..], &shares_before[..]);
            let all: Vec<OverBudget> =
                excesses.into_iter().map(|excess| causes(excess, shares, &wasted)).collect();
            let failure = (budget.on_excess == OnExcess::Fail).then(|| Trouble {
                phase: Phase::Measure,
                message: all.iter().flat_map(OverBudget::lines).collect::<Vec<_>>().join("\n"),
                exit: Exit::TestFailed,
                step: all.iter().find_map(OverBudget::own_step).map(str::to_owned),
                again: StepRetry::Never,
            });
            let mask = self.shop.secrets.mask();
            let masked = all.into_iter().map(|over| over.masked(|text| mask.text(text)));
            done.over_budget = masked.collect();
            if let Some(failure) = failure {
                return Err(failure);
            }
            done.over_budget.iter().for_each(|over| tell.warn(&over.to_string()));
        }
        done.is_measured = true;
        Ok(())
    }

    /// What the layers above its base waste. Nothing, with a warning, if its files cannot be read.
    async fn wasted(
        &self,
        image: &LocalImage,
        pinned: Option<&Pinned>,
        tell: &Tell,
    ) -> Result<Vec<WastedPart>, Trouble> {
        let from = match pinned.and_then(|pinned| pinned.base.as_ref()) {
            Some((_, _, base)) => {
                let base = self.base(base).await?;
                if image.layers.starts_with(&base.layers) { base.layers.len() } else { 0 }
            }
            None => 0,
        };
        let images = BTreeMap::from([(image.id.clone(), image.layers.clone())]);
        let read = engine_layers(&*self.shop.engine, &images, &self.shop.layers).await;
        let read =
            read.map_err(|error| Trouble { phase: Phase::Measure, ..Trouble::of_build(error) })?;
        let Some(ImageLayers { layers, .. }) = read.images.get(&image.id) else {
            let problem = read.problems.get(&image.id).map_or("no layer was read", String::as_str);
            tell.warn(&format!("its waste is not checked: {problem}"));
            return Ok(vec![]);
        };
        let layers: Vec<&LayerIndex> = layers.iter().map(Arc::as_ref).collect();
        Ok(wasted_parts(&layers, from))
    }

    /// The published image, in the engine. `None` if it was never published or was deleted, or, with a warning,
    /// if it cannot be read.
    async fn published(&self, tell: &Tell) -> Option<LocalImage> {
        let published = self.step.published.as_ref()?;
        let (node, engine) = (self.node(), &self.shop.engine);
        let (repository, platform) = (&node.repository, node.platform.as_ref());
        let fetched = async {
            let name = format!("{repository}@{published}");
            if let Some(here) = engine.inspect(&name).await? {
                return Ok(Some(here));
            }
            let id = self.shop.store.fetch(repository, published, platform).await?;
            Ok::<_, StoreError>(engine.inspect(id.as_str()).await?)
        };
        match fetched.await {
            Ok(image) => image,
            Err(StoreError::Gone { .. }) => None,
            Err(error) => {
                let reason = "the published image cannot be read";
                tell.warn(&format!("its growth is not checked, because {reason}: {error}"));
                None
            }
        }
    }

    /// The layers of an image of this node, divided among the images that added them, the lowest first. Empty if
    /// the engine's history does not fit the layers.
    async fn shares(&self, image: &LocalImage) -> Vec<LayerShare> {
        let history = self.shop.engine.history(&image.id).await.unwrap_or_default();
        let Some(mut steps) = with_layers(&history, image.layers.len()) else { return vec![] };
        let mut begin = 0;
        let share = |LayerCut { owner, end, node }: LayerCut<'_>| {
            let layers = end.saturating_sub(begin);
            begin = end.max(begin);
            let step = |(text, bytes): (String, u64)| LayerStep {
                place: node.and_then(|node| self.place(node, &text)),
                text,
                bytes,
            };
            let own = steps.drain(..layers.min(steps.len())).map(step).collect();
            LayerShare { owner, layers: layers as u64, steps: own }
        };
        self.cuts(image).await.into_iter().map(share).collect()
    }

    /// `images/os-base/Dockerfile:4`.
    fn place(&self, node: &Node, text: &str) -> Option<String> {
        let line = node.dockerfile.line_of(text)?.line;
        let path = &node.dockerfile.path;
        let path = path.strip_prefix(self.shop.hierarchy.root()).unwrap_or(path);
        Some(format!("{}:{line}", path.display()))
    }

    /// The owners of an image's layers, the lowest first. Each image names its base in a label.
    async fn cuts(&self, image: &LocalImage) -> VecDeque<LayerCut<'_>> {
        let itself = LayerOwner::Itself;
        let mut node = self.node();
        let first = LayerCut { owner: itself, end: image.layers.len(), node: Some(node) };
        let (mut cuts, mut labels) = (VecDeque::from([first]), image.labels.clone());
        while let Some(digest) = labels.get(BASE_DIGEST).and_then(|base| base.parse().ok()) {
            let last = node.dockerfile.uses.iter().find(|used| used.is_final);
            let (owner, repository, parent) = match last.map(|used| &used.base) {
                Some(Base::Upstream(name)) => {
                    (LayerOwner::Upstream(name.to_string()), &name.repository, None)
                }
                Some(Base::Node(name)) => {
                    let parent = self.shop.hierarchy.get(name).expect("a parent is a node");
                    (LayerOwner::Ancestor(name.clone()), &parent.repository, Some(parent))
                }
                Some(Base::Files(_)) | None => break,
            };
            let found = self.layers_of((repository, &digest), &image.platform, parent.is_none());
            let found = found.await.filter(|(_, layers)| image.layers.starts_with(layers));
            let Some((below, layers)) = found else { break };
            cuts.push_front(LayerCut { owner, end: layers.len(), node: parent });
            let Some(parent) = parent else { break };
            (node, labels) = (parent, below);
        }
        cuts
    }

    /// The labels and the layers of a base, from the engine or its registry.
    async fn layers_of(
        &self,
        (repository, digest): (&Repository, &Digest),
        platform: &Platform,
        is_upstream: bool,
    ) -> Option<(BTreeMap<String, String>, Vec<Digest>)> {
        for name in [digest.to_string(), format!("{repository}@{digest}")] {
            if let Ok(Some(image)) = self.shop.engine.inspect(&name).await {
                return Some((image.labels, image.layers));
            }
        }
        let read = async {
            let member = if is_upstream {
                let registries = &self.shop.registries;
                registries.manifest_for(repository, digest, platform).await.ok()??
            } else {
                digest.clone()
            };
            self.shop.store.describe(repository, &member).await.ok()?
        };
        let found = timeout(UPSTREAM, read).await.ok()??;
        Some((found.labels, found.layers))
    }
}

/// The instruction and the bytes of each layer. `None` if the steps cannot be matched: whether a `WORKDIR` has a
/// layer depends on the builder, so all of them or none have one.
fn with_layers(history: &[HistoryStep], layers: usize) -> Option<VecDeque<(String, u64)>> {
    let steps = history.iter().map(|step| (instruction(&step.created_by), step.bytes));
    let mut steps: VecDeque<(String, u64)> =
        steps.filter(|(text, bytes)| *bytes > 0 || may_have_layer(text)).collect();
    let is_folder = |text: &str, bytes: u64| bytes == 0 && text.starts_with("WORKDIR");
    if steps.len() > layers {
        steps.retain(|(text, bytes)| !is_folder(text, *bytes));
    }
    (steps.len() == layers).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_matched_with_layers() {
        let history = |lines: &[(&str, u64)]| -> Vec<HistoryStep> {
            let step = |(text, bytes): &(&str, u64)| HistoryStep {
                created_by: (*text).to_owned(),
                bytes: *bytes,
            };
            lines.iter().map(step).collect()
        };
        let lines =
            history(&[("COPY a b # buildkit", 5), ("WORKDIR /x", 0), ("ENV A=1", 0), ("RUN x", 0)]);
        let texts = |layers| {
            let steps = with_layers(&lines, layers)?;
            Some(steps.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(texts(3).as_deref(), Some("COPY a b, WORKDIR /x, RUN x"));
        assert_eq!(texts(2).as_deref(), Some("COPY a b, RUN x"));
        assert_eq!((texts(1), texts(4)), (None, None));
    }
}
