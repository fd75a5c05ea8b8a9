//! Entries whose Dockerfile was moved: only its place in them changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    super::{
        Study,
        edits::Edits,
        entry::{InitEntry, usual_folder},
        file,
    },
    Merge,
};
use crate::hierarchy::{Hierarchy, ImageSection, NodeName, Outline, OutlineImage};

/// Where Dockerfiles are now, by their absolute paths of before.
#[derive(Debug, Default)]
pub(super) struct MovedFiles(BTreeMap<PathBuf, PathBuf>);

impl MovedFiles {
    /// A Dockerfile that is gone was moved if exactly one new one has its name, and no other that is gone has it.
    pub(super) fn of(outline: &Outline, study: &Study, root: &Path) -> Self {
        let can_change = |section: &&ImageSection| {
            section.matrix.is_none() && section.nodes.iter().all(OutlineImage::is_gone)
        };
        let entries = outline.sections.iter().filter(can_change);
        let with_fields = entries.filter(|section| section.fields.is_some());
        let mut gone: Vec<&Path> = with_fields
            .flat_map(|section| &section.nodes)
            .map(|node| node.dockerfile.as_path())
            .collect();
        let new = study.candidates.iter().zip(&study.new).filter(|(_, is_new)| **is_new);
        let mut new: Vec<&Path> = new.map(|(one, _)| one.dockerfile.as_path()).collect();
        for paths in [&mut gone, &mut new] {
            paths.sort_unstable();
            paths.dedup();
        }
        let only = |paths: &[&Path], name: &Path| {
            let mut same = paths.iter().filter(|path| name_of(path) == name);
            let first = same.next().copied();
            first.filter(|_| same.next().is_none()).map(|path| root.join(path))
        };
        let pair = |path: &&Path| {
            let name = name_of(path);
            Some((only(&gone, &name)?, only(&new, &name)?))
        };
        Self(gone.iter().filter_map(pair).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the Dockerfile of an image is now.
    pub(super) fn dockerfile<'a>(&'a self, image: &'a OutlineImage) -> &'a Path {
        self.0.get(&image.dockerfile).unwrap_or(&image.dockerfile)
    }

    pub(super) fn has(&self, section: &ImageSection) -> bool {
        section.nodes.iter().any(|node| self.0.contains_key(&node.dockerfile))
    }

    /// Whether an image is one of those that were moved.
    pub(super) fn makes(&self, outline: &Outline, name: &NodeName) -> bool {
        let mut sections = outline.sections.iter().filter(|section| self.has(section));
        sections.any(|section| section.nodes.iter().any(|node| node.name == *name))
    }

    /// Writes the new places, and returns a line for each.
    pub(super) fn write(&self, merge: &Merge<'_>, edits: &mut Edits<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for section in merge.outline.sections.iter().filter(|section| self.has(section)) {
            let [node] = &section.nodes[..] else { continue };
            let shown = |path: &Path| path.strip_prefix(merge.root).unwrap_or(path).to_owned();
            let (old, new) = (shown(&node.dockerfile), shown(self.dockerfile(node)));
            let candidates = merge.study.candidates.iter().zip(&merge.study.entries);
            let of_file = candidates.filter(|(candidate, _)| candidate.dockerfile == new);
            // The one of its target, else the first.
            let found = of_file.min_by_key(|(candidate, _)| candidate.given.target != node.target);
            let Some((_, entry)) = found else { continue };
            place(section, entry, merge, edits);
            lines.push(format!(
                "`{}`: `{}` is now `{}`",
                section.name,
                old.display(),
                new.display()
            ));
        }
        lines
    }

    /// Whether each image is made from its Dockerfile of now.
    pub(super) fn is_in(&self, outline: &Outline, hierarchy: &Hierarchy) -> bool {
        let nodes = outline.sections.iter().flat_map(|section| &section.nodes);
        let mut moved = nodes.filter(|node| self.0.contains_key(&node.dockerfile));
        moved.all(|node| {
            let now = hierarchy.get(&node.name).map(|node| node.dockerfile.path.as_path());
            now == Some(self.dockerfile(node))
        })
    }
}

/// `base/Dockerfile` for `images/base/Dockerfile`, `base.Dockerfile` for `docker/base.Dockerfile`.
fn name_of(path: &Path) -> PathBuf {
    let name = Path::new(path.file_name().unwrap_or_default());
    let is_usual = ["Dockerfile", "Containerfile"].iter().any(|usual| name == Path::new(usual));
    let folder = path.parent().and_then(Path::file_name).filter(|_| is_usual);
    Path::new(folder.unwrap_or_default()).join(name)
}

/// Sets `context` and `dockerfile` of an entry, or leaves them out where they are so anyway.
fn place(section: &ImageSection, entry: &InitEntry, merge: &Merge<'_>, edits: &mut Edits<'_>) {
    let Some(fields) = &section.fields else { return };
    let usual = usual_folder(merge.root, &section.name).unwrap_or_default();
    let mut added = Vec::new();
    for (field, value, usual) in
        [("context", &entry.context, usual), ("dockerfile", &entry.dockerfile, "Dockerfile".into())]
    {
        match (fields.values.get(field), value) {
            (Some(span), value) => {
                edits.replace(span.clone(), &file::quoted(value.as_ref().unwrap_or(&usual)));
            }
            (None, Some(value)) => added.push(format!("{field}: {}", file::quoted(value))),
            (None, None) => {}
        }
    }
    let at = fields.first_key;
    let line = merge.text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = " ".repeat(at - line);
    let is_empty = merge.text[at..].trim_start().starts_with('}');
    match &added[..] {
        [] => {}
        added if !fields.is_flow => {
            let lines = added.iter().map(|field| format!("{field}\n{indent}"));
            edits.replace(at..at, &lines.collect::<String>());
        }
        added if is_empty => edits.replace(at..at, &format!(" {} ", added.join(", "))),
        added => edits.replace(at..at, &format!(" {},", added.join(", "))),
    }
}
