//! The whole program: the binary, on the real engine, publishing to the engine and to a real registry.
//!
//! What it has done is read with the `docker` command and over raw HTTP, never through our own code.

mod after_failure;
mod ahead;
mod attacks;
mod audit;
mod beside;
mod build_options;
mod builders;
mod buildkitd;
mod channels;
mod check;
mod ci;
mod completions;
mod content_tags;
mod destinations;
mod doctor;
mod example;
mod failures;
mod faults;
mod fingerprint;
mod flatten;
mod gates;
mod gc;
mod hashes;
mod history;
mod install;
mod init;
mod kills;
mod labels;
mod local;
mod logins;
mod mirror;
mod output;
mod older;
mod other_users;
mod pipeline;
mod platforms;
mod pool;
mod prepare;
mod promotion;
mod pull_request;
mod questions;
mod refresh;
mod recovery;
mod reports;
mod restarts;
mod rollback;
mod room;
mod secrets;
mod selection;
mod serve;
mod signals;
mod signatures;
mod size;
mod soak;
mod together;
mod tree;
mod unreachable;
mod upstreams;
mod variables;
mod waste;
mod watch;
mod why;

use crate::support::{
    is_whole,
    project::{Place, Project},
    registry::Registry,
};

/// Runs a check on a new project that publishes to a registry, and among all tests also on one that
/// publishes to the engine.
fn everywhere(check: impl Fn(&Project, Place<'_>)) {
    in_both_places(Project::new, check);
}

/// The same where no image is to run: those are built in half the time.
fn everywhere_of_files(check: impl Fn(&Project, Place<'_>)) {
    in_both_places(Project::of_files, check);
}

fn in_both_places(new: impl Fn() -> Project, check: impl Fn(&Project, Place<'_>)) {
    let registry = Registry::start();
    // Of the two, the one where more can go wrong.
    if is_whole() {
        check(&new(), Place::Engine);
    }
    check(&new(), Place::Registry(&registry));
}

/// Every image's recorded base is what its parent's tag points at now: promise I3.
#[track_caller]
fn assert_edges_agree(project: &Project, place: Place<'_>, edges: &[(&str, &str)]) {
    let tags = project.tags(place);
    for (child, parent) in edges {
        let recorded = project.label(place, child, "org.opencontainers.image.base.digest");
        assert_eq!(tags.get(*parent), Some(&recorded), "{child} stands on {parent}: {tags:#?}");
    }
}

/// The edges of [`HIERARCHY`](crate::support::project::HIERARCHY), each image by a moving tag.
const EDGES: &[(&str, &str)] =
    &[("~web:latest", "~os:1"), ("~app:latest", "~web:latest"), ("~tool:latest", "~os:latest")];
