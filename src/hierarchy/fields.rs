//! Reads values out of the tree, and remembers every one that is not what it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::Range,
    sync::Arc,
};

use super::{
    field_table::{self, MatrixKeys},
    yaml::{MappingKey, ValueKind, Yaml},
};
use crate::check::{
    diagnostic::{Diagnostic, Excerpt, ExcerptExtent, Label, SourceFile},
    nearest,
    rules::RuleCode,
};

/// The most fields that a hint names.
const LISTED: usize = 12;

/// A value and where it stands in the file. Two are equal if they say the same, wherever it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Problems {
    pub(super) source: Arc<SourceFile>,
    pub(super) found: Vec<Diagnostic>,
    /// What variables made of a value, by the place of the value.
    pub(super) expanded: BTreeMap<usize, String>,
    /// The places of entries with a variable that has no value: what they lack may not be missing.
    pub(super) incomplete: BTreeSet<usize>,
    /// The values of flags. Their spans are behind the end of the file: each flag begins at this place.
    flags: Vec<(usize, Arc<SourceFile>)>,
}

/// The entries of one map. What is asked for is what is known.
pub(super) struct Fields<'y> {
    entries: Vec<(&'y MappingKey, &'y Yaml)>,
    pub(super) known: Vec<&'static str>,
    /// What the map is, for the message about a key that it does not have.
    of: &'static str,
}

impl Problems {
    pub(super) fn new(source: &Arc<SourceFile>) -> Self {
        let (expanded, incomplete) = (BTreeMap::new(), BTreeSet::new());
        let (source, found, flags) = (Arc::clone(source), Vec::new(), Vec::new());
        Self { source, found, expanded, incomplete, flags }
    }

    /// The span of a value that a flag gives instead of the file. `value` is its place in the flag.
    pub(super) fn span_in_flag(
        &mut self,
        flag: &Arc<SourceFile>,
        value: &Range<usize>,
    ) -> Range<usize> {
        let known = self.flags.iter().find(|(_, known)| known.text == flag.text);
        let last = self.flags.last();
        let end = last.map_or(self.source.text.len(), |(start, last)| start + last.text.len());
        let start = known.map_or(end + 1, |(start, _)| *start);
        if start > end {
            self.flags.push((start, Arc::clone(flag)));
        }
        start + value.start..start + value.end
    }

    /// What was found. At a value with variables, the excerpt says what they made of it.
    pub(super) fn take(&mut self) -> Vec<Diagnostic> {
        let mut found = std::mem::take(&mut self.found);
        for problem in &mut found {
            self.point_into_flags(problem);
        }
        for excerpt in found.iter_mut().filter_map(|problem| problem.excerpts.first_mut()) {
            let is_shown = excerpt.shown == ExcerptExtent::Text;
            let Some(label) = excerpt.labels.first_mut().filter(|label| label.text.is_empty())
            else {
                continue;
            };
            if is_shown
                && Arc::ptr_eq(&excerpt.source, &self.source)
                && let Some(expanded) = self.expanded.get(&label.span.start)
            {
                label.text.clone_from(expanded);
            }
        }
        found
    }

    /// A place behind the end of the file is in a flag.
    fn point_into_flags(&self, problem: &mut Diagnostic) {
        let is_in_flag = |excerpt: &Excerpt| {
            let is_behind = |label: &Label| label.span.start > self.source.text.len();
            Arc::ptr_eq(&excerpt.source, &self.source) && excerpt.labels.iter().any(is_behind)
        };
        if !problem.excerpts.iter().any(is_in_flag) {
            return;
        }
        for excerpt in std::mem::take(&mut problem.excerpts) {
            for label in excerpt.labels {
                let before = self.flags.iter().rfind(|(start, _)| *start <= label.span.start);
                let flag = before.filter(|_| Arc::ptr_eq(&excerpt.source, &self.source));
                let (source, span) = match flag {
                    Some((start, flag)) => (flag, label.span.start - start..label.span.end - start),
                    None => (&excerpt.source, label.span),
                };
                problem.show(source, Label { span, text: label.text }, excerpt.shown);
            }
        }
    }

    /// A wrong value, unless [`recode`](Self::recode) says otherwise.
    pub(super) fn push(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let diagnostic =
            Diagnostic::of(RuleCode::WrongValue, message).at(&self.source, span.clone(), "");
        self.found.push(diagnostic);
    }

    pub(super) fn push_with_hint(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(span, message);
        if let Some(last) = self.found.last_mut() {
            last.hint = Some(hint.into());
        }
    }

    /// The same without a word of what is written there.
    pub(super) fn push_secret(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let diagnostic =
            Diagnostic::of(RuleCode::WrongValue, message).at_secret(&self.source, span.clone());
        self.found.push(diagnostic.hint(hint));
    }

    /// What was found from there on as a wrong value is one of this rule.
    pub(super) fn recode(&mut self, from: usize, code: RuleCode) {
        let found = self.found.iter_mut().skip(from);
        for problem in found.filter(|problem| problem.code == Some(RuleCode::WrongValue)) {
            problem.code = Some(code);
        }
    }

    /// The problem pushed last is one of this rule.
    pub(super) fn last_is(&mut self, code: RuleCode) {
        self.recode(self.found.len().saturating_sub(1), code);
    }

    /// A wrong value, with a hint if it looks like a value of a matrix.
    fn push_unfilled(&mut self, span: &Range<usize>, message: String, value: &str) {
        if value.contains('{') {
            let none = field_table::list(|row| row.matrix == MatrixKeys::Never);
            let hint = format!(
                "`{{key}}` is a value of the image's `matrix`; {none} and the times of tests take none"
            );
            self.push_with_hint(span, message, hint);
        } else {
            self.push(span, message);
        }
    }

