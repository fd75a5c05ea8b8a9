//! Writes YAML that people read: comments, short lists in one line, scripts as blocks.
//!
//! **Invariant:** a text is written so that every reader of YAML gets the same text: plain if it is a word of safe
//! characters that no version of YAML takes for something else, else as a JSON string, which YAML includes.

use std::fmt::Write as _;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum YamlValue {
    Text(String),
    Number(u64),
    Flag(bool),
    /// A script: lines as they are.
    Block(Vec<String>),
    List(Vec<YamlValue>),
    Map(YamlMap),
    /// A list or a map in one line.
    Flow(Box<YamlValue>),
}

/// Keys in their order, with comments between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct YamlMap(Vec<YamlEntry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum YamlEntry {
    Comment(String),
    Gap,
    Pair(String, YamlValue),
}

impl From<&str> for YamlValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for YamlValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for YamlValue {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<u64> for YamlValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for YamlValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<YamlMap> for YamlValue {
    fn from(map: YamlMap) -> Self {
        Self::Map(map)
    }
}

impl<T: Into<YamlValue>> From<Vec<T>> for YamlValue {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl YamlMap {
    pub(super) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl Into<YamlValue>) -> Self {
        self.0.push(YamlEntry::Pair(key.to_owned(), value.into()));
        self
    }

    /// The value in one line.
    #[must_use]
    pub(super) fn flow(self, key: &str, value: impl Into<YamlValue>) -> Self {
        self.with(key, YamlValue::Flow(Box::new(value.into())))
    }

