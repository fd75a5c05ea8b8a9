//! A Dockerfile after it was read: pinning its images, and finding the line of a step that failed.

use std::collections::BTreeMap;

use super::{Base, Dockerfile};
use crate::{
    check::glob,
    dockerfile::{BOM, Instruction, normal, words},
    image::Reference,
};

impl Dockerfile {
    /// The image that its `# syntax=` line names.
    pub fn frontend(&self) -> Option<&str> {
        crate::dockerfile::frontend(&self.text)
    }

    /// The text with the tokens of some of its [`uses`](Self::uses), by their index, replaced.
    /// Every other byte stays.
    ///
    /// What `ONBUILD` instructions name becomes a stage of that name, before the first stage that needs it:
    /// the name stands in the configuration of the base, where it cannot be replaced.
    pub fn pinned(&self, pins: &BTreeMap<usize, String>) -> String {
        let mut edits: Vec<(usize, usize, String)> = Vec::new();
        for (index, image) in self.uses.iter().enumerate() {
            match (pins.get(&index), &image.on_build) {
                (None, _) => {}
                (Some(pin), None) => edits.push((image.span.start, image.span.end, pin.clone())),
                (Some(pin), Some(name)) => {
                    let first = self.uses.iter().find(|one| one.on_build.is_some());
                    let at = self.start_of_line(first.map_or(image.line, |one| one.line));
                    edits.push((at, at, format!("FROM {pin} AS {name}\n")));
                }
            }
        }
        edits.sort_by_key(|(start, ..)| *start);
        let mut text = String::with_capacity(self.text.len());
        let mut done = 0;
        for (start, end, new) in edits {
            text.push_str(&self.text[done..start]);
            text.push_str(&new);
            done = end;
        }
        text.push_str(&self.text[done..]);
        text
    }

    /// The stages that [`pinned`](Self::pinned) adds, and what they are.
    pub fn named(&self, pins: &BTreeMap<usize, String>) -> BTreeMap<String, String> {
        let uses = self.uses.iter().enumerate();
        uses.filter_map(|(n, image)| Some((image.on_build.clone()?, pins.get(&n)?.clone())))
            .collect()
    }

    /// Whether an image of it may have `ONBUILD` instructions.
    pub fn has_triggers(&self) -> bool {
        self.instructions.iter().any(|one| one.text.starts_with("ONBUILD "))
    }

    fn start_of_line(&self, number: usize) -> usize {
        let lines = self.text.split_inclusive('\n').take(number - 1);
        let bom = if number == 1 && self.text.starts_with(BOM) { BOM.len() } else { 0 };
        lines.map(str::len).sum::<usize>() + bom
    }

    /// Whether a `LABEL` instruction sets this label.
    pub fn sets_label(&self, label: &str) -> bool {
        let arguments = self.instructions.iter().filter_map(|one| one.text.strip_prefix("LABEL "));
        arguments.flat_map(label_names).any(|name| name == label)
    }

