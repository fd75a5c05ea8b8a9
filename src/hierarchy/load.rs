//! From the file to the [`Hierarchy`], with everything that is wrong on the way.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use regex::Regex;

use super::{
    Base, BaseUse, Dockerfile, EngineEntry, Environment, Hierarchy, Mirror, Node, NodeName, Notify,
    OnFailure, Overrides, Runners, Test, Trust,
    checkouts::Checkouts,
    draft::{self, Draft},
    fields::Problems,
    files::{self, DockerfileRead, FileLookup},
    ignore, lints, platform_files,
    schema::File,
    submodules::Submodules,
    trust, validate, yaml,
};
use crate::{
    check::{
        diagnostic::{Diagnostic, Severity, SourceFile},
        rules::RuleCode,
    },
    host::bounded,
    image::{Platform, Reference, Repository},
};

/// A build that says nothing of its timeout gets this.
pub(super) const BUILD_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// An image that says nothing of `keep` keeps as many as the last runs that can be rolled back.
pub(super) const KEPT: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// What the command line says about how to read it.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Publishes there, whatever the file says.
    pub registry: Option<Repository>,
    /// The engine's platform, for `$BUILDPLATFORM` and for images without a `platform`. If not
    /// known, Linux on this machine's processor.
    pub platform: Option<Platform>,
    pub trust: Trust,
    /// Reads no Dockerfile: the images have names and tags, and no parents.
    pub names_only: bool,
    /// What `${NAME}` in the file means.
    pub environment: Environment,
    /// Fields and build arguments that are given beside the file.
    pub overrides: Overrides,
    /// The engines of the pool, whatever the file says.
    pub engines: Vec<EngineEntry>,
}

#[derive(Debug)]
pub struct Loaded {
    pub hierarchy: Hierarchy,
    pub warnings: Vec<Diagnostic>,
}

/// Everything that is wrong, warnings too.
#[derive(Debug)]
pub struct LoadError {
    pub problems: Vec<Diagnostic>,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.problems.iter().filter(|one| one.severity == Severity::Error);
        match (errors.count(), self.problems.first()) {
            (1, Some(only)) => f.write_str(&only.message),
            (count, _) => write!(f, "the hierarchy has {count} problems"),
        }
    }
}

impl std::error::Error for LoadError {}

impl Hierarchy {
    /// Reads the file, and every Dockerfile that it names, unless the options leave them out.
    pub fn load(file: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
        HierarchySurvey::of(file, options)
            .map_err(|problems| LoadError { problems: presented(problems, Presentation::Command) })?
            .loaded()
    }

    /// The same for a file that is not written yet. Its path is absolute.
    pub fn load_text(
        path: PathBuf,
        text: String,
        options: &LoadOptions,
    ) -> Result<Loaded, LoadError> {
        HierarchySurvey::of_text(path, text, options)
            .map_err(|problems| LoadError { problems })?
            .loaded()
    }

    /// Everything that can be said of the file and its Dockerfiles, however good or bad they are.
    pub fn check(file: &Path, options: &LoadOptions) -> CheckedHierarchy {
        let mut survey = match HierarchySurvey::of(file, options) {
            Ok(survey) => survey,
            Err(problems) => {
                let problems = presented(problems, Presentation::Check);
                return CheckedHierarchy { problems, ignored: 0, images: 0 };
            }
        };
        lints::look(&mut survey);
        let mut problems = survey.problems.take();
        let dockerfiles = survey.files.iter().flatten().map(|files| &files.dockerfile);
        let (ignored, useless) =
            ignore::apply_all(&mut problems, dockerfiles.chain([&survey.problems.source]));
        problems.extend(useless);
        let problems = presented(problems, Presentation::Check);
        CheckedHierarchy {
            problems,
            ignored,
            images: NodeName::images(survey.drafts.iter().map(|draft| &draft.name)),
        }
    }
}

/// What a hierarchy was found to be.
#[derive(Debug)]
pub struct CheckedHierarchy {
    /// The worst first.
    pub problems: Vec<Diagnostic>,
    /// How many a comment takes away.
    pub ignored: usize,
    pub images: usize,
}

/// All that was read, good or not.
pub(super) struct HierarchySurvey {
    path: PathBuf,
    registry: Option<Repository>,
    mirror: Option<Mirror>,
    runners: Runners,
    notify: Option<Notify>,
    env_file: Option<PathBuf>,
    engines: Vec<EngineEntry>,
    pub(super) drafts: Vec<Draft>,
    /// Of each draft, if they could be read.
    pub(super) files: Vec<Option<DockerfileRead>>,
    /// Of each draft: what its Dockerfile names.
    pub(super) uses: Vec<Vec<BaseUse>>,
    /// What an image without a `platform` is built for.
    pub(super) platform: Platform,
    pub(super) problems: Problems,
    /// Whether images without a value for an argument were left out.
    pub(super) is_partial: bool,
    checkouts: Checkouts,
}

