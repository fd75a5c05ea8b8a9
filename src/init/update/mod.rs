//! Merges new and deleted Dockerfiles into a hierarchy file that exists: `rebuild init --update`.
//!
//! **Invariant:** every byte outside of the added and the marked places stays. The images that stay mean the
//! same as before, and the new text loads, or there is no new text.

mod moved;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use self::{moved::MovedFiles, values::NewValues};
use super::{
    From, InitError, LeftOut, Present, Study, UnsureLine, edits::Edits, entry::InitEntry,
    evidence::PublishedImage, file, gone, matrix, report,
};
use crate::{
    check::diagnostic::{Diagnostic, names},
    hierarchy::{
        Base, Hierarchy, ImageSection, LoadError, LoadOptions, Loaded, NodeName, Outline,
        OutlineError, OutlineImage, entries, ignored_by_init, outline,
    },
    image::{Reference, Repository},
};

#[derive(Debug)]
pub struct FileUpdate {
    /// The whole new text; the old one if there is nothing to do.
    pub text: String,
    /// The same as a unified diff; empty if there is nothing to do.
    pub diff: String,
    pub loaded: Loaded,
    /// A line for each entry.
    pub added: Vec<String>,
    pub moved: Vec<String>,
    pub gone: Vec<String>,
    /// As in a proposal, of the new images.
    pub unsure: Vec<UnsureLine>,
    pub left_out: Vec<LeftOut>,
    pub explained: Vec<String>,
}

#[derive(Debug)]
pub enum UpdateError {
    Init(InitError),
    /// The file as it is has errors.
    Problems(Vec<Diagnostic>),
    /// The file is written in a way that cannot be edited.
    Layout(String),
    /// What would be written does not load: the errors and the diff.
    Broken(LoadError, String),
    /// What would be written changes an image that was to stay.
    Changes(String),
}

impl std::convert::From<InitError> for UpdateError {
    fn from(error: InitError) -> Self {
        Self::Init(error)
    }
}

/// The new text of a hierarchy file. `file` is absolute; `name` is what the diff calls it. `committed` is the last
/// text in git of a deleted file, by its path in the folder of the hierarchy.
pub fn update(
    (file, name, text): (&Path, &str, &str),
    from: From,
    options: &LoadOptions,
    committed: &dyn Fn(&Path) -> Option<String>,
) -> Result<FileUpdate, UpdateError> {
    let root = file.parent().unwrap_or(Path::new("/"));
    let outline = outline(file, text, options).map_err(|error| match error {
        OutlineError::Problems(problems) => UpdateError::Problems(problems),
        OutlineError::Layout(reason) => UpdateError::Layout(reason),
    })?;
    let (place, none) = ((file, name, text), MovedFiles::default());
    let present = Present::of(&outline, root, text, &none);
    let study = Study::of(file, from.clone(), options, &present)?;
    let moved = MovedFiles::of((&outline, &study), root, committed);
    if !moved.is_empty() {
        let present = Present::of(&outline, root, text, &moved);
        let study = Study::of(file, from, options, &present)?;
        let update = merged(place, (&outline, study), (&present, &moved), options);
        if let Ok(update) = update
            && moved.is_in(&outline, &update.loaded.hierarchy)
        {
            return Ok(update);
        }
    }
    merged(place, (&outline, study), (&present, &none), options)
}

fn merged(
    (file, name, text): (&Path, &str, &str),
    (outline, mut study): (&Outline, Study),
    (present, moved): (&Present, &MovedFiles),
    options: &LoadOptions,
) -> Result<FileUpdate, UpdateError> {
    let root = file.parent().unwrap_or(Path::new("/"));
    let is_known = |place: &String| {
        let path = place.rsplit_once(':').map_or(place.as_str(), |(path, _)| path);
        [path, place].iter().any(|path| present.by_path.contains_key(Path::new(path)))
    };
    for left_out in &mut study.left_out {
        left_out.places.retain(|place| !is_known(place));
    }
    study.left_out.retain(|left_out| !left_out.places.is_empty());
    let merge = Merge { file, text, outline, study: &study, root, options, moved };
    let merged = merge.best(name)?;
    study.unsure.splice(0..0, merged.wrong);
    study.unsure.extend(left_without(outline, moved, &merged.loaded.hierarchy));
    let explained = report::explained(&study.names, &study.candidates, &study.new);
    let Study { unsure, left_out, .. } = study;
    let Merged { text, diff, loaded, added, moved, gone, .. } = merged;
    Ok(FileUpdate { text, diff, loaded, added, moved, gone, unsure, left_out, explained })
}

