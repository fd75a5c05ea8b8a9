//! Which runs an event starts. Reads files and git, and changes nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    checkout,
    request::{RequestedWork, WorkRequest},
    served::{HierarchySource, ServedHierarchy, cone, images_of_files, users_of},
    webhook::{HookEvent, PushEvent},
};
use crate::{
    hierarchy::{Hierarchy, NodeName},
    host::git,
};

/// What an event starts.
#[derive(Debug, Default)]
pub struct Decision {
    pub starts: Vec<Start>,
    /// What the server does with the event, as a sentence.
    pub outcome: String,
}

/// A run of a hierarchy.
#[derive(Debug)]
pub struct Start {
    pub hierarchy: String,
    pub request: WorkRequest,
    /// The images that the event changed, and their descendants, as far as the event says: builds of them that go on
    /// are pointless.
    pub overtakes: BTreeSet<String>,
}

/// A hierarchy, with what git says of it now.
pub struct DispatchTarget {
    served: Arc<ServedHierarchy>,
    /// `host/owner/name`, if it has an address.
    repository: Option<String>,
    branch: Option<String>,
    folder: PathBuf,
    work_tree: PathBuf,
}

impl DispatchTarget {
    pub fn new(served: Arc<ServedHierarchy>) -> Self {
        let folder = served.folder();
        let work_tree = git::work_tree(&folder).unwrap_or_else(|_| folder.clone());
        let (repository, branch) = (served.repository(), served.branch());
        Self { served, repository, branch, folder, work_tree }
    }

    fn has(&self, commit: &str) -> bool {
        git::commit(&self.folder, commit).is_ok_and(|commit| commit.is_some())
    }
}

/// Decides about an event.
pub fn decide(event: &HookEvent, all: &[DispatchTarget]) -> Decision {
    match event {
        HookEvent::Push(push) => of_push(push, &event.to_string(), all),
        HookEvent::Images { images } => of_images(images, &event.to_string(), all),
        HookEvent::Start { name, refresh } => of_request(name, *refresh, all),
        HookEvent::Other { event } => ignored(format!("event `{event}` starts no run")),
    }
}

fn ignored(outcome: String) -> Decision {
    Decision { starts: Vec::new(), outcome }
}

fn of_push(push: &PushEvent, why: &str, all: &[DispatchTarget]) -> Decision {
    if push.is_deletion() {
        return ignored("the push deleted a branch".to_owned());
    }
    let Some(branch) = push.branch() else {
        return ignored(format!("`{}` is not a branch", push.reference));
    };
    let (mut starts, mut notes) = (Vec::new(), Vec::new());
    for target in all {
        if !is_of(push, target) {
            continue;
        }
        if let Some(built) = target.branch.as_deref().filter(|built| *built != branch) {
            notes.push(format!("`{}` builds the branch `{built}`", target.served.name));
            continue;
        }
        let (start, more) = of_push_to(push, why, target);
        starts.push(start);
        notes.extend(more);
    }
    if starts.is_empty() && notes.is_empty() {
        let known: Vec<String> = all
            .iter()
            .map(|it| it.repository.clone().unwrap_or_else(|| it.served.source.shown()))
            .collect();
        return ignored(format!(
            "no hierarchy is in {}; known: {}",
            push.repository,
            known.join(", ")
        ));
    }
    if !starts.is_empty() {
        notes.insert(0, queued(&starts));
    }
    Decision { starts, outcome: notes.join("; ") }
}

/// Whether a push is to the repository of a hierarchy.
fn is_of(push: &PushEvent, target: &DispatchTarget) -> bool {
    let Some(own) = &target.repository else {
        // The addresses of a repository of this machine; without one, every signed push may mean it.
        let of =
            |url: &str| url.strip_prefix("file://").unwrap_or(url).trim_end_matches('/').to_owned();
        let mut local = push.urls.iter().filter(|url| of(url).starts_with('/')).peekable();
        let own = match &target.served.source {
            HierarchySource::Clone { url, .. } => of(url),
            HierarchySource::File(_) => target.work_tree.display().to_string(),
        };
        let own = own.trim_end_matches("/.git");
        return local.peek().is_none() || local.any(|url| of(url).trim_end_matches("/.git") == own);
    };
    let is_same = |other: &str| {
        let other = other.to_lowercase();
        let other = other.split_once("://").map_or(&*other, |(_, rest)| rest);
        let other = other.rsplit_once('@').map_or(other, |(_, rest)| rest);
        other.trim_end_matches('/').trim_end_matches(".git").replacen(':', "/", 1) == *own
    };
    push.urls.iter().any(|url| is_same(url))
        || own.split_once('/').is_some_and(|(_, path)| path == push.repository.to_lowercase())
        || target.has(&push.after)
}

