//! Measures what the program promises of its speed, on the real binary and a real engine.
//!
//! `cargo bench` runs everything, `cargo bench -- plan context` only what is named. What is
//! measured and what came out is in `benches/README.md`. Nothing here can fail for being slow:
//! the machine decides that. It fails if something did not work.
#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

mod bake;
mod bare;
mod chain;
mod context;
mod engine;
mod numbers;
mod plan;
mod pool;
mod program;
mod registry;
mod tags;
mod tree;

use std::{env, error::Error, process::ExitCode};

/// A mistake in a benchmark is shown as it is.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a benchmark is called, and what runs it.
type Goal = (&'static str, fn() -> Result<()>);

const GOALS: [Goal; 7] = [
    ("bake", bake::run),
    ("tree", tree::run),
    ("chain", chain::run),
    ("plan", plan::run),
    ("context", context::run),
    ("tags", tags::run),
    ("pool", pool::run),
];

fn main() -> ExitCode {
    // Cargo itself passes `--bench`.
    let asked: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = asked.iter().find(|word| GOALS.iter().all(|(name, _)| name != word)) {
        println!(
            "no benchmark is called `{unknown}`: there are bake, tree, chain, plan, context, tags and pool"
        );
        return ExitCode::FAILURE;
    }
    for (name, run) in GOALS {
        if !asked.is_empty() && !asked.iter().any(|word| word == name) {
            continue;
        }
        println!("\n{name}");
        if let Err(error) = run() {
            println!("  `{name}` could not be measured: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
