//! Which images were published before, by the journals of past runs.

use std::collections::BTreeMap;

use super::{Move, PastRun};
use crate::{hierarchy::NodeName, image::Digest};

/// The image that each published image replaced. Runs are the newest first. An image that replaced none, or
/// whose run is not known, is missing.
pub fn replaced(
    runs: &[PastRun],
    published: &BTreeMap<NodeName, Digest>,
) -> BTreeMap<NodeName, Digest> {
    let mut before = BTreeMap::new();
    for one in runs.iter().flat_map(PastRun::standing) {
        let (Some(from), Some(to)) = (&one.from, &one.to) else { continue };
        if from != to && published.get(&one.node) == Some(to) {
            before.entry(one.node.clone()).or_insert_with(|| from.clone());
        }
    }
    before
}

/// The images that were published between the `earlier` and the `later` runs. Both are the newest first.
///
/// If no run moved an image, it is the one that is published now.
pub fn published_between(
    earlier: &[PastRun],
    later: &[PastRun],
    published: &BTreeMap<NodeName, Digest>,
) -> BTreeMap<NodeName, Digest> {
    let mut before = published.clone();
    let moves = |runs: &[PastRun]| -> Vec<Move> {
        runs.iter().flat_map(PastRun::standing).cloned().collect()
    };
    // What is written last counts: the oldest of the later moves, then the newest of the earlier ones.
    for one in moves(later) {
        match one.from {
            Some(from) => _ = before.insert(one.node, from),
            None => _ = before.remove(&one.node),
        }
    }
    for one in moves(earlier).into_iter().rev() {
        if let Some(to) = one.to {
            before.insert(one.node, to);
        }
    }
    before.retain(|node, _| published.contains_key(node));
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::Repository,
        publish::journal::{Began, RunRequest, test_id},
    };

    /// `app x>y` is a tag that moved from image `x` to image `y`; `-` is no image.
    fn run(number: usize, moves: &str) -> PastRun {
        let digest = |name: &str| (name != "-").then(|| Digest::of(name.as_bytes()));
        let moves = moves.split(", ").map(|text| {
            let (node, rest) = text.split_once(' ').unwrap();
            let (from, to) = rest.split_once('>').unwrap();
            let repository: Repository = format!("r.example/{node}").parse().unwrap();
            let tag = repository.tagged("latest".parse().unwrap());
            Move { node: node.into(), tag, from: digest(from), to: digest(to), wave: 0 }
        });
        let asked = RunRequest::Run { flags: String::new() };
        let mut past = PastRun::began(Began::new(test_id(number), "place", asked));
        past.moves = Some(moves.collect());
        past
    }

    fn told(before: &BTreeMap<NodeName, Digest>) -> String {
        let name = |digest: &Digest| {
            let names = "abcdwxyz".chars().map(String::from);
            names.clone().find(|name| Digest::of(name.as_bytes()) == *digest).unwrap()
        };
        let told = |(node, digest)| format!("{node} {} ", name(digest));
        before.iter().map(told).collect()
    }

    #[test]
    fn images_before() {
        let published: BTreeMap<NodeName, Digest> =
            [("app", "c"), ("os", "x"), ("tool", "z"), ("old", "w")]
                .map(|(node, digest)| (node.into(), Digest::of(digest.as_bytes())))
                .into();
        let runs = [
            run(3, "app b>c, tool ->z, gone x>y"),
            run(2, "app a>b, os d>x"),
            run(1, "app ->a, os ->d"),
        ];
        assert_eq!(told(&replaced(&runs, &published)), "app b os d ");
        for (earlier, expected) in [
            (3, "app c old w os x tool z "),
            (2, "app b old w os x "),
            (1, "app a old w os d "),
            (0, "old w "),
        ] {
            let (later, earlier) = runs.split_at(3 - earlier);
            assert_eq!(told(&published_between(earlier, later, &published)), expected);
        }
    }
}