impl HierarchySurvey {
    /// The hierarchy, if nothing is wrong with it.
    fn loaded(mut self) -> Result<Loaded, LoadError> {
        let mut problems = self.problems.take();
        ignore::apply(&mut problems);
        let problems = presented(problems, Presentation::Command);
        let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
        let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_error);
        let failed = |mut errors: Vec<Diagnostic>, warnings| {
            errors.extend(warnings);
            LoadError { problems: errors }
        };
        if !errors.is_empty() {
            return Err(failed(errors, warnings));
        }
        let root = self.root().to_owned();
        let (notify, mirror, env_file) = (self.notify, self.mirror, self.env_file);
        let runners = self.runners;
        let (platform, engines) = (self.platform, self.engines);
        let others = platform_files::of_other_platforms(&self.drafts, &self.files, &platform);
        let nodes: Vec<Node> = self
            .drafts
            .into_iter()
            .zip(self.files)
            .zip(self.uses)
            .zip(others)
            .filter_map(|(((draft, files), uses), other_platforms_files)| {
                let node = node(draft, files?, (uses, &root))?;
                Some(Node { other_platforms_files, ..node })
            })
            .collect();
        match Hierarchy::from_nodes(self.path, self.registry, nodes) {
            Ok(hierarchy) => {
                let checkouts = self.checkouts;
                let mut hierarchy = Hierarchy {
                    mirror,
                    runners,
                    notify,
                    env_file,
                    engines,
                    platform,
                    checkouts,
                    ..hierarchy
                };
                if hierarchy.registry.is_none() {
                    hierarchy.separate_platforms();
                }
                Ok(Loaded { hierarchy, warnings })
            }
            Err(error) => Err(failed(vec![Diagnostic::error(error.to_string())], warnings)),
        }
    }

    /// `Err` if the file cannot be taken apart at all.
    fn of(file: &Path, options: &LoadOptions) -> Result<Self, Vec<Diagnostic>> {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        if options.trust == Trust::Untrusted && is_outside(&path) {
            return Err(vec![trust::refused_link().in_file(&path)]);
        }
        let text = read(&path).map_err(|problem| vec![problem])?;
        Self::of_text(path, text, options)
    }

    /// The same for a file that may not be there. Its path is absolute.
    fn of_text(
        path: PathBuf,
        text: String,
        options: &LoadOptions,
    ) -> Result<Self, Vec<Diagnostic>> {
        let source = if is_outside(&path) {
            SourceFile::outside(&path, text)
        } else {
            SourceFile::new(&path, text)
        };
        let (mut tree, twice) = yaml::parse(&source).map_err(|problem| vec![problem])?;

        let mut problems = Problems::new(&source);
        problems.found.extend(twice);
        let Some(file) = File::expanded(&mut tree, &path, options, &mut problems) else {
            return Err(problems.take());
        };
        let of_file = file.registry.as_ref().map(|registry| registry.value.clone());
        let registry = options.registry.clone().or_else(|| of_file.clone());
        let (mirror, runners) = (file.mirror.clone(), file.runners.clone());
        let (notify, notify_span) = (file.notify.clone(), file.notify_span.clone());
        let engines_span = file.engines_span.clone();
        let engines = match &options.engines[..] {
            [] => file.engines.clone(),
            given => given.to_vec(),
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let env_file = file.variables.as_ref().map(|named| folder.join(&named.value));
        let mut drafts = draft::drafts(file, options, &mut problems);
        validate::outside_of_mirror(&drafts, mirror.as_ref(), &mut problems);
        if options.trust == Trust::Untrusted {
            let notify = notify.as_ref().zip(notify_span.as_ref());
            let engines = engines_span.as_ref().filter(|_| options.engines.is_empty());
            trust::refuse(&drafts, notify, engines, &mut problems);
        }
        // What is wrong in the file itself comes in its order.
        problems.found.sort_by_key(|problem| {
            problem
                .excerpts
                .first()
                .and_then(|one| one.labels.first())
                .map(|label| label.span.start)
        });

        let platform = options.platform.clone().unwrap_or_else(this_machine);
        let root = path.parent().unwrap_or(Path::new("/"));
        let (checkouts, submodules) = (Checkouts::default(), Submodules::default());
        if !options.names_only {
            options.overrides.offer(&mut drafts);
        }
        let place = FileLookup {
            root,
            file: &source,
            platform: &platform,
            trust: options.trust,
            checkouts: &checkouts,
            submodules: &submodules,
        };
        let mut found: Vec<Option<DockerfileRead>> = Vec::with_capacity(drafts.len());
        let mut read_problems: Vec<Vec<Diagnostic>> = Vec::with_capacity(drafts.len());
        let read = if options.names_only {
            files::unread(&drafts, place)
        } else {
            files::read_all(&drafts, place)
        };
        for read in read {
            let (files, more) = match read {
                Some(Ok(files)) => (Some(files), Vec::new()),
                Some(Err(more)) => (None, more),
                None => (None, Vec::new()),
            };
            found.push(files);
            read_problems.push(more);
        }
        if !options.names_only {
            options.overrides.settle(&mut drafts, &found, &mut problems);
        }
        let mut unfilled = unfilled(&drafts, &mut found, &mut problems, read_problems);
        let own: Vec<&Repository> = registry.iter().chain(&of_file).collect();
        let mut uses = validate::resolve((&drafts, &platform), &found, own, &mut problems);
        without_false_advice(registry.as_ref(), &mut problems);
        validate::without_values(&drafts, &uses, &mut unfilled, &mut problems);
        keep(&mut drafts, &unfilled);
        keep(&mut found, &unfilled);
        keep(&mut uses, &unfilled);
        if !options.names_only {
            validate::parents(&drafts, &found, &uses, &mut problems);
            validate::flattened((&drafts, &found), &uses, &mut problems);
        }
        validate::published_once(&drafts, &mut problems);
        validate::rings(&drafts, &found, &uses, &mut problems);
        Ok(Self {
            path,
            registry,
            mirror,
            runners,
            notify,
            env_file,
            engines,
            drafts,
            files: found,
            uses,
            platform,
            problems,
            is_partial: unfilled.contains(&true),
            checkouts,
        })
    }

    /// The folder of the file.
    pub(super) fn root(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// If the registry of the file is not valid, every reference seems to be one to another registry.
fn without_false_advice(registry: Option<&Repository>, problems: &mut Problems) {
    let is = |problem: &Diagnostic, code| problem.code == Some(code);
    let is_wrong = |one: &Diagnostic| is(one, RuleCode::WrongValue) || is(one, RuleCode::WrongName);
    if problems.found.iter().any(is_wrong) {
        problems.found.retain(|problem| !is(problem, RuleCode::NotBuilt));
    }
    let mut wrong = problems.found.iter().filter(|problem| is(problem, RuleCode::WrongValue));
    if registry.is_none() && wrong.next().is_some() {
        problems.found.retain(|problem| !is(problem, RuleCode::OtherRegistry));
    }
}

/// Which images need a value that is empty, so that their Dockerfile cannot be read. They are left
/// out, and only a warning: everything can be said of the others.
fn unfilled(
    drafts: &[Draft],
    found: &mut [Option<DockerfileRead>],
    problems: &mut Problems,
    read: Vec<Vec<Diagnostic>>,
) -> Vec<bool> {
    let mut unfilled = Vec::with_capacity(drafts.len());
    for ((draft, files), more) in drafts.iter().zip(found).zip(read) {
        let empty = draft.image.build_args.iter().find(|(_, value)| value.is_empty());
        let is_bad = match files {
            None => more.iter().any(|one| one.code == Some(RuleCode::BrokenDockerfile)),
            Some(files) => {
                let mut uses = files.scan.uses.iter();
                uses.any(|one| one.image.parse::<Reference>().is_err())
            }
        };
        match empty {
            Some((name, _)) if is_bad => {
                let message =
                    format!("`{}` is left out: its argument `{name}` has no value", draft.name);
                let mut warning = Diagnostic::of(RuleCode::BrokenDockerfile, message)
                    .at(&problems.source, draft.span.clone(), "")
                    .hint("fill it in under `build_args`");
                warning.severity = Severity::Warning;
                problems.found.push(warning);
                *files = None;
                unfilled.push(true);
            }
            _ => {
                problems.found.extend(more);
                unfilled.push(false);
            }
        }
    }
    unfilled
}

fn keep<T>(all: &mut Vec<T>, left_out: &[bool]) {
    let mut left_out = left_out.iter();
    all.retain(|_| !left_out.next().copied().unwrap_or(false));
}

/// Who asked for the problems decides how many are shown: finding the place of one takes time, if there are many in
/// one long line.
#[derive(Clone, Copy)]
enum Presentation {
    /// Of `rebuild check`.
    Check,
    /// Of a command that cannot go on, or that warns.
    Command,
}

impl Presentation {
    /// The largest number of problems, and of different ones.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Check => (4000, 4000),
            Self::Command => (1000, 100),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Check => "fix those above, and check again",
            Self::Command => "`rebuild check` prints them",
        }
    }
}

