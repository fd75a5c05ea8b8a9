//! What became of updates: which images of a run now have them, and which still have the old version.

use std::{collections::BTreeMap, fmt};

use super::{Installed, PackageUpdate};

/// Collects, over the images of a run, what became of the updates it was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    lines: BTreeMap<PackageUpdate, Vec<(String, FoundPackage)>>,
}

/// What an image has of an updated package.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FoundPackage {
    Fixed,
    Other(String),
}

/// One update, or what is left of one: `libssl3 3.0.15-1 → 3.0.16-1 in 14 images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateLine {
    /// These images have the new version.
    Fixed { update: PackageUpdate, images: Vec<String> },
    /// These images do not: they have this version.
    Left { update: PackageUpdate, version: String, images: Vec<String> },
}

impl Verified {
    /// A node that was out of date for these updates, as it is after the run.
    ///
    /// The version that it got counts, which may be newer still than the one that was promised.
    /// Returns the updates with that version, to be looked for in its descendants.
    pub fn node(
        &mut self,
        image: &str,
        promised: &[PackageUpdate],
        after: &Installed,
    ) -> Vec<PackageUpdate> {
        let mut got = Vec::new();
        for update in promised {
            match after.version(&update.package) {
                Some(version) if version != update.from => {
                    let update = PackageUpdate { to: version.to_owned(), ..update.clone() };
                    self.add(&update, image, FoundPackage::Fixed);
                    got.push(update);
                }
                Some(version) => {
                    self.add(update, image, FoundPackage::Other(version.to_owned()));
                    got.push(update.clone());
                }
                // It is no longer installed, so there is nothing to fix here or below.
                None => {}
            }
        }
        got
    }

    /// A descendant of such a node, with what [`node`](Self::node) returned. It should have exactly
    /// what the node has.
    pub fn descendant(&mut self, image: &str, expected: &[PackageUpdate], after: &Installed) {
        for update in expected {
            match after.version(&update.package) {
                Some(version) if version == update.to => {
                    self.add(update, image, FoundPackage::Fixed);
                }
                Some(version) => self.add(update, image, FoundPackage::Other(version.to_owned())),
                None => {}
            }
        }
    }

    /// An image below two nodes with the same update is counted once.
    fn add(&mut self, update: &PackageUpdate, image: &str, found: FoundPackage) {
        let images = self.lines.entry(update.clone()).or_default();
        if !images.iter().any(|(known, _)| known == image) {
            images.push((image.to_owned(), found));
        }
    }

    /// What is fixed, by package, and then what is left.
    pub fn lines(&self) -> Vec<UpdateLine> {
        let (mut fixed, mut left) = (Vec::new(), Vec::new());
        for (update, images) in &self.lines {
            let mut done = Vec::new();
            let mut others: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (image, found) in images {
                match found {
                    FoundPackage::Fixed => done.push(image.clone()),
                    FoundPackage::Other(version) => {
                        others.entry(version).or_default().push(image.clone());
                    }
                }
            }
            if !done.is_empty() {
                fixed.push(UpdateLine::Fixed { update: update.clone(), images: done });
            }
            left.extend(others.into_iter().map(|(version, images)| UpdateLine::Left {
                update: update.clone(),
                version: version.to_owned(),
                images,
            }));
        }
        fixed.append(&mut left);
        fixed
    }
}

impl fmt::Display for UpdateLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { update, images } => match images.len() {
                1 => write!(f, "{update} in 1 image"),
                n => write!(f, "{update} in {n} images"),
            },
            Self::Left { update, version, images } => {
                let is = if *version == update.from { "is still" } else { "is" };
                let PackageUpdate { package, to, .. } = update;
                let images: Vec<String> = images.iter().map(|image| format!("`{image}`")).collect();
                write!(f, "{package} {is} {version} in {}, not {to}", images.join(", "))
            }
        }
    }
}
