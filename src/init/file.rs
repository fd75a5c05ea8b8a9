//! The text of the file.

use std::{collections::BTreeMap, fmt::Write as _};

use super::matrix::Block;
use crate::{check::diagnostic::SourceFile, image::Repository};

/// What is written around the entries.
pub(super) struct Frame<'a> {
    pub(super) registry: Option<&'a str>,
    /// Tags of every image that says no others.
    pub(super) tags: &'a [String],
    /// Whether the schema stands beside it, where editors find it.
    pub(super) has_schema: bool,
    /// Dockerfiles that are not in it, and why.
    pub(super) left_out: &'a [super::LeftOut],
}

/// A longer entry takes several lines.
const LINE: usize = 195;
/// Evidence that at least this many entries share, and more than half of all, is written once.
const SHARED: usize = 10;
/// A comment may follow on the line up to here.
const WIDEST: usize = 220;
const HEAD: &str = "\
# The images of this repository. `rebuild init` wrote this file; it is yours to change.
# Which image is built from which is read from the Dockerfiles: `rebuild tree` shows it.
";
/// Its examples have the line that editors look for.
const NO_SCHEMA: &str = "# For completion and checks in editors: `rebuild schema --help`.\n";

const TESTS: &str = "
# An image may have tests, which run before a tag moves, here and in every image built from it:
#   test:
#     - run: [sh, -c, \"test -x /bin/sh\"]
";

pub(super) fn text(blocks: &[(Block, Vec<String>)], frame: &Frame<'_>) -> String {
    let mut text = String::new();
    if frame.has_schema {
        text.push_str("# yaml-language-server: $schema=./hierarchy.schema.json\n");
    }
    text.push_str(HEAD);
    if !frame.has_schema {
        text.push_str(NO_SCHEMA);
    }
    text.push_str("version: 1\n");
    match frame.registry {
        Some(registry) => {
            text.push_str("\n# Where images are published.");
            // Without a host it looks like a folder of this repository.
            let host = registry.parse::<Repository>().map(|one| one.host().to_owned());
            if let Ok(host) = host
                && !registry.starts_with(host.as_str())
            {
                let whole = format!("{host}/{registry}");
                _ = write!(text, " Without a host it is Docker Hub's: {}.", comment(&whole));
            }
            _ = write!(text, "\nregistry: {}\n", quoted(registry));
        }
        None => text.push_str(
            "\n# Where images are published. Without it they stay in the engine.\n# registry: registry.example.com/base\n",
        ),
    }
    if !frame.tags.is_empty() {
        text.push_str("\ndefaults:\n");
        let tags: Vec<String> = frame.tags.iter().map(|tag| quoted(tag)).collect();
        _ = writeln!(text, "  tags: [{}]", tags.join(", "));
    }
    text.push_str(TESTS);
    let shared = shared_evidence(blocks);
    if let Some(shared) = shared {
        _ = writeln!(
            text,
            "\n# The evidence for each image without a comment about it: {}",
            comment(shared)
        );
    }
    text.push_str("\nimages:\n");
    for (block, comments) in blocks {
        let mut own = comments.clone();
        own.retain(|one| Some(one.as_str()) != shared);
        if shared.is_some() && !comments.iter().any(|one| is_evidence(one)) {
            own.push("[path]".to_owned());
        }
        entry(block, &own, &mut text);
    }
    if !frame.left_out.is_empty() {
        text.push_str("\n# Not here:\n");
        for line in frame.left_out {
            _ = writeln!(text, "#   {}", comment(&line.to_string()));
        }
    }
    text
}

/// The evidence of most entries, to be written once.
fn shared_evidence(blocks: &[(Block, Vec<String>)]) -> Option<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in blocks.iter().flat_map(|(_, comments)| comments).filter(|one| is_evidence(one)) {
        *counts.entry(one).or_default() += 1;
    }
    let (shared, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= SHARED && count * 2 > blocks.len()).then_some(shared)
}

/// Other comments of an entry are about its upstreams and values.
fn is_evidence(comment: &str) -> bool {
    comment.starts_with('[')
}

