//! Which step may start next. Knows nothing of time, tasks or engines.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::Weighed;

/// The steps not yet started.
#[derive(Debug)]
pub struct ReadyQueue<K> {
    /// The steps that each waiting step waits for.
    waiting: BTreeMap<K, BTreeSet<K>>,
    /// The ready steps, the longest remaining path first.
    ready: BTreeSet<(Reverse<u64>, K)>,
    dependents: BTreeMap<K, Vec<K>>,
    /// The cost of a step and of the most expensive chain of steps that waits for it.
    weight: BTreeMap<K, u64>,
}

impl<K: Clone + Ord> ReadyQueue<K> {
    /// The steps with their costs, each after the steps that it waits for.
    pub fn new(steps: &[Weighed<K>]) -> Self {
        let mut dependents: BTreeMap<K, Vec<K>> = BTreeMap::new();
        let mut weight: BTreeMap<K, u64> = BTreeMap::new();
        for (step, after, cost) in steps.iter().rev() {
            let below = dependents.get(step).into_iter().flatten().map(|child| weight[child]).max();
            weight.insert(step.clone(), cost.saturating_add(below.unwrap_or_default()));
            for parent in after {
                dependents.entry(parent.clone()).or_default().push(step.clone());
            }
        }
        let mut queue =
            Self { waiting: BTreeMap::new(), ready: BTreeSet::new(), dependents, weight };
        for (step, after, _) in steps {
            if after.is_empty() {
                queue.ready.insert((Reverse(queue.weight[step]), step.clone()));
            } else {
                queue.waiting.insert(step.clone(), after.iter().cloned().collect());
            }
        }
        queue
    }

    /// Takes the ready step with the longest remaining path.
    #[expect(clippy::should_implement_trait, reason = "what is next changes with what succeeded")]
    pub fn next(&mut self) -> Option<K> {
        self.ready.pop_first().map(|(_, step)| step)
    }

    /// The ready steps, the longest remaining path first.
    pub fn ready(&self) -> impl Iterator<Item = &K> {
        self.ready.iter().map(|(_, step)| step)
    }

    /// A step that was taken is to be done again, after these. So is everything that waits for it and was not taken.
    pub fn put_back(&mut self, step: &K, after: BTreeSet<K>) {
        if after.is_empty() {
            self.ready.insert((Reverse(self.weight[step]), step.clone()));
        } else {
            self.waiting.insert(step.clone(), after);
        }
        for dependent in self.dependents.get(step).into_iter().flatten() {
            let is_ready = self.ready.remove(&(Reverse(self.weight[dependent]), dependent.clone()));
            if is_ready || self.waiting.contains_key(dependent) {
                self.waiting.entry(dependent.clone()).or_default().insert(step.clone());
            }
        }
    }

    /// Takes this step if it is ready.
    pub fn take(&mut self, step: &K) -> bool {
        let weight = self.weight.get(step).copied().unwrap_or_default();
        self.ready.remove(&(Reverse(weight), step.clone()))
    }

    pub fn succeeded(&mut self, step: &K) {
        for dependent in self.dependents.get(step).into_iter().flatten() {
            let Some(parents) = self.waiting.get_mut(dependent) else { continue };
            parents.remove(step);
            if parents.is_empty() {
                self.waiting.remove(dependent);
                self.ready.insert((Reverse(self.weight[dependent]), dependent.clone()));
            }
        }
    }

    /// Drops the descendants of a failed step and returns them, including those that were already taken.
    pub fn failed(&mut self, step: &K) -> BTreeSet<K> {
        let mut below = BTreeSet::new();
        let mut open = vec![step.clone()];
        while let Some(step) = open.pop() {
            for dependent in self.dependents.get(&step).into_iter().flatten() {
                if below.insert(dependent.clone()) {
                    self.waiting.remove(dependent);
                    self.ready.remove(&(Reverse(self.weight[dependent]), dependent.clone()));
                    open.push(dependent.clone());
                }
            }
        }
        below
    }

