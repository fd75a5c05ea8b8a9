//! Decides what to rebuild, and why. Pure: facts in, a [`Plan`] out.

mod cause;
mod holds;
mod observed;
pub mod order;
mod plan_file;
mod reason;
mod selection;
mod sentence;
pub mod since;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::observed::image_under;
pub use self::{
    cause::RootCause,
    holds::{Hold, Holds, RolledBack},
    observed::{
        CopyState, DigestSource, Due, LastBuild, LastBuilds, Members, Missing, NodeFacts, Observed,
        Published, Upstream,
    },
    plan_file::{PlanCommit, PlanFile, PlanFileError, PlannedImage},
    reason::{Change, ChangedPart, Reason},
    selection::{PlanRequest, Selection},
    state::ImageState,
};
use crate::{
    fingerprint::{BuiltFrom, Detail, Epoch, Inputs, ListingDifference, Parents},
    hierarchy::{Hierarchy, Node, NodeName},
    image::{Digest, Tag, packages::PackageUpdate},
};

/// The actions of a run. `rebuild plan` prints it, `rebuild` executes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The closure in build order: every step is after the steps that it waits for.
    pub steps: Vec<Step>,
    /// The published images of parents outside the closure, and of the other platforms of its images.
    pub given: Parents,
    /// Each upstream as it is written in a Dockerfile.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Upstreams that cannot be used: the images that name one fail.
    pub missing: BTreeMap<String, Missing>,
}

/// One image of the closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub node: NodeName,
    pub action: Action,
    pub reason: Reason,
    /// The steps of this plan that must succeed first; the parent that it is `FROM` is the first.
    pub after: Vec<NodeName>,
    pub inputs: Inputs,
    pub detail: Detail,
    /// The known package updates for it.
    pub updates: Vec<PackageUpdate>,
    /// It is kept and has no updates for this epoch, so that the next run does not query again.
    pub checked: Option<Epoch>,
    /// The present digests of its moving tags. Promotion checks that they have not changed.
    pub moving: BTreeMap<Tag, Option<Digest>>,
    /// For an image with several platforms: as in [`NodeFacts::members`].
    pub members: Members,
    /// The published image.
    pub published: Option<Digest>,
    /// Its upstream differs from that of the published image.
    pub has_new_base: bool,
    /// The node or the upstream that it is `FROM`.
    pub base: Option<String>,
}

/// The action for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "action")]
pub enum Action {
    /// Build, unless the build tag for its final parents already exists.
    Build {
        /// Without the layer cache.
        fresh: bool,
        /// Build even if the build tag exists. Since that tag never moves, a different image is stored in
        /// this epoch.
        again: Option<Epoch>,
    },
    /// The tested image is stored; only its moving tags point elsewhere.
    Promote { digest: Digest },
    /// Nothing.
    Keep { digest: Digest },
}

impl Plan {
    /// The steps of these nodes only, for output, not for execution.
    #[must_use]
    pub fn narrowed(mut self, nodes: &BTreeSet<NodeName>) -> Self {
        self.steps.retain(|step| nodes.contains(&step.node));
        self.steps.iter_mut().for_each(|step| step.after.retain(|parent| nodes.contains(parent)));
        self
    }
}

/// Plans every node in view.
pub fn plan(hierarchy: &Hierarchy, observed: &Observed, request: &PlanRequest) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    let mut building: BTreeSet<NodeName> = BTreeSet::new();
    for node in hierarchy.in_build_order() {
        let Some(facts) = observed.nodes.get(&node.name) else { continue };
        let mut after: Vec<NodeName> = hierarchy
            .parents(&node.name)
            .filter(|parent| observed.nodes.contains_key(&parent.name))
            .map(|parent| parent.name.clone())
            .collect();
        // The one that it is `FROM` is the first, and the first reason.
        after.sort_by_key(|parent| node.base() != Some(parent));
        let rebuilt_parent = after.iter().find(|parent| building.contains(*parent));
        let (mut action, mut reason) = match missing(node, observed) {
            Some(reason) if facts.hold.is_none() => {
                (Action::Build { fresh: false, again: None }, reason)
            }
            _ => decide(facts, rebuilt_parent, observed, hierarchy),
        };
        let is_build = matches!(action, Action::Build { .. });
        // A hold ends for a named image, but not for all images that a refresh selects.
        if facts.hold.is_none() && request.forces(&node.name) {
            let fresh = request.refreshes(&node.name) || facts.due.is_some();
            action = Action::Build { fresh, again: Some(request.epoch()) };
            reason = request.reason(&node.name, is_build.then_some(reason));
        } else if let Some(since) = request.selection.change(&node.name)
            && !matches!(action, Action::Keep { .. })
        {
            reason = since.clone();
        }
        if matches!(action, Action::Build { .. }) {
            building.insert(node.name.clone());
        }
        steps.push(Step {
            node: node.name.clone(),
            action,
            reason,
            after,
            inputs: facts.inputs.clone(),
            detail: facts.detail.clone(),
            updates: facts.updates.clone().unwrap_or_default(),
            checked: facts.checked,
            moving: facts.moving.clone(),
            members: facts.members.clone(),
            published: facts.published.as_ref().map(|published| published.digest.clone()),
            has_new_base: has_new_base(node, facts),
            base: base(node),
        });
    }
    let Observed { outside, upstreams, missing, .. } = observed.clone();
    Plan { steps, given: outside, upstreams, missing }
}

