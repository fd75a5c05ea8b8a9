//! What must hold after every action, read from the registry over raw HTTP.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    action::{Deed, What},
    world::{NODES, World},
};
use crate::{
    program::EDGES,
    support::{invariants::Tags, project::Place},
};

/// What is known of tags and images from earlier.
#[derive(Default)]
pub(super) struct Seen {
    /// Where each moving tag pointed last.
    pub(super) tags: Tags,
    /// The commit of each image that ever had a moving tag, by digest.
    revisions: BTreeMap<String, String>,
}

impl Seen {
    /// Whether the image was ever published.
    pub(super) fn knows(&self, digest: &str) -> bool {
        self.revisions.contains_key(digest)
    }
}

/// What a run that succeeded has settled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Nothing,
    /// Every image stands on what its parent's tag shows.
    Edges,
    /// And every tag shows what is checked out on this machine.
    At(usize),
}

impl World {
    /// After an action.
    pub(super) fn check(&mut self, deeds: &[Deed]) {
        let mut before = self.seen.tags.clone();
        let is_rollback = deeds.iter().any(|deed| deed.what == What::Rollback);
        // A person may be first or last, and no promise is about that tag then.
        let by_hand = self.by_hand.is_some();
        let settled = if by_hand { Settled::Nothing } else { settled(deeds, self) };
        // The next command puts back what the registry did not let the one before put back.
        let puts_back = deeds.iter().any(|deed| deed.ended.stderr.contains("put back"));
        let only_forward = !is_rollback && !self.may_roll_back && !puts_back;
        self.check_tags(settled, only_forward);
        let now = &self.seen.tags;
        if let Some((tag, digest)) = &self.by_hand
            && now.get(tag) == Some(digest)
        {
            before.insert(tag.clone(), digest.clone());
        }
        let [deed] = deeds else { return };
        let Deed { what, ended, .. } = deed;
        // What an earlier run has left open is finished first, and what cannot go on stays open.
        let finished = "was cut off";
        if *what == What::Gc && ended.status.success() && !ended.stderr.contains(finished) {
            assert_eq!(*now, before, "gc moved a tag: {ended}");
        }
        // A set in which another run has published since stays as that run left it.
        let is_left = ended.stderr.contains("has published since");
        let is_moved = ["are moved now", "put back"].iter().any(|said| ended.stderr.contains(said));
        if is_left && !is_moved && !matches!(ended.status.code(), Some(0 | 130 | 143) | None) {
            assert_eq!(*now, before, "a set of another run was moved: {ended}");
        }
        let excuses = [finished, "the next `rebuild`", "could not be put back"];
        let is_excused = excuses.iter().any(|excuse| ended.stderr.contains(excuse));
        let failed = matches!(ended.status.code(), Some(10..=13 | 20 | 21 | 75));
        // A rollback that leaves some tags where others put them says so with 13.
        if failed && !is_excused && *what != What::Rollback {
            assert_eq!(*now, before, "I5: a run that failed moved a tag: {ended}");
        }
        if let Some(130 | 143) = ended.status.code()
            && *now != before
            && !is_excused
            && *what != What::Rollback
            && !by_hand
        {
            self.edges_agree();
        }
    }

