//! Advice on what makes images larger, builds slower, or the start of a container unsound.
//!
//! **Invariant:** only stages that are a part of the image count, and a `RUN` whose commands are in a heredoc
//! is unknown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Problems,
    entries::has_dockerignore,
    line,
    lineage::{End, line as lineage},
};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    dockerfile::{Instruction, image_stages},
    hierarchy::{files::DockerfileRead, load::HierarchySurvey},
};

/// How a program installs packages, and how its cache does not become a part of the layer.
struct PackageManager {
    programs: &'static [&'static str],
    install: &'static [&'static str],
    /// A `RUN` with one of these keeps no cache: an option, a command, or a path that is deleted or mounted.
    clean: &'static [&'static str],
    /// A variable that does the same for all that follows.
    variable: Option<&'static str>,
    fix: &'static str,
}

const APT: PackageManager = PackageManager {
    programs: &["apt-get", "apt", "aptitude"],
    install: &["install", "update"],
    clean: &["/var/lib/apt"],
    variable: None,
    fix: "end the same `RUN` with `&& rm -rf /var/lib/apt/lists/*`",
};

const MANAGERS: &[PackageManager] = &[
    APT,
    PackageManager {
        programs: &["apk"],
        install: &["add", "update"],
        clean: &["--no-cache", "/var/cache/apk", "/etc/apk/cache"],
        variable: None,
        fix: "install with `apk add --no-cache`",
    },
    PackageManager {
        programs: &["dnf", "microdnf", "yum"],
        install: &["install"],
        clean: &["dnf clean all", "yum clean all", "/var/cache/dnf", "/var/cache/yum"],
        variable: None,
        fix: "end the same `RUN` with `&& dnf clean all`",
    },
    PackageManager {
        programs: &["zypper"],
        install: &["install", "in"],
        clean: &["zypper clean", "zypper cc", "/var/cache/zypp"],
        variable: None,
        fix: "end the same `RUN` with `&& zypper clean --all`",
    },
    PackageManager {
        programs: &["pip", "pip3"],
        install: &["install"],
        clean: &["--no-cache-dir", ".cache"],
        variable: Some("PIP_NO_CACHE_DIR"),
        fix: "install with `pip install --no-cache-dir`, or mount a cache at `/root/.cache/pip`",
    },
    PackageManager {
        programs: &["npm"],
        install: &["install", "ci", "i"],
        clean: &["npm cache clean", "/.npm"],
        variable: None,
        fix: "end the same `RUN` with `&& npm cache clean --force`, or mount a cache at `/root/.npm`",
    },
    PackageManager {
        programs: &["yarn"],
        install: &["install", "add"],
        clean: &["yarn cache clean", "/.cache", "/.yarn"],
        variable: None,
        fix: "end the same `RUN` with `&& yarn cache clean`",
    },
];

/// Commands that install what a list of the context names.
const DEPENDENCIES: &[&str] = &[
    "npm ci",
    "npm install",
    "yarn install",
    "pnpm install",
    "pip install -r",
    "pip3 install -r",
    "bundle install",
    "go mod download",
    "composer install",
    "poetry install",
    "cargo fetch",
    "mvn dependency",
];

const TOOLS: &[&str] = &[
    "autoconf",
    "automake",
    "build-base",
    "build-essential",
    "clang",
    "cmake",
    "g++",
    "gcc",
    "libtool",
    "make",
];

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    let index: HashMap<&str, usize> =
        survey.drafts.iter().enumerate().map(|(n, draft)| (draft.name.as_str(), n)).collect();
    let mut children: BTreeMap<&str, usize> = BTreeMap::new();
    for uses in &survey.uses {
        let nodes = uses.iter().filter_map(|used| used.base.node());
        for name in nodes.collect::<BTreeSet<_>>() {
            *children.entry(name.as_str()).or_default() += 1;
        }
    }
    let mut problems = Vec::new();
    for (n, (draft, files)) in survey.drafts.iter().zip(&survey.files).enumerate() {
        let Some(files) = files else { continue };
        let target = draft.image.target.as_ref().map(|target| target.value.as_str());
        let image = LintedImage::new(files, target);
        let children = children.get(draft.name.as_str()).copied().unwrap_or_default();
        let mut found = image.layers();
        found.extend(image.copied_before_install());
        found.extend(image.shell());
        found.extend(image.onbuild(draft.name.as_str(), children));
        found.extend(image.whole_context());
        if children == 0 {
            found.extend(image.tools());
            found.extend(image.root(|| is_root(survey, &index, n)));
        }
        for Advice { line: number, code, message, hint } in found {
            let span = line(&files.dockerfile, number);
            let problem = Diagnostic::of(code, message).at(&files.dockerfile, span, "");
            problems.push(problem.hint(hint));
        }
    }
    problems
}