/// An upstream that a node needs and that cannot be used.
fn missing(node: &Node, observed: &Observed) -> Option<Reason> {
    node.dockerfile.uses.iter().find_map(|used| {
        let upstream = used.base.upstream()?.to_string();
        let why = observed.missing.get(&upstream)?.why.clone();
        Some(Reason::UpstreamMissing { upstream, why })
    })
}

fn base(node: &Node) -> Option<String> {
    let of_node = node.base().map(ToString::to_string);
    of_node.or_else(|| node.upstream().map(ToString::to_string))
}

fn has_new_base(node: &Node, facts: &NodeFacts) -> bool {
    let Some(upstream) = node.upstream().map(ToString::to_string) else { return false };
    let then = facts.published.as_ref().and_then(|published| published.built_from.as_ref());
    let was = then.and_then(|then| then.inputs.upstreams.get(&upstream));
    was.is_none() || was != facts.inputs.upstreams.get(&upstream)
}

/// The action for a node that the command line does not name.
fn decide(
    facts: &NodeFacts,
    rebuilt_parent: Option<&NodeName>,
    observed: &Observed,
    hierarchy: &Hierarchy,
) -> (Action, Reason) {
    let build = Action::Build { fresh: facts.due.is_some(), again: None };
    if let (Some(hold), Some(published)) = (&facts.hold, &facts.published) {
        let (run, at) = (hold.run.clone(), hold.at);
        let digest = published.digest.clone();
        return (Action::Keep { digest }, Reason::RolledBack { run, at });
    }
    if let Some(parent) = rebuilt_parent {
        // Its own change is the better reason, because it applies regardless of the parent. Tests change no image.
        let is_better = |own: &Reason| own.is_its_own() && !own.is_of_tests();
        let reason = match why_out_of_date(facts, observed, hierarchy) {
            Some(own) if is_better(&own) => own,
            other => Reason::ParentRebuilt { parent: parent.clone(), besides: other.map(Box::new) },
        };
        return (build, reason);
    }
    let Some(digest) = &facts.staged else {
        return (
            build,
            why_out_of_date(facts, observed, hierarchy).unwrap_or(Reason::BuildTagGone),
        );
    };
    let mut behind: Vec<Tag> = facts
        .stable
        .iter()
        .filter(|tag| facts.at(facts.moving.get(tag)) != Some(digest))
        .cloned()
        .collect();
    let elsewhere = facts.elsewhere.iter().filter(|(_, at)| facts.at(Some(at)) != Some(digest));
    for (tagged, _) in elsewhere {
        if !behind.contains(&tagged.tag) {
            behind.push(tagged.tag.clone());
        }
    }
    if behind.is_empty() {
        let reason = match &facts.updates {
            Some(updates) if updates.is_empty() => Reason::NothingNewer,
            _ => Reason::UpToDate,
        };
        (Action::Keep { digest: digest.clone() }, reason)
    } else {
        (Action::Promote { digest: digest.clone() }, tags_behind(facts, behind))
    }
}

