//! Rebuilds a hierarchy of container base images.
//!
//! Read the modules in this order. A module may use only those above it; `tests/it/architecture.rs`
//! checks that.

mod exit; //        the exit codes
mod host; //        this machine: files of unknown size or owner, the user's git
pub mod image; //       words: digests, references, platforms, installed packages; pure
mod layers; //       layers of images as streams: tar entries, whiteouts, exported archives
mod flatten; //      makes one layer of several; the same layers give the same bytes
mod check; //       problems: rules with codes and explanations, diagnostics with excerpts
mod dockerfile; //  what a Dockerfile says: instructions, stages, references and their spans
pub mod hierarchy; //   model: hierarchy.yaml and the Dockerfiles → the graph, problems, advice
mod init; //        proposes a hierarchy.yaml for a repository that has none
pub mod fingerprint; // identity: everything that can change what a build produces
pub mod plan; //        decides what is out of date and why, in what order, how long it takes
mod export; //      a plan as the pipeline of a CI system; pure
mod size; //        whose bytes images are made of; pure
mod waste; //       bytes that images need not have; pure
mod audit; //       which images have an outdated base; pure
pub mod registry; //    the HTTP API of registries; knows no hierarchy
pub mod engine; //      the Docker API: build, test, tag, push; the only user of bollard
mod event; //       what happens in a run, as reporters receive it
mod publish; //     the stores, promotion and its journal, rollback, garbage collection
mod run; //         observes the store, executes the plan in one loop; never prints
mod report; //      output: tty, plain, json, reports; never runs anything
mod serve; //       the server: pages, webhooks, and runs as processes of rebuild
pub mod commands; //    the command line; one file a subcommand

#[cfg(test)]
mod testing;
