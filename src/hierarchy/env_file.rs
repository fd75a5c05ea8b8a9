//! The `env_file` of a hierarchy: lines of `NAME=value`, as docker compose reads them, but nothing in them is expanded.
//!
//! **Invariant:** no message shows a value.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    fields::Problems,
    trust::{self, Trust},
    yaml::Yaml,
};
use crate::{
    check::{
        diagnostic::{Diagnostic, SourceFile},
        rules::RuleCode,
    },
    host::bounded,
};

/// The values of the file that is named. A value that is not a text is reported by the reader of the field.
pub(super) fn read(
    named: &Yaml,
    folder: &Path,
    trust: Trust,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let Some(name) = named.scalar().filter(|name| !name.is_empty()) else { return BTreeMap::new() };
    let path = folder.join(&name);
    if trust == Trust::Untrusted && trust::outside(&path, folder).is_some() {
        let refused = trust::refused("the `env_file`", &name);
        problems.found.push(refused.at(&problems.source, named.span.clone(), ""));
        return BTreeMap::new();
    }
    let text = bounded::read(&path, bounded::TEXT).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{name}`"),
        _ => format!("`{name}` cannot be read: {error}"),
    });
    let text = text.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| format!("`{name}` is not UTF-8 text"))
    });
    match text {
        Ok(text) => parsed(&SourceFile::new(path, text), problems),
        Err(message) => {
            let hint = "the path is relative to hierarchy.yaml";
            problems.push_with_hint(&named.span, message, hint);
            problems.last_is(RuleCode::NoValue);
            BTreeMap::new()
        }
    }
}

fn parsed(source: &Arc<SourceFile>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let pair = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        match pair.filter(|(name, _)| is_name(name)).map(|(name, text)| (name, value(text))) {
            Some((name, Ok(value))) => _ = values.insert(name.to_owned(), value),
            Some((_, Err(message))) => wrong(source, start, message, problems),
            None => wrong(source, start, "a line must be `NAME=value`", problems),
        }
    }
    values
}

fn wrong(source: &Arc<SourceFile>, at: usize, message: &str, problems: &mut Problems) {
    let problem = Diagnostic::of(RuleCode::NoValue, message).at_secret(source, at..at);
    problems.found.push(problem);
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| is_part(c) && !c.is_ascii_digit()) && text.chars().all(is_part)
}

/// A value in quotes ends at the second quote, another one before ` #`.
fn value(text: &str) -> Result<String, &'static str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(quote) = quote else {
        let end = text.find(" #").unwrap_or(text.len());
        return Ok(text[..end].trim_end().to_owned());
    };
    let mut value = String::new();
    let mut rest = text[1..].chars();
    loop {
        match rest.next() {
            None => return Err("the quote is not closed on its line"),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => return Err("the quote is not closed on its line"),
            },
            Some(c) => value.push(c),
        }
    }
    let rest = rest.as_str().trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(value)
    } else {
        Err("something follows the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let text = "\u{feff}# comment\n\nA=1\n export B = two words # comment\nC='$x #\"'\nD=\"a\\n\\\"\\$\" # c\nE=\nF=a#b\r\n";
        let source = SourceFile::new("/x/.env", text);
        let mut problems = Problems::new(&source);
        let values = parsed(&source, &mut problems);
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$x #\""),
            ("D", "a\n\"$"),
            ("E", ""),
            ("F", "a#b"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((values, problems.found.len()), (expected.into(), 0));
    }

    #[test]
    fn wrong_lines_are_reported_without_their_text() {
        let source =
            SourceFile::new("/x/.env", "hunter2\n1A=hunter2\nA='hunter2\nB=\"hunter2\"x\n");
        let mut problems = Problems::new(&source);
        assert_eq!(parsed(&source, &mut problems), BTreeMap::new());
        let told: Vec<String> = problems
            .found
            .iter()
            .map(|one| {
                assert!(!format!("{:?}", (&one.message, &one.hint)).contains("hunter2"));
                format!("{}: {}", one.position().unwrap().1, one.message)
            })
            .collect();
        assert_eq!(
            told,
            [
                "1: a line must be `NAME=value`",
                "2: a line must be `NAME=value`",
                "3: the quote is not closed on its line",
                "4: something follows the closing quote",
            ]
        );
    }
}
