//! Rebuilds a hierarchy of container base images.
//!
//! Read the modules in this order; each may use only those above it (a test checks it).

pub mod exit; //        the exit codes
pub mod bounded; //     read: regular files, up to a size
pub mod owner; //       whose a file is, and files for one user only
pub mod rules; //       what can be wrong with a hierarchy: codes, severities, explanations
pub mod diagnostic; //  a problem as people read it: heading, excerpt, causes, hint
pub mod image; //       words: digests, references, platforms
pub mod packages; //    read: which packages an image has, and which have newer versions; pure
pub mod calendar; //    when a schedule is due; pure
pub mod hierarchy; //   model: hierarchy.yaml and the Dockerfiles → the graph
pub mod init; //        a hierarchy file for Dockerfiles that have none
pub mod git; //         ask: the user's git
pub mod fingerprint; // identity: everything that can change what a build produces
pub mod plan; //        decide: what is out of date, and why; pure
pub mod schedule; //    order: what first, and how long it takes; pure
pub mod since; //       ask: what changed since a commit, told by image
pub mod registry; //    ask: a registry's HTTP API; knows no hierarchy
pub mod engine; //      do: build, test, tag, push; door to bollard
pub mod store; //       where images are published: a registry, or the engine's own tags
pub mod gc; //          which stored images nobody needs any more
pub mod observe; //     what the store and the upstreams say now → the facts a plan needs
pub mod state; //       what stays on this machine: logs of runs, the lock
pub mod journal; // what a run is going to move and how far it got, to be finished or taken back
pub mod trigger; //     what makes a run begin by itself: files, schedules
pub mod run; //         execute: the one loop; never prints
pub mod promote; //     publish: move the tags, parents before children
pub mod report; //      tell: tty, plain, json; never runs anything
pub mod cli; //         the command line, as structs
pub mod commands; //    wire: one file a subcommand

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod scenario;
