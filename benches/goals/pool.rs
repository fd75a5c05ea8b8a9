//! Forty tiny images, as `tree`: on one engine, and on a pool of two with a registry.
//!
//! `REBUILD_BENCH_ENGINE` is the address of the second engine. Without it, the pool has the first engine by two
//! addresses: that measures what a pool costs, and no other engine. `REBUILD_BENCH_WIDTHS`, such as `2 2`, makes a
//! smaller tree.

use std::{env, os::unix::fs::symlink, time::Duration};

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
    registry::Registry,
    tree::Tree,
};

const ROUNDS: usize = 5;
const SECOND: &str = "REBUILD_BENCH_ENGINE";
const WIDTHS: &str = "REBUILD_BENCH_WIDTHS";
/// Two engines of one machine have the same processors.
const GOAL: f64 = 1.05;

pub(crate) fn run() -> Result<()> {
    let nonce = format!("bench{}", nonce());
    let measured = measure(&nonce);
    engine::forget(&nonce)?;
    measured
}

fn measure(nonce: &str) -> Result<()> {
    let registry = Registry::start()?;
    let folder = tempfile::tempdir()?;
    let first =
        env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let second = if let Ok(second) = env::var(SECOND) {
        second
    } else {
        let socket = first.strip_prefix("unix://").ok_or("a second engine is needed")?;
        let other = folder.path().join("other.sock");
        symlink(socket, &other)?;
        format!("unix://{}", other.display())
    };
    let (mut one, mut two) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let turn = |who: &str, engines: &[&str]| -> Result<Duration> {
            build(
                &format!("{nonce}-{who}{round}"),
                &format!("{}/{nonce}", registry.address),
                engines,
            )
        };
        // What comes second finds a warmer machine.
        if round % 2 == 0 {
            one.push(turn("o", &[&first])?);
            two.push(turn("t", &[&first, &second])?);
        } else {
            two.push(turn("t", &[&first, &second])?);
            one.push(turn("o", &[&first])?);
        }
    }
    numbers::line("one engine", &one);
    numbers::line("two engines", &two);
    numbers::ratio(&two, &one, GOAL);
    Ok(())
}

/// A tree with names of its own, built once.
fn build(prefix: &str, to: &str, engines: &[&str]) -> Result<Duration> {
    let widths = env::var(WIDTHS).unwrap_or_else(|_| "3 3 3".to_owned());
    let widths: Vec<usize> =
        widths.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    let folder = tempfile::tempdir()?;
    Tree::new(prefix, &widths).write(folder.path())?;
    let mut arguments = vec!["--progress", "plain", "--registry", to];
    arguments.extend(engines.iter().flat_map(|engine| ["--engine", engine]));
    let took = rebuild_ending(0, folder.path(), &arguments)?.took;
    engine::forget(prefix)?;
    Ok(took)
}