/// Each once, the worst first, and no more than can be read.
fn presented(mut problems: Vec<Diagnostic>, to: Presentation) -> Vec<Diagnostic> {
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    let (most, different) = to.limits();
    let many = problems.len().saturating_sub(most);
    let mut worst = problems.get(most).map(|problem| problem.severity);
    problems.truncate(most);
    once(&mut problems);
    problems.iter_mut().for_each(Diagnostic::conceal);
    let mut causes = HashSet::new();
    let kept = problems.iter().take_while(|problem| {
        causes.insert((problem.code, problem.message.clone()));
        causes.len() <= different
    });
    let kept = kept.count();
    let more = problems.len() - kept + many;
    if more > 0 {
        worst = problems.get(kept).map(|problem| problem.severity).or(worst);
        problems.truncate(kept);
        let message = format!("there are {more} more problems, which are not shown");
        let note = Diagnostic::error(message).hint(to.hint());
        problems.push(Diagnostic { severity: worst.unwrap_or(Severity::Error), ..note });
    }
    problems
}

/// Images that share a Dockerfile share its problems.
fn once(problems: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    problems.retain(|problem| {
        let place = problem.position().map(|(file, line, column)| (file.to_owned(), line, column));
        seen.insert((without_platforms(&problem.message), place))
    });
}

