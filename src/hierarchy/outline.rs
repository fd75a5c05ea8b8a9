//! Where each entry is in the text of a hierarchy file, for a command that edits the text.
//!
//! Dockerfiles and contexts may be missing: this reads none of them.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    LoadOptions, NodeName, Notify, draft,
    fields::Problems,
    files,
    matrix::Combination,
    schema::File,
    yaml::{self, MappingKey, ValueKind, Yaml},
};
use crate::{
    check::diagnostic::{Diagnostic, Severity, SourceFile},
    image::Repository,
};

#[derive(Debug)]
pub struct Outline {
    pub registry: Option<Repository>,
    pub notify: Option<Notify>,
    /// The first byte behind the line `images:`.
    pub begin: usize,
    /// In the order of the file.
    pub sections: Vec<ImageSection>,
}

/// One entry below `images:`.
#[derive(Debug)]
pub struct ImageSection {
    /// As written, with the keys of its matrix.
    pub name: String,
    /// Its lines, without the comments above it.
    pub lines: Range<usize>,
    /// How far it is indented, in bytes.
    pub column: usize,
    /// `None` for an entry without fields of its own, or of an alias.
    pub fields: Option<FieldsText>,
    pub matrix: Option<MatrixText>,
    pub nodes: Vec<OutlineImage>,
}

/// An image of an entry.
#[derive(Debug)]
pub struct OutlineImage {
    pub name: NodeName,
    pub target: Option<String>,
    /// Absolute. The file may be missing.
    pub dockerfile: PathBuf,
    /// Whether that is a file on this machine, and not in a git repository or in the entry itself.
    pub has_file: bool,
    pub repository: Option<Repository>,
    /// As in the file, without values of the run.
    pub tags: Vec<String>,
    /// Its values of the matrix.
    pub combination: Vec<(String, String)>,
}

/// Where the fields of an entry are written.
#[derive(Debug)]
pub struct FieldsText {
    /// Of the first key, or behind the bracket of `{}`.
    pub first_key: usize,
    /// Whether they are `{ … }`.
    pub is_flow: bool,
    /// The fields of one value.
    pub values: BTreeMap<String, Range<usize>>,
}

/// Where a matrix is written.
#[derive(Debug)]
pub struct MatrixText {
    /// Of its first key.
    pub first_key: usize,
    /// Whether it is `{ … }`.
    pub is_flow: bool,
    pub axes: Vec<AxisLines>,
    /// The first row of `exclude`, if there is one.
    pub exclude: Option<usize>,
}

#[derive(Debug)]
pub struct AxisLines {
    pub key: String,
    /// Whether it is `[ … ]`.
    pub is_flow: bool,
    pub values: Vec<(String, Range<usize>)>,
}

#[derive(Debug)]
pub enum OutlineError {
    /// The file has errors.
    Problems(Vec<Diagnostic>),
    /// `images` is not a map with an entry a line.
    Layout(String),
}

/// Takes a hierarchy file apart. `path` is absolute.
pub fn outline(path: &Path, text: &str, options: &LoadOptions) -> Result<Outline, OutlineError> {
    let source = SourceFile::new(path, text);
    let (mut tree, twice) =
        yaml::parse(&source).map_err(|problem| OutlineError::Problems(vec![problem]))?;
    let mut problems = Problems::new(&source);
    problems.found.extend(twice);
    let Some(file) = File::expanded(&mut tree, path, options, &mut problems) else {
        return Err(OutlineError::Problems(problems.take()));
    };
    let registry = file.registry.as_ref().map(|registry| registry.value.clone());
    let notify = file.notify.clone();
    let combinations: Vec<Vec<Combination>> = file
        .images
        .iter()
        .map(|(_, image)| match &image.matrix {
            Some(matrix) => matrix.combinations.clone(),
            None => vec![Combination::new()],
        })
        .collect();
    let drafts = draft::drafts(file, options, &mut problems);
    let mut found = problems.take();
    found.retain(|problem| problem.severity == Severity::Error);
    if !found.is_empty() {
        return Err(OutlineError::Problems(found));
    }
    let (begin, mut sections) = sections(&tree, &source).map_err(OutlineError::Layout)?;
    let root = path.parent().unwrap_or(Path::new("/"));
    // Each image once, whatever platforms it has.
    let mut last = None;
    let mut drafts = drafts.into_iter().filter(|draft| {
        let image = draft.name.image().to_owned();
        last.replace(image.clone()) != Some(image)
    });
    for (section, combinations) in sections.iter_mut().zip(combinations) {
        let places =
            combinations.into_iter().zip(&mut drafts).map(|(combination, draft)| OutlineImage {
                dockerfile: files::dockerfile(&draft, root),
                has_file: files::has_dockerfile_here(&draft),
                target: draft.image.target.map(|target| target.value),
                repository: draft.repository,
                tags: draft.tags.iter().map(ToString::to_string).collect(),
                name: draft.name.image().into(),
                combination,
            });
        section.nodes = places.collect();
    }
    Ok(Outline { registry, notify, begin, sections })
}

