//! Which base an image is based on.

use super::{
    BASE_DIGEST, BASE_NAME, BaseEvidence, BaseHistory, FleetImage, KnownBase, NoBase, Standing,
    base::{fingerprint_of, node_of},
    line::{Line, is_version, line_of, standing},
};
use crate::image::{Digest, Reference};

/// The base that the evidence names.
pub(super) struct Identified<'a> {
    /// As the label writes it.
    pub(super) name: Option<Reference>,
    pub(super) digest: Option<Digest>,
    /// `None` if the audit did not read it, or if it was deleted.
    pub(super) known: Option<&'a KnownBase>,
    pub(super) evidence: BaseEvidence,
}

pub(super) fn identified<'a>(
    image: &FleetImage,
    bases: &'a BaseHistory,
) -> Result<Identified<'a>, NoBase> {
    let facts = &image.facts;
    let claims =
        [(&facts.annotations, BaseEvidence::Annotation), (&facts.labels, BaseEvidence::Label)];
    for (texts, evidence) in claims {
        let text = |name: &str| texts.get(name).filter(|text| !text.is_empty());
        let (name, digest) = (text(BASE_NAME), text(BASE_DIGEST));
        let name: Option<Reference> = name.and_then(|name| name.parse().ok());
        let digest: Option<Digest> = digest.and_then(|digest| digest.parse().ok());
        if name.is_none() && digest.is_none() {
            continue;
        }
        if evidence == BaseEvidence::Label {
            if let Some(base) = inherited_from(image, bases) {
                return Ok(of_known(base, BaseEvidence::InheritedLabels));
            }
            if other_node(image, bases).is_some() {
                break;
            }
        }
        let digest = digest.or_else(|| name.as_ref().and_then(|name| name.digest.clone()));
        let known = digest.as_ref().and_then(|digest| claimed(image, bases, (digest, &name)));
        return Ok(Identified { name, digest, known, evidence });
    }
    // Images that were squashed keep the labels of their base.
    if let Some(base) = inherited_from(image, bases) {
        return Ok(of_known(base, BaseEvidence::InheritedLabels));
    }
    if is_from_scratch(image, bases) {
        return Err(NoBase::FromScratch);
    }
    by_layers(image, bases)
}

/// Whether `rebuild` built this image, which sets the labels of the base on each image that has one.
fn is_from_scratch(image: &FleetImage, bases: &BaseHistory) -> bool {
    let is_of_node = |node: &str| {
        bases.nodes.contains_key(&(image.repository.clone(), node.to_owned()))
            || image.is_built_here
    };
    node_of(&image.facts).is_some_and(is_of_node)
}

fn of_known(base: &KnownBase, evidence: BaseEvidence) -> Identified<'_> {
    Identified { name: None, digest: Some(base.version.clone()), known: Some(base), evidence }
}

/// The version that a label names. An index has a version for each platform: the one whose layers fit.
fn claimed<'a>(
    image: &FleetImage,
    bases: &'a BaseHistory,
    (digest, name): (&Digest, &Option<Reference>),
) -> Option<&'a KnownBase> {
    let mut known = bases.with_digest(digest);
    let is_named = |base: &&KnownBase| {
        name.as_ref().is_some_and(|name| name.repository.is_same(&base.repository))
    };
    if known.iter().any(is_named) {
        known.retain(is_named);
    }
    let fits = |base: &&&KnownBase| image.facts.layers.starts_with(&base.facts.layers);
    known.iter().find(fits).or(known.first()).copied()
}

/// The node in the labels of `rebuild`, if the image is not an image of that node. Then it inherited all labels.
fn other_node<'a>(image: &'a FleetImage, bases: &BaseHistory) -> Option<&'a str> {
    let node = node_of(&image.facts)?;
    let is_own = image.is_built_here
        || bases.nodes.contains_key(&(image.repository.clone(), node.to_owned()))
        || image.repository.as_str().rsplit('/').next() == Some(node);
    Some(node).filter(|_| !is_own)
}

/// Whether the image has the layers of the base, and others. An image with the same layers is a copy.
fn extends(image: &FleetImage, base: &KnownBase) -> bool {
    let (own, of_base) = (&image.facts.layers, &base.facts.layers);
    !of_base.is_empty() && of_base.len() < own.len() && own.starts_with(of_base)
}

