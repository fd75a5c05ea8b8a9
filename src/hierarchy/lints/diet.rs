//! Advice on what makes images larger, builds slower, or the start of a container unsound.
//!
//! **Invariant:** only stages that are a part of the image count, and a `RUN` whose commands are in a heredoc
//! is unknown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use globset::GlobBuilder;

use super::{
    Problems,
    entries::has_dockerignore,
    image::{Advice, LintedImage, RunCommands, copies_all, destinations},
    line,
    lineage::{End, line as lineage},
    packages::{APT, Call, MANAGERS, OF_SYSTEM, PackageManager},
    process::shell,
};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    dockerfile::shell::ShellCommand,
    hierarchy::{Base, load::HierarchySurvey},
    image::{Reference, packages::is_build_tool},
};

/// Commands that install what a list of the context names: the program, and words that follow it.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("npm", &["ci"]),
    ("npm", &["install"]),
    ("yarn", &["install"]),
    ("pnpm", &["install"]),
    ("pip", &["install", "-r"]),
    ("bundle", &["install"]),
    ("go", &["mod", "download"]),
    ("composer", &["install"]),
    ("poetry", &["install"]),
    ("cargo", &["fetch"]),
    ("mvn", &["dependency:go-offline"]),
    ("mvn", &["dependency:resolve"]),
];

/// Images of Docker Hub that run as root in each of their tags.
const ROOT_UPSTREAMS: [&str; 24] = [
    "almalinux",
    "alpine",
    "amazonlinux",
    "archlinux",
    "buildpack-deps",
    "busybox",
    "centos",
    "debian",
    "eclipse-temurin",
    "fedora",
    "gcc",
    "golang",
    "httpd",
    "nginx",
    "node",
    "openjdk",
    "oraclelinux",
    "perl",
    "php",
    "python",
    "rockylinux",
    "ruby",
    "rust",
    "ubuntu",
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
        found.extend(shell(&image));
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
    let upstream = || {
        let last = survey.uses.get(*images.last()?)?;
        match &last.iter().find(|used| used.is_final)?.base {
            Base::Upstream(upstream) => Some(is_root_upstream(upstream)),
            _ => None,
        }
    };
    matches!(end, End::Scratch) || upstream().unwrap_or(false)
}

fn is_root_upstream(upstream: &Reference) -> bool {
    let path = upstream.repository.path();
    upstream.repository.host() == "docker.io"
        && path.strip_prefix("library/").is_some_and(|name| ROOT_UPSTREAMS.contains(&name))
}

fn is_root_user(user: &str) -> bool {
    matches!(user.split(':').next(), Some("root" | "0"))
}