impl OutlineImage {
    /// Whether its Dockerfile was deleted.
    pub fn is_gone(&self) -> bool {
        self.has_file && !self.dockerfile.is_file()
    }
}

/// The entries with their lines, and where the first may begin.
fn sections(tree: &Yaml, source: &Arc<SourceFile>) -> Result<(usize, Vec<ImageSection>), String> {
    let text = &source.text;
    let ValueKind::Map(fields) = &tree.kind else { return Err("it is not a map".to_owned()) };
    let images = fields.iter().position(|(key, _)| key.name == "images");
    let Some((images, (key, Yaml { kind: ValueKind::Map(entries), .. }))) =
        images.map(|at| (at, &fields[at]))
    else {
        return Err("`images` is not a map".to_owned());
    };
    let end =
        fields.get(images + 1).map_or(text.len(), |(key, _)| start_of_line(text, key.span.start));
    let begin = end_of_line(text, key.span.end);
    let mut starts: Vec<usize> = Vec::new();
    let mut column = None;
    for (key, _) in entries {
        let line = start_of_line(text, key.span.start);
        let before = &text[line..key.span.start];
        let is_in_order =
            starts.last().is_none_or(|last| *last < line) && line >= begin && line < end;
        let is_alone = before.bytes().all(|byte| byte == b' ');
        if !is_in_order || !is_alone || *column.get_or_insert(before.len()) != before.len() {
            return Err(format!("`{}` is not on a line of its own below `images:`", key.name));
        }
        starts.push(line);
    }
    let column = column.unwrap_or(2);
    let ends = starts.iter().skip(1).copied().chain([end]);
    let sections = starts.iter().zip(ends).zip(entries).map(|((&start, end), (key, value))| {
        let lines = start..last_line(text, start..end, column);
        let (name, nodes) = (key.name.clone(), Vec::new());
        let fields = fields_text(value, text, &lines);
        ImageSection { name, lines, column, fields, matrix: matrix(value, text), nodes }
    });
    Ok((begin, sections.collect()))
}

/// The end of an entry: the last line that is not blank and no comment, or that is indented more than
/// its name. Other comments belong to the next entry.
fn last_line(text: &str, lines: Range<usize>, column: usize) -> usize {
    let (mut end, mut at) = (lines.start, lines.start);
    for line in text[lines].split_inclusive('\n') {
        at += line.len();
        let content = line.trim_start();
        let is_inside = line.len() - content.len() > column;
        if !content.is_empty() && (is_inside || !content.starts_with('#')) {
            end = at;
        }
    }
    end
}

fn fields_text(entry: &Yaml, text: &str, lines: &Range<usize>) -> Option<FieldsText> {
    let ValueKind::Map(fields) = &entry.kind else { return None };
    let is_flow = text[entry.span.start..].starts_with('{');
    let first = fields.iter().map(|(key, _)| key.span.start).min();
    let first_key = if is_flow { entry.span.start + 1 } else { first? };
    // Those of an anchor are elsewhere.
    let is_own = |(_, value): &&(MappingKey, Yaml)| lines.contains(&value.span.start);
    let own = fields.iter().filter(|field| field.1.scalar().is_some()).filter(is_own);
    let values = own.map(|(key, value)| (key.name.clone(), value.span.clone())).collect();
    lines.contains(&first_key).then_some(FieldsText { first_key, is_flow, values })
}