    /// Takes all remaining steps, ready or not.
    pub fn drain(&mut self) -> Vec<K> {
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(_, step)| step);
        ready.chain(std::mem::take(&mut self.waiting).into_keys()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `b<a` means that b waits for a. A number after a colon is the cost (default: 1).
    pub(in crate::plan::order) fn steps(text: &str) -> Vec<Weighed<char>> {
        text.split_whitespace()
            .map(|step| {
                let (step, cost) = step.split_once(':').unwrap_or((step, "1"));
                let (name, after) = step.split_once('<').unwrap_or((step, ""));
                (name.chars().next().unwrap(), after.chars().collect(), cost.parse().unwrap())
            })
            .collect()
    }

    fn queue(text: &str) -> ReadyQueue<char> {
        ReadyQueue::new(&steps(text))
    }

    /// Takes all ready steps, finishes them in that order, and repeats.
    fn waves(mut queue: ReadyQueue<char>) -> String {
        let mut text = String::new();
        loop {
            let wave: Vec<char> = std::iter::from_fn(|| queue.next()).collect();
            if wave.is_empty() {
                return text;
            }
            text.extend(wave.iter().chain(&[' ']));
            for step in &wave {
                queue.succeeded(step);
            }
        }
    }

    #[test]
    fn a_step_waits_for_all_its_parents() {
        for (steps, expected) in [
            ("a b<a c<b", "a b c "),
            ("a b<a c<a d<bc", "a bc d "),
            ("a b c<ab d<c e<a", "ab ce d "),
            // The longest chain first, then by name.
            ("a b x y<x z<y", "xab y z "),
            ("a:5 b:9 c:7", "bca "),
            ("a:1 b:1 c<a:9 d<b:2", "ab cd "),
        ] {
            assert_eq!(waves(queue(steps)), expected, "{steps}");
        }
    }

    #[test]
    fn a_step_can_be_taken_out_of_turn_once_it_is_ready() {
        let mut queue = queue("a:1 b:9 c<a:5");
        assert!(!queue.take(&'c'));
        assert!(queue.take(&'a'));
        assert!(!queue.take(&'a'));
        queue.succeeded(&'a');
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some('b'), Some('c'), None]);
    }

    #[test]
    fn what_waits_for_a_step_that_is_put_back_waits_again() {
        let mut queue = queue("a b<a c<a d<bc");
        assert_eq!(queue.next(), Some('a'));
        queue.succeeded(&'a');
        assert_eq!(queue.next(), Some('b'));
        // `b` runs, `c` is ready, `d` waits.
        queue.put_back(&'a', [].into());
        assert_eq!(queue.ready().copied().collect::<String>(), "a");
        queue.put_back(&'b', ['a'].into());
        assert_eq!(queue.next(), Some('a'));
        assert_eq!(queue.next(), None);
        queue.succeeded(&'a');
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some('b'), Some('c'), None]);
        queue.succeeded(&'b');
        queue.succeeded(&'c');
        assert_eq!([queue.next(), queue.next()], [Some('d'), None]);
    }

    #[test]
    fn a_failure_drops_what_is_below_it_and_nothing_else() {
        let mut queue = queue("a b<a c<b d<bc e<a f");
        assert_eq!(queue.next(), Some('a'));
        queue.succeeded(&'a');
        assert_eq!(queue.next(), Some('b'));
        assert_eq!(queue.failed(&'b'), ['c', 'd'].into());
        let mut left = queue.drain();
        left.sort_unstable();
        assert_eq!(left, ['e', 'f']);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_failure_drops_ready_steps_and_names_started_ones() {
        let mut queue = queue("a b<a c<b d<c e<b");
        queue.next();
        queue.succeeded(&'a');
        queue.next();
        queue.succeeded(&'b');
        assert_eq!(queue.next(), Some('c'));
        // Only now do the tests of a fail: c has started, e is ready, d waits.
        assert_eq!(queue.failed(&'a'), ['b', 'c', 'd', 'e'].into());
        assert_eq!((queue.next(), queue.drain()), (None, vec![]));
    }
}
