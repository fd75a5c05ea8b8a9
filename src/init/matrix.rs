//! Many entries that differ in a few words become one with a matrix.
//!
//! **Invariant:** filled in, a block is exactly the entries that it was made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    entry::InitEntry,
    path_words::{is_version, platform},
};

/// Fewer entries are as easily read by themselves.
const FEWEST: usize = 3;

/// An entry of the file, with the matrix that makes it several images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) entry: InitEntry,
    /// Keys with their values; none if it is one image.
    pub(super) axes: Vec<(String, Vec<String>)>,
    pub(super) exclude: Vec<Vec<(String, String)>>,
    /// The entries that it stands for.
    pub(super) members: Vec<usize>,
}

/// An entry, and the parts of its path that may be values of a matrix.
pub(super) type Placed = (InitEntry, Vec<String>);

/// Each entry in a block, in the order of the first of each.
pub(super) fn blocks(entries: &[Placed], may_fold: bool) -> Vec<Block> {
    let mut groups: BTreeMap<(Option<&str>, usize), Vec<usize>> = BTreeMap::new();
    let mut blocks = Vec::new();
    for (index, (entry, segments)) in entries.iter().enumerate() {
        if may_fold && entry.repository.is_some() {
            let key = (entry.repository.as_deref(), segments.len());
            groups.entry(key).or_default().push(index);
        } else {
            blocks.push(single(entries, index));
        }
    }
    for group in groups.into_values() {
        fold(entries, &group, &mut blocks);
    }
    blocks.sort_by_key(|block| block.members.first().copied());
    blocks
}

fn single(entries: &[Placed], index: usize) -> Block {
    let (axes, exclude) = (Vec::new(), Vec::new());
    Block { entry: entries[index].0.clone(), axes, exclude, members: vec![index] }
}

fn fold(entries: &[Placed], group: &[usize], blocks: &mut Vec<Block>) {
    let singles = |group: &[usize], blocks: &mut Vec<Block>| {
        blocks.extend(group.iter().map(|&index| single(entries, index)));
    };
    if group.len() < FEWEST {
        return singles(group, blocks);
    }
    let axes = axes(entries, group);
    let mut shapes: BTreeMap<InitEntry, Vec<usize>> = BTreeMap::new();
    for &index in group {
        shapes.entry(shape(&entries[index], &axes)).or_default().push(index);
    }
    if shapes.len() > 1 {
        // Nothing of a group that is as it was can be told apart further.
        for part in shapes.into_values() {
            if part.len() < group.len() {
                fold(entries, &part, blocks);
            } else {
                singles(&part, blocks);
            }
        }
        return;
    }
    let Some((entry, members)) = shapes.pop_first() else { return };
    let block = block(entries, entry, &axes, members);
    if axes.is_empty() || !is_whole(entries, &block, &axes) {
        return singles(&block.members, blocks);
    }
    if block.exclude.len() <= (block.members.len() / 4).max(1) {
        return blocks.push(block);
    }
    // Too many holes: each value of one axis by itself.
    let narrowest = axes.iter().min_by_key(|axis| axis.values.len());
    let Some(position) = narrowest.map(|axis| axis.position) else { return };
    let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for index in block.members {
        parts.entry(&entries[index].1[position]).or_default().push(index);
    }
    for part in parts.into_values() {
        fold(entries, &part, blocks);
    }
}

struct FoundAxis {
    key: String,
    position: usize,
    /// In the order of the entries.
    values: Vec<String>,
}

/// The parts of the paths in which the entries differ.
fn axes(entries: &[Placed], group: &[usize]) -> Vec<FoundAxis> {
    let Some(&first) = group.first() else { return Vec::new() };
    let mut taken = BTreeSet::new();
    let mut axes = Vec::new();
    for position in 0..entries[first].1.len() {
        let mut values: Vec<String> = Vec::new();
        for &index in group {
            let value = &entries[index].1[position];
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
        if values.len() > 1 {
            let kind = kind(&values);
            let mut key = kind.to_owned();
            for number in 2.. {
                if taken.insert(key.clone()) {
                    break;
                }
                key = format!("{kind}{number}");
            }
            axes.push(FoundAxis { key, position, values });
        }
    }
    axes
}

fn kind(values: &[String]) -> &'static str {
    let all = |is_it: &dyn Fn(&str) -> bool| values.iter().all(|value| is_it(value));
    if all(&|value| platform(value).is_some()) {
        "arch"
    } else if all(&is_version) {
        "version"
    } else {
        "variant"
    }
}

/// The entry with the keys in the place of their values.
fn shape((entry, segments): &Placed, axes: &[FoundAxis]) -> InitEntry {
    let mut pairs: Vec<(&str, &str)> =
        axes.iter().map(|axis| (axis.key.as_str(), segments[axis.position].as_str())).collect();
    // The longest first, so that `8.0` does not take a piece of `8.0-rc`.
    pairs.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    let open = |text: &String| {
        pairs.iter().fold(text.clone(), |text, (key, value)| opened(&text, key, value))
    };
    let map = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| (key.clone(), open(value))).collect()
    };
    InitEntry {
        name: open(&entry.name),
        context: entry.context.as_ref().map(open),
        dockerfile: entry.dockerfile.as_ref().map(open),
        repository: entry.repository.clone(),
        tags: entry.tags.iter().map(open).collect(),
        target: entry.target.clone(),
        platform: entry.platform.clone(),
        platforms: entry.platforms.clone(),
        build_args: map(&entry.build_args),
        labels: map(&entry.labels),
        options: entry.options.clone(),
    }
}

