//! Entries whose Dockerfile was moved: only its place in them changes.

use std::{
    collections::{BTreeMap, BTreeSet},
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
use crate::{
    hierarchy::{Hierarchy, ImageSection, NodeName, Outline, OutlineImage},
    host::bounded,
};

/// Where Dockerfiles are now, by their absolute paths of before.
#[derive(Debug, Default)]
pub(super) struct MovedFiles(BTreeMap<PathBuf, PathBuf>);

impl MovedFiles {
    /// Pairs each Dockerfile that is gone with the new one that has its text. Of the others, with the one that has its
    /// name, and then with the one that is in its folder. Each time, no second one of either kind may be like it.
    /// `committed` is the last text of a file in git, by its path in the root.
    pub(super) fn of(
        (outline, study): (&Outline, &Study),
        root: &Path,
        committed: &dyn Fn(&Path) -> Option<String>,
    ) -> Self {
        let can_change = |section: &&ImageSection| {
            section.matrix.is_none() && section.nodes.iter().all(OutlineImage::is_gone)
        };
        let entries = outline.sections.iter().filter(can_change);
        let with_fields = entries.filter(|section| section.fields.is_some());
        let gone = with_fields.flat_map(|section| &section.nodes);
        let gone: BTreeSet<PathBuf> = gone.map(|node| node.dockerfile.clone()).collect();
        let new = study.candidates.iter().zip(&study.new).filter(|(_, is_new)| **is_new);
        let new: BTreeSet<PathBuf> = new.map(|(one, _)| root.join(&one.dockerfile)).collect();
        let mut open = (gone, new);
        let mut moved = Self::default();
        // Line breaks may differ: git converts them on some machines.
        let text = |text: String| text.lines().collect::<Vec<_>>().join("\n");
        let old = |path: &Path| committed(path.strip_prefix(root).ok()?).map(text);
        moved.pair(&mut open, old, |path| bounded::text(path).ok().map(text));
        let name = |path: &Path| Some(name_of(path));
        moved.pair(&mut open, name, name);
        let folder = |path: &Path| path.parent().map(Path::to_owned);
        moved.pair(&mut open, folder, folder);
        moved
    }

    /// Takes those out that are the only ones with their key.
    fn pair<K: Ord>(
        &mut self,
        (gone, new): &mut (BTreeSet<PathBuf>, BTreeSet<PathBuf>),
        key_of_gone: impl Fn(&Path) -> Option<K>,
        key_of_new: impl Fn(&Path) -> Option<K>,
    ) {
        if gone.is_empty() || new.is_empty() {
            return;
        }
        let mut alike: BTreeMap<K, (Vec<PathBuf>, Vec<PathBuf>)> = BTreeMap::new();
        for path in &*gone {
            if let Some(key) = key_of_gone(path) {
                alike.entry(key).or_default().0.push(path.clone());
            }
        }
        for path in &*new {
            if let Some(key) = key_of_new(path) {
                alike.entry(key).or_default().1.push(path.clone());
            }
        }
        for (old, now) in alike.into_values() {
            if let ([old], [now]) = (&old[..], &now[..]) {
                gone.remove(old);
                new.remove(now);
                self.0.insert(old.clone(), now.clone());
            }
        }
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
            place(section, (&old, &new), (entry, merge), edits);
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
fn place(
    section: &ImageSection,
    (old, new): (&Path, &Path),
    (entry, merge): (&InitEntry, &Merge<'_>),
    edits: &mut Edits<'_>,
) {
    let Some(fields) = &section.fields else { return };
    let usual = usual_folder(merge.root, &section.name).unwrap_or_default();
    let written = fields.values.get("dockerfile").map(|span| &merge.text[span.clone()]);
    let renamed = renamed(written, (old, new));
    let context = ("context", entry.context.clone(), usual);
    let dockerfile = renamed.clone().or_else(|| entry.dockerfile.clone());
    let dockerfile = ("dockerfile", dockerfile, "Dockerfile".to_owned());
    let mut added = Vec::new();
    // In the same folder, the context stays.
    for (field, value, usual) in
        [context, dockerfile].into_iter().skip(usize::from(renamed.is_some()))
    {
        match (fields.values.get(field), value) {
            (Some(span), value) => {
                edits.replace(span.clone(), &file::quoted(&value.unwrap_or(usual)));
            }
            (None, Some(value)) => added.push(format!("{field}: {}", file::quoted(&value))),
            (None, None) => {}
        }
    }
    let beside = fields.values.get("context").filter(|_| fields.is_flow && !added.is_empty());
    if let Some(context) = beside {
        edits.replace(context.end..context.end, &format!(", {}", added.join(", ")));
        return;
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

/// The value of `dockerfile` with the new name of a file that is in the folder of before.
fn renamed(written: Option<&str>, (old, new): (&Path, &Path)) -> Option<String> {
    let path = Path::new(written.map_or("Dockerfile", |text| text.trim_matches(['"', '\''])));
    let is_it = old.parent() == new.parent() && path.file_name() == old.file_name();
    let renamed = new.file_name().filter(|_| is_it).map(|name| path.with_file_name(name));
    renamed.map(|path| path.display().to_string())
}