    /// I1, I2, I6, and what is settled.
    pub(super) fn check_tags(&mut self, settled: Settled, only_forward: bool) {
        let place = Place::Registry(&self.registry);
        let now = self.project.tags(place);
        let all = self.project.all_tags(place);
        let before = std::mem::replace(&mut self.seen.tags, now.clone());
        for (tag, digest) in &now {
            let (name, short) = tag.split_once(':').unwrap();
            let repository = self.project.name(&format!("demo/{name}"));
            let missing = self.registry.missing(&repository, short);
            assert_eq!(missing, [""; 0], "I2: {tag}");
            if before.get(tag) == Some(digest) {
                continue;
            }
            // Nothing but a tested image ever gets a build tag, and a rollback leads to one that had one.
            let stored = format!("{name}:rb-");
            let is_tested = all.iter().any(|(tag, to)| tag.starts_with(&stored) && to == digest);
            let was_published = self.seen.knows(digest);
            let config = self.registry.config(&repository, digest)["config"].clone();
            // Of two that build the same at once each has tested its own, and one has the build tag.
            let fingerprint = label(&config, "rebuild.fingerprint");
            let hex = fingerprint.trim_start_matches("sha256:");
            let is_tested = is_tested || all.contains_key(&format!("{stored}{}", &hex[..32]));
            assert!(is_tested || was_published, "I1: {tag} at {digest}: {all:#?}");
            let revision = label(&config, "rebuild.revision");
            if let Some(old) = before.get(tag).and_then(|old| self.seen.revisions.get(old)) {
                let back = is_older(&self.machines[0].folder, &revision, old);
                let by_hand = self.by_hand.as_ref() == Some(&(tag.clone(), digest.clone()));
                assert!(
                    !(only_forward && back) || by_hand,
                    "I6: {tag} went from {old} to {revision}"
                );
            }
            self.seen.revisions.insert(digest.clone(), revision);
        }
        for tag in before.keys() {
            assert!(now.contains_key(tag), "{tag} is gone");
        }
        match settled {
            Settled::Nothing => {}
            Settled::Edges => self.edges_agree(),
            Settled::At(machine) => {
                self.edges_agree();
                self.shows(machine);
            }
        }
    }

    /// I3.
    fn edges_agree(&self) {
        super::super::assert_edges_agree(&self.project, Place::Registry(&self.registry), EDGES);
    }

    /// I9: every image under a moving tag is made of what is checked out.
    fn shows(&self, machine: usize) {
        let written = |node: &str| {
            let file = self.machines[machine].folder.join(node).join("Dockerfile");
            let text = fs::read_to_string(file).unwrap();
            let (_, after) = text.split_once(&format!("LABEL soak.{node}=")).unwrap();
            after.lines().next().unwrap().to_owned()
        };
        for tag in self.seen.tags.keys() {
            let config = self.project.config(Place::Registry(&self.registry), tag);
            let name = tag.split_once(':').unwrap().0.trim_start_matches('~');
            let chain = match name {
                "web" => &["os", "web"][..],
                "app" => &["os", "web", "app"],
                "tool" => &["os", "tool"],
                _ => &["os"],
            };
            for node in NODES.iter().filter(|node| chain.contains(node)) {
                let shown = label(&config, &format!("soak.{node}"));
                assert_eq!(shown, written(node), "I9: {tag} shows another {node}");
            }
        }
    }
}

/// What the commands of an action have settled together.
fn settled(deeds: &[Deed], world: &World) -> Settled {
    // A success settles nothing if another command was cut off in the middle, or moved tags back.
    let leaves_alone = |code| matches!(code, Some(0 | 10 | 11 | 20 | 75));
    if !deeds.iter().all(|deed| deed.what.is_run() && leaves_alone(deed.ended.status.code())) {
        return Settled::Nothing;
    }
    let mut done = deeds.iter().filter(|deed| deed.ended.status.code() == Some(0));
    let head = |deed: &Deed| {
        super::world::git(&world.machines[deed.machine].folder, &["rev-parse", "HEAD"])
    };
    match (done.next(), done.next()) {
        (None, _) => Settled::Nothing,
        (Some(one), Some(other)) if head(one) != head(other) => Settled::Edges,
        (Some(one), _) => Settled::At(one.machine),
    }
}

fn label(config: &Value, name: &str) -> String {
    config["Labels"][name].as_str().unwrap_or_default().to_owned()
}

fn is_older(folder: &Path, commit: &str, than: &str) -> bool {
    commit != than
        && Command::new("git")
            .args(["merge-base", "--is-ancestor", commit, than])
            .current_dir(folder)
            .output()
            .unwrap()
            .status
            .success()
}