/// An entry, indented by two.
pub(super) fn entry(block: &Block, comments: &[String], text: &mut String) {
    let comments: Vec<String> = comments.iter().map(|one| comment(one)).collect();
    let comment =
        if comments.is_empty() { String::new() } else { format!("# {}", comments.join("; ")) };
    let (name, items) = (quoted(&block.entry.name), items(block));
    let mut lines = vec![format!("  {name}: {{")];
    let last = items.len().saturating_sub(1);
    for (index, item) in items.into_iter().enumerate() {
        let item = if index == last { format!(" {item} }}") } else { format!(" {item},") };
        let line = lines.last_mut().expect("there is one");
        if line.chars().count() + item.chars().count() <= LINE {
            line.push_str(&item);
        } else {
            lines.push(format!("   {item}"));
        }
    }
    let line = lines.last_mut().expect("there is one");
    if !line.ends_with('}') {
        line.push('}');
    }
    let more = comment.chars().count();
    if more > 0 && line.chars().count() + more <= WIDEST {
        _ = write!(line, "  {comment}");
    } else if more > 0 {
        lines.insert(0, format!("  {comment}"));
    }
    for line in lines {
        _ = writeln!(text, "{line}");
    }
}

/// The fields of an entry, in the pieces between its commas.
fn items(block: &Block) -> Vec<String> {
    let entry = &block.entry;
    let pairs = |map: Vec<(&String, &String)>| -> Vec<String> {
        map.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect()
    };
    let list = |key: &str, values: &[String]| {
        wrapped(&format!("{key}: ["), values.iter().map(|value| quoted(value)).collect(), "]")
    };
    let mut axes: Vec<String> =
        block.axes.iter().flat_map(|(key, values)| list(&quoted(key), values)).collect();
    let rows = block.exclude.iter().flat_map(|row| {
        wrapped("{ ", pairs(row.iter().map(|(key, value)| (key, value)).collect()), " }")
    });
    axes.extend(wrapped("exclude: [", rows.collect(), "]"));
    let mut items = wrapped("matrix: { ", axes, " }");
    for (key, value) in [
        ("repository", &entry.repository),
        ("context", &entry.context),
        ("dockerfile", &entry.dockerfile),
        ("target", &entry.target),
        ("platform", &entry.platform),
    ] {
        items.extend(value.as_ref().map(|value| format!("{key}: {}", quoted(value))));
    }
    items.extend(list("platforms", &entry.platforms));
    items.extend(list("tags", &entry.tags));
    items.extend(wrapped("build_args: { ", pairs(entry.build_args.iter().collect()), " }"));
    items.extend(wrapped("labels: { ", pairs(entry.labels.iter().collect()), " }"));
    items.extend(entry.options.iter().map(|(field, text)| format!("{field}: {text}")));
    items
}

/// Items with something before the first and behind the last of them.
fn wrapped(open: &str, mut items: Vec<String>, close: &str) -> Vec<String> {
    if let Some(first) = items.first_mut() {
        first.insert_str(0, open);
    }
    if let Some(last) = items.last_mut() {
        last.push_str(close);
    }
    items
}

