//! A Dockerfile as logical lines: one instruction each, continuations joined, heredocs taken off.
//!
//! It reads exactly as `frontend/dockerfile/parser` of `BuildKit` does, quirks included: a comment or
//! an empty line inside a continuation is skipped, a heredoc is found only in `RUN`, `COPY`, `ADD`
//! and their `ONBUILD` forms, and never in their JSON form.
//!
//! **Invariant:** every byte of a [`InstructionLine`]'s text knows where it stands in the file.

use std::ops::Range;

use super::{DockerfileProblem, HeredocText, lex::Lex};

pub const BOM: &str = "\u{feff}";

/// One instruction as the builder sees it, before it is taken apart.
#[derive(Debug)]
pub(super) struct InstructionLine {
    /// Joined from its continuation lines.
    pub(super) text: String,
    /// Counted from 1.
    pub(super) number: usize,
    /// Where pieces of `text` begin, in `text` and in the file.
    pieces: Vec<(usize, usize)>,
    pub(super) heredocs: Vec<HeredocText>,
}

/// The lines, and what the directives above them say.
#[derive(Debug)]
pub(super) struct DockerfileLines {
    pub(super) all: Vec<InstructionLine>,
    /// In the file, without directives. The builder reads none of them.
    pub(super) comments: Vec<Range<usize>>,
    pub(super) escape: char,
    /// Whether a `# syntax=` line chooses another frontend than the builder's own.
    pub(super) has_syntax: bool,
}

impl InstructionLine {
    /// The bytes in the file of a range of `text`. It covers the whole raw token if that is broken
    /// by a continuation.
    pub(super) fn in_file(&self, range: Range<usize>) -> Range<usize> {
        let start = self.at(range.start);
        if range.is_empty() {
            return start..start;
        }
        start..self.at(range.end - 1) + 1
    }

    pub(super) fn whole(&self) -> Range<usize> {
        let text = self.text.trim_end();
        self.in_file(text.len() - text.trim_start().len()..text.len())
    }

    fn at(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|&(start, _)| start <= offset);
        let (start, in_file) = self.pieces[after.saturating_sub(1)];
        in_file + (offset - start)
    }
}

/// A line of the file without its line ending.
#[derive(Clone, Copy)]
struct RawLine<'t> {
    text: &'t str,
    start: usize,
    number: usize,
}

impl RawLine<'_> {
    fn in_file(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }
}

fn raw_lines(text: &str) -> impl Iterator<Item = RawLine<'_>> {
    let mut start = 0;
    text.split_inclusive('\n').enumerate().map(move |(index, whole)| {
        let here = start;
        start += whole.len();
        let bom = if index == 0 && whole.starts_with(BOM) { BOM.len() } else { 0 };
        RawLine {
            text: whole[bom..].trim_end_matches(['\r', '\n']),
            start: here + bom,
            number: index + 1,
        }
    })
}

pub(super) fn read(text: &str) -> Result<DockerfileLines, DockerfileProblem> {
    let mut raw = raw_lines(text);
    let mut directives = Directives::default();
    let (mut lines, mut comments) = (Vec::new(), Vec::new());
    while let Some(first) = raw.next() {
        let trimmed = first.text.trim_start();
        let first = RawLine {
            start: first.start + first.text.len() - trimmed.len(),
            text: trimmed,
            ..first
        };
        let is_directive = directives.read(first)?;
        if first.text.is_empty() || first.text.starts_with('#') {
            comments.extend((!is_directive).then(|| first.in_file()));
            continue;
        }
        let mut line = InstructionLine {
            text: String::new(),
            number: first.number,
            pieces: Vec::new(),
            heredocs: Vec::new(),
        };
        let mut goes_on = line.push(first, directives.escape);
        while goes_on && let Some(next) = raw.next() {
            directives.read(next)?;
            let trimmed = next.text.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                comments.push(next.in_file());
            } else {
                goes_on = line.push(next, directives.escape);
            }
        }
        for heredoc in heredocs(&line)? {
            let mut text = HeredocText { name: heredoc.name.clone(), body: String::new() };
            let has_end = raw.by_ref().any(|raw| {
                let is_end = heredoc.ends_at(raw.text);
                if !is_end {
                    text.body.push_str(raw.text);
                    text.body.push('\n');
                }
                is_end
            });
            line.heredocs.push(text);
            if !has_end {
                return Err(DockerfileProblem {
                    span: line.whole(),
                    message: format!("the heredoc `{}` has no end", heredoc.name),
                    label: String::new(),
                    hint: Some(format!("end it with a line that is only `{}`", heredoc.name)),
                });
            }
        }
        if !line.text.trim().is_empty() {
            lines.push(line);
        }
    }
    let Directives { escape, has_syntax, .. } = directives;
    Ok(DockerfileLines { all: lines, comments, escape, has_syntax })
}

