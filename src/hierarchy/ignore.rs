//! `# rebuild ignore=RB040`: comments that take a problem away.
//!
//! **Invariant:** an error is never taken away.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::check::{
    diagnostic::{Diagnostic, Severity, SourceFile},
    rules::RuleCode,
};

const MARK: &str = "rebuild ignore=";

/// Files and folders that `rebuild init` is to leave out, in comments of hierarchy.yaml.
pub fn ignored_by_init(text: &str) -> Vec<PathBuf> {
    let comments = text.lines().filter_map(|line| line.trim().strip_prefix('#'));
    let lists = comments.filter_map(|line| line.trim().strip_prefix("rebuild init ignore="));
    let paths = lists.flat_map(|list| list.split([',', ' ']));
    paths.filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// A word behind the mark, and where it stands.
struct Word<'s> {
    text: &'s str,
    span: Range<usize>,
}

/// Takes away what comments at its places ignore.
pub(super) fn apply(problems: &mut Vec<Diagnostic>) {
    problems.retain(|problem| ignored(problem).is_empty());
}

/// The same, and how many those are; and what is wrong with the comments of these files.
pub(super) fn apply_all<'s>(
    problems: &mut Vec<Diagnostic>,
    sources: impl Iterator<Item = &'s Arc<SourceFile>>,
) -> (usize, Vec<Diagnostic>) {
    let before = problems.len();
    let mut used: BTreeSet<(&Path, usize)> = BTreeSet::new();
    let taken: Vec<Diagnostic> =
        problems.extract_if(.., |problem| !ignored(problem).is_empty()).collect();
    for problem in &taken {
        used.extend(ignored(problem));
    }
    // Many images may share a Dockerfile.
    let sources: BTreeMap<&Path, &Arc<SourceFile>> =
        sources.map(|source| (source.path.as_path(), source)).collect();
    let mut useless = Vec::new();
    for (path, source) in sources {
        for Word { text, span } in all_words(source) {
            if used.contains(&(path, span.start)) {
                continue;
            }
            let (message, hint) = match text.parse::<RuleCode>() {
                Err(error) => (error.to_string(), "`rebuild explain` lists all rules".to_owned()),
                Ok(code) if code.severity() == Severity::Error => (
                    format!("{code} is an error, and errors cannot be ignored"),
                    format!("`rebuild explain {code}` says how to put it right"),
                ),
                Ok(code) => (
                    format!("there is no {code} here to ignore"),
                    match line_of(problems, code, path) {
                        Some(line) => format!("write the comment on line {line} or right above it"),
                        None => "take the comment out".to_owned(),
                    },
                ),
            };
            let problem = Diagnostic::of(RuleCode::UselessIgnore, message);
            useless.push(problem.at(source, span, "").hint(hint));
        }
    }
    (before - problems.len(), useless)
}

/// The line of the first problem of a rule in a file.
fn line_of(problems: &[Diagnostic], code: RuleCode, path: &Path) -> Option<usize> {
    let of_code = problems.iter().filter(|problem| problem.code == Some(code));
    let mut places = of_code.filter_map(Diagnostic::position);
    places.find(|(file, ..)| *file == path).map(|(_, line, _)| line)
}

/// The words that ignore it, as file and byte.
fn ignored(problem: &Diagnostic) -> Vec<(&Path, usize)> {
    let Some(code) = problem.code.filter(|_| problem.severity != Severity::Error) else {
        return Vec::new();
    };
    let places = problem.excerpts.iter().flat_map(|excerpt| {
        excerpt.labels.iter().map(|label| (&*excerpt.source, label.span.start))
    });
    let words = places.flat_map(|(source, at)| {
        at_place(source, at).into_iter().map(|word| (source.path.as_path(), word))
    });
    let of_code = words.filter(|(_, word)| word.text.parse() == Ok(code));
    of_code.map(|(path, word)| (path, word.span.start)).collect()
}

/// What the comment on the line of a byte says, and those on lines of their own right above it.
fn at_place(source: &SourceFile, at: usize) -> Vec<Word<'_>> {
    let text = &source.text;
    let mut start = text[..source.within(at..at).start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let mut words = words(text, start..end);
    while start > 0 {
        let end = start - 1;
        start = text[..end].rfind('\n').map_or(0, |end| end + 1);
        if !text[start..end].trim_start().starts_with('#') {
            break;
        }
        words.extend(self::words(text, start..end));
    }
    words
}

fn all_words(source: &SourceFile) -> Vec<Word<'_>> {
    let text = &source.text;
    let mut start = 0;
    let mut all = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.contains(MARK) {
            all.extend(words(text, start..start + line.len()));
        }
        start += line.len();
    }
    all
}

/// Those of one line. The comment must say nothing before the mark.
fn words(text: &str, line: Range<usize>) -> Vec<Word<'_>> {
    let shown = &text[line.clone()];
    let mark = shown.find(MARK).filter(|at| shown[..*at].trim_end().ends_with('#'));
    let Some(mark) = mark else { return Vec::new() };
    let mut rest = &shown[mark + MARK.len()..];
    let mut words = Vec::new();
    loop {
        rest = rest.trim_start();
        let length = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
        let at = line.end - rest.len();
        words.push(Word { text: &rest[..length], span: at..at + length });
        match rest[length..].trim_start().strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => rest = more,
            // The reason.
            _ => return words,
        }
    }
}
