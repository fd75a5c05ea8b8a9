//! On which engine of a pool a step runs. Knows nothing of time, tasks or connections.
//!
//! **Invariant:** a step runs on an engine of its platform if the pool has one, and never on one that is gone.

/// How well an engine can build an image, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// The platform is the engine's own.
    Native,
    Emulated,
    /// It must not.
    Unfit,
}

/// The load of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLoad {
    pub slots: usize,
    /// Negative if it has more steps than slots.
    pub free: isize,
    pub is_gone: bool,
}

impl EngineLoad {
    fn is_free(self) -> bool {
        !self.is_gone && self.free > 0
    }
}

/// The engine for a step that is ready; `None`: it has to wait. `fitness` says how well each engine can build it; `home`
/// has its parents. With `is_bound`, only that engine has them.
pub fn choose(
    engines: &[EngineLoad],
    fitness: impl Fn(usize) -> Fitness,
    (home, is_bound): (Option<usize>, bool),
) -> Option<usize> {
    if is_bound {
        return home.filter(|&home| engines[home].is_free());
    }
    let here = || engines.iter().enumerate().filter(|(_, engine)| !engine.is_gone);
    let best = here().map(|(n, _)| fitness(n)).min().filter(|best| *best != Fitness::Unfit)?;
    let fitting = here().filter(|(n, engine)| fitness(*n) == best && engine.is_free());
    // Shares are compared without a division; the home wins, then the first.
    fitting
        .max_by(|(a, one), (b, other)| {
            let share = |load: &EngineLoad| load.free.unsigned_abs();
            let by_home = (home == Some(*a)).cmp(&(home == Some(*b)));
            let (one, other) = (share(one) * other.slots, share(other) * one.slots);
            by_home.then(one.cmp(&other)).then(b.cmp(a))
        })
        .map(|(n, _)| n)
}

/// Whether any engine that answers can build it.
pub fn is_possible(engines: &[EngineLoad], fitness: impl Fn(usize) -> Fitness) -> bool {
    let mut here = engines.iter().enumerate().filter(|(_, engine)| !engine.is_gone);
    here.any(|(n, _)| fitness(n) != Fitness::Unfit)
}

#[cfg(test)]
mod tests {
    use std::{
        cmp::Reverse,
        collections::{BTreeMap, BinaryHeap},
        time::Instant,
    };

    use super::*;
    use crate::plan::order::{History, ReadyQueue, Weighed};

    /// `4/5` is an engine with 4 of 5 slots free, `gone` one that does not answer.
    fn engines(text: &str) -> Vec<EngineLoad> {
        let engine = |word: &str| match word.split_once('/') {
            Some((free, slots)) => EngineLoad {
                slots: slots.parse().unwrap(),
                free: free.parse().unwrap(),
                is_gone: false,
            },
            None => EngineLoad { slots: 4, free: 4, is_gone: true },
        };
        text.split_whitespace().map(engine).collect()
    }

    #[test]
    fn the_engine_of_the_parents_and_otherwise_the_least_busy_one() {
        for (load, fitness, home, is_bound, expected) in [
            ("4/4 4/4", "nn", None, false, Some(0)),
            ("1/4 2/4", "nn", None, false, Some(1)),
            ("2/4 2/8", "nn", None, false, Some(0)),
            ("1/4 4/4", "nn", Some(0), false, Some(0)),
            ("0/4 4/4", "nn", Some(0), false, Some(1)),
            // Only the engine of the parents has them.
            ("0/4 4/4", "nn", Some(0), true, None),
            ("gone 4/4", "nn", Some(0), true, None),
            ("gone 4/4", "nn", Some(0), false, Some(1)),
            // A native engine is worth waiting for.
            ("0/4 4/4", "ne", None, false, None),
            ("gone 4/4", "ne", None, false, Some(1)),
            ("4/4 4/4", "ue", None, false, Some(1)),
            ("4/4 4/4", "uu", None, false, None),
            ("0/4 -1/4", "nn", None, false, None),
        ] {
            let of = |n: usize| match fitness.as_bytes()[n] {
                b'n' => Fitness::Native,
                b'e' => Fitness::Emulated,
                _ => Fitness::Unfit,
            };
            let chosen = choose(&engines(load), of, (home, is_bound));
            assert_eq!(chosen, expected, "{load} {fitness} {home:?} {is_bound}");
        }
        let unfit_here = |n| if n == 0 { Fitness::Native } else { Fitness::Unfit };
        assert!(!is_possible(&engines("gone 4/4"), unfit_here));
        assert!(is_possible(&engines("0/4 4/4"), unfit_here));
    }

