//! A problem as people read it: heading, excerpt, causes, hint.
//!
//! It knows paths, text and spans, and nothing else of ours.
//! **Invariant:** what is rendered says the same with and without colour, and nothing in it, be it
//! from a file, can steer a terminal.

mod names;

use std::{
    borrow::Cow,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, OnceLock},
};

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};
use regex::{Captures, Regex};

pub use self::names::names;
pub use crate::check::rules::{RuleCode, Severity};

/// A file that problems point into.
#[derive(Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
    /// Whether it lies outside the folder that the user works on. Nothing of it is shown: it may be any
    /// file of the machine, and the output is for others to read.
    pub is_outside: bool,
    /// Where each line begins; found when the first problem asks.
    lines: OnceLock<Vec<usize>>,
}

/// A place in a file, and what is to be said of it there.
#[derive(Clone, Debug)]
pub struct Label {
    /// Bytes of the source's text.
    pub span: Range<usize>,
    pub text: String,
}

/// A part of a file, with the places to look at. The first is the one the problem is about.
#[derive(Clone, Debug)]
pub struct Excerpt {
    pub source: Arc<SourceFile>,
    pub labels: Vec<Label>,
    pub shown: ExcerptExtent,
}

/// How much of a place is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcerptExtent {
    /// Its lines.
    Text,
    /// The words of the place: what stands beside them may be a secret.
    Words,
    /// File, line and column: what stands there may be a secret.
    Place,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The rule that it breaks, if it is one of those that have a code.
    pub code: Option<RuleCode>,
    pub message: String,
    /// The file it is about, where there is no excerpt to show.
    pub file: Option<PathBuf>,
    pub excerpts: Vec<Excerpt>,
    /// What to do next.
    pub hint: Option<String>,
}

/// How to render.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    pub colour: bool,
    /// Paths are shown relative to it.
    pub current_dir: &'a Path,
}

