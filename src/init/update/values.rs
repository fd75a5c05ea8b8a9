//! A new Dockerfile beside those of a matrix becomes a value of that matrix, if it differs from them in that value only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    super::{Study, edits::Edits, entry::InitEntry, file, matrix::opened, report},
    Merge,
};
use crate::{
    check::diagnostic::names,
    hierarchy::{AxisLines, ImageSection, NodeName, OutlineImage, outline},
};

/// The values to add.
#[derive(Debug, Default)]
pub(super) struct NewValues {
    /// The new Dockerfiles that they stand for.
    pub(super) members: BTreeSet<usize>,
    /// The images that they make.
    pub(super) images: BTreeSet<NodeName>,
    /// A line for each.
    pub(super) lines: Vec<String>,
    /// The section, the axis and the value.
    values: Vec<(usize, usize, String)>,
}

impl NewValues {
    pub(super) fn write(&self, merge: &Merge<'_>, edits: &mut Edits<'_>) {
        for (section, axis, value) in &self.values {
            let matrix = merge.outline.sections[*section].matrix.as_ref();
            if let Some(axis) = matrix.and_then(|matrix| matrix.axes.get(*axis)) {
                add(axis, value, merge.text, edits);
            }
        }
    }
}

impl Merge<'_> {
    /// Each value makes new Dockerfiles into images, and nothing else.
    pub(super) fn new_values(&self) -> NewValues {
        let mut found = NewValues::default();
        for (index, section) in self.outline.sections.iter().enumerate() {
            let Some(matrix) = &section.matrix else { continue };
            // An entry that loses all of its images becomes a comment.
            if section.nodes.iter().all(OutlineImage::is_gone) {
                continue;
            }
            for (at, axis) in matrix.axes.iter().enumerate() {
                for (value, wanted) in self.values_of(section, axis) {
                    let wanted: BTreeSet<usize> =
                        wanted.difference(&found.members).copied().collect();
                    let Some(images) = self.made((index, axis), &value, &wanted) else { continue };
                    let path = |&one: &usize| self.study.candidates[one].dockerfile.display();
                    let paths: Vec<String> =
                        images.keys().map(|one| path(one).to_string()).collect();
                    found.lines.push(format!(
                        "`{value}` to `{}` of `{}`: {}",
                        axis.key,
                        section.name,
                        names(&paths, report::SHOWN)
                    ));
                    found.members.extend(images.keys());
                    found.images.extend(images.into_values());
                    found.values.push((index, at, value));
                }
            }
        }
        found
    }

    /// Values that new Dockerfiles have where those of the entry have a value of the axis.
    fn values_of(
        &self,
        section: &ImageSection,
        axis: &AxisLines,
    ) -> BTreeMap<String, BTreeSet<usize>> {
        let mut values: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for node in &section.nodes {
            let Some((_, own)) = node.combination.iter().find(|(key, _)| *key == axis.key) else {
                continue;
            };
            let Ok(path) = node.dockerfile.strip_prefix(self.root) else { continue };
            let template = opened(&path.to_string_lossy(), KEY, own);
            let entry = self.entry_of(path, node);
            for (one, candidate) in self.study.candidates.iter().enumerate() {
                if !self.study.new[one] {
                    continue;
                }
                let value = value_in(&template, &candidate.dockerfile.to_string_lossy());
                let Some(value) = value.filter(|value| !is_value(axis, value)) else { continue };
                let new = &self.study.entries[one];
                let is_alike =
                    entry.is_none_or(|entry| self.shape(entry, own) == self.shape(new, &value));
                if is_alike && new.target == node.target {
                    values.entry(value).or_default().insert(one);
                }
            }
        }
        values
    }

    /// What init would write for an image of the file.
    fn entry_of(&self, path: &Path, node: &OutlineImage) -> Option<&InitEntry> {
        let Study { candidates, entries, new, .. } = self.study;
        let is_it = |&one: &usize| {
            !new[one] && candidates[one].dockerfile == path && entries[one].target == node.target
        };
        (0..candidates.len()).find(is_it).map(|one| &entries[one])
    }

    /// The fields of an entry, with the key in the place of the value.
    fn shape(&self, entry: &InitEntry, value: &str) -> InitEntry {
        let open = |text: &String| opened(text, KEY, value);
        let map = |map: &BTreeMap<String, String>| {
            map.iter().map(|(key, value)| (key.clone(), open(value))).collect()
        };
        let registry = self.outline.registry.as_ref().map(|one| format!("{one}/"));
        let usual = format!("{}{}", registry.unwrap_or_default(), entry.name);
        let repository = entry.repository.as_ref().filter(|one| **one != usual);
        InitEntry {
            name: String::new(),
            repository: repository.map(open),
            context: entry.context.as_ref().map(open),
            dockerfile: entry.dockerfile.as_ref().map(open),
            tags: entry.tags.iter().map(open).collect(),
            build_args: map(&entry.build_args),
            labels: map(&entry.labels),
            ..entry.clone()
        }
    }

    /// The images that the value makes, by their Dockerfiles; `None` if one of them is not wanted or has no file.
    fn made(
        &self,
        (section, axis): (usize, &AxisLines),
        value: &str,
        wanted: &BTreeSet<usize>,
    ) -> Option<BTreeMap<usize, NodeName>> {
        if wanted.is_empty() {
            return None;
        }
        let mut edits = Edits::of(self.text);
        add(axis, value, self.text, &mut edits);
        let outline = outline(self.file, &edits.applied(), self.options).ok()?;
        let before: BTreeSet<&NodeName> =
            self.outline.sections.iter().flat_map(|it| &it.nodes).map(|node| &node.name).collect();
        let mut made = BTreeMap::new();
        for node in &outline.sections.get(section)?.nodes {
            if before.contains(&node.name) {
                continue;
            }
            let path = node.dockerfile.strip_prefix(self.root).ok()?;
            let is_it = |&&one: &&usize| {
                let is_target = self.study.entries[one].target == node.target;
                self.study.candidates[one].dockerfile == path && is_target
            };
            let one = wanted.iter().find(is_it)?;
            if !node.dockerfile.is_file() || made.insert(*one, node.name.clone()).is_some() {
                return None;
            }
        }
        Some(made).filter(|made| !made.is_empty())
    }
}