    /// Numbers that are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % below
        }
    }

    /// Build times in seconds: many short builds, and few long ones.
    const SECONDS: [u64; 20] = [1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 8, 9, 12, 14, 21, 33, 48, 75, 160];

    /// The durations of 104 builds, as runs of a small hierarchy on two engines recorded them.
    const RECORDED: &[u8] = include_bytes!("recorded_builds.json");

    /// In milliseconds.
    fn recorded() -> Vec<u64> {
        let history = History::read(RECORDED);
        let document: serde_json::Value = serde_json::from_slice(RECORDED).unwrap();
        let names = document["nodes"].as_object().unwrap().keys();
        let took = names.map(|name| history.took(&name.as_str().into()).unwrap().as_millis());
        took.map(|took| took.try_into().unwrap()).collect()
    }

    /// A hierarchy in which each image is based on one of the earlier tenth of the images.
    fn hierarchy(images: usize, times: &[u64]) -> Vec<Weighed<usize>> {
        let mut numbers = Numbers(7);
        let mut image = |n: usize| {
            let above = (n / 10).max(1);
            let after = if n < 4 { vec![] } else { vec![numbers.next(above)] };
            (n, after, times[numbers.next(times.len())] + numbers.next(1000) as u64)
        };
        (0..images).map(&mut image).collect()
    }

    /// The time of a run in which each child that leaves the engine of its parent takes a twentieth longer.
    fn makespan(steps: &[Weighed<usize>], number: usize, slots: usize) -> u64 {
        let cost: BTreeMap<usize, (u64, Option<usize>)> = steps
            .iter()
            .map(|(step, after, cost)| (*step, (*cost, after.first().copied())))
            .collect();
        let mut engines =
            vec![
                EngineLoad { slots, free: isize::try_from(slots).unwrap(), is_gone: false };
                number
            ];
        let mut queue = ReadyQueue::new(steps);
        let mut at: BTreeMap<usize, usize> = BTreeMap::new();
        let mut ends = BinaryHeap::new();
        let mut now = 0;
        loop {
            while engines.iter().any(|engine| engine.free > 0)
                && let Some(step) = queue.next()
            {
                let (cost, parent) = cost[&step];
                let home = parent.map(|parent| at[&parent]);
                let chosen = choose(&engines, |_| Fitness::Native, (home, false)).unwrap();
                let moved = if home.is_some_and(|home| home != chosen) { cost / 20 } else { 0 };
                engines[chosen].free -= 1;
                at.insert(step, chosen);
                ends.push(Reverse((now + cost + moved, step)));
            }
            let Some(Reverse((end, step))) = ends.pop() else { return now };
            now = end;
            engines[at[&step]].free += 1;
            queue.succeeded(&step);
        }
    }

    /// A run takes at most a tenth longer than it must.
    #[test]
    fn a_pool_is_as_fast_as_its_slots_and_its_longest_path_allow() {
        let few_long: Vec<u64> = SECONDS.iter().map(|seconds| seconds * 1000).collect();
        for times in [few_long, recorded()] {
            assert!(times.len() >= SECONDS.len());
            is_fast(&hierarchy(10_000, &times));
        }
    }

    fn is_fast(steps: &[Weighed<usize>]) {
        let mut longest: BTreeMap<usize, u64> = BTreeMap::new();
        for (step, after, cost) in steps {
            let above = after.iter().map(|parent| longest[parent]).max().unwrap_or(0);
            longest.insert(*step, above + cost);
        }
        let path = longest.values().copied().max().unwrap();
        let work: u64 = steps.iter().map(|(_, _, cost)| cost).sum();
        for number in [1, 4, 16] {
            let slots = 4;
            let began = Instant::now();
            let took = makespan(steps, number, slots);
            let least = path.max(work / (number * slots) as u64);
            println!("{number} engines: {took} ms, at least {least} ms, in {:?}", began.elapsed());
            assert!(took * 10 <= least * 11, "{number}: {took} and {least}");
        }
    }
}