/// A message without the platforms in names of nodes: the nodes of an image share its problems.
fn without_platforms(message: &str) -> String {
    static PLATFORM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r" \([a-z]+/[a-z0-9_./-]+\)`").expect("a valid pattern"));
    PLATFORM.replace_all(message, "`").into_owned()
}

/// Whether the file is a link out of its folder. The author of a pull request can commit one, to a file with a login
/// for example.
fn is_outside(path: &Path) -> bool {
    trust::outside(path, path.parent().unwrap_or(Path::new("/"))).is_some()
}

fn read(path: &Path) -> Result<String, Diagnostic> {
    let bytes = bounded::read(path, bounded::TEXT).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such hierarchy file".to_owned(),
            _ => format!("the hierarchy file cannot be read: {error}"),
        };
        Diagnostic::of(RuleCode::Unreadable, message).in_file(path)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("this file is not UTF-8 text, from its byte {at} on");
        Diagnostic::of(RuleCode::Unreadable, message).in_file(path).hint("save it as UTF-8")
    })
}

fn node(draft: Draft, files: DockerfileRead, (uses, root): (Vec<BaseUse>, &Path)) -> Option<Node> {
    let DockerfileRead { context, dockerfile, scan, contexts } = files;
    let is_used = |name: &String| {
        uses.iter().any(|used| matches!(&used.base, Base::Files(one) if one == name))
    };
    let contexts = contexts.into_iter().filter(|(name, _)| is_used(name)).collect();
    let image = draft.image;
    let flatten =
        image.flatten(uses.iter().any(|used| used.is_final && used.base.node().is_some()));
    let tests: Vec<Test> = image.test.unwrap_or_default();
    Some(Node {
        name: draft.name,
        repository: draft.repository?,
        destinations: draft.destinations,
        tags: draft.tags,
        context,
        other_platforms_files: Vec::new(),
        contexts,
        dockerfile: Dockerfile {
            path: dockerfile.path.clone(),
            text: dockerfile.text.clone(),
            uses,
            instructions: scan.instructions,
        },
        target: image.target.map(|target| target.value),
        platform: image.platform.map(|platform| platform.value),
        is_optional_platform: image.is_optional_platform,
        build_args: image.build_args,
        settings: image.settings,
        labels: image.labels,
        optional_secrets: image.secrets.optional,
        secrets: image
            .secrets
            .sources
            .into_iter()
            .map(|(id, source)| (id, source.relative_to(root)))
            .collect(),
        ssh: image.ssh.unwrap_or_default(),
        prepare: image.prepare,
        tests,
        gates: image.gates.unwrap_or_default(),
        sign: image.sign,
        on_failure: if image.is_optional_platform {
            OnFailure::Optional
        } else {
            image.on_failure.unwrap_or(OnFailure::Block)
        },
        timeout: image.timeout.unwrap_or(BUILD_TIMEOUT),
        retries: image.retries.unwrap_or(0),
        keep: image.keep.unwrap_or(KEPT),
        file_labels: image.file_labels.unwrap_or(true),
        budget: image.budget.budget(),
        flatten,
        refresh: image.refresh.unwrap_or_default(),
        schedule: image.schedule,
        volatile: image.volatile.unwrap_or_default(),
    })
}

/// Docker's names for Rust's.
pub fn this_machine() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", None),
        "arm" => ("arm", Some("v7")),
        "powerpc64" => ("ppc64le", None),
        other => (other, None),
    };
    Platform {
        os: "linux".into(),
        architecture: architecture.into(),
        variant: variant.map(str::to_owned),
    }
}