fn tags_behind(facts: &NodeFacts, tags: Vec<Tag>) -> Reason {
    let (mut missing, mut foreign) = (Vec::new(), Vec::new());
    if let Some(published) = &facts.published {
        let is_foreign = published.built_from.is_none() && published.taken_in.is_empty();
        for tag in &tags {
            let others = facts.elsewhere.iter().filter(|(tagged, _)| tagged.tag == *tag);
            let all = facts.moving.get(tag).into_iter().chain(others.map(|(_, head)| head));
            let heads: Vec<&Digest> = all.flatten().collect();
            if heads.is_empty() {
                missing.push(tag.clone());
            } else if is_foreign && heads.iter().all(|head| **head == published.digest) {
                foreign.push(tag.clone());
            }
        }
    }
    Reason::TagsBehind { tags, missing, foreign }
}

/// How the present inputs differ from those of the published image.
fn why_out_of_date(
    facts: &NodeFacts,
    observed: &Observed,
    hierarchy: &Hierarchy,
) -> Option<Reason> {
    let Some(published) = &facts.published else { return Some(Reason::NeverBuilt) };
    let records = published.taken_in.iter().chain(&published.built_from);
    let Some((then, changed, parts)) = records
        .map(|then| {
            let changed = changed(&then.inputs, &facts.inputs);
            let parts = then.detail.as_ref().map(|then| parts(&changed, then, &facts.detail));
            (then, changed, parts.unwrap_or_default())
        })
        .min_by_key(|(_, changed, parts)| (changed.len(), parts.len()))
    else {
        return Some(Reason::Unknown);
    };
    if then.has_old_format() {
        return Some(Reason::NewFormat);
    }
    let now = &facts.inputs;
    let moved = || parent_moved(then, observed, hierarchy);
    // Tests change no image, and another parent does.
    if changed == [Change::Tests]
        && let Some(Reason::ParentMoved { parent, .. }) = moved()
    {
        let tests = Reason::Changed { what: changed, parts };
        let besides = tests.own_tests().is_some().then(|| Box::new(tests));
        return Some(Reason::ParentMoved { parent, besides });
    }
    if !changed.is_empty() {
        let what = told(changed, then.detail.is_some(), &parts);
        return Some(Reason::Changed { what, parts });
    }
    if then.inputs.upstreams.keys().ne(now.upstreams.keys()) {
        return Some(Reason::Changed { what: vec![Change::Upstreams], parts: vec![] });
    }
    for (upstream, was) in &then.inputs.upstreams {
        let now = &now.upstreams[upstream];
        if was != now {
            let (upstream, was, now) = (upstream.clone(), was.clone(), now.clone());
            return Some(Reason::UpstreamMoved { upstream, was, now });
        }
    }
    if let Some(due) = facts.due {
        let updates = facts.updates.clone().unwrap_or_default();
        return Some(match due {
            Due::Age { every, last } if updates.is_empty() => Reason::RefreshDue { every, last },
            Due::Tick { at, last } if updates.is_empty() => Reason::ScheduleDue { at, last },
            Due::Age { .. } | Due::Tick { .. } | Due::Updates => {
                Reason::UpdatesAvailable { updates }
            }
        });
    }
    moved()
}

/// A parent of which another image is stored now than the one that an image is based on.
fn parent_moved(then: &BuiltFrom, observed: &Observed, hierarchy: &Hierarchy) -> Option<Reason> {
    then.parents
        .iter()
        .find(|(parent, was)| {
            let now = match observed.nodes.get(*parent) {
                // Of a parent that is built first, the published image counts.
                Some(NodeFacts { staged, published, .. }) => {
                    staged.as_ref().or(published.as_ref().map(|published| &published.digest))
                }
                None => observed.outside.get(*parent),
            };
            hierarchy.get(parent).is_none() || now != Some(was)
        })
        .map(|(parent, _)| Reason::ParentMoved { parent: parent.clone(), besides: None })
}

/// How the present inputs of a node differ from those of a plan, as far as its files and its entry decide.
pub fn difference((then, detail): (&Inputs, &Detail), now: (&Inputs, &Detail)) -> Option<Reason> {
    let mut changed = changed(then, now.0);
    let parts = parts(&changed, detail, now.1);
    if then.upstreams.keys().ne(now.0.upstreams.keys()) {
        changed.push(Change::Upstreams);
    }
    let is_detailed = !detail.files.is_empty() || !now.1.files.is_empty();
    (!changed.is_empty())
        .then(|| Reason::Changed { what: told(changed, is_detailed, &parts), parts })
}

/// Which kinds of inputs of its own differ.
fn changed(then: &Inputs, now: &Inputs) -> Vec<Change> {
    [
        (Change::Dockerfile, then.dockerfile != now.dockerfile),
        (Change::Context, then.context != now.context),
        (Change::Settings, then.settings != now.settings),
        (Change::Tests, then.tests != now.tests),
        (Change::Platform, then.platform != now.platform),
    ]
    .into_iter()
    .filter_map(|(change, differs)| differs.then_some(change))
    .collect()
}

