//! From the file to the [`Hierarchy`], with everything that is wrong on the way.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    BaseUse, Dockerfile, Hierarchy, Node, OnFailure, SecretSource, Test,
    draft::{self, Draft},
    fields::Problems,
    files::{self, Files, Place},
    schema::File,
    validate, yaml,
};
use crate::{
    diagnostic::{Diagnostic, Severity, Source},
    image::{Platform, Repository},
};

/// A build that says nothing of its timeout gets this.
pub(super) const BUILD_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// What a hierarchy file is called, the first choice first.
const FILE_NAMES: [&str; 2] = ["hierarchy.yaml", "hierarchy.yml"];

/// What the command line says about how to read it.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Publishes there, whatever the file says.
    pub registry: Option<Repository>,
    /// The engine's platform, for `$BUILDPLATFORM` and for images without a `platform`. If not
    /// known, Linux on this machine's processor.
    pub platform: Option<Platform>,
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
    /// The hierarchy file of a folder, or of the nearest one above it.
    pub fn find_file(start: &Path) -> Option<PathBuf> {
        start
            .ancestors()
            .flat_map(|folder| FILE_NAMES.map(|name| folder.join(name)))
            .find(|file| file.is_file())
    }

    /// Reads the file, and every Dockerfile that it names.
    pub fn load(file: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let text = read(&path).map_err(|problem| LoadError { problems: vec![problem] })?;
        Self::load_text(path, text, options)
    }

    /// The same for a file that is not written yet. Its path is absolute.
    pub fn load_text(
        path: PathBuf,
        text: String,
        options: &LoadOptions,
    ) -> Result<Loaded, LoadError> {
        let fatal = |problem| LoadError { problems: vec![problem] };
        let source = Source::new(&path, text);
        let (tree, twice) = yaml::parse(&source).map_err(fatal)?;

        let mut problems = Problems::new(&source);
        problems.found.extend(twice);
        let Some(file) = File::read(&tree, &mut problems) else {
            return Err(LoadError { problems: problems.found });
        };
        let registry = options
            .registry
            .clone()
            .or_else(|| file.registry.as_ref().map(|registry| registry.value.clone()));
        let drafts = draft::drafts(file, options.registry.as_ref(), &mut problems);
        // What is wrong in the file itself comes in its order.
        problems.found.sort_by_key(|problem| {
            problem
                .excerpts
                .first()
                .and_then(|one| one.labels.first())
                .map(|label| label.span.start)
        });

        let platform = options.platform.clone().unwrap_or_else(this_machine);
        let root = path.parent().unwrap_or(Path::new("/")).to_owned();
        let root = root.as_path();
        let place = Place { root, file: &source, platform: &platform };
        let mut found: Vec<Option<Files>> = Vec::with_capacity(drafts.len());
        for read in files::read_all(&drafts, place) {
            found.push(match read {
                Some(Ok(files)) => Some(files),
                Some(Err(more)) => {
                    problems.found.extend(more);
                    None
                }
                None => None,
            });
        }
        let uses = validate::resolve(&drafts, &found, &mut problems);
        validate::parents(&drafts, &found, &uses, &mut problems);
        validate::published_once(&drafts, &mut problems);
        validate::rings(&drafts, &found, &uses, &mut problems);

        let mut seen = HashSet::new();
        problems.found.retain(|problem| {
            let place =
                problem.position().map(|(file, line, column)| (file.to_owned(), line, column));
            seen.insert((problem.message.clone(), place))
        });
        let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
        let (errors, warnings): (Vec<_>, Vec<_>) = problems.found.into_iter().partition(is_error);
        let failed = |mut errors: Vec<Diagnostic>, warnings| {
            errors.extend(warnings);
            LoadError { problems: errors }
        };
        if !errors.is_empty() {
            return Err(failed(errors, warnings));
        }
        let nodes: Vec<Node> = drafts
            .into_iter()
            .zip(found)
            .zip(uses)
            .filter_map(|((draft, files), uses)| node(draft, files?, (uses, root)))
            .collect();
        match Self::from_nodes(path, registry, nodes) {
            Ok(hierarchy) => Ok(Loaded { hierarchy, warnings }),
            Err(error) => Err(failed(vec![Diagnostic::error(error.to_string())], warnings)),
        }
    }
}

fn read(path: &Path) -> Result<String, Diagnostic> {
    let bytes = fs::read(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such hierarchy file".to_owned(),
            _ => format!("the hierarchy file cannot be read: {error}"),
        };
        Diagnostic::error(message).in_file(path)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Diagnostic::error(format!("this file is not UTF-8 text, from its byte {at} on"))
            .in_file(path)
            .hint("save it as UTF-8")
    })
}

fn node(draft: Draft, files: Files, (uses, root): (Vec<BaseUse>, &Path)) -> Option<Node> {
    let Files { context, dockerfile, scan } = files;
    let image = draft.image;
    let tests: Vec<Test> = image.test.unwrap_or_default();
    let absolute = |source| match source {
        SecretSource::File(path) => SecretSource::File(root.join(path)),
        env @ SecretSource::Env(_) => env,
    };
    Some(Node {
        name: draft.name,
        repository: draft.repository?,
        tags: draft.tags,
        context,
        dockerfile: Dockerfile {
            path: dockerfile.path.clone(),
            text: dockerfile.text.clone(),
            uses,
            instructions: scan.instructions,
        },
        target: image.target.map(|target| target.value),
        platform: image.platform.map(|platform| platform.value),
        build_args: image.build_args,
        labels: image.labels,
        secrets: image.secrets.into_iter().map(|(id, source)| (id, absolute(source))).collect(),
        ssh: image.ssh.unwrap_or_default(),
        prepare: image.prepare,
        tests,
        on_failure: image.on_failure.unwrap_or(OnFailure::Block),
        timeout: image.timeout.unwrap_or(BUILD_TIMEOUT),
        retries: image.retries.unwrap_or(0),
        max_size: image.max_size,
        refresh: image.refresh.unwrap_or_default(),
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