impl SourceFile {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        let (path, text, lines) = (path.into(), text.into(), OnceLock::new());
        Arc::new(Self { path, text, is_outside: false, lines })
    }

    /// A file of which nothing is shown.
    pub fn outside(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        let (path, text, lines) = (path.into(), text.into(), OnceLock::new());
        Arc::new(Self { path, text, is_outside: true, lines })
    }

    /// Line and column of a byte, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.within(offset..offset).start;
        let line = self.line(offset);
        let start = self.starts()[line - 1];
        (line, self.text[start..offset].trim_start_matches('\u{feff}').chars().count() + 1)
    }

    /// The byte at a line and a column, both counted from 1, the column in characters.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts().get(line.max(1) - 1) else { return self.text.len() };
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        let before: usize = line.chars().take(column.max(1) - 1).map(char::len_utf8).sum();
        start + before
    }

    /// The span widened to whole characters, and cut at the end of the text.
    pub fn within(&self, span: Range<usize>) -> Range<usize> {
        let is_boundary = |offset: &usize| self.text.is_char_boundary(*offset);
        let start = (0..=span.start.min(self.text.len())).rfind(is_boundary).unwrap_or_default();
        let end = (span.end..self.text.len()).find(is_boundary).unwrap_or(self.text.len());
        start..end.max(start)
    }

    fn line(&self, offset: usize) -> usize {
        self.starts().partition_point(|&start| start <= offset).max(1)
    }

    fn starts(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        })
    }
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    /// A problem of this rule, as bad as that says.
    pub fn of(code: RuleCode, message: impl Into<String>) -> Self {
        let code_less = Self::new(code.severity(), message.into());
        Self { code: Some(code), ..code_less }
    }

    fn new(severity: Severity, message: String) -> Self {
        Self { severity, code: None, message, file: None, excerpts: Vec::new(), hint: None }
    }

    /// Shows a place. The label may be empty.
    #[must_use]
    pub fn at(
        mut self,
        source: &Arc<SourceFile>,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        let shown = if source.is_outside { ExcerptExtent::Place } else { ExcerptExtent::Text };
        self.show(source, Label { span, text: label.into() }, shown);
        self
    }

    /// Adds a label to the last excerpt, or an excerpt if that is of another file.
    pub fn show(&mut self, source: &Arc<SourceFile>, label: Label, shown: ExcerptExtent) {
        match self.excerpts.last_mut() {
            Some(last) if Arc::ptr_eq(&last.source, source) => last.labels.push(label),
            _ => {
                let source = Arc::clone(source);
                self.excerpts.push(Excerpt { source, labels: vec![label], shown });
            }
        }
    }

    /// Names a place and shows nothing of what is written there.
    #[must_use]
    pub fn at_secret(mut self, source: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let labels = vec![Label { span, text: String::new() }];
        let source = Arc::clone(source);
        self.excerpts.push(Excerpt { source, labels, shown: ExcerptExtent::Place });
        self
    }

    /// Shows a name, and nothing of the values beside it.
    #[must_use]
    pub fn at_name(mut self, source: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let shown = if source.is_outside { ExcerptExtent::Place } else { ExcerptExtent::Words };
        self.show(source, Label { span, text: String::new() }, shown);
        self
    }

    /// Says only which rule a file outside breaks: a message may quote what stands there.
    pub fn conceal(&mut self) {
        if !self.excerpts.iter().any(|excerpt| excerpt.source.is_outside) {
            return;
        }
        self.message = match self.code {
            Some(code) => code.rule().title.to_owned(),
            None => "there is a problem in this file".to_owned(),
        };
        for label in self.excerpts.iter_mut().flat_map(|excerpt| &mut excerpt.labels) {
            label.text.clear();
        }
        let hint = "nothing is shown of a file outside the folder of hierarchy.yaml";
        self.hint = Some(hint.to_owned());
    }

    /// Names the file, where there is nothing in it to show.
    #[must_use]
    pub fn in_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// File, line and column of the place it is about.
    pub fn position(&self) -> Option<(&Path, usize, usize)> {
        let excerpt = self.excerpts.first()?;
        let label = excerpt.labels.first()?;
        let (line, column) = excerpt.source.position(label.span.start);
        Some((&excerpt.source.path, line, column))
    }

    /// `path:line: message`, the path relative to this folder.
    pub fn line(&self, current_dir: &Path) -> String {
        match self.position() {
            Some((path, line, _)) => {
                let path = path.strip_prefix(current_dir).unwrap_or(path);
                format!("{}:{line}: {}", path.display(), self.message)
            }
            None => self.message.clone(),
        }
    }

    /// Advice with the same words is one problem with several places.
    pub fn grouped<'a>(problems: impl Iterator<Item = &'a Self>) -> Vec<Vec<&'a Self>> {
        let mut groups: Vec<Vec<&Self>> = Vec::new();
        for problem in problems {
            let is_same = |first: &Self| {
                problem.severity < Severity::Error
                    && (problem.code, &problem.message) == (first.code, &first.message)
            };
            match groups.iter_mut().find(|group| is_same(group[0])) {
                Some(group) => group.push(problem),
                None => groups.push(vec![problem]),
            }
        }
        groups
    }

    /// Renders problems, each group once.
    pub fn render_all<'a>(
        problems: impl Iterator<Item = &'a Self>,
        rendering: Rendering<'_>,
    ) -> Vec<String> {
        const SHOWN: usize = 3;
        let rendered = Self::grouped(problems).into_iter().map(|group| {
            let mut text = group[0].render(rendering);
            let places = group[1..].iter().filter_map(|problem| problem.position());
            let places: Vec<String> = places
                .map(|(file, line, _)| format!("{}:{line}", relative(file, rendering.current_dir)))
                .collect();
            if !places.is_empty() {
                text.push_str("\n  = also: ");
                text.push_str(&names(&places, SHOWN));
            }
            text
        });
        rendered.collect()
    }

    pub fn render(&self, rendering: Rendering<'_>) -> String {
        let level = match self.severity {
            Severity::Note => Level::NOTE,
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let title = level.primary_title(printable(&self.message));
        let mut group = Group::with_title(match self.code {
            Some(code) => title.id(code.to_string()),
            None => title,
        });
        for excerpt in &self.excerpts {
            group = match excerpt.shown {
                ExcerptExtent::Text => group.element(excerpt.snippet(rendering.current_dir)),
                ExcerptExtent::Words => group.element(excerpt.words(rendering.current_dir)),
                ExcerptExtent::Place => group.element(excerpt.origin(rendering.current_dir)),
            };
        }
        if let (Some(file), true) = (&self.file, self.excerpts.is_empty()) {
            group = group.element(Origin::path(relative(file, rendering.current_dir)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(printable(hint)));
        }
        renderer(rendering.colour).render(&[group])
    }
}

/// All of them, an empty line between two.
#[cfg(test)]
pub fn render(diagnostics: &[Diagnostic], rendering: Rendering<'_>) -> String {
    let each: Vec<String> = diagnostics.iter().map(|one| one.render(rendering)).collect();
    each.join("\n\n")
}

/// Stars for the passwords of addresses, as many as they have bytes.
fn without_passwords(text: &str) -> Cow<'_, str> {
    static PASSWORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(://[^\s/:@"']*:)([^\s/@"']+)@"#).expect("a valid pattern"));
    PASSWORD.replace_all(text, |found: &Captures<'_>| {
        format!("{}{}@", &found[1], "*".repeat(found[2].len()))
    })
}