/// The fields of an entry that select files.
const PATHS: [&str; 2] = ["context", "dockerfile"];

/// Which files, settings and checks changed.
fn parts(changed: &[Change], then: &Detail, now: &Detail) -> Vec<ChangedPart> {
    let mut parts = Vec::new();
    let part = |what| move |(difference, name)| ChangedPart { what, difference, name };
    let path = |field: &str| part(Change::Settings)((ListingDifference::Changed, field.to_owned()));
    let mut files = Vec::new();
    if changed.contains(&Change::Context) {
        files = then.files.differences(&now.files);
        if then.has_other_path("context", now) {
            // A file of another folder is neither new nor deleted.
            files.retain(|(how, _)| *how == ListingDifference::Changed);
            parts.push(path("context"));
        }
    }
    if changed.iter().any(|change| [Change::Context, Change::Dockerfile].contains(change))
        && then.has_other_path("dockerfile", now)
    {
        // Listings leave the Dockerfile out.
        files.retain(|(how, name)| match how {
            ListingDifference::New => !then.is_dockerfile(name),
            ListingDifference::Gone => !now.is_dockerfile(name),
            ListingDifference::Changed => true,
        });
        parts.push(path("dockerfile"));
    }
    parts.extend(files.into_iter().map(part(Change::Context)));
    if changed.contains(&Change::Settings) {
        let differences = differences(&then.build_settings(), &now.build_settings());
        parts.extend(differences.into_iter().map(part(Change::Settings)));
    }
    let (then, now) = (then.checks(), now.checks());
    if changed.contains(&Change::Tests) && !then.is_empty() && !now.is_empty() {
        // The first and the last test of an image change its list of tests.
        let names = differences(&then, &now).into_iter().map(|(_, name)| name);
        let checks = names.map(|name| (ListingDifference::Changed, name));
        parts.extend(checks.map(part(Change::Tests)));
    }
    parts.sort();
    parts
}

fn differences(
    then: &BTreeMap<&str, &str>,
    now: &BTreeMap<&str, &str>,
) -> Vec<(ListingDifference, String)> {
    let names: BTreeSet<&str> = then.keys().chain(now.keys()).copied().collect();
    let differences = names.into_iter().filter_map(|name| {
        let difference = match (then.get(name), now.get(name)) {
            (Some(then), Some(now)) if then == now => return None,
            (Some(_), Some(_)) => ListingDifference::Changed,
            (None, _) => ListingDifference::New,
            (_, None) => ListingDifference::Gone,
        };
        Some((difference, name.to_owned()))
    });
    differences.collect()
}

/// A Dockerfile in the context is part of it: if nothing else in the context changed, only the Dockerfile is
/// named. The same holds for a setting that selects other files.
fn told(mut changed: Vec<Change>, is_detailed: bool, parts: &[ChangedPart]) -> Vec<Change> {
    let is_path =
        |part: &ChangedPart| part.what == Change::Settings && PATHS.contains(&&*part.name);
    let has_other_path = parts.iter().any(is_path);
    let is_named = is_detailed
        && (has_other_path || changed.contains(&Change::Dockerfile))
        && !parts.iter().any(|part| part.what == Change::Context);
    changed.retain(|change| !(is_named && *change == Change::Context));
    if has_other_path && !changed.contains(&Change::Settings) {
        changed.push(Change::Settings);
        changed.sort();
    }
    changed
}

impl Step {
    /// The image of this node that one of its moving tags has.
    pub fn at(&self, tag: &Tag) -> Option<&Digest> {
        image_under(&self.members, self.moving.get(tag)?.as_ref())
    }
}

impl NodeFacts {
    /// The image of this node that a tag with this digest has.
    fn at<'f>(&'f self, head: Option<&'f Option<Digest>>) -> Option<&'f Digest> {
        image_under(&self.members, head?.as_ref())
    }
}

impl Plan {
    /// The step of a node in view.
    pub fn step(&self, node: &NodeName) -> Option<&Step> {
        self.steps.iter().find(|step| step.node == *node)
    }

    /// Whether a run would do anything.
    pub fn has_work(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.action, Action::Keep { .. }))
    }
}

#[cfg(test)]
mod tests;
