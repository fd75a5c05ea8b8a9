//! Images that are built for several platforms need bases for the same ones.

use std::collections::BTreeSet;

use super::{
    entry::InitEntry,
    report::{UnsureLine, listed},
};

/// Gives the platforms of images to their bases, of which no evidence says any. An image whose base is for fewer
/// platforms gets those of its base. Returns a line for each of both, about new images.
pub(super) fn give_to_bases(
    entries: &mut [InitEntry],
    parents: &[BTreeSet<usize>],
    new: &[bool],
) -> Vec<UnsureLine> {
    let (mut given, mut fewer) = (BTreeSet::new(), BTreeSet::new());
    // Each pass goes one level up; a line of evidence does not make a cycle longer.
    for _ in 0..entries.len() {
        let mut has_changed = false;
        for (child, parents) in parents.iter().enumerate() {
            for &parent in parents {
                has_changed |= agree(entries, (child, parent), new, (&mut given, &mut fewer));
            }
        }
        if !has_changed {
            break;
        }
    }
    let line = |images: &BTreeSet<usize>, why: &str| {
        let images: Vec<&String> = images.iter().map(|&one| &entries[one].name).collect();
        listed(&images, why)
    };
    let given = line(
        &given,
        "built for the platforms of the images that are based on it; check `platforms`",
    );
    let fewer =
        line(&fewer, "built for fewer platforms than before, as its base is; check `platforms`");
    given.into_iter().chain(fewer).collect()
}

/// Whether one of both changed.
fn agree(
    entries: &mut [InitEntry],
    (child, parent): (usize, usize),
    new: &[bool],
    (given, fewer): (&mut BTreeSet<usize>, &mut BTreeSet<usize>),
) -> bool {
    let wanted = entries[child].platforms.clone();
    if wanted.is_empty() || !new[parent] {
        return false;
    }
    let own: Vec<String> = match (&entries[parent].platform, &entries[parent].platforms) {
        (Some(only), _) => vec![only.clone()],
        (None, all) => all.clone(),
    };
    let lacks = |platform: &&String| !own.contains(platform);
    if !wanted.iter().any(|platform| lacks(&platform)) {
        return false;
    }
    let is_free = entries[parent].platform.is_none() && (own.is_empty() || given.contains(&parent));
    if is_free {
        let more = wanted.iter().filter(lacks).cloned().collect::<Vec<_>>();
        entries[parent].platforms.extend(more);
        given.insert(parent);
        return true;
    }
    let kept: Vec<String> = wanted.into_iter().filter(|platform| own.contains(platform)).collect();
    let entry = &mut entries[child];
    match &kept[..] {
        [] => (entry.platform, entry.platforms) = (own.first().cloned(), Vec::new()),
        [only] => (entry.platform, entry.platforms) = (Some(only.clone()), Vec::new()),
        _ => entry.platforms = kept,
    }
    fewer.insert(child);
    given.remove(&child);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name platforms parents` a line.
    fn agreed(text: &str) -> (Vec<String>, Vec<String>) {
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let list = |text: &str| -> Vec<String> {
            text.split(',').filter(|one| *one != "-").map(str::to_owned).collect()
        };
        let mut entries: Vec<InitEntry> = Vec::new();
        for line in &lines {
            let all = list(line[1]);
            let (platform, platforms) =
                if all.len() == 1 { (all.first().cloned(), vec![]) } else { (None, all) };
            let name = line[0].to_owned();
            entries.push(InitEntry { name, platform, platforms, ..InitEntry::default() });
        }
        let place = |name: &str| lines.iter().position(|line| line[0] == name).unwrap();
        let parents: Vec<BTreeSet<usize>> = lines
            .iter()
            .map(|line| list(line[2]).iter().map(|name| place(name)).collect())
            .collect();
        let said = give_to_bases(&mut entries, &parents, &vec![true; lines.len()]);
        let shown = entries.iter().map(|entry| {
            let all: Vec<String> = entry.platform.iter().chain(&entry.platforms).cloned().collect();
            format!("{} {}", entry.name, all.join(","))
        });
        (shown.collect(), said.into_iter().map(|line| line.short).collect())
    }

    #[test]
    fn bases_get_the_platforms_of_what_is_based_on_them() {
        let (entries, said) = agreed("os - -\nweb - os\na x,y web\nb x web\nc x,z os");
        assert_eq!(entries, ["os x,z,y", "web x,y", "a x,y", "b x", "c x,z"]);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("`os` and `web`: built for the platforms"), "{said:?}");
        let (entries, said) = agreed("os x -\nweb x,y os\napp x,y web\nall x,y -\none x,y all");
        assert_eq!(entries, ["os x", "web x", "app x", "all x,y", "one x,y"]);
        assert!(said[0].starts_with("`web` and `app`: built for fewer platforms"), "{said:?}");
    }
}