/// A base that gave the image its labels, so that they describe the base of that base. `rebuild` sets all of its labels on
/// each image, so an image of another node or with more layers inherited the fingerprint.
fn inherited_from<'a>(image: &FleetImage, bases: &'a BaseHistory) -> Option<&'a KnownBase> {
    let print = fingerprint_of(&image.facts);
    let others = bases.images.iter().filter(|base| !is_version_of(image, base, bases));
    let is_of_other_node = other_node(image, bases).is_some();
    let gave = |base: &&KnownBase| match (print, base.fingerprint()) {
        (Some(own), Some(print)) => {
            let is_squashed = || is_of_other_node && base.facts.layers != image.facts.layers;
            own == print
                && base.node() == node_of(&image.facts)
                && (extends(image, base) || is_squashed())
        }
        (None, None) => {
            let labels = &base.facts.labels;
            labels.contains_key(BASE_DIGEST) && extends(image, base) && has_all_labels(image, base)
        }
        _ => false,
    };
    others
        .filter(gave)
        .max_by_key(|base| (extends(image, base), base.facts.layers.len(), base.at()))
}

/// Whether an image is this base, or another version of it.
fn is_version_of(image: &FleetImage, base: &KnownBase, bases: &BaseHistory) -> bool {
    if !base.digests.is_disjoint(&image.digests) {
        return true;
    }
    let is_there = base.repository.is_same(&image.repository);
    if !is_there || base.node() != node_of(&image.facts) {
        return false;
    }
    // Several images without the label of a node may share a repository.
    base.node().is_some()
        || line_of(base, None, bases).is_none_or(|line| {
            image
                .tags
                .iter()
                .any(|tag| tag == line.tag || is_version(tag.as_str(), line.tag.as_str()))
        })
}

fn has_all_labels(image: &FleetImage, base: &KnownBase) -> bool {
    let labels = &image.facts.labels;
    base.facts.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The base with the most layers that the image begins with.
fn by_layers<'a>(image: &FleetImage, bases: &'a BaseHistory) -> Result<Identified<'a>, NoBase> {
    let node = other_node(image, bases);
    let fitting: Vec<&KnownBase> = bases
        .images
        .iter()
        .filter(|base| extends(image, base) && !is_version_of(image, base, bases))
        .filter(|base| node.is_none() || base.node() == node)
        .collect();
    let Some(longest) = fitting.iter().map(|base| base.facts.layers.len()).max() else {
        return Err(match node {
            Some(node) => NoBase::LabelsOf(node.to_owned()),
            None => NoBase::NoEvidence,
        });
    };
    let mut best: Vec<&KnownBase> =
        fitting.into_iter().filter(|base| base.facts.layers.len() == longest).collect();
    // A child inherits the labels of its base.
    if best.iter().any(|base| has_all_labels(image, base)) {
        best.retain(|base| has_all_labels(image, base));
        // Of bases without labels, each fits.
        let most = best.iter().map(|base| base.facts.labels.len()).max();
        best.retain(|base| Some(base.facts.labels.len()) == most);
    }
    let lines: Vec<Option<Line<'_>>> = best.iter().map(|base| line_of(base, None, bases)).collect();
    let is_one = lines.windows(2).all(|pair| pair[0] == pair[1]);
    // Of versions with the same layers, the newest: an image is behind only if something proves it.
    best.sort_by_key(|base| {
        (
            line_of(base, None, bases).is_none_or(|line| !line.is_newest(base)),
            std::cmp::Reverse(base.at()),
        )
    });
    let found = |base| of_known(base, BaseEvidence::Layers);
    if is_one {
        return Ok(found(best[0]));
    }
    let said = |base: &&'a KnownBase| standing(&found(base), bases);
    let mut standings: Vec<(String, Standing, &KnownBase)> = best
        .iter()
        .map(|base| {
            let (name, standing) = said(base);
            (name, standing, *base)
        })
        .collect();
    standings.sort_by(|a, b| a.0.cmp(&b.0));
    if standings.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return Ok(found(standings[0].2));
    }
    let mut names: Vec<String> = standings.into_iter().map(|(name, ..)| name).collect();
    names.dedup();
    Err(NoBase::Several(names))
}