    /// A value of another type than the field has.
    pub(super) fn expected(&mut self, field: &str, expected: &str, found: &Yaml) {
        self.mismatch(&format!("`{field}`"), expected, found);
    }

    /// The same for a subject that is not a field, such as [`item`].
    pub(super) fn mismatch(&mut self, subject: &str, expected: &str, found: &Yaml) {
        let message = format!("{subject} must be {expected}, not {}", found.what());
        self.push_unfilled(&found.span, message, &found.scalar().unwrap_or_default());
    }

    /// The entries; null is a map without any. `subject` names the value in the message about another type.
    pub(super) fn map<'y>(
        &mut self,
        of: &'static str,
        subject: &str,
        yaml: &'y Yaml,
    ) -> Option<Fields<'y>> {
        let entries = match &yaml.kind {
            ValueKind::Null => Vec::new(),
            ValueKind::Map(entries) => entries.iter().map(|(key, value)| (key, value)).collect(),
            _ => {
                self.mismatch(subject, "a map", yaml);
                return None;
            }
        };
        Some(Fields { entries, known: Vec::new(), of })
    }

    pub(super) fn list<'y>(&mut self, field: &str, yaml: &'y Yaml) -> Option<&'y [Yaml]> {
        if let ValueKind::List(items) = &yaml.kind {
            Some(items)
        } else {
            self.expected(field, "a list", yaml);
            if let (Some(text), Some(last)) = (yaml.scalar(), self.found.last_mut())
                && !text.is_empty()
            {
                last.hint.get_or_insert_with(|| format!("write `[{text}]`"));
            }
            None
        }
    }

    pub(super) fn text(&mut self, field: &str, yaml: &Yaml) -> Option<Located<String>> {
        self.text_of(&format!("`{field}`"), yaml)
    }

    fn text_of(&mut self, subject: &str, yaml: &Yaml) -> Option<Located<String>> {
        match yaml.scalar() {
            Some(value) if !value.is_empty() => Some(Located { value, span: yaml.span.clone() }),
            Some(_) => {
                self.push(&yaml.span, format!("{subject} must not be empty"));
                None
            }
            None => {
                self.mismatch(subject, "a text", yaml);
                None
            }
        }
    }

    pub(super) fn switch(&mut self, field: &str, yaml: &Yaml) -> Option<bool> {
        if let ValueKind::Bool(value) = yaml.kind {
            Some(value)
        } else {
            self.expected(field, "`true` or `false`", yaml);
            None
        }
    }

    /// A list of texts. Another kind of item is a problem, and left out.
    pub(super) fn texts(
        &mut self,
        field: &str,
        yaml: &Yaml,
    ) -> Option<Located<Vec<Located<String>>>> {
        let items = self.list(field, yaml)?;
        let subject = item(field);
        let value = items.iter().filter_map(|one| self.text_of(&subject, one)).collect();
        Some(Located { value, span: yaml.span.clone() })
    }

    /// A text that means something by its own grammar.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        field: &str,
        yaml: &Yaml,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        self.parsed_of(&format!("`{field}`"), yaml, parse)
    }

    /// The same for an item of a list.
    pub(super) fn parsed_item<T, E: Display>(
        &mut self,
        field: &str,
        yaml: &Yaml,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        self.parsed_of(&item(field), yaml, parse)
    }

    fn parsed_of<T, E: Display>(
        &mut self,
        subject: &str,
        yaml: &Yaml,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        let Located { value, span } = self.text_of(subject, yaml)?;
        match parse(&value) {
            Ok(value) => Some(Located { value, span }),
            Err(error) => {
                self.push_unfilled(&span, error.to_string(), &value);
                None
            }
        }
    }
}

/// The subject of a message about an item of a list.
pub(super) fn item(field: &str) -> String {
    format!("an item of `{field}`")
}

impl<'y> Fields<'y> {
    /// A field that has a value; `key:` alone is as if it were not there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'y Yaml> {
        self.known.push(name);
        let at = self.entries.iter().position(|(key, _)| key.name == name)?;
        let (_, value) = self.entries.remove(at);
        (!matches!(value.kind, ValueKind::Null)).then_some(value)
    }

    /// Whether the map has the field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    /// Leaves out fields that anything may stand in.
    pub(super) fn ignore(&mut self, is_ignored: impl Fn(&str) -> bool) {
        self.entries.retain(|(key, _)| !is_ignored(&key.name));
    }

    /// An unknown field is a mistake.
    pub(super) fn finish(mut self, problems: &mut Problems) {
        self.known.sort_unstable();
        for (key, _) in self.entries {
            let message = format!("unknown field `{}` of {}", key.name, self.of);
            let near = nearest(&key.name, self.known.iter().copied());
            let hint = if let Some(known) = near {
                format!("did you mean `{known}`?")
            } else if let Some(place) = field_table::place_of(&key.name, &self.known) {
                format!("`{}` is a field of {place}", key.name)
            } else if self.known.len() > LISTED {
                format!("docs/hierarchy.md lists the fields of {}", self.of)
            } else {
                let known: Vec<String> =
                    self.known.iter().map(|name| format!("`{name}`")).collect();
                format!("it has {}", known.join(", "))
            };
            problems.push_with_hint(&key.span, message, hint);
            problems.last_is(RuleCode::UnknownField);
        }
    }
}
