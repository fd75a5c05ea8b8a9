//! The same for programs: see `docs/events.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use serde::Serialize;

use super::GcPlace;
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Repository, Tag},
    publish::gc::{Going, Stays, Sweep},
    report::{json, plan::VERSION},
};

/// What `gc` found, and what it removed of it by now.
#[derive(Debug, Default)]
pub struct GcReport {
    pub places: Vec<PlaceReport>,
    /// Old records of runs in the registry.
    pub records: usize,
    /// Containers, pins and folders of killed runs.
    pub leftovers: [usize; 4],
}

#[derive(Debug)]
pub struct PlaceReport {
    pub place: GcPlace,
    pub sweep: Sweep,
    pub removed: BTreeSet<(Repository, Digest)>,
}

impl GcReport {
    /// An image of the last place was removed.
    pub fn removed(&mut self, going: &Going) {
        if let Some(last) = self.places.last_mut() {
            last.removed.insert((going.repository.clone(), going.digest.clone()));
        }
    }

    /// Writes one JSON object. `exit` is how the command ends.
    pub fn json(&self, exit: Exit, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct GcDocument<'a> {
            v: u32,
            exit: Exit,
            exit_code: u8,
            places: Vec<PlaceView<'a>>,
            records: usize,
            leftovers: LeftoverCounts,
        }
        #[derive(Serialize)]
        struct LeftoverCounts {
            containers: usize,
            pins: usize,
            folders: usize,
            images: usize,
        }
        let [containers, pins, folders, images] = self.leftovers;
        let document = GcDocument {
            v: VERSION,
            exit,
            exit_code: exit.code(),
            places: self.places.iter().map(PlaceReport::view).collect(),
            records: self.records,
            leftovers: LeftoverCounts { containers, pins, folders, images },
        };
        json::write(&document, out)
    }
}

#[derive(Serialize)]
struct PlaceView<'a> {
    place: &'static str,
    images: Vec<GoingView<'a>>,
    bytes: u64,
    staying: BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
struct GoingView<'a> {
    node: &'a NodeName,
    repository: &'a Repository,
    digest: &'a Digest,
    tags: &'a BTreeSet<Tag>,
    age_seconds: u64,
    removed: bool,
}

impl PlaceReport {
    fn image<'a>(&self, going: &'a Going) -> GoingView<'a> {
        let Going { node, repository, digest, tags, age } = going;
        let removed = self.removed.contains(&(repository.clone(), digest.clone()));
        GoingView { node, repository, digest, tags, age_seconds: age.as_secs(), removed }
    }

    fn view(&self) -> PlaceView<'_> {
        PlaceView {
            place: match self.place {
                GcPlace::Registry => "registry",
                GcPlace::Engine => "engine",
            },
            images: self.sweep.going.iter().map(|going| self.image(going)).collect(),
            bytes: self.sweep.freed,
            staying: self.sweep.staying.iter().map(|(why, n)| (name(*why), *n)).collect(),
        }
    }
}

fn name(stays: Stays) -> &'static str {
    match stays {
        Stays::Published => "published",
        Stays::Today => "current-inputs",
        Stays::InRegistry => "in-registry",
        Stays::Rollback => "rollback",
        Stays::Young => "young",
        Stays::Recent => "recent",
        Stays::Foreign => "foreign",
        Stays::AgeUnknown => "age-unknown",
    }
}
