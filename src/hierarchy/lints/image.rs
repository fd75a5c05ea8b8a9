//! A Dockerfile, seen from the image that it makes.

use std::collections::BTreeSet;

use super::packages::Shell;
use crate::{
    check::rules::RuleCode,
    dockerfile::{
        Instruction, image_stages,
        shell::{ShellCommand, exec_form, instruction_commands, without_options},
    },
    hierarchy::files::DockerfileRead,
};

/// A note about a line of a Dockerfile.
pub(super) struct Advice {
    pub(super) line: usize,
    pub(super) code: RuleCode,
    pub(super) message: String,
    pub(super) hint: String,
}

pub(super) struct LintedImage<'f> {
    pub(super) files: &'f DockerfileRead,
    /// Instructions with the number of their stage.
    pub(super) all: Vec<(usize, &'f Instruction)>,
    /// The stage that becomes the image, and those that it is `FROM`.
    stages: BTreeSet<usize>,
}

/// A `RUN` whose commands are known.
pub(super) struct RunCommands<'f> {
    pub(super) line: usize,
    /// Such as `--mount=…`.
    pub(super) options: Vec<&'f str>,
    pub(super) commands: Vec<ShellCommand>,
    pub(super) shell: Shell,
}

impl<'f> LintedImage<'f> {
    pub(super) fn new(files: &'f DockerfileRead, target: Option<&str>) -> Self {
        let (all, stages) = image_stages(&files.scan.instructions, target);
        Self { files, all, stages }
    }

    /// The instructions that make the image.
    pub(super) fn own(&self) -> impl Iterator<Item = &'f Instruction> {
        self.all.iter().filter(|(stage, _)| self.stages.contains(stage)).map(|(_, one)| *one)
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = RunCommands<'f>> {
        self.own().filter_map(|one| self.run(one))
    }

    /// `None` if it is no `RUN`, or has a heredoc.
    pub(super) fn run(&self, one: &'f Instruction) -> Option<RunCommands<'f>> {
        let text = one.text.strip_prefix("RUN ")?;
        let (options, _) = without_options(text);
        let commands = instruction_commands(text)?;
        let mut shells = self.all.iter().filter_map(|(_, one)| one.text.strip_prefix("SHELL "));
        let has_bash = shells.any(|shell| shell.contains("bash"));
        let shell = if has_bash { Shell::Bash } else { Shell::Posix };
        Some(RunCommands { line: one.line, options, commands, shell })
    }

    /// The line and the rest of the last instruction of this name.
    pub(super) fn last(&self, name: &str) -> Option<(usize, &'f str)> {
        self.own()
            .filter_map(|one| Some((one.line, one.text.strip_prefix(name)?.strip_prefix(' ')?)))
            .last()
    }

    /// Whether an `ENV`, an `ARG` or a command has a word with this text.
    pub(super) fn sets(&self, text: &str) -> bool {
        let has = |words: &[String]| words.iter().any(|word| word.contains(text));
        self.all.iter().any(|(_, one)| match one.text.split_once(' ') {
            Some(("ENV" | "ARG", rest)) => rest.contains(text),
            Some(("RUN", rest)) => {
                let commands = instruction_commands(rest).unwrap_or_default();
                commands.iter().any(|command| has(&command.words))
            }
            _ => false,
        })
    }
}

/// The words of a `COPY` or an `ADD` without its options; `None` if it has a heredoc.
pub(super) fn copy(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix("COPY ").or_else(|| text.strip_prefix("ADD "))?;
    let (_, rest) = without_options(rest);
    let words =
        exec_form(rest).unwrap_or_else(|| rest.split(' ').map(str::to_owned).collect::<Vec<_>>());
    (words.len() > 1 && !rest.contains("<<")).then_some(words)
}

/// Whether it takes the whole context.
pub(super) fn copies_all(text: &str) -> bool {
    let is_all = |words: Vec<String>| {
        words[..words.len() - 1].iter().any(|source| [".", "./"].contains(&source.as_str()))
    };
    !text.contains("--from=") && copy(text).is_some_and(is_all)
}

/// The absolute paths that a `COPY` or an `ADD` writes, as far as they are known. Not a folder that ends in a
/// slash: it may have been there before.
pub(super) fn destinations(text: &str) -> Vec<String> {
    let words = copy(text).unwrap_or_default();
    let Some((to, sources)) = words.split_last() else { return Vec::new() };
    if !to.starts_with('/') || text.contains('$') {
        return Vec::new();
    }
    if !to.ends_with('/') {
        return vec![to.clone()];
    }
    let names = sources.iter().filter_map(|source| source.trim_end_matches('/').rsplit('/').next());
    names.map(|name| format!("{to}{name}")).collect()
}