/// What would steer a terminal is shown as what it is.
fn printable(text: &str) -> String {
    let text = without_passwords(text);
    let is_bidi = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            c if c.is_control() || is_bidi(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn renderer(colour: bool) -> Renderer {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii)
}

impl Excerpt {
    fn origin(&self, current_dir: &Path) -> Origin<'static> {
        let span = self.labels.first().map_or(0, |label| label.span.start);
        let (line, column) = self.source.position(span);
        Origin::path(relative(&self.source.path, current_dir)).line(line).char_column(column)
    }

    /// Only the lines that are pointed at, so that a problem in a large file costs no more than one
    /// in a small file.
    fn snippet<'s>(&'s self, current_dir: &Path) -> Snippet<'s, Annotation<'s>> {
        let SourceFile { path, text, .. } = &*self.source;
        let spans: Vec<Range<usize>> =
            self.labels.iter().map(|label| self.source.within(label.span.clone())).collect();
        let first = spans.iter().map(|span| span.start).min().unwrap_or(0);
        let last = spans.iter().map(|span| span.end).max().unwrap_or(0);
        let line = self.source.line(first);
        let start = self.source.starts()[line - 1];
        let end = text[last..].find(['\r', '\n']).map_or(text.len(), |length| last + length);
        // The mark at the start of a file has no width, but would be shown with one.
        let start = if text[start..].starts_with('\u{feff}') { start + 3 } else { start };
        let shown = &text[start.min(end)..end];
        let annotations =
            spans.iter().zip(&self.labels).enumerate().map(|(index, (span, label))| {
                let kind =
                    if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                let span = span.start.saturating_sub(start)..span.end.saturating_sub(start);
                kind.span(span).label((!label.text.is_empty()).then(|| printable(&label.text)))
            });
        Snippet::source(without_passwords(shown))
            .line_start(line)
            .path(relative(path, current_dir))
            .annotations(annotations)
    }

    /// The words of the first label, with `…` for the rest of their line.
    fn words(&self, current_dir: &Path) -> Snippet<'static, Annotation<'static>> {
        let SourceFile { path, text, .. } = &*self.source;
        let span = self.labels.first().map_or(0..0, |label| self.source.within(label.span.clone()));
        let line = self.source.line(span.start);
        let before =
            text[self.source.starts()[line - 1]..span.start].trim_start_matches('\u{feff}');
        let after = text[span.end..].split(['\r', '\n']).next().unwrap_or_default();
        let is_alone = before.trim().is_empty();
        // The column stays the same.
        let spaces = " ".repeat(before.chars().count().saturating_sub(1));
        let before = if is_alone { before.to_owned() } else { format!("…{spaces}") };
        let after = if after.trim().is_empty() { "" } else { " …" };
        let words = text[span].lines().next().unwrap_or_default();
        let marked = before.len()..before.len() + words.len();
        Snippet::source(format!("{before}{words}{after}"))
            .line_start(line)
            .path(relative(path, current_dir))
            .annotation(AnnotationKind::Primary.span(marked))
    }
}

/// As short as `..` allows at most twice, else as it is; and no name of a file steers a terminal.
fn relative(path: &Path, current_dir: &Path) -> String {
    printable(&shortened(path, current_dir)).replace('\n', "\u{240a}")
}

fn shortened(path: &Path, current_dir: &Path) -> String {
    let mut up = String::new();
    for base in current_dir.ancestors().take(3) {
        if let Ok(rest) = path.strip_prefix(base)
            && (up.is_empty() || base.parent().is_some())
        {
            let rest = rest.display().to_string();
            return if up.is_empty() && rest.is_empty() { ".".to_owned() } else { up + &rest };
        }
        up.push_str("../");
    }
    path.display().to_string()
}

#[cfg(test)]
mod tests;
