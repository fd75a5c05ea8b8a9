//! Edits, runs, kills and faults at random until the time is over: whatever happens, the promises hold.
//!
//! Two machines share a registry and an engine. The seed decides what is tried, and in which order; how
//! far a run has come when it is hit is up to the machine as well, so that the same seed need not
//! end in the same way.

mod action;
mod oracle;
mod world;

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;

use self::world::World;

/// After so many actions the world must be found to be in order.
const UNTIL_HEALED: usize = 8;

/// What happened so far.
#[derive(Default)]
struct Tally {
    actions: usize,
    runs: usize,
    kills: usize,
    signals: usize,
    faults: usize,
    by_hand: usize,
    heals: usize,
}

/// As long as one likes: CONTRIBUTING.md.
#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn soak_for_minutes() {
    let minutes = number("REBUILD_SOAK_MINUTES").unwrap_or(10);
    let seed = number("REBUILD_SOAK_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 1_000_000
    });
    println!("soak of {minutes} min with the seed {seed}");
    soak_for(Duration::from_secs(60 * minutes), seed);
}

/// Not to find anything, but to know that the long one could.
#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_moment_of_the_soak() {
    soak_for(Duration::from_secs(1), 7);
}

fn soak_for(limit: Duration, seed: u64) {
    let world = World::new();
    let mut soak =
        Soak { world, rng: Rng::with_seed(seed), seed, tally: Tally::default(), other_first: None };
    soak.world.heal();
    let began = Instant::now();
    while began.elapsed() < limit {
        for _ in 0..UNTIL_HEALED {
            soak.act(began.elapsed());
        }
        soak.world.heal();
        soak.tally.heals += 1;
    }
    let Tally { actions, runs, kills, signals, faults, by_hand, heals } = soak.tally;
    println!(
        "{actions} actions, {runs} commands, {kills} kills, {signals} signals, {faults} faults, \
         {by_hand} tags moved by hand, {heals} times found in order, violations: 0"
    );
}

/// What an environment variable says.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

struct Soak {
    world: World,
    rng: Rng,
    seed: u64,
    tally: Tally,
    /// The machine of the next command, if that matters.
    other_first: Option<usize>,
}

impl Drop for Soak {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            println!("\nviolated; the same again: REBUILD_SOAK_SEED={seed}. What went before:");
            for line in &self.world.log {
                println!("{line}");
            }
            println!("{}", self.world.under_way);
            println!("{}", self.world.situation());
        }
    }
}
