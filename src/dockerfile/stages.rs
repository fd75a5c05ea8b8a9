//! From lines to the images they name: arguments, stages, and who builds on whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    DockerfileProblem, ImageUse, OnbuildTrigger, ScanError, Settings,
    flags::{self, Placed},
    is_blank,
    lex::{Lex, Variables},
    lines::{DockerfileLines, InstructionLine},
    split_instruction,
};
use crate::{check::nearest, image::Platform};

pub(super) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// The name of the empty image.
const SCRATCH: &str = "scratch";

/// What the stages name.
pub(super) struct StageNames {
    /// The images that building the target needs, in order of place.
    pub(super) uses: Vec<ImageUse>,
    pub(super) triggers: Vec<OnbuildTrigger>,
    pub(super) stages: BTreeSet<String>,
    pub(super) counted: Option<(usize, Range<usize>)>,
}

pub(super) fn read(
    lines: &DockerfileLines,
    settings: Settings<'_>,
) -> Result<StageNames, ScanError> {
    let mut stages = Stages {
        lex: Lex::new(lines.escape),
        arguments: platform_arguments(settings),
        ..Stages::default()
    };
    for line in &lines.all {
        stages.read(line, lines.has_syntax, settings.build_args);
        if stages.problems.len() >= PROBLEMS {
            break;
        }
    }
    // A stage may copy from one that comes after it, so this is a second pass.
    for (stage, line) in std::mem::take(&mut stages.later) {
        if stages.problems.len() < PROBLEMS {
            stages.read_from(stage, line);
        }
    }
    if stages.list.is_empty() && stages.problems.is_empty() {
        let end = lines.all.last().map_or(0..0, InstructionLine::whole);
        stages.problems.push(
            DockerfileProblem::at(end, "there is no `FROM` in this Dockerfile")
                .hint("begin with `FROM image`, or with `FROM scratch`"),
        );
    }
    if !stages.problems.is_empty() {
        stages.problems.sort_by_key(|problem| problem.span.start);
        return Err(ScanError::Problems(stages.problems));
    }
    stages.found(settings.target)
}

