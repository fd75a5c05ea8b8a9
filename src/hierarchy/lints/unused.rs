//! Dockerfiles that no image is built from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Problems;
use crate::{
    check::{
        diagnostic::{Diagnostic, Severity, SourceFile},
        rules::RuleCode,
    },
    dockerfile::{self, file_name::is_dockerfile},
    hierarchy::{ignored_by_init, load::HierarchySurvey},
    host::{bounded, git},
    image::{Platform, Reference},
};

/// Folders of what other people wrote.
const SKIPPED: [&str; 3] = ["node_modules", "vendor", "testdata"];
/// A larger tree is not searched to its end.
const FOLDERS: usize = 10_000;
const IGNORED: &str = "rebuild ignore=";

pub(super) fn dockerfiles(survey: &HierarchySurvey) -> Problems {
    // An image whose Dockerfile could not be read may be built from any of them.
    if survey.is_partial || survey.files.iter().any(Option::is_none) || has_error(survey) {
        return Vec::new();
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let used: BTreeSet<PathBuf> =
        survey.files.iter().flatten().map(|files| real(&files.dockerfile.path)).collect();
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut folders = vec![survey.root().to_owned()];
    let mut searched = 0;
    while let Some(folder) = folders.pop() {
        searched += 1;
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && searched < FOLDERS => {
                    let is_left_out = name.starts_with('.')
                        || SKIPPED.contains(&name.as_str())
                        || path.join("hierarchy.yaml").is_file();
                    folders.extend((!is_left_out).then_some(path));
                }
                Ok(kind) if kind.is_file() && is_dockerfile(&name) => {
                    _ = found.insert(real(&path), path);
                }
                _ => {}
            }
        }
    }
    let mut ignored = ignored(&real(survey.root()));
    let by_init = ignored_by_init(&survey.problems.source.text);
    ignored.extend(by_init.iter().map(|path| real(&survey.root().join(path))));
    let unused = found.into_iter().filter(|(real, _)| {
        !used.contains(real) && !ignored.iter().any(|path| real.starts_with(path))
    });
    unused.filter_map(|(_, path)| told(&path, survey.root())).collect()
}

/// Whether hierarchy.yaml has an error, so that it may have more images than were read.
fn has_error(survey: &HierarchySurvey) -> bool {
    let (source, found) = (&survey.problems.source, &survey.problems.found);
    let mut errors = found.iter().filter(|problem| problem.severity == Severity::Error);
    errors.any(|error| error.excerpts.first().is_some_and(|it| Arc::ptr_eq(&it.source, source)))
}

/// What git ignores and does not track: `rebuild init` proposes no images for it either.
fn ignored(root: &Path) -> Vec<PathBuf> {
    let Ok(work_tree) = git::work_tree(root) else { return Vec::new() };
    let ignored = git::ignored(&work_tree).unwrap_or_default();
    ignored.into_iter().map(|path| work_tree.join(path)).collect()
}

fn told(path: &Path, root: &Path) -> Option<Diagnostic> {
    let text = String::from_utf8(bounded::read(path, bounded::TEXT).ok()?).ok()?;
    let code = RuleCode::UnusedDockerfile;
    let comments = text.lines().take_while(|line| line.starts_with('#'));
    let mut ignored = comments.filter_map(|line| Some(line.split_once(IGNORED)?.1));
    if ignored.any(|codes| codes.split([',', ' ']).any(|one| one.parse() == Ok(code))) {
        return None;
    }
    // `rebuild init` proposes no images for Windows.
    if needs_windows(&text) {
        return None;
    }
    let shown = path.strip_prefix(root).unwrap_or(path).display();
    let message = format!("no image uses `{shown}`");
    let length = text.lines().next().unwrap_or_default().len();
    let source = SourceFile::new(path.to_owned(), text);
    let hint =
        "add an entry with its folder as `context`, or `# rebuild ignore=RB058` in the first line";
    Some(Diagnostic::of(code, message).at(&source, 0..length, "").hint(hint))
}

fn needs_windows(text: &str) -> bool {
    let platform =
        Platform { os: "windows".to_owned(), architecture: "amd64".to_owned(), variant: None };
    let survey = dockerfile::survey(text, &BTreeMap::new(), None, &platform);
    let images = survey.map(|survey| survey.images).unwrap_or_default();
    let mut references = images.iter().filter_map(|one| one.image.parse::<Reference>().ok());
    references.any(|reference| reference.is_for_windows())
}