/// Whether the images below run as root; `false` if it is not known.
fn is_root(survey: &HierarchySurvey, index: &HashMap<&str, usize>, from: usize) -> bool {
    let (images, end) = lineage(survey, index, from);
    for &base in &images[1..] {
        let Some(files) = &survey.files[base] else { return false };
        let target = survey.drafts[base].image.target.as_ref();
        let image = LintedImage::new(files, target.map(|target| target.value.as_str()));
        if let Some((_, user)) = image.last("USER") {
            return is_root_user(user);
        }
    }
    matches!(end, End::Scratch)
}

fn is_root_user(user: &str) -> bool {
    matches!(user.split(':').next(), Some("root" | "0"))
}

struct Advice {
    line: usize,
    code: RuleCode,
    message: String,
    hint: String,
}

/// A Dockerfile, seen from the image that it makes.
struct LintedImage<'f> {
    files: &'f DockerfileRead,
    /// Instructions with the number of their stage.
    all: Vec<(usize, &'f Instruction)>,
    /// The stage that becomes the image, and those that it is `FROM`.
    stages: BTreeSet<usize>,
}

/// A `RUN` whose commands are known.
struct RunCommands<'f> {
    line: usize,
    text: &'f str,
    /// The words of each command.
    commands: Vec<Vec<&'f str>>,
}

impl<'f> RunCommands<'f> {
    fn of(one: &'f Instruction) -> Option<Self> {
        let text = one.text.strip_prefix("RUN ").filter(|text| !text.contains("<<"))?;
        let commands = text
            .split(['&', '|', ';', '(', ')', '{', '}'])
            .map(|command| {
                let is_before = |word: &&str| {
                    word.starts_with("--")
                        || word.contains('=')
                        || ["sudo", "then", "do", "if", "!", "env"].contains(word)
                };
                let words: Vec<&str> = command.split_whitespace().skip_while(is_before).collect();
                match &words[..] {
                    [program, "-m", rest @ ..] if program.starts_with("python") => rest.to_vec(),
                    _ => words,
                }
            })
            .filter(|words| !words.is_empty())
            .collect();
        Some(Self { line: one.line, text, commands })
    }

    /// The commands of a package manager that install something, without their options.
    fn installs(&self, manager: &PackageManager) -> impl Iterator<Item = Vec<&'f str>> {
        self.commands.iter().filter_map(|words| {
            let program = words[0].rsplit('/').next().unwrap_or_default();
            let mut rest: Vec<&str> =
                words[1..].iter().copied().filter(|word| !word.starts_with('-')).collect();
            let is_install = manager.programs.contains(&program)
                && rest.first().is_some_and(|word| manager.install.contains(word));
            is_install.then(|| rest.split_off(1))
        })
    }

    fn is_clean(&self, manager: &PackageManager) -> bool {
        manager.clean.iter().any(|clean| self.text.contains(clean))
    }

    /// The paths that it deletes.
    fn deleted(&self) -> impl Iterator<Item = &'f str> {
        let removals = self.commands.iter().filter(|words| words[0] == "rm");
        removals.flat_map(|words| words[1..].iter().copied()).filter(|word| word.starts_with('/'))
    }
}

impl<'f> LintedImage<'f> {
    fn new(files: &'f DockerfileRead, target: Option<&str>) -> Self {
        let (all, stages) = image_stages(&files.scan.instructions, target);
        Self { files, all, stages }
    }

