//! Ten images, each based on the one before, with a test of one second each: how much of the tests the
//! run waits for.

use std::{fs, time::Duration};

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
    registry::Registry,
    tree::Tree,
};

const ROUNDS: usize = 3;
const TESTS: &str = "defaults: { test: [{ run: [sleep, \"1\"], inherit: false }] }\nimages:\n";

/// What a run is called, whether its images have tests, and its flags.
const RUNS: [(&str, bool, &[&str]); 3] = [
    ("no tests", false, &[]),
    ("tests of 1 s", true, &[]),
    ("tests of 1 s, --no-speculate", true, &["--no-speculate"]),
];

pub(crate) fn run() -> Result<()> {
    let nonce = format!("bench{}", nonce());
    let measured = measure(&nonce);
    engine::forget(&nonce)?;
    measured
}

fn measure(nonce: &str) -> Result<()> {
    let registry = Registry::start()?;
    let mut times = vec![Vec::new(); 2 * RUNS.len()];
    for round in 0..ROUNDS {
        for (number, run) in RUNS.iter().enumerate() {
            let prefix = format!("{nonce}-{round}-{number}");
            times[number].push(turn(&format!("{prefix}-e"), run, None)?);
            let to = format!("{}/{nonce}", registry.address);
            times[RUNS.len() + number].push(turn(&format!("{prefix}-r"), run, Some(&to))?);
        }
    }
    for (place, times) in ["engine", "registry"].iter().zip(times.chunks(RUNS.len())) {
        for ((name, ..), times) in RUNS.iter().zip(times) {
            numbers::line(&format!("a chain of 10, {place}, {name}"), times);
        }
    }
    Ok(())
}

fn turn(
    prefix: &str,
    (_, is_tested, flags): &(&str, bool, &[&str]),
    registry: Option<&str>,
) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    Tree::new(prefix, &[1; 9]).write(folder.path())?;
    let file = folder.path().join("hierarchy.yaml");
    if *is_tested {
        fs::write(&file, fs::read_to_string(&file)?.replace("images:\n", TESTS))?;
    }
    let registry: Vec<&str> = registry.into_iter().flat_map(|to| ["--registry", to]).collect();
    let took = rebuild_ending(0, folder.path(), &[&registry[..], flags].concat())?.took;
    engine::forget(prefix)?;
    Ok(took)
}