fn of_push_to(push: &PushEvent, why: &str, target: &DispatchTarget) -> (Start, Vec<String>) {
    let served = &target.served;
    let state = served.state();
    let by_files = state.hierarchy.as_deref().and_then(|hierarchy| {
        let images = images_of_files(hierarchy, &target.work_tree, &push.files)?;
        Some((cone(hierarchy, &images), images))
    });
    let (overtakes, images) = by_files.unwrap_or_default();
    let is_clone = matches!(served.source, HierarchySource::Clone { .. });
    let not_here = (!is_clone && !is_checked_out(&target.folder, &push.after)).then(|| {
        format!(
            "`{}`: the pushed commit is not checked out, so the run builds the files as they are",
            served.name
        )
    });
    let (work, note) = if push.is_new_branch() {
        (RequestedWork::OutOfDate, None)
    } else if target.has(&push.before)
        // After a time without deliveries, the clone is old.
        || is_clone && checkout::fetch(&served.source).is_ok() && target.has(&push.before)
    {
        let since = BTreeSet::from([push.before.clone()]);
        (RequestedWork::Changed { since, images: BTreeSet::new() }, None)
    } else if images.is_empty() {
        let note =
            format!("`{}`: unknown commit, so the run builds what is out of date", served.name);
        (RequestedWork::OutOfDate, Some(note))
    } else {
        let note =
            format!("`{}`: unknown commit, so the event's list of files selects", served.name);
        let images = images.iter().map(ToString::to_string).collect();
        (RequestedWork::Images { images, refresh: false }, Some(note))
    };
    let request = WorkRequest::new(work, why);
    let notes: Vec<String> = note.into_iter().chain(not_here).collect();
    (Start { hierarchy: served.name.clone(), request, overtakes }, notes)
}

fn is_checked_out(folder: &Path, commit: &str) -> bool {
    git::head(folder)
        .is_some_and(|head| head.commit == commit || git::is_ancestor(folder, commit, &head.commit))
}

fn of_images(pushed: &[String], why: &str, all: &[DispatchTarget]) -> Decision {
    let mut starts = Vec::new();
    for DispatchTarget { served, .. } in all {
        let Some(hierarchy) = served.state().hierarchy.clone() else { continue };
        let users = users_of(&hierarchy, pushed);
        if users.is_empty() {
            continue;
        }
        let images = users.iter().map(ToString::to_string).collect();
        let work = RequestedWork::Changed { since: BTreeSet::new(), images };
        starts.push(Start {
            hierarchy: served.name.clone(),
            request: WorkRequest::new(work, why),
            overtakes: cone(&hierarchy, &users),
        });
    }
    if starts.is_empty() {
        return ignored("no image is based on it".to_owned());
    }
    Decision { outcome: queued(&starts), starts }
}

fn of_request(name: &str, refresh: bool, all: &[DispatchTarget]) -> Decision {
    let why = "a request by `/hooks/".to_owned() + name + "`";
    let mut starts = Vec::new();
    for DispatchTarget { served, .. } in all {
        let images = state_images(served, name);
        let work = match images {
            _ if served.name == name && refresh => RequestedWork::Refresh,
            _ if served.name == name => RequestedWork::OutOfDate,
            Some(images) => {
                let images = images.iter().map(ToString::to_string).collect();
                RequestedWork::Images { images, refresh }
            }
            None => continue,
        };
        starts.push(Start {
            hierarchy: served.name.clone(),
            request: WorkRequest::new(work, why.clone()),
            overtakes: BTreeSet::new(),
        });
    }
    if starts.is_empty() {
        return ignored(format!("no hierarchy and no image is called `{name}`"));
    }
    Decision { outcome: queued(&starts), starts }
}

/// The image of this name; of one with several platforms, each.
fn state_images(served: &ServedHierarchy, name: &str) -> Option<BTreeSet<NodeName>> {
    let hierarchy: Arc<Hierarchy> = served.state().hierarchy.clone()?;
    let named = hierarchy.named(name).ok()?;
    let named: BTreeSet<NodeName> = named.into_iter().cloned().collect();
    (!named.is_empty()).then_some(named)
}

fn queued(starts: &[Start]) -> String {
    let names: Vec<String> = starts.iter().map(|start| format!("`{}`", start.hierarchy)).collect();
    format!("queued a run of {}", names.join(", "))
}