    /// The instruction that a builder calls by this text: `RUN make` after `BuildKit`'s `[2/3] `, or
    /// the classic builder's `Step 2/3 : RUN make`. None if it might be several.
    ///
    /// Builders print an instruction with its variables filled in, the start of its heredoc behind
    /// it, and a `FROM` as we have pinned it.
    pub fn line_of(&self, step_text: &str) -> Option<&Instruction> {
        match self.lines_of(step_text)[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All of them, if it might be several.
    pub(super) fn lines_of(&self, step_text: &str) -> Vec<&Instruction> {
        let step = step(step_text);
        let step = step.as_str();
        let find = |is_it: &dyn Fn(&str) -> bool| -> Vec<&Instruction> {
            self.instructions.iter().filter(|one| is_it(&one.text)).collect()
        };
        let with_heredoc = |text: &str| {
            text.contains("<<")
                && step
                    .strip_prefix(text)
                    .is_some_and(|rest| rest.starts_with(" (") && rest.ends_with(')'))
        };
        let filled_in = |text: &str| text.contains('$') && glob(&literals(text), step, 0);
        // A builder also removes the quotes around a value: `--chown="$USER"`.
        let bare = |text: &str| text.replace(['"', '\''], "");
        let unquoted =
            |text: &str| text.contains('$') && glob(&literals(&bare(text)), &bare(step), 0);
        let by_text: [&dyn Fn(&str) -> bool; 4] =
            [&|text| text == step, &with_heredoc, &filled_in, &unquoted];
        let mut found = by_text.into_iter().map(find).filter(|found| !found.is_empty());
        found.next().unwrap_or_else(|| self.from(step))
    }

    /// The lines that name this image, be it pinned.
    fn from(&self, step: &str) -> Vec<&Instruction> {
        let Some(rest) = step.strip_prefix("FROM ") else { return Vec::new() };
        let froms: Vec<&Instruction> =
            self.instructions.iter().filter(|one| one.text.starts_with("FROM ")).collect();
        let mut words = rest.split(' ').filter(|word| !word.starts_with("--"));
        let (image, stage) = (words.next().unwrap_or_default(), words.nth(1));
        if let Some(stage) = stage {
            let named = |one: &&Instruction| {
                one.text.rsplit(' ').next().is_some_and(|last| last.eq_ignore_ascii_case(stage))
            };
            return froms.into_iter().find(|one| named(one)).into_iter().collect();
        }
        let Ok(image) = image.parse::<Reference>() else { return Vec::new() };
        let lines: Vec<usize> =
            self.uses.iter().filter(|one| one.base.may_be(&image)).map(|one| one.line).collect();
        match (&lines[..], &froms[..]) {
            ([], [_]) => froms,
            _ => self.instructions.iter().filter(|one| lines.contains(&one.line)).collect(),
        }
    }
}

impl Base {
    /// Whether this was pinned to that. A pin of ours ends in the node's name; a builder writes out
    /// the host and the namespace.
    fn may_be(&self, image: &Reference) -> bool {
        match self {
            Base::Upstream(reference) => {
                reference.repository.is_same(&image.repository)
                    && (image.digest.is_some()
                        && (image.tag.is_none() || image.tag == reference.tag_or_latest())
                        || image.tag_or_latest() == reference.tag_or_latest())
            }
            Base::Files(_) => false,
            Base::Node(name) => {
                let path = image.repository.path();
                path.strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            }
        }
    }
}

/// The names in `a=1 "b c"=2`, or in the old form `a 1`.
fn label_names(arguments: &str) -> Vec<String> {
    let words = words(arguments, '\\');
    let name = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    match words.first() {
        Some(first) if !first.contains('=') => vec![name(first)],
        _ => words.iter().filter_map(|word| Some(name(word.split_once('=')?.0))).collect(),
    }
}

/// The step without what builders put before it.
fn step(text: &str) -> String {
    let text = text.trim_start();
    let text = match text.strip_prefix("Step ").and_then(|rest| rest.split_once(" : ")) {
        Some((_, rest)) => rest,
        None => text,
    };
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest,
        None => text,
    };
    normal(text)
}

/// What stands between the variables.
fn literals(text: &str) -> Vec<&str> {
    let (mut literals, mut start, mut at) = (Vec::new(), 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let end = match (bytes[at], bytes.get(at + 1)) {
            (b'$', Some(b'{')) => text[at..].find('}').map(|length| at + length + 1),
            (b'$', Some(b)) if b.is_ascii_alphabetic() || *b == b'_' => {
                let name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
                Some(at + 1 + bytes[at + 1..].iter().take_while(name).count())
            }
            _ => None,
        };
        match end {
            Some(end) => {
                literals.push(&text[start..at]);
                (start, at) = (end, end);
            }
            None => at += 1,
        }
    }
    literals.push(&text[start..]);
    literals
}