/// The images that were based on one whose Dockerfile is gone.
fn left_without(outline: &Outline, moved: &MovedFiles, hierarchy: &Hierarchy) -> Vec<UnsureLine> {
    let all = outline.sections.iter().flat_map(|section| &section.nodes);
    let gone = all.filter(|node| node.has_file && !moved.dockerfile(node).is_file());
    let line = |gone: &OutlineImage| {
        let is_gone = |base: &Reference| {
            let is_named = base.repository.as_str() == gone.name.image();
            let is_same = gone.repository.as_ref().is_some_and(|one| one.is_same(&base.repository));
            let tag = base.tag_or_latest().map(|tag| tag.to_string());
            let has_tag = tag.is_some_and(|tag| gone.tags.contains(&tag));
            (is_named && base.tag.is_none()) || ((is_named || is_same) && has_tag)
        };
        let mut users: BTreeMap<String, Vec<&NodeName>> = BTreeMap::new();
        for node in hierarchy.in_build_order() {
            for used in &node.dockerfile.uses {
                if let Base::Upstream(base) = &used.base
                    && is_gone(base)
                {
                    users.entry(base.to_string()).or_default().push(&node.name);
                }
            }
        }
        let lines = users.into_iter().filter_map(|(base, users)| {
            let gone = gone.name.image();
            let what =
                format!("the Dockerfile of its base `{gone}` is gone; `{base}` is now an upstream");
            report::listed(&users, &what)
        });
        lines.collect::<Vec<_>>()
    };
    gone.flat_map(line).collect()
}

impl Present {
    fn of(outline: &Outline, root: &Path, text: &str, moved: &MovedFiles) -> Self {
        let mut present = Self::default();
        for node in outline.sections.iter().flat_map(|section| &section.nodes) {
            let dockerfile = moved.dockerfile(node);
            if !dockerfile.is_file() {
                continue;
            }
            present.names.insert(node.name.to_string());
            if let Some(one) = &node.repository {
                let repository = format!("{}/{}", one.host(), one.path());
                let tags = node.tags.iter().map(|tag| (repository.clone(), tag.clone()));
                present.published.extend(tags);
            }
            let repository = node.repository.as_ref().map_or(node.name.image(), |one| one.as_str());
            let output = |tag: &String| PublishedImage {
                repository: repository.to_owned(),
                is_whole: true,
                tag: Some(tag.clone()).filter(|tag| !tag.contains('{')),
                template: Some(tag.clone()).filter(|tag| tag.contains('{')),
            };
            present.outputs.insert(node.name.to_string(), node.tags.iter().map(output).collect());
            let real = dockerfile.canonicalize().ok();
            let paths: BTreeSet<PathBuf> = [Some(dockerfile.to_owned()), real]
                .into_iter()
                .flatten()
                .filter_map(|path| path.strip_prefix(root).map(Path::to_owned).ok())
                .collect();
            for path in paths {
                let image = (node.target.clone(), node.name.to_string());
                present.by_path.entry(path).or_default().push(image);
            }
        }
        present.ignored = ignored_by_init(text);
        present
    }
}

struct Merge<'a> {
    file: &'a Path,
    text: &'a str,
    outline: &'a Outline,
    study: &'a Study,
    root: &'a Path,
    options: &'a LoadOptions,
    moved: &'a MovedFiles,
}

struct Merged {
    text: String,
    diff: String,
    loaded: Loaded,
    added: Vec<String>,
    moved: Vec<String>,
    gone: Vec<String>,
    wrong: Vec<UnsureLine>,
}