impl LintedImage<'_> {
    /// Unused files in layers.
    fn layers(&self) -> Vec<Advice> {
        let mut found = Vec::new();
        // Of each package manager: the line of the `RUN` that leaves its cache.
        let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
        let mut copied: BTreeMap<String, usize> = BTreeMap::new();
        for one in self.own() {
            copied.extend(destinations(&one.text).into_iter().map(|path| (path, one.line)));
            let Some(run) = self.run(one) else { continue };
            for (n, manager) in MANAGERS.iter().enumerate() {
                match after(&run, manager) {
                    _ if manager.variable.is_some_and(|variable| self.sets(variable)) => {}
                    CacheChange::Filled => _ = kept.entry(n).or_insert(run.line),
                    CacheChange::None => {}
                    CacheChange::Emptied => {
                        let Some(line) = kept.remove(&n) else { continue };
                        let program = manager.name();
                        found.push(Advice {
                            line: run.line,
                            code: RuleCode::RemovedTooLate,
                            message: format!(
                                "deleting the files of `{program}` here frees nothing: the layer of line {line} contains them"
                            ),
                            hint: format!("delete them in line {line}: {}", manager.fix),
                        });
                    }
                }
            }
            let calls = run.commands.iter().map(Call::of);
            for path in calls.flat_map(|call| call.deleted(run.shell)) {
                let files = copied.keys().filter(|file| is_deleted(&path, file));
                for file in files.cloned().collect::<Vec<_>>() {
                    let Some(line) = copied.remove(&file) else { continue };
                    found.push(Advice {
                        line: run.line,
                        code: RuleCode::RemovedTooLate,
                        message: format!(
                            "deleting `{file}` here frees nothing: the layer of line {line} contains it"
                        ),
                        hint:
                            "mount it into this `RUN` instead: `--mount=type=bind,source=…,target=…`"
                                .to_owned(),
                    });
                }
            }
            let is_plain = |command: &ShellCommand| {
                let call = Call::of(command);
                let is_without = |word: &String| {
                    word.starts_with("--no-install-recommends")
                        || word.contains("nstall-Recommends")
                        || ["-R", "--without-recommends"].contains(&word.as_str())
                };
                APT.installs(&call).is_some()
                    && call.has("install")
                    && !call.arguments.iter().any(is_without)
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
            message: format!("`{}` leaves its cache or its lists in the layer", MANAGERS[n].name()),
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
            let Some(run) = self.run(one) else { continue };
            let calls: Vec<Call<'_>> = run.commands.iter().map(Call::of).collect();
            let command = DEPENDENCIES.iter().find(|(program, words)| {
                calls
                    .iter()
                    .any(|call| call.program == *program && words.iter().all(|word| call.has(word)))
            });
            if let Some((program, words)) = command {
                return Some(Advice {
                    line,
                    code: RuleCode::CopyBeforeInstall,
                    message: format!(
                        "after each change of any file, line {} runs `{program} {}` again",
                        run.line,
                        words.join(" ")
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
            let calls: Vec<Call<'_>> = run.commands.iter().map(Call::of).collect();
            let system = &MANAGERS[..OF_SYSTEM];
            let removes =
                calls.iter().any(|call| system.iter().any(|manager| manager.removes(call)));
            let installed = calls.iter().flat_map(|call| {
                system.iter().filter_map(|manager| manager.installs(call)).flatten()
            });
            let mut tools: Vec<&str> = installed
                .filter(|package| {
                    let end = package.find(['=', ':', '<', '>', '~', '/']);
                    is_build_tool(&package[..end.unwrap_or(package.len())])
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
                message: format!("the final image contains build tools: `{first}`{more}"),
                hint: "compile in a stage of its own, and copy the result with `COPY --from`"
                    .to_owned(),
            });
        }
        None
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

/// What a `RUN` does to the cache of a package manager.
enum CacheChange {
    None,
    Filled,
    Emptied,
}

fn after(run: &RunCommands<'_>, manager: &PackageManager) -> CacheChange {
    if manager.is_mounted(&run.options) {
        return CacheChange::None;
    }
    let (mut change, mut has_variable) = (CacheChange::None, false);
    for command in &run.commands {
        let call = Call::of(command);
        let set = |name: &str| call.arguments.iter().any(|word| word.starts_with(name));
        has_variable |= call.program == "export" && manager.variable.is_some_and(set);
        let fills = manager.installs(&call).is_some()
            && !has_variable
            && !manager.is_without_cache(&call, command);
        if fills {
            change = CacheChange::Filled;
        } else if manager.cleans(&call, run.shell) {
            // What this `RUN` itself filled is not in any layer.
            change = match change {
                CacheChange::Filled => CacheChange::None,
                _ => CacheChange::Emptied,
            };
        }
    }
    change
}

/// Whether deleting `path`, which may have `*` in its name, deletes this file.
fn is_deleted(path: &str, file: &str) -> bool {
    let path = path.trim_end_matches('/');
    let is_match = || {
        let glob = GlobBuilder::new(path).literal_separator(true).build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(file))
    };
    path == file || path.starts_with('/') && path.contains(['*', '?']) && is_match()
}