    /// The instructions that make the image.
    fn own(&self) -> impl Iterator<Item = &'f Instruction> {
        self.all.iter().filter(|(stage, _)| self.stages.contains(stage)).map(|(_, one)| *one)
    }

    fn runs(&self) -> impl Iterator<Item = RunCommands<'f>> {
        self.own().filter_map(RunCommands::of)
    }

    /// The line and the rest of the last instruction of this name.
    fn last(&self, name: &str) -> Option<(usize, &'f str)> {
        self.own()
            .filter_map(|one| Some((one.line, one.text.strip_prefix(name)?.strip_prefix(' ')?)))
            .last()
    }

    /// Whether an `ENV`, an `ARG` or an earlier command sets this for all that follows.
    fn sets(&self, text: &str) -> bool {
        self.all.iter().any(|(_, one)| one.text.contains(text))
    }

    /// Unused files in layers.
    fn layers(&self) -> Vec<Advice> {
        let mut found = Vec::new();
        // Of each package manager: the line of the `RUN` that leaves its cache.
        let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
        let mut copied: BTreeMap<String, usize> = BTreeMap::new();
        for one in self.own() {
            copied.extend(destinations(&one.text).into_iter().map(|path| (path, one.line)));
            let Some(run) = RunCommands::of(one) else { continue };
            for (n, manager) in MANAGERS.iter().enumerate() {
                let has_installed = run.installs(manager).next().is_some();
                let is_clean = run.is_clean(manager)
                    || manager.variable.is_some_and(|variable| self.sets(variable));
                match (has_installed, is_clean) {
                    (true, false) => _ = kept.entry(n).or_insert(run.line),
                    (false, true) => {
                        let Some(line) = kept.remove(&n) else { continue };
                        let program = manager.programs[0];
                        found.push(Advice {
                            line: run.line,
                            code: RuleCode::RemovedTooLate,
                            message: format!(
                                "the layer of line {line} still contains the files of `{program}`"
                            ),
                            hint: format!("delete them in line {line}: {}", manager.fix),
                        });
                    }
                    _ => {}
                }
            }
            for path in run.deleted() {
                let Some(line) = copied.remove(path.trim_end_matches('/')) else { continue };
                found.push(Advice {
                    line: run.line,
                    code: RuleCode::RemovedTooLate,
                    message: format!("the layer of line {line} still contains `{path}`"),
                    hint: "mount it into this `RUN` instead: `--mount=type=bind,source=…,target=…`"
                        .to_owned(),
                });
            }
            // Without its question answered, apt is configured by a file, which may say this, too.
            let says_yes = |word: &&str| {
                let is_short = word.starts_with('-') && !word.starts_with("--");
                is_short && (word.contains('y') || word.contains("qq"))
                    || ["--yes", "--assume-yes"].contains(word)
            };
            let is_plain = |words: &Vec<&str>| {
                APT.programs.contains(&words[0])
                    && words.contains(&"install")
                    && words.iter().any(says_yes)
                    && !words.contains(&"--no-install-recommends")
            };
            if run.commands.iter().any(is_plain) && !self.sets("nstall-Recommends") {
                found.push(Advice {
                    line: run.line,
                    code: RuleCode::Recommends,
                    message: "apt installs recommended packages, too".to_owned(),
                    hint: "add `--no-install-recommends`, and name the packages that you need"
                        .to_owned(),
                });
            }
        }
        found.extend(kept.into_iter().map(|(n, line)| Advice {
            line,
            code: RuleCode::CacheInLayer,
            message: format!(
                "`{}` leaves its cache or its lists in the layer",
                MANAGERS[n].programs[0]
            ),
            hint: MANAGERS[n].fix.to_owned(),
        }));
        found
    }

    /// In any stage, because it makes the layer cache useless.
    fn copied_before_install(&self) -> Option<Advice> {
        let mut copied: Option<(usize, usize)> = None;
        for (stage, one) in &self.all {
            if copies_all(&one.text) {
                copied = Some((*stage, one.line));
            }
            let Some((_, line)) = copied.filter(|(other, _)| other == stage) else { continue };
            let Some(run) = RunCommands::of(one) else { continue };
            let command = DEPENDENCIES.iter().find(|command| {
                let mut words = command.split(' ');
                let program = words.next();
                let rest: Vec<&str> = words.collect();
                run.commands.iter().any(|one| {
                    Some(one[0]) == program && rest.iter().all(|word| one.contains(word))
                })
            });
            if let Some(command) = command {
                return Some(Advice {
                    line,
                    code: RuleCode::CopyBeforeInstall,
                    message: format!(
                        "each change of a file repeats `{command}` in line {}",
                        run.line
                    ),
                    hint: "copy only the list of dependencies before it, and the rest after it"
                        .to_owned(),
                });
            }
        }
        None
    }

    fn tools(&self) -> Option<Advice> {
        for run in self.runs() {
            let removes = ["purge", "remove", "apk del"].iter().any(|word| run.text.contains(word));
            let mut tools: Vec<&str> = MANAGERS[..4]
                .iter()
                .flat_map(|manager| run.installs(manager).flatten().collect::<Vec<_>>())
                .filter(|package| {
                    let name = package.split(['=', ':']).next().unwrap_or_default();
                    TOOLS.contains(&name) || name.ends_with("-dev") || name.ends_with("-devel")
                })
                .collect();
            tools.dedup();
            let (false, Some(first)) = (removes, tools.first()) else { continue };
            let more = match tools.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            return Some(Advice {
                line: run.line,
                code: RuleCode::BuildTools,
                message: format!("the image contains build tools: `{first}`{more}"),
                hint: "compile in a stage of its own, and `COPY --from` it".to_owned(),
            });
        }
        None
    }

    fn shell(&self) -> Option<Advice> {
        let (name, (line, command)) = match self.last("ENTRYPOINT") {
            Some(entrypoint) => ("ENTRYPOINT", entrypoint),
            None => ("CMD", self.last("CMD")?),
        };
        let is_list = command.starts_with('[');
        let starts_shell = command.contains("\"-c\"")
            && ["[\"sh\"", "[\"/bin/sh\"", "[\"bash\"", "[\"/bin/bash\""]
                .iter()
                .any(|shell| command.replace(' ', "").starts_with(shell));
        let is_replaced = ["exec ", "tini", "dumb-init"].iter().any(|word| command.contains(word));
        (!is_replaced && (!is_list || starts_shell)).then(|| Advice {
            line,
            code: RuleCode::ShellEntrypoint,
            message: format!("`{name}` starts a shell, which passes no signal on to the program"),
            hint: format!("name the program as a list: `{name} [\"program\", \"argument\"]`"),
        })
    }

    fn root(&self, is_root_below: impl FnOnce() -> bool) -> Option<Advice> {
        let advice = |line| Advice {
            line,
            code: RuleCode::RunsAsRoot,
            message: "the program runs as root".to_owned(),
            hint: "set a `USER` after the last instruction that needs root".to_owned(),
        };
        if let Some((line, user)) = self.last("USER") {
            return is_root_user(user).then(|| advice(line));
        }
        let (line, _) = self.last("ENTRYPOINT").or_else(|| self.last("CMD"))?;
        is_root_below().then(|| advice(line))
    }

    fn onbuild(&self, name: &str, children: usize) -> Option<Advice> {
        let (line, instruction) = self.last("ONBUILD").filter(|_| children > 0)?;
        let images = if children == 1 { "1 image" } else { &format!("{children} images") };
        let what = instruction.split(' ').next().unwrap_or_default();
        Some(Advice {
            line,
            code: RuleCode::OnbuildForAll,
            message: format!("this `{what}` runs in the builds of {images} on `{name}`"),
            hint: "their Dockerfiles do not show it; write it into each unless it is what the base is for"
                .to_owned(),
        })
    }

    /// A `.git` in it is told by a rule of its own.
    fn whole_context(&self) -> Option<Advice> {
        let one = self.all.iter().map(|(_, one)| one).find(|one| copies_all(&one.text))?;
        let is_told = has_dockerignore(self.files) || self.files.context.join(".git").exists();
        (!is_told).then(|| Advice {
            line: one.line,
            code: RuleCode::NoDockerignore,
            message: "every file of the context is copied, and no `.dockerignore` limits it"
                .to_owned(),
            hint: "write a `.dockerignore`, or copy only the files that the image needs".to_owned(),
        })
    }
}