/// A text of the repository as it may stand in a comment. A control character could end the comment
/// and begin a line of YAML: a lone carriage return does.
pub(super) fn comment(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(' '),
            c if is_hidden(c) => _ = write!(shown, "{}", c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Controls, line separators, and what changes the order of the text around it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether a file that init wrote names a program to run or a secret to read that it did not mean to write. A text of
/// the repository that reads as one of these fields is an attack. `may_name`: fields of the entries that it wrote.
pub(super) fn names_a_program(text: &str, may_name: &[&str]) -> bool {
    let source = SourceFile::new("hierarchy.yaml", text);
    // What is not YAML cannot be checked.
    let Ok(value) = crate::hierarchy::value(&source) else { return true };
    let entries = value.get("images").and_then(serde_json::Value::as_object);
    let entries =
        entries.into_iter().flat_map(serde_json::Map::values).chain(value.get("defaults"));
    let runs = ["gate", "prepare", "secrets", "sign", "ssh"];
    let runs = || runs.iter().filter(|field| !may_name.contains(field));
    value.get("notify").is_some()
        || entries.into_iter().any(|entry| runs().any(|field| entry.get(field).is_some()))
}

/// A value of an entry, as YAML reads it back. A `${` is no variable of the hierarchy file.
pub(super) fn quoted(text: &str) -> String {
    quoted_verbatim(&text.replace("${", "$${"))
}

/// As YAML reads it back: a word as it is, everything else in quotes.
pub(super) fn quoted_verbatim(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-@".contains(c);
    let means_something = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    // A colon within a word is no separator.
    let colon = !text.ends_with(':') && text.chars().all(|c| plain(c) || c == ':');
    if starts && colon && !means_something || text == "." {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_hidden(c) => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_entries_are_several_lines_and_the_same_to_yaml() {
        for count in [1, 9, 10, 11, 90] {
            let values: Vec<String> = (0..count).map(|n| format!("{n}.0-bookworm")).collect();
            let entry = super::super::entry::InitEntry {
                name: "{v}".into(),
                tags: vec!["{v}".into()],
                build_args: [("A".into(), "x, y".into())].into(),
                ..Default::default()
            };
            let axes = vec![("v".to_owned(), values.clone())];
            let exclude = vec![vec![("v".to_owned(), "1".to_owned())]];
            let block = Block { entry, axes, exclude, members: vec![] };
            let mut text = String::new();
            super::entry(&block, &[], &mut text);
            assert!(text.lines().all(|line| line.chars().count() <= LINE), "{text}");
            assert!(text.lines().count() <= 2 + count / 8, "{text}");
            let source = SourceFile::new("/x", text.clone());
            let expected = serde_json::json!({"{v}": {
                "matrix": {"v": values, "exclude": [{"v": "1"}]},
                "tags": ["{v}"],
                "build_args": {"A": "x, y"},
            }});
            assert_eq!(crate::hierarchy::value(&source).ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn no_text_of_the_repository_ends_a_comment() {
        let hidden = ('\0'..='\u{ffff}').filter(|c| is_hidden(*c) || c.is_whitespace());
        for c in hidden {
            let evil = format!("a{c}notify: [evil]{c}images: {{}}");
            let left_out =
                [super::super::LeftOut { cause: evil.clone(), places: vec![evil.clone()] }];
            let frame = Frame { registry: None, tags: &[], has_schema: false, left_out: &left_out };
            let entry = super::super::entry::InitEntry { name: "web".into(), ..Default::default() };
            let block = Block { entry, axes: vec![], exclude: vec![], members: vec![] };
            let text = text(&[(block, vec![evil.clone()])], &frame);
            let source = SourceFile::new("/x", text.clone());
            let expected = serde_json::json!({"version": "1", "images": {"web": {}}});
            assert_eq!(crate::hierarchy::value(&source).ok(), Some(expected), "{c:?} {text:?}");
            assert!(!names_a_program(&text, &[]));
        }
        for evil in [
            "notify: [x]",
            "images: { a: { prepare: [x] } }",
            "images: { a: { sign: [x] } }",
            "images: { a: { gate: [{ run: [x] }] } }",
            "defaults: { ssh: true }",
            "images: { a: { secrets: { x: { env: X } } } }",
            "{",
        ] {
            assert!(names_a_program(evil, &[]), "{evil}");
        }
    }

    #[test]
    fn texts_are_read_back_as_they_were() {
        let texts = "web|3.10|true|No|a b|{x}-1|#x|a: b|a:1|quay.io:5000/x|\"q\"|\\|~||a:|*x|.|1e3|é|\
                     tab\there|line\nbreak|-|null|0x1|@x|\u{7}|\u{85}|\u{2028}x|\u{202e}x";
        for text in texts.split('|') {
            let yaml = format!("x: {}\nl: [{}]\n", quoted(text), quoted(text));
            let source = SourceFile::new("/x", yaml.clone());
            let value = crate::hierarchy::value(&source);
            let expected = serde_json::json!({"x": text, "l": [text]});
            assert_eq!(value.ok(), Some(expected), "{yaml}");
        }
    }
}