impl Merge<'_> {
    /// The first way to write the new entries that gives the edges that were decided, else the first.
    fn best(&self, name: &str) -> Result<Merged, UpdateError> {
        let mut first = None;
        let new_values = self.new_values();
        let values = [&new_values, &NewValues::default()];
        for values in &values[usize::from(new_values.members.is_empty())..] {
            for (may_fold, is_explicit) in [(true, false), (false, false), (false, true)] {
                match self.merged((may_fold, is_explicit), values, name) {
                    Ok(merged) if merged.wrong.is_empty() => return Ok(merged),
                    Ok(merged) if first.as_ref().is_none_or(Result::is_err) => {
                        first = Some(Ok(merged));
                    }
                    Err(error) if first.is_none() => first = Some(Err(error)),
                    _ => {}
                }
            }
        }
        first.unwrap_or(Err(UpdateError::Changes(String::new())))
    }

    fn merged(
        &self,
        (may_fold, is_explicit): (bool, bool),
        values: &NewValues,
        name: &str,
    ) -> Result<Merged, UpdateError> {
        let study = self.study;
        let mut edits = Edits::of(self.text);
        let sections = &self.outline.sections;
        let is_entry = |one: &usize| study.new[*one] && !values.members.contains(one);
        let new: Vec<usize> = study.order.iter().copied().filter(is_entry).collect();
        let entries: Vec<InitEntry> = if is_explicit {
            (0..study.entries.len()).map(|one| self.explicit(one)).collect()
        } else {
            study.entries.clone()
        };
        let column = sections.first().map_or(2, |section| section.column);
        values.write(self, &mut edits);
        let (mut added, mut all) = (values.lines.clone(), String::new());
        for (block, comments) in study.blocks(&new, &entries, may_fold) {
            let members: Vec<usize> = block.members.iter().map(|&member| new[member]).collect();
            let mut lines = String::new();
            file::entry(&block, &comments, &mut lines);
            all.push_str(&lines);
            edits.insert_lines(self.place(members[0]), &indented(&lines, column));
            added.push(self.shown(&block, &members));
        }
        // After the others: a new entry may end where a deleted one begins.
        let moved = self.moved.write(self, &mut edits);
        let gone: Vec<String> = sections
            .iter()
            .filter(|section| !self.moved.has(section))
            .filter_map(|section| gone::remove(section, (self.text, self.root), &mut edits))
            .collect();
        if file::names_a_program(&format!("images:\n{all}"), &self.study.may_name())
            && !all.is_empty()
        {
            return Err(InitError::Unsafe.into());
        }
        let text = edits.applied();
        let diff = edits.diff(name);
        let new = new.iter().map(|&one| study.names.all[one].name.as_str());
        let new: BTreeSet<&str> = new.chain(values.images.iter().map(NodeName::as_str)).collect();
        self.compare(&text, &new)?;
        match Hierarchy::load_text(self.file.to_owned(), text.clone(), self.options) {
            Ok(loaded) if loaded.hierarchy.notify != self.outline.notify => {
                Err(InitError::Unsafe.into())
            }
            Ok(loaded) => {
                let wrong = self.differences(&loaded.hierarchy);
                Ok(Merged { text, diff, loaded, added, moved, gone, wrong })
            }
            Err(error) => Err(UpdateError::Broken(error, diff)),
        }
    }

    /// With the repository and the tags written out, where the defaults of the file would give others.
    fn explicit(&self, one: usize) -> InitEntry {
        let (mut entry, names) = (self.study.entries[one].clone(), &self.study.names);
        let own = names.registry.as_deref();
        if own != self.outline.registry.as_ref().map(Repository::as_str)
            && let (None, Some(registry)) = (&entry.repository, own)
        {
            entry.repository = Some(format!("{registry}/{}", entry.name));
        }
        if entry.tags.is_empty() {
            entry.tags.clone_from(&names.tags);
        }
        if entry.tags.is_empty() {
            entry.tags.push("latest".to_owned());
        }
        entry
    }

    /// Behind the last image of the same folder, else behind the nearest image before it in the order of parents and
    /// children.
    fn place(&self, one: usize) -> usize {
        let study = self.study;
        let folder = self.root.join(study.candidates[one].folder());
        let is_beside = |section: &&ImageSection| {
            section.nodes.iter().any(|node| node.dockerfile.parent() == Some(&folder))
        };
        let sections = &self.outline.sections;
        let at = study.order.iter().position(|&other| other == one).unwrap_or_default();
        let before = study.order[..at].iter().rev().filter(|&&other| !study.new[other]);
        let mut before = before.filter_map(|&other| {
            let name = study.names.all[other].name.as_str();
            let has = |section: &&ImageSection| {
                section.nodes.iter().any(|node| node.name.as_str() == name)
            };
            sections.iter().find(has)
        });
        // A folder with most of the images says nothing.
        let beside = sections.iter().filter(is_beside).count();
        let beside = sections.iter().rfind(is_beside).filter(|_| beside * 2 < sections.len());
        beside.or_else(|| before.next()).map_or(self.outline.begin, |section| section.lines.end)
    }

    fn shown(&self, block: &matrix::Block, members: &[usize]) -> String {
        let paths: Vec<String> = members
            .iter()
            .map(|&one| self.study.candidates[one].dockerfile.display().to_string())
            .collect();
        format!("`{}`: {}", block.entry.name, names(&paths, report::SHOWN))
    }

    /// Whether every image that stays means the same as before, and only the new ones came.
    fn compare(&self, text: &str, new: &BTreeSet<&str>) -> Result<(), UpdateError> {
        let read =
            |text: &str| entries(self.file, text.as_bytes(), self.options).unwrap_or_default();
        let (mut before, mut after) = (read(self.text), read(text));
        let nodes = self.outline.sections.iter().flat_map(|section| &section.nodes);
        for node in nodes.filter(|node| node.is_gone()) {
            before.remove(&node.name);
        }
        let is_new =
            |name: &NodeName| new.contains(name.as_str()) || self.moved.makes(self.outline, name);
        after.retain(|name, _| before.contains_key(name) || !is_new(name));
        let differs: BTreeSet<String> = before
            .iter()
            .filter(|(name, entry)| after.get(*name) != Some(*entry))
            .map(|(name, _)| name)
            .chain(after.keys().filter(|name| !before.contains_key(*name)))
            .map(ToString::to_string)
            .collect();
        if differs.is_empty() {
            return Ok(());
        }
        let differs: Vec<&String> = differs.iter().collect();
        Err(UpdateError::Changes(names(&differs, report::SHOWN)))
    }

    /// Edges from or to new images that are not those that were decided.
    fn differences(&self, hierarchy: &Hierarchy) -> Vec<UnsureLine> {
        let study = self.study;
        let path = |one: usize| &study.candidates[one].dockerfile;
        let mut parents: BTreeMap<&str, BTreeSet<PathBuf>> = BTreeMap::new();
        for node in hierarchy.in_build_order() {
            let paths = hierarchy.parents(&node.name).map(|parent| {
                let path = &parent.dockerfile.path;
                path.strip_prefix(self.root).unwrap_or(path).to_owned()
            });
            parents.insert(node.name.as_str(), paths.collect());
        }
        let mut lines: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        for &one in &study.order {
            let name = study.names.all[one].name.as_str();
            let Some(found) = parents.get(name) else { continue };
            let decided = study.resolved.parents[one].iter();
            let decided: BTreeSet<&PathBuf> = decided
                .filter(|&&parent| study.new[one] || study.new[parent])
                .map(|&parent| path(parent))
                .collect();
            let missing = decided.into_iter().filter(|path| !found.contains(*path));
            let missing: Vec<String> = missing.map(|path| path.display().to_string()).collect();
            if !missing.is_empty() {
                lines.entry(missing).or_default().push(name);
            }
        }
        let line = |(missing, children): (Vec<String>, Vec<&str>)| {
            let verb = if children.len() == 1 { "is" } else { "are" };
            UnsureLine::new(|shown| {
                let (children, missing) = (names(&children, shown), names(&missing, shown));
                format!(
                    "{children} {verb} not built from {missing}; check their `repository` and `tags`"
                )
            })
        };
        lines.into_iter().map(line).collect()
    }
}

/// Entries are written with an indentation of two.
fn indented(lines: &str, column: usize) -> String {
    let mut text = String::new();
    for line in lines.split_inclusive('\n') {
        text.push_str(&" ".repeat(column));
        text.push_str(line.strip_prefix("  ").unwrap_or(line));
    }
    text
}

#[cfg(test)]
mod tests;