#[derive(Debug)]
struct Stages<'l> {
    lex: Lex,
    /// `ARG`s before the first `FROM`, and the builder's own.
    arguments: Variables,
    list: Vec<DockerfileStage>,
    /// The last stage of each name, in small letters.
    by_name: BTreeMap<String, usize>,
    uses: Vec<ImageUse>,
    /// Instructions of stages that may name other images.
    later: Vec<(usize, &'l InstructionLine)>,
    /// `ONBUILD` instructions.
    on_build: Vec<(usize, &'l InstructionLine)>,
    counted: Option<(usize, Range<usize>)>,
    problems: Vec<DockerfileProblem>,
    /// How many bytes of values may still be made.
    left: usize,
}

/// In bytes, of all values together: many may be as long as one may be.
const VALUES: usize = 4 * 1024 * 1024;
/// A reader cannot use more problems of one file.
const PROBLEMS: usize = 100;

#[derive(Debug)]
struct DockerfileStage {
    name: Option<String>,
    /// The stage or the image that its `FROM` names; none for `scratch`.
    base: Option<StageSource>,
    /// Stages that it copies or mounts from.
    needs: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum StageSource {
    Stage(usize),
    Image,
}

impl Default for Stages<'_> {
    fn default() -> Self {
        Self {
            lex: Lex::new('\\'),
            arguments: Variables::new(),
            list: Vec::new(),
            by_name: BTreeMap::new(),
            uses: Vec::new(),
            later: Vec::new(),
            on_build: Vec::new(),
            counted: None,
            problems: Vec::new(),
            left: VALUES,
        }
    }
}

impl<'l> Stages<'l> {
    fn read(
        &mut self,
        line: &'l InstructionLine,
        has_syntax: bool,
        build_args: &BTreeMap<String, String>,
    ) {
        let (name, rest) = split_instruction(&line.text);
        let name = name.to_ascii_uppercase();
        if !has_syntax {
            self.problems.extend(unknown_flag(line));
        }
        match name.as_str() {
            "FROM" => self.from(line, rest),
            "ARG" if self.list.is_empty() => self.argument(line, rest, build_args),
            // Another frontend may well know instructions of its own.
            _ if !INSTRUCTIONS.contains(&name.as_str()) => {
                self.problems.extend((!has_syntax).then(|| unknown_instruction(line, &name)));
            }
            _ if self.list.is_empty() => self.problems.push(
                DockerfileProblem::at(
                    line.whole(),
                    format!("`{name}` comes before the first `FROM`"),
                )
                .hint("only `ARG` may stand there"),
            ),
            "COPY" | "ADD" | "RUN" => self.later.push((self.list.len() - 1, line)),
            // A trigger runs in children; this image does not need what it names.
            "ONBUILD" => self.on_build.push((self.list.len() - 1, line)),
            _ => {}
        }
    }

    fn expand(&mut self, word: &str) -> Result<String, String> {
        let value = self.lex.expand(word, &self.arguments)?;
        self.left = self.left.checked_sub(value.len()).ok_or_else(|| {
            format!("the values of this file are longer than {} MiB", VALUES / (1024 * 1024))
        })?;
        Ok(value)
    }

    fn argument(
        &mut self,
        line: &InstructionLine,
        rest: &str,
        build_args: &BTreeMap<String, String>,
    ) {
        for word in words(rest, self.lex.escape) {
            let (key, default) = match word.split_once('=') {
                Some((key, default)) => (key, Some(default)),
                None => (word.as_str(), None),
            };
            let value = match (build_args.get(key), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => match self.expand(default) {
                    Ok(value) => Some(value),
                    Err(error) => {
                        self.problems.push(DockerfileProblem::at(line.whole(), error));
                        None
                    }
                },
                (None, None) => None,
            };
            if let Some(value) = value {
                self.arguments.insert(key.to_owned(), value);
            }
        }
    }

    fn from(&mut self, line: &InstructionLine, rest: &str) {
        let flags = flags::read(rest);
        let arguments = flags.rest.trim_end();
        let platform = flags.values("platform").last().map(|value| value.text());
        let offset = line.text.trim_end().len() - arguments.len();
        let tokens: Vec<&str> = arguments.split(is_blank).filter(|t| !t.is_empty()).collect();
        let (image, name) = match tokens[..] {
            [image] => (image, None),
            [image, as_, name] if as_.eq_ignore_ascii_case("as") => (image, Some(name)),
            _ => {
                self.list.push(DockerfileStage { name: None, base: None, needs: Vec::new() });
                let mut problem = DockerfileProblem::at(
                    line.whole(),
                    "`FROM` takes one image, and perhaps `AS name`",
                );
                if arguments.contains('#') {
                    problem = problem.hint("a comment needs a line of its own");
                }
                return self.problems.push(problem);
            }
        };
        let span = line.in_file(offset..offset + image.len());
        let base = match self.expand(image) {
            Ok(expanded) if expanded.is_empty() => {
                self.problems.push(empty_base(image, span));
                None
            }
            Ok(expanded) => {
                let base = self.base(expanded, span, line.number);
                self.set_platform(platform, base, line);
                base
            }
            Err(error) => {
                self.problems.push(DockerfileProblem::at(
                    span,
                    format!("`{image}` cannot be read: {error}"),
                ));
                None
            }
        };
        let name = name.map(str::to_ascii_lowercase);
        if let Some(name) = &name {
            if !is_stage_name(name) {
                let at = offset + arguments.len() - name.len();
                let span = line.in_file(at..at + name.len());
                self.problems.push(
                    DockerfileProblem::at(span, format!("`{name}` cannot be the name of a stage"))
                        .hint("it is a letter, then letters, digits, `-`, `_` and `.`"),
                );
            }
            self.by_name.insert(name.clone(), self.list.len());
        }
        self.list.push(DockerfileStage { name, base, needs: Vec::new() });
    }

    /// What a `FROM` names; a stage only if it comes before.
    fn base(&mut self, image: String, span: Range<usize>, line: usize) -> Option<StageSource> {
        if let Some(&stage) = self.by_name.get(&image.to_ascii_lowercase()) {
            return Some(StageSource::Stage(stage));
        }
        if image == SCRATCH {
            return None;
        }
        let stage = self.list.len();
        let (is_final, is_from, platform) = (false, true, None);
        self.uses.push(ImageUse { span, line, image, stage, is_final, is_from, platform });
        Some(StageSource::Image)
    }

    /// What `FROM --platform` names. What is not a platform is left to the builder.
    fn set_platform(
        &mut self,
        written: Option<String>,
        base: Option<StageSource>,
        line: &InstructionLine,
    ) {
        let (Some(written), Some(StageSource::Image)) = (written, base) else { return };
        match self.expand(&written) {
            Ok(text) => {
                let platform = text.parse::<Platform>().ok().map(Platform::normalized);
                if let Some(used) = self.uses.last_mut() {
                    used.platform = platform;
                }
            }
            Err(error) => self.problems.push(DockerfileProblem::at(line.whole(), error)),
        }
    }

    /// `COPY --from=`, `ADD --from=`, `RUN --mount=…,from=`.
    fn read_from(&mut self, stage: usize, line: &InstructionLine) {
        for (from, numbers) in sources(&line.text) {
            self.source(stage, line, &from, numbers);
        }
    }

    fn source(&mut self, stage: usize, line: &InstructionLine, from: &Placed, numbers: bool) {
        let image = from.text();
        if image.is_empty() || image == SCRATCH {
            return;
        }
        let span = line.in_file(from.span());
        if image.contains('$') {
            return self.problems.push(
                DockerfileProblem::at(
                    span,
                    format!("the builder does not expand variables in `from={image}`"),
                )
                .hint(format!(
                    "give the image a stage of its own, `FROM {image} AS name`, and take it from \
                         `name`"
                )),
            );
        }
        if numbers && let Ok(index) = image.parse::<usize>() {
            if index >= self.list.len() {
                let message = match self.list.len() {
                    1 => "there is no stage `{}`; the only one is 0".replace("{}", &image),
                    n => format!("there is no stage `{image}`; the last one is {}", n - 1),
                };
                self.problems.push(DockerfileProblem::at(span, message));
            } else {
                if self.counted.as_ref().is_none_or(|(last, _)| *last < index) {
                    self.counted = Some((index, span));
                }
                self.list[stage].needs.push(index);
            }
            return;
        }
        if let Some(&other) = self.by_name.get(&image.to_ascii_lowercase()) {
            return self.list[stage].needs.push(other);
        }
        let line = line.number;
        let (is_final, is_from, platform) = (false, false, None);
        self.uses.push(ImageUse { span, line, image, stage, is_final, is_from, platform });
    }

    /// Leaves out what is only used by stages after the target. Those before it count even if the
    /// target does not need them, because the classic builder builds them all the same.
    fn found(mut self, target: Option<&str>) -> Result<StageNames, ScanError> {
        let target = match target {
            None => self.list.len() - 1,
            Some(name) => *self.by_name.get(&name.to_ascii_lowercase()).ok_or_else(|| {
                let stages = self.list.iter().filter_map(|stage| stage.name.clone()).collect();
                ScanError::UnknownTarget { stages }
            })?,
        };
        let mut needed: BTreeSet<usize> = (0..target).collect();
        let mut open = vec![target];
        while let Some(stage) = open.pop() {
            if needed.insert(stage) || stage == target {
                open.extend(self.list[stage].needs.iter().filter(|need| !needed.contains(need)));
                open.extend(self.base_stage(stage).filter(|base| !needed.contains(base)));
            }
        }
        let mut last = target;
        while let Some(base) = self.base_stage(last) {
            last = base;
        }
        if matches!(self.list[last].base, Some(StageSource::Image)) {
            // The `FROM` comes first in its stage, and was read in the first pass.
            if let Some(base) = self.uses.iter_mut().find(|image| image.stage == last) {
                base.is_final = true;
            }
        }
        self.uses.retain(|image| needed.contains(&image.stage));
        self.uses.sort_by_key(|image| image.span.start);
        let triggers = self.on_build.iter().filter(|(stage, _)| *stage == target);
        let triggers = triggers.flat_map(|(_, line)| triggers_of(line)).collect();
        let stages = self.by_name.into_keys().collect();
        Ok(StageNames { uses: self.uses, triggers, stages, counted: self.counted })
    }

    /// Always one that comes before.
    fn base_stage(&self, stage: usize) -> Option<usize> {
        match self.list[stage].base {
            Some(StageSource::Stage(base)) => Some(base),
            _ => None,
        }
    }
}

/// What an instruction names by `--from=` or `--mount=…,from=`, and whether a number means a stage there.
fn sources(text: &str) -> Vec<(Placed, bool)> {
    let (name, rest) = split_instruction(text);
    let offset = text.len() - rest.len();
    let flags = flags::read(rest);
    let shifted = |from: Placed| from.shifted(offset);
    match name.to_ascii_uppercase().as_str() {
        "RUN" => flags.mounts_from().into_iter().map(|from| (shifted(from), false)).collect(),
        "COPY" | "ADD" => {
            flags.values("from").last().map(|from| (shifted(from), true)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What the trigger of an `ONBUILD` names. A number means a stage of the child.
fn triggers_of(line: &InstructionLine) -> Vec<OnbuildTrigger> {
    let (_, trigger) = split_instruction(&line.text);
    let offset = line.text.len() - trigger.len();
    let named = sources(trigger).into_iter().filter_map(|(from, numbers)| {
        let (image, span) = (from.text(), line.in_file(from.shifted(offset).span()));
        let is_number = numbers && image.parse::<usize>().is_ok();
        // The builder expands no variables there.
        let is_image = !image.is_empty() && image != SCRATCH && !image.contains('$');
        (is_image && !is_number).then_some(OnbuildTrigger { span, image })
    });
    named.collect()
}

fn unknown_instruction(line: &InstructionLine, name: &str) -> DockerfileProblem {
    let length = split_instruction(&line.text).0.len();
    let start = line.text.len() - line.text.trim_start().len();
    let span = line.in_file(start..start + length);
    let problem = DockerfileProblem::at(span, format!("`{name}` is not an instruction"));
    match nearest(name, INSTRUCTIONS) {
        Some(known) => problem.hint(format!("did you mean `{known}`?")),
        None => problem,
    }
}

/// The flags of instructions in BuildKit's Dockerfile frontend, in `instructions/parse.go`.
fn known_flags(instruction: &str) -> Option<&'static [&'static str]> {
    match instruction {
        "FROM" => Some(&["platform"]),
        "RUN" => Some(&["mount", "network", "security", "device"]),
        "COPY" | "ADD" => Some(&[
            "from",
            "chown",
            "chmod",
            "link",
            "parents",
            "exclude",
            "keep-git-dir",
            "checksum",
            "unpack",
        ]),
        _ => None,
    }
}

/// The first unknown flag of an instruction or of the trigger of an `ONBUILD`.
fn unknown_flag(line: &InstructionLine) -> Option<DockerfileProblem> {
    let (mut name, mut rest) = split_instruction(&line.text);
    if name.eq_ignore_ascii_case("ONBUILD") {
        (name, rest) = split_instruction(rest);
    }
    let known = known_flags(&name.to_ascii_uppercase())?;
    let flag = flags::read(rest).unknown(known).next()?;
    let written = flag.text();
    let span = line.in_file(flag.shifted(line.text.len() - rest.len()).span());
    let problem = DockerfileProblem::at(span, format!("unknown flag `{written}`"));
    Some(match nearest(&written[2..], known.iter().copied()) {
        Some(meant) => problem.hint(format!("did you mean `--{meant}`?")),
        None => problem,
    })
}

fn empty_base(image: &str, span: Range<usize>) -> DockerfileProblem {
    let hint = if image.contains('$') {
        "give it a default before the first `FROM`, as `ARG NAME=value`, or a value in \
         `build_args`, which needs an `ARG NAME` there too"
    } else {
        "write an image, or `scratch`"
    };
    DockerfileProblem {
        span,
        message: format!("the image `{image}` is empty"),
        label: "nothing is left when its variables are expanded".to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// Whether `FROM image AS name` may give this name, in small letters.
pub fn is_stage_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && !["scratch", "context"].contains(&name)
}

/// Arguments split at white space that is neither quoted nor escaped; quotes and escapes stay, to
/// be taken off when the value is expanded.
pub fn words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `TARGETPLATFORM`, `TARGETARCH`, `BUILDPLATFORM` and so on.
pub fn platform_variables(target: &Platform, build: &Platform) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (side, platform) in [("TARGET", target), ("BUILD", build)] {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ] {
            variables.insert(format!("{side}{name}"), value);
        }
    }
    variables
}

/// The variables that the builder defines. `build_args` override them too.
fn platform_arguments(settings: Settings<'_>) -> Variables {
    let mut arguments: Variables = platform_variables(settings.platform, settings.build_platform);
    arguments.insert("TARGETSTAGE".into(), settings.target.unwrap_or("default").to_owned());
    for (key, value) in &mut arguments {
        if let Some(given) = settings.build_args.get(key) {
            value.clone_from(given);
        }
    }
    arguments
}