fn matrix(entry: &Yaml, text: &str) -> Option<MatrixText> {
    let ValueKind::Map(fields) = &entry.kind else { return None };
    let (_, value) = fields.iter().find(|(key, _)| key.name == "matrix")?;
    let ValueKind::Map(keys) = &value.kind else { return None };
    let is_flow = |yaml: &Yaml| text[yaml.span.start..].starts_with(['[', '{']);
    let axis = |(key, list): &(MappingKey, Yaml)| {
        let ValueKind::List(items) = &list.kind else { return None };
        if ["include", "exclude"].contains(&key.name.as_str()) {
            return None;
        }
        let value = |item: &Yaml| Some((item.scalar()?, item.span.clone()));
        let values = items.iter().filter_map(value).collect();
        Some(AxisLines { key: key.name.clone(), is_flow: is_flow(list), values })
    };
    let exclude = keys.iter().find_map(|(key, rows)| match &rows.kind {
        ValueKind::List(rows) if key.name == "exclude" => rows.first().map(|row| row.span.start),
        _ => None,
    });
    Some(MatrixText {
        first_key: keys.first()?.0.span.start,
        is_flow: is_flow(value),
        axes: keys.iter().filter_map(axis).collect(),
        exclude,
    })
}

fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

fn end_of_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: its lines` for each entry, line breaks as `|`.
    fn shown(text: &str) -> String {
        match outline(Path::new("/none/h.yaml"), text, &LoadOptions::default()) {
            Ok(outline) => {
                let section = |one: &ImageSection| {
                    let paths = one.nodes.iter().map(|node| {
                        node.dockerfile.strip_prefix("/none").unwrap().display().to_string()
                    });
                    let paths = paths.collect::<Vec<_>>().join(" ");
                    format!(
                        "{} ({paths}): {}",
                        one.name,
                        text[one.lines.clone()].replace('\n', "|")
                    )
                };
                outline.sections.iter().map(section).collect::<Vec<_>>().join("\n")
            }
            Err(OutlineError::Layout(reason)) => format!("layout: {reason}"),
            Err(OutlineError::Problems(problems)) => problems[0].message.clone(),
        }
    }

    #[test]
    fn entries_have_their_lines() {
        let text = "\u{feff}version: 1
images: # all
  # the first
  a: { context: x }  # behind

  # of b
  b:
    tags: [one]
    # its own
  # of c
  \"c-{v}\": { matrix: { v: [1, 2] },
    context: \"c/{v}\",
  }
# below
defaults: { labels: { x: y } }
";
        assert_eq!(
            shown(text),
            "a (x/Dockerfile):   a: { context: x }  # behind|\n\
             b (b/Dockerfile):   b:|    tags: [one]|    # its own|\n\
             c-{v} (c/1/Dockerfile c/2/Dockerfile):   \"c-{v}\": { matrix: { v: [1, 2] },|    context: \"c/{v}\",|  }|"
        );
    }

    #[test]
    fn other_layouts_are_refused() {
        for (images, expected) in [
            ("images: {a: {}, b: {}}", "layout: `a` is not on a line of its own below `images:`"),
            (
                "images:\n  {a: {},\n  b: {}}",
                "layout: `a` is not on a line of its own below `images:`",
            ),
            (
                "x-all: &all\n  a: {}\nimages:\n  <<: *all\n  b: {}",
                "layout: `a` is not on a line of its own below `images:`",
            ),
            ("images: [a]", "`images` must be a map, not a list"),
            ("images:\n  a: {}\n  a: {}", "`a` is given twice"),
        ] {
            assert_eq!(shown(&format!("version: 1\n{images}\n")), expected, "{images}");
        }
    }
}
