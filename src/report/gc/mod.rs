//! `rebuild gc`: what goes, why, and how much that is.

mod json;

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

pub use self::json::{GcReport, PlaceReport};
use super::{
    numbers::{count, size},
    sanitize,
    width::{pad, width},
};
use crate::{
    image::Tag,
    publish::gc::{Going, KEPT_OF_EACH, KEPT_RUNS, Stays, Sweep},
};

/// What was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcPlace {
    Registry,
    Engine,
}

impl fmt::Display for GcPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "in the registry",
            Self::Engine => "in the engine",
        })
    }
}

/// Writes a line for each image that goes, by repository, and what all of it comes to.
pub fn text(
    sweep: &Sweep,
    (place, keep): (GcPlace, Duration),
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut repository = None;
    let names: Vec<String> =
        sweep.going.iter().map(|going| sanitize::text(going.node.as_str())).collect();
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    for (going, name) in sweep.going.iter().zip(&names) {
        if repository != Some(&going.repository) {
            repository = Some(&going.repository);
            writeln!(out, "{}", going.repository)?;
        }
        let tags: Vec<&str> = going.tags.iter().map(Tag::as_str).collect();
        let age = pad(&age(going.age), 10);
        writeln!(out, "  {}  {age}  {}", pad(name, widest), tags.join(" "))?;
    }
    let going = match sweep.going.len() {
        0 => "nothing to remove".to_owned(),
        n => {
            let tags: usize = sweep.going.iter().map(|going| going.tags.len()).sum();
            let (images, tags) = (count(n, "unused image"), count(tags, "build tag"));
            format!(
                "{images}, {tags}, up to {}: older than {}, under no other tag, \
                 not of the present inputs, not among the last {KEPT_OF_EACH} of their image, not of \
                 the last runs",
                size(sweep.freed),
                age_of(keep)
            )
        }
    };
    writeln!(out, "{place}: {going}")?;
    let staying: Vec<String> = sweep
        .staying
        .iter()
        .map(|(stays, n)| {
            let why = match stays {
                Stays::Published => "published".to_owned(),
                Stays::Today => "needed today".to_owned(),
                Stays::InRegistry => "that the registry keeps too".to_owned(),
                Stays::Rollback => "of the last runs, for `rebuild rollback`".to_owned(),
                Stays::Young => format!("younger than {}", age_of(keep)),
                Stays::Recent => format!("among the last {KEPT_OF_EACH} of their image"),
                Stays::Foreign => "of no image of this hierarchy".to_owned(),
                Stays::AgeUnknown => "of unknown age".to_owned(),
            };
            format!("{n} {why}")
        })
        .collect();
    if staying.is_empty() {
        return Ok(());
    }
    let all = sweep.staying.values().sum();
    writeln!(out, "{place}: {} with build tags stay: {}", count(all, "image"), staying.join(", "))
}

/// `41 days`, `3 hours`.
fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..3600 => count(usize::try_from(seconds / 60).unwrap_or(0), "minute"),
        seconds @ 3600..86_400 => count(usize::try_from(seconds / 3600).unwrap_or(0), "hour"),
        seconds => count(usize::try_from(seconds / 86_400).unwrap_or(0), "day"),
    }
}

/// What `--keep` says; that may be less than a minute.
fn age_of(keep: Duration) -> String {
    if keep < Duration::from_secs(60) { format!("{keep:?}") } else { age(keep) }
}

pub fn invitation() -> String {
    "nothing was removed: `rebuild gc --yes` does it".to_owned()
}

pub fn done(removed: &[&Going], place: GcPlace) -> String {
    let tags: usize = removed.iter().map(|going| going.tags.len()).sum();
    let freed = match place {
        GcPlace::Registry => "; the registry frees the room when it next collects its garbage",
        GcPlace::Engine => "",
    };
    format!(
        "{place}: removed {}, {}{freed}",
        count(removed.len(), "image"),
        count(tags, "build tag")
    )
}

pub fn so_far(done: usize, all: usize) -> String {
    format!("{done} of {} removed", count(all, "image"))
}

/// Records of runs. `None` if none is old.
pub fn records(old: usize, keep: Duration, is_removed: bool) -> Option<String> {
    let verb = if is_removed { "removed" } else { "to remove" };
    (old > 0).then(|| {
        format!(
            "in the registry: {verb} the {} of runs that are older than {} and not among the last \
             {KEPT_RUNS}",
            count(old, "record"),
            age_of(keep)
        )
    })
}

/// Plans of pipelines, and the records of their jobs. `None` if none is old.
pub fn pipelines(old: usize, keep: Duration, is_removed: bool) -> Option<String> {
    let verb = if is_removed { "removed" } else { "to remove" };
    (old > 0).then(|| {
        format!(
            "in the registry: {verb} {} of pipelines older than {}",
            count(old, "document"),
            age_of(keep)
        )
    })
}

/// Somebody wants it to end.
pub fn stopped(removed: usize) -> String {
    format!("stopped: {} removed, the others stay", count(removed, "image"))
}

/// What killed runs have left: containers, pins, folders, images. `None` if there is nothing.
pub fn leftovers(left: [usize; 4], is_removed: bool) -> Option<String> {
    let nouns = ["container", "pin", "temporary folder", "untagged image"];
    let parts = left.into_iter().zip(nouns);
    let parts: Vec<String> =
        parts.filter(|(n, _)| *n > 0).map(|(n, noun)| count(n, noun)).collect();
    let verb = if is_removed { "removed" } else { "to remove" };
    (!parts.is_empty())
        .then(|| format!("left by runs that were stopped or killed: {verb} {}", parts.join(", ")))
}