/// The text with `{key}` for each whole word that is the value.
pub(super) fn opened(text: &str, key: &str, value: &str) -> String {
    let mut opened = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let joins = |c: char| c.is_alphanumeric() || "._{".contains(c);
        let is_word = !before.chars().next_back().or(opened.chars().next_back()).is_some_and(joins)
            && !after.starts_with(|c: char| joins(c) || c == '}');
        opened.push_str(before);
        if is_word {
            _ = write!(opened, "{{{key}}}");
        } else {
            opened.push_str(value);
        }
        rest = after;
    }
    opened + rest
}

fn block(entries: &[Placed], entry: InitEntry, axes: &[FoundAxis], members: Vec<usize>) -> Block {
    let value = |index: usize, axis: &FoundAxis| entries[index].1[axis.position].clone();
    let there: BTreeSet<Vec<String>> =
        members.iter().map(|&index| axes.iter().map(|axis| value(index, axis)).collect()).collect();
    let mut exclude = Vec::new();
    let mut combinations = vec![Vec::new()];
    for axis in axes {
        combinations = combinations
            .iter()
            .flat_map(|one: &Vec<String>| {
                axis.values.iter().map(|value| one.iter().cloned().chain([value.clone()]).collect())
            })
            .collect();
    }
    for combination in combinations {
        if !there.contains(&combination) {
            let keys = axes.iter().map(|axis| axis.key.clone());
            exclude.push(keys.zip(combination).collect());
        }
    }
    let axes = axes.iter().map(|axis| (axis.key.clone(), axis.values.clone())).collect();
    Block { entry, axes, exclude, members }
}

/// Whether filling in gives back what it was made of, and different names.
fn is_whole(entries: &[Placed], block: &Block, axes: &[FoundAxis]) -> bool {
    let names: BTreeSet<&str> =
        block.members.iter().map(|&index| entries[index].0.name.as_str()).collect();
    let every_key = axes.iter().all(|axis| block.entry.name.contains(&format!("{{{}}}", axis.key)));
    let same = block.members.iter().all(|&index| {
        let (entry, segments) = &entries[index];
        let pairs = axes.iter().map(|axis| (&axis.key, &segments[axis.position]));
        let fill = |text: &String| {
            pairs
                .clone()
                .fold(text.clone(), |text, (key, value)| text.replace(&format!("{{{key}}}"), value))
        };
        fill(&block.entry.name) == entry.name
            && block.entry.context.as_ref().map(fill) == entry.context
            && block.entry.dockerfile.as_ref().map(fill) == entry.dockerfile
            && block.entry.tags.iter().map(fill).collect::<Vec<_>>() == entry.tags
    });
    names.len() == block.members.len() && every_key && same
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name context tag` a line; the parts of the context may vary.
    fn folded(lines: &str) -> Vec<String> {
        let entries: Vec<Placed> = lines
            .lines()
            .map(|line| {
                let [name, context, tag] =
                    line.split_whitespace().collect::<Vec<_>>()[..].try_into().unwrap();
                let entry = InitEntry {
                    name: String::from(name),
                    context: Some(String::from(context)),
                    repository: Some("r".to_owned()),
                    tags: vec![String::from(tag)],
                    ..InitEntry::default()
                };
                (entry, context.split('/').map(str::to_owned).collect())
            })
            .collect();
        let shown = |block: Block| {
            let axes: Vec<String> = block
                .axes
                .iter()
                .map(|(key, values)| format!(" {key}={}", values.join(",")))
                .collect();
            let entry = block.entry;
            let out = if block.exclude.is_empty() {
                String::new()
            } else {
                format!(" -{}", block.exclude.len())
            };
            format!(
                "{} {} {}{}{out}",
                entry.name,
                entry.context.unwrap(),
                entry.tags[0],
                axes.concat()
            )
        };
        blocks(&entries, true).into_iter().map(shown).collect()
    }

    #[test]
    fn what_differs_in_words_of_the_path_is_one_entry() {
        assert_eq!(
            folded(
                "r-3.1-slim 3.1/slim 3.1-slim\nr-3.1-alpine 3.1/alpine 3.1-alpine\n\
                 r-3.2-slim 3.2/slim 3.2-slim\nr-3.2-alpine 3.2/alpine 3.2-alpine"
            ),
            [
                "r-{version}-{variant} {version}/{variant} {version}-{variant} version=3.1,3.2 variant=slim,alpine"
            ]
        );
        assert_eq!(folded("r-1 1 1\nr-2 2 2"), ["r-1 1 1", "r-2 2 2"]);
        assert_eq!(
            folded("r-1 1 1.7\nr-2 2 2.5\nr-3 3 3.0"),
            ["r-1 1 1.7", "r-2 2 2.5", "r-3 3 3.0"]
        );
        assert_eq!(
            folded("r-1-a 1/a 1-a\nr-1-b 1/b 1-b\nr-1-c 1/c 1-c\nr-2-a 2/a 2-a\nr-2-b 2/b 2-b"),
            [
                "r-{version}-{variant} {version}/{variant} {version}-{variant} version=1,2 variant=a,b,c -1"
            ]
        );
        assert_eq!(
            folded("r-1-a 1/a 1-a\nr-2-b 2/b 2-b\nr-3-c 3/c 3-c"),
            ["r-1-a 1/a 1-a", "r-2-b 2/b 2-b", "r-3-c 3/c 3-c"]
        );
    }
}