/// The words of a `COPY` or an `ADD` without its options; `None` if it is a list or has a heredoc.
fn copy(text: &str) -> Option<Vec<&str>> {
    let rest = text.strip_prefix("COPY ").or_else(|| text.strip_prefix("ADD "))?;
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.starts_with("--")).collect();
    (words.len() > 1 && !rest.contains(['[', '<'])).then_some(words)
}

/// Whether it takes the whole context.
fn copies_all(text: &str) -> bool {
    let is_all = |words: Vec<&str>| {
        words[..words.len() - 1].iter().any(|source| [".", "./"].contains(source))
    };
    !text.contains("--from=") && copy(text).is_some_and(is_all)
}

/// The absolute paths that a `COPY` or an `ADD` writes, as far as they are known. Not a folder that ends in a
/// slash: it may have been there before.
fn destinations(text: &str) -> Vec<String> {
    let words = copy(text).unwrap_or_default();
    let Some((to, sources)) = words.split_last() else { return Vec::new() };
    if !to.starts_with('/') || text.contains('$') {
        return Vec::new();
    }
    if !to.ends_with('/') {
        return vec![(*to).to_owned()];
    }
    let names = sources.iter().filter_map(|source| source.trim_end_matches('/').rsplit('/').next());
    names.map(|name| format!("{to}{name}")).collect()
}
