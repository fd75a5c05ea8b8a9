//! The door to the YAML reader: text in, a tree with the place of every node out.
//!
//! The file is not deserialized into structs, because that ends at the first thing that does not
//! fit, and a person wants to hear of everything at once. It keeps the text of numbers as written:
//! a build argument `3.10` is not `3.1`.
//!
//! **Invariant:** anchors, aliases and `<<` are gone, and no key stands twice in a map.

use std::{fmt, ops::Range, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Error, Location, Options, Spanned,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use crate::check::{
    diagnostic::{Diagnostic, SourceFile},
    rules::RuleCode,
};

/// Of items. A matrix of ten thousand images fits.
const LONGEST_LIST: usize = 10_000;
/// Of keys: ten times as many images as there were ever.
const LONGEST_MAP: usize = 100_000;

#[derive(Clone, Debug)]
pub(super) struct Yaml {
    pub(super) kind: ValueKind,
    /// Where it is used: an alias's own place, not that of what it stands for. Of a list or map
    /// only the beginning.
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum ValueKind {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(MappingKey, Yaml)>),
}

#[derive(Clone, Debug)]
pub(super) struct MappingKey {
    pub(super) name: String,
    pub(super) span: Range<usize>,
}

impl Yaml {
    /// What it is, for a sentence about what it should have been.
    pub(super) fn what(&self) -> String {
        match &self.kind {
            ValueKind::Null => "nothing".to_owned(),
            ValueKind::Bool(value) => format!("`{value}`"),
            ValueKind::Number(text) => format!("the number `{text}`"),
            ValueKind::Text(text) => format!("the text `{text}`"),
            ValueKind::List(_) => "a list".to_owned(),
            ValueKind::Map(_) => "a map".to_owned(),
        }
    }

    /// The text of anything that is one word: a version `3.4` or a switch `true` is text too.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.kind {
            ValueKind::Bool(value) => Some(value.to_string()),
            ValueKind::Number(text) | ValueKind::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Reads the one document of a file. Keys that stand twice are the only problem that does not end
/// it.
pub(super) fn parse(source: &Arc<SourceFile>) -> Result<(Yaml, Vec<Diagnostic>), Diagnostic> {
    let raw: Spanned<RawValue> = serde_saphyr::from_str_with_options(&source.text, options())
        .map_err(|error| syntax_error(source, &error))?;
    let mut twice = Vec::new();
    let tree = raw_to_yaml(raw, source, &mut twice);
    Ok((tree, twice))
}

/// A file of another program, without places: numbers are texts, as they are written.
pub fn value(source: &Arc<SourceFile>) -> Result<serde_json::Value, Diagnostic> {
    let (tree, mut twice) = parse(source)?;
    match twice.pop() {
        Some(problem) => Err(problem),
        None => Ok(json(tree)),
    }
}

fn json(yaml: Yaml) -> serde_json::Value {
    match yaml.kind {
        ValueKind::Null => serde_json::Value::Null,
        ValueKind::Bool(value) => value.into(),
        ValueKind::Number(text) | ValueKind::Text(text) => text.into(),
        ValueKind::List(items) => items.into_iter().map(json).collect(),
        ValueKind::Map(entries) => {
            entries.into_iter().map(|(key, value)| (key.name, json(value))).collect()
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        // Ten thousand images are a fifth of the nodes. An alias bomb is stopped by what its anchors
        // hold; and nothing in a hierarchy is nested deeper than eight.
        budget: serde_saphyr::budget! {
            max_nodes: 5_000_000,
            max_events: 20_000_000,
            max_depth: 24,
            max_recorded_anchor_events: 100_000,
        },
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// As the reader hands it over: the text of numbers is still only a place.
enum RawValue {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Spanned<RawValue>>),
    Map(Vec<(Spanned<RawValue>, Spanned<RawValue>)>),
}

fn raw_to_yaml(
    raw: Spanned<RawValue>,
    source: &Arc<SourceFile>,
    twice: &mut Vec<Diagnostic>,
) -> Yaml {
    let span = bytes(raw.referenced, source);
    let kind = match raw.value {
        RawValue::Null => ValueKind::Null,
        RawValue::Bool(value) => ValueKind::Bool(value),
        RawValue::Number => {
            ValueKind::Number(source.text[bytes(raw.defined, source)].trim().to_owned())
        }
        RawValue::Text(text) => ValueKind::Text(text),
        RawValue::List(items) => ValueKind::List(
            items.into_iter().map(|item| raw_to_yaml(item, source, twice)).collect(),
        ),
        RawValue::Map(entries) => {
            let mut seen = std::collections::HashMap::new();
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = raw_to_yaml(key, source, twice);
                let value = raw_to_yaml(value, source, twice);
                let Some(name) = key.scalar() else {
                    let message = format!("a key must be a word, not {}", key.what());
                    twice.push(Diagnostic::of(RuleCode::Syntax, message).at(source, key.span, ""));
                    continue;
                };
                if let Some(first) = seen.insert(name.clone(), key.span.clone()) {
                    twice.push(
                        Diagnostic::of(RuleCode::KeyTwice, format!("`{name}` is given twice"))
                            .at(source, key.span, "again here")
                            .at(source, first, "first here"),
                    );
                    continue;
                }
                map.push((MappingKey { name, span: key.span }, value));
            }
            ValueKind::Map(map)
        }
    };
    Yaml { kind, span }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
            if list.len() > LONGEST_LIST {
                let message = format!("a list has more than {LONGEST_LIST} items");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
            if map.len() > LONGEST_MAP {
                let message = format!("a map has more than {LONGEST_MAP} keys");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(RawValue::Map(map))
    }
}

fn bytes(location: Location, source: &SourceFile) -> Range<usize> {
    let number = |n: u64| usize::try_from(n).unwrap_or_default();
    let span = location.span();
    let (start, length) = match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(length)) => (number(start), number(length)),
        // Errors of the syntax know only line and column.
        _ => (source.offset(number(location.line()), number(location.column())), 1),
    };
    source.within(start..start.saturating_add(length))
}

fn syntax_error(source: &Arc<SourceFile>, error: &Error) -> Diagnostic {
    let (message, hint) = match error.without_snippet() {
        Error::MultipleDocuments { .. } => (
            "there are two documents in this file".to_owned(),
            Some("keep one hierarchy in a file, and take the line `---` out"),
        ),
        other => (in_our_words(&other.to_string()), None),
    };
    let location = error.location().filter(|location| *location != Location::UNKNOWN);
    let hint = hint.or_else(|| {
        let at = location.map(|location| bytes(location, source).start);
        let line = at.and_then(|at| source.text.lines().nth(source.position(at).0 - 1));
        if message.contains("mapping values") {
            Some("quote a text that contains `: ` or ends with `:`, such as `'^root:'`")
        } else if message.contains("a tab cannot") {
            Some("indent with spaces")
        } else if message == NOT_IN_COLUMN {
            Some("entries of one map begin in the same column: compare this line with the ones above")
        } else {
            line.filter(|line| line.contains("${"))
                .map(|_| "quote a `${NAME}` between braces or brackets: `\"${NAME}\"`")
        }
    });
    let diagnostic = Diagnostic::of(RuleCode::Syntax, message);
    let diagnostic = match location {
        Some(location) => diagnostic.at(source, bytes(location, source), ""),
        // A place, so that the message about a file outside is concealed.
        None if source.is_outside => diagnostic.at(source, 0..0, ""),
        None => diagnostic.in_file(&source.path),
    };
    match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

const NOT_IN_COLUMN: &str = "this is no entry of the map above";

/// Without the place, which the excerpt shows. Limits are told by their text alone, because within
/// an alias the reader wraps them in an error that is only text.
fn in_our_words(message: &str) -> String {
    let is = |what: &str| message.contains(what);
    if is("recursion limit") || is("breached: Depth") {
        return "this is nested too deeply".to_owned();
    }
    if is("weak recursion") {
        return "an alias stands inside the value of its own anchor".to_owned();
    }
    if is("tabs disallowed") {
        return "a tab cannot indent a line".to_owned();
    }
    if is("while parsing a block mapping, did not find expected key") {
        return NOT_IN_COLUMN.to_owned();
    }
    if is("budget breached") || is("alias replay") || is("alias expansion") {
        return "this file is too large when its aliases are written out".to_owned();
    }
    let message = message.split(" at line ").next().unwrap_or(message);
    message.trim_end_matches(['.', ',', ':', ' ']).to_owned()
}
