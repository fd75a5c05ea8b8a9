//! Writes what came of a run where others read it: files, the CI system, a program of the user's.
//!
//! **Invariant:** a report that cannot be written is a warning, and never changes how the run ends.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{channels, hook, output, project::start};
use crate::{
    commands::cli::{Common, RunArgs},
    hierarchy::Hierarchy,
    host::owner,
    report::{Ci, Record, annotations, html, junit, markdown, mermaid, whole},
};

/// GitHub takes so much of a step's summary, and nothing at all of a longer one.
const LONGEST_SUMMARY: usize = 1024 * 1024;

/// The CI system that reads along.
pub(super) fn ci() -> Ci {
    let is_set = |name| env::var_os(name).is_some_and(|value| value == "true");
    if is_set("GITHUB_ACTIONS") {
        Ci::GitHub
    } else if is_set("GITLAB_CI") {
        Ci::GitLab
    } else {
        Ci::None
    }
}

/// The files of a job of a pipeline, and its annotations: the last job reports to people.
pub(super) fn tell_files(
    record: &Record,
    hierarchy: Option<&Hierarchy>,
    (common, arguments): (&Common, &RunArgs),
) {
    save_files(record, hierarchy, (common, arguments));
    if let Some(hierarchy) = hierarchy.filter(|_| ci() == Ci::GitHub) {
        annotate(record, hierarchy);
    }
}

fn save_files(
    record: &Record,
    hierarchy: Option<&Hierarchy>,
    (common, arguments): (&Common, &RunArgs),
) {
    let folder = start(common).unwrap_or_default();
    if let Some(path) = &arguments.junit {
        save("--junit", (&folder, path), |out| junit::write(record, hierarchy, out));
    }
    if let Some(path) = &arguments.json_report {
        save("--json-report", (&folder, path), |out| whole(record, out));
    }
    if let (Some(path), Some(page)) = (&arguments.html, record.whole_page()) {
        save("--html", (&folder, path), |out| out.write_all(html::page(&page).as_bytes()));
    }
}

/// Everything that was asked for, of a run that is over, however it ended.
pub(super) async fn tell(
    record: &Record,
    hierarchy: Option<&Hierarchy>,
    (common, arguments): (&Common, &RunArgs),
) {
    let folder = start(common).unwrap_or_default();
    save_files(record, hierarchy, (common, arguments));
    if ci() == Ci::GitHub {
        tell_github(record, hierarchy);
    }
    let unsent = arguments.for_server.as_deref();
    match (&arguments.notify, hierarchy) {
        (Some(argv), _) if argv.0.is_empty() => {}
        (Some(argv), _) => {
            if let Err(error) = hook::start(&argv.0, &folder, record).await {
                output::warning(&error.to_string());
            }
        }
        (None, Some(hierarchy)) => {
            if let Some(notify) = &hierarchy.notify {
                Box::pin(channels::send(notify, record, (hierarchy, unsent))).await;
            }
        }
        (None, None) => {}
    }
}

/// Writes a report; if that fails, a warning names the flag.
fn save(
    flag: &str,
    (folder, path): (&Path, &Path),
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) {
    let mut out = Vec::new();
    let written = write(&mut out).and_then(|()| write_file((folder, path), &out));
    if let Err(error) = written {
        output::warning(&format!("`{flag}`: `{}` cannot be written: {error}", path.display()));
    }
}

/// Writes a file, and the folders above it. A relative path is one of the checkout, whose author
/// may have made a link of any part of it.
pub(super) fn write_file((folder, path): (&Path, &Path), bytes: &[u8]) -> io::Result<()> {
    let whole = folder.join(path);
    if path.is_relative() {
        owner::check_no_links(folder, path)?;
    }
    if let Some(folder) = whole.parent() {
        fs::create_dir_all(folder)?;
    }
    owner::replace(&whole, bytes)
}

fn annotate(record: &Record, hierarchy: &Hierarchy) {
    let workspace = env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
    let workspace = workspace.unwrap_or_else(|| hierarchy.root().to_owned());
    let workspace = fs::canonicalize(&workspace).unwrap_or(workspace);
    // If stderr is closed, the messages are lost.
    _ = annotations(record, (hierarchy, &workspace), &mut output::stderr());
}

fn tell_github(record: &Record, hierarchy: Option<&Hierarchy>) {
    if let Some(hierarchy) = hierarchy {
        annotate(record, hierarchy);
    }
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from) else { return };
    // Other commands of the step may have written to it.
    let written = || {
        let mut file = fs::File::options().append(true).create(true).open(&path)?;
        let there = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let graph = record.summary.as_ref().zip(hierarchy);
        let graph = graph.and_then(|(summary, hierarchy)| mermaid::of_run(hierarchy, summary));
        let page = markdown::page(record, graph.as_deref(), LONGEST_SUMMARY.saturating_sub(there));
        file.write_all(page.as_bytes())
    };
    if let Err(error) = written() {
        output::warning(&format!("`{}` cannot be written: {error}", path.display()));
    }
}