    #[must_use]
    pub(super) fn with_some(self, key: &str, value: Option<impl Into<YamlValue>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    #[must_use]
    pub(super) fn comment(mut self, text: &str) -> Self {
        self.0.push(YamlEntry::Comment(text.to_owned()));
        self
    }

    #[must_use]
    pub(super) fn gap(mut self) -> Self {
        self.0.push(YamlEntry::Gap);
        self
    }

    pub(super) fn push(&mut self, key: &str, value: impl Into<YamlValue>) {
        self.0.push(YamlEntry::Pair(key.to_owned(), value.into()));
    }

    pub(super) fn push_gap(&mut self) {
        self.0.push(YamlEntry::Gap);
    }

    pub(super) fn push_comment(&mut self, text: &str) {
        self.0.push(YamlEntry::Comment(text.to_owned()));
    }

    /// A document.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, indent: usize, out: &mut String) {
        let margin = " ".repeat(indent);
        for entry in &self.0 {
            match entry {
                YamlEntry::Gap => out.push('\n'),
                YamlEntry::Comment(text) => {
                    for line in text.lines() {
                        _ = writeln!(out, "{margin}# {}", harmless(line));
                    }
                }
                YamlEntry::Pair(key, value) => {
                    _ = write!(out, "{margin}{}:", text(key));
                    value.write_below(indent, out);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        !self.0.iter().any(|entry| matches!(entry, YamlEntry::Pair(..)))
    }
}

impl YamlValue {
    /// Behind a key.
    fn write_below(&self, indent: usize, out: &mut String) {
        match self {
            Self::Map(map) if !map.is_empty() => {
                out.push('\n');
                map.write(indent + 2, out);
            }
            Self::List(list) if !list.is_empty() => {
                out.push('\n');
                for item in list {
                    item.write_item(indent + 2, out);
                }
            }
            Self::Block(lines) => {
                out.push_str(" |\n");
                let margin = " ".repeat(indent + 2);
                for line in lines {
                    _ = writeln!(out, "{margin}{line}");
                }
            }
            other => _ = writeln!(out, " {}", other.in_line()),
        }
    }

    /// Behind the dash of a list.
    fn write_item(&self, indent: usize, out: &mut String) {
        let margin = " ".repeat(indent);
        match self {
            Self::Map(map) if !map.is_empty() => {
                let mut inner = String::new();
                map.write(indent + 2, &mut inner);
                // The first key stands behind the dash.
                _ = write!(out, "{margin}- {}", &inner[indent + 2..]);
            }
            Self::Block(_) => {
                _ = write!(out, "{margin}-");
                self.write_below(indent, out);
            }
            other => _ = writeln!(out, "{margin}- {}", other.in_line()),
        }
    }

    fn in_line(&self) -> String {
        match self {
            Self::Text(value) => text(value),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Block(lines) => quoted(&(lines.join("\n") + "\n")),
            Self::Flow(value) => value.in_line(),
            Self::List(list) => {
                let items: Vec<String> = list.iter().map(Self::in_line).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(map) => {
                let pairs = map.0.iter().filter_map(|entry| match entry {
                    YamlEntry::Pair(key, value) => {
                        Some(format!("{}: {}", text(key), value.in_line()))
                    }
                    YamlEntry::Comment(_) | YamlEntry::Gap => None,
                });
                let pairs: Vec<String> = pairs.collect();
                if pairs.is_empty() {
                    "{}".to_owned()
                } else {
                    format!("{{ {} }}", pairs.join(", "))
                }
            }
        }
    }
}

/// A text in one line.
fn text(value: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./-=@$ ".contains(c);
    // A dot may stand before it, as in `.rebuild`. `.inf` and `.nan` are numbers.
    let begins =
        value.strip_prefix('.').unwrap_or(value).starts_with(|c: char| c.is_ascii_alphabetic());
    let lower = value.to_ascii_lowercase();
    // Words of YAML 1.1 and 1.2, and what may be a number: `e3` is not a number, and `1e3` begins with a digit.
    let is_word = matches!(
        lower.as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | ".inf" | ".nan"
    );
    // The key `on` of a workflow is a text in YAML 1.2 and for GitHub.
    if value == "on" || begins && !is_word && !value.ends_with(' ') && value.chars().all(is_safe) {
        value.to_owned()
    } else {
        quoted(value)
    }
}

fn quoted(value: &str) -> String {
    let json = serde_json::to_string(value).expect("a text is always JSON");
    // YAML forbids these, and JSON does not.
    let escape = |c: char| match c {
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    };
    json.chars().map(escape).collect()
}

/// Text in a comment.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || ('\u{7f}'..='\u{9f}').contains(&c) { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn it_reads_as_a_person_would_write_it() {
        let steps = vec![
            YamlValue::from(
                YamlMap::new().with("uses", "a/b@1").flow("with", YamlMap::new().with("x", false)),
            ),
            YamlValue::from(
                YamlMap::new()
                    .with("run", YamlValue::Block(vec!["a".to_owned(), "  b".to_owned()])),
            ),
        ];
        let map = YamlMap::new()
            .comment("what\nit is")
            .with("name", "images")
            .gap()
            .with("env", YamlMap::new())
            .flow("needs", vec!["os-base", "3"])
            .with("minutes", 7_u64)
            .with("steps", steps)
            .with("list", vec!["a b", "c"]);
        let expected = "\
# what
# it is
name: images

env: {}
needs: [os-base, \"3\"]
minutes: 7
steps:
  - uses: a/b@1
    with: { x: false }
  - run: |
      a
        b
list:
  - a b
  - c
";
        assert_eq!(map.written(), expected);
        assert_eq!(parsed(expected)["steps"][1]["run"], "a\n  b\n");
    }

    #[test]
    fn every_text_comes_back() {
        for value in [
            "",
            " ",
            "a",
            "true",
            "No",
            "null",
            "~",
            "1",
            "1e3",
            "0x1",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "%",
            "${{ x }}",
            "'",
            "\"",
            "\\",
            "a\nb",
            "\t",
            "\u{7f}",
            "\u{2028}",
            "\u{1}",
            "é",
            "@x",
            "*x",
            "&x",
            "[a]",
            "{a}",
            "a,b",
            "2026-11-30",
            "1:30",
            ".inf",
            ".NaN",
            ".a",
            "..",
            "=",
            "<<",
            "\u{feff}",
            "🙂",
        ] {
            let document = YamlMap::new()
                .with(if value.is_empty() { "key" } else { value }, value)
                .flow("flow", vec![value])
                .written();
            let read = parsed(&document);
            assert_eq!(read["flow"], json!([value]), "{document}");
            assert_eq!(read[if value.is_empty() { "key" } else { value }], value, "{document}");
        }
    }
}