impl InstructionLine {
    /// Appends a raw line, and says whether the next one belongs to it too.
    fn push(&mut self, raw: RawLine<'_>, escape: char) -> bool {
        self.pieces.push((self.text.len(), raw.start));
        match continued(raw.text, escape) {
            Some(before) => self.text.push_str(before),
            None => self.text.push_str(raw.text),
        }
        continued(raw.text, escape).is_some()
    }
}

/// What stands before the escape character that ends the line; none if an escaped one does.
fn continued(text: &str, escape: char) -> Option<&str> {
    let before = text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

/// The `# name=value` comments at the very top.
#[derive(Debug)]
struct Directives {
    escape: char,
    has_syntax: bool,
    seen: Vec<String>,
    done: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', has_syntax: false, seen: Vec::new(), done: false }
    }
}

impl Directives {
    /// Whether the line is a directive.
    fn read(&mut self, raw: RawLine<'_>) -> Result<bool, DockerfileProblem> {
        if self.done {
            return Ok(false);
        }
        let Some((name, value)) = directive(raw.text) else {
            self.done = true;
            return Ok(false);
        };
        let problem = |message: String, hint: &str| DockerfileProblem {
            span: raw.in_file(),
            message,
            label: String::new(),
            hint: Some(hint.to_owned()),
        };
        if self.seen.contains(&name) {
            return Err(problem(
                format!("the directive `{name}` is given twice"),
                "leave one of the two lines out",
            ));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" | "`" => self.escape = if value == "`" { '`' } else { '\\' },
                _ => {
                    return Err(problem(
                        format!("`{value}` cannot be the escape character"),
                        "it is `\\` or a backtick",
                    ));
                }
            },
            "syntax" => self.has_syntax = true,
            _ => {}
        }
        self.seen.push(name);
        Ok(true)
    }
}

/// The image that a `# syntax=` line names: the builder that the engine pulls for this Dockerfile.
pub fn frontend(dockerfile: &str) -> Option<&str> {
    let directives = dockerfile.lines().map_while(directive);
    directives.filter(|(name, _)| name == "syntax").map(|(_, value)| value).next()
}

/// `#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*`, for the three names that mean something.
fn directive(text: &str) -> Option<(String, &str)> {
    let (name, value) = text.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let known = ["syntax", "escape", "check"].contains(&name.as_str());
    (known && !value.is_empty()).then_some((name, value))
}

/// The name that ends a heredoc, and whether tabs may stand before it.
#[derive(Debug)]
struct Heredoc {
    name: String,
    chomp: bool,
}

impl Heredoc {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

fn heredocs(line: &InstructionLine) -> Result<Vec<Heredoc>, DockerfileProblem> {
    if !line.text.contains("<<") || !may_have_heredoc(&line.text) {
        return Ok(Vec::new());
    }
    let lex = Lex { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Lex::new('\\') };
    // The builder, too, takes a line that it cannot split for one without heredocs.
    let words = lex.words(&line.text).unwrap_or_default();
    words
        .iter()
        .filter_map(|word| heredoc(word).transpose())
        .collect::<Result<_, _>>()
        .map_err(|message| DockerfileProblem::at(line.whole(), message))
}

/// `^(\d*)<<(-?)([^<]*)$`
fn heredoc(word: &str) -> Result<Option<Heredoc>, String> {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")
    else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let words = Lex { skip_unset: true, ..Lex::new('\\') }.words(rest)?;
    Ok(match &words[..] {
        [name] => Some(Heredoc { name: name.clone(), chomp }),
        _ => None,
    })
}

fn may_have_heredoc(text: &str) -> bool {
    let (instruction, rest) = super::split_instruction(text);
    match instruction.to_ascii_lowercase().as_str() {
        "onbuild" => {
            let (instruction, _) = super::split_instruction(rest);
            !instruction.eq_ignore_ascii_case("onbuild") && may_have_heredoc(rest)
        }
        "run" | "copy" | "add" => {
            let arguments = super::flags::read(rest).rest;
            serde_json::from_str::<Vec<String>>(arguments.trim()).is_err()
        }
        _ => false,
    }
}