const KEY: &str = "value";

fn is_value(axis: &AxisLines, value: &str) -> bool {
    axis.values.iter().any(|(known, _)| known == value)
}

/// What stands in a text where the template has its key.
fn value_in(template: &str, text: &str) -> Option<String> {
    let place = format!("{{{KEY}}}");
    let parts: Vec<&str> = template.split(&place).collect();
    let times = parts.len() - 1;
    let fixed: usize = parts.iter().map(|part| part.len()).sum();
    let rest = text.len().checked_sub(fixed)?;
    let length = rest.checked_div(times)?;
    let value = text.get(parts[0].len()..parts[0].len() + length)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_value = !value.is_empty() && value.chars().all(is_word);
    (is_value && template.replace(&place, value) == text).then(|| value.to_owned())
}

/// Behind the last value of the axis, and written like it.
fn add(axis: &AxisLines, value: &str, text: &str, edits: &mut Edits<'_>) {
    let Some((_, last)) = axis.values.last() else { return };
    let written = &text[last.clone()];
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value = match written.chars().next() {
        Some(quote @ ('"' | '\'')) => format!("{quote}{value}{quote}"),
        // `1.10` is a text for `rebuild`, as the others are.
        _ if is_number(written) && is_number(value) => value.to_owned(),
        _ => file::quoted(value),
    };
    if axis.is_flow {
        edits.replace(last.end..last.end, &format!(", {value}"));
        return;
    }
    let begin = text[..last.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[last.end..].find('\n').map_or(text.len(), |length| last.end + length + 1);
    edits.insert_lines(end, &format!("{}{value}\n", &text[begin..last.start]));
}
