//! Tells people and programs what happens in a run.
//!
//! **Invariant:** nothing here runs anything, and nothing reaches a screen but through [`sanitize`]:
//! reporters write to [`Out`]. A reporter that cannot write says so, and the run stops.

pub mod audit;
pub mod channels;
pub mod check;
mod closing;
pub mod doctor;
pub mod drawing;
mod eta;
mod failure;
pub mod flatten;
mod fold;
pub mod gc;
mod github;
pub mod history;
pub mod html;
mod json;
pub mod junit;
pub mod markdown;
pub mod mermaid;
pub mod mirror;
mod numbers;
mod out;
mod paint;
mod plain;
pub mod plan;
mod quiet;
mod run_data;
pub mod rollback;
pub mod sanitize;
mod screen;
pub mod size;
mod size_changes;
pub mod status;
mod step;
mod svg;
mod table;
pub mod timeline;
pub mod tree;
pub mod waste;
mod tty;
pub mod why;
mod width;

use std::io;

use jiff::ZonedDateTime;

use self::paint::Paint;
pub use self::{
    github::annotations,
    json::{events_kept, whole},
    numbers::{ago, count, seconds},
    out::Out,
    run_data::{Record, Recorder},
    table::is_news,
    width::wrap,
};
use crate::event::Reporter;

/// How a run is shown: the values of `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// `Tty` on a terminal, else `Plain`.
    #[default]
    Auto,
    /// What runs now stays at the bottom of the terminal, what is finished moves up.
    Tty,
    /// A line for whatever happens, for logs.
    Plain,
    /// JSON lines, see `docs/events.md`.
    Json,
    /// Failures, and one line at the end.
    Quiet,
}

/// A CI system that reads along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ci {
    #[default]
    None,
    /// GitHub Actions: `GITHUB_ACTIONS=true`.
    GitHub,
    /// GitLab CI: `GITLAB_CI=true`.
    GitLab,
}

/// Columns and rows of a terminal.
pub type Size = (usize, usize);

/// What a reporter knows of the place where it writes. Read from the environment by the caller.
#[derive(Clone, Copy, Debug)]
pub struct ReportOptions {
    /// Whether stderr is a terminal.
    pub is_terminal: bool,
    /// Asked again at each redraw, for people resize their windows; `None` means as wide as need be.
    pub size: fn() -> Option<Size>,
    pub colour: bool,
    /// Who reads along, and may take output for commands.
    pub ci: Ci,
    /// The time of day in the local time zone.
    pub now: fn() -> ZonedDateTime,
    /// Shows everything that builds print, and every image that nothing happened to.
    pub verbose: bool,
}

/// Columns and rows of the terminal behind stderr: a value for [`ReportOptions::size`].
pub fn stderr_size() -> Option<Size> {
    terminal_size::terminal_size_of(io::stderr())
        .map(|(columns, rows)| (columns.0.into(), rows.0.into()))
}

/// Columns and rows of the terminal behind stdout.
pub fn stdout_size() -> Option<(u16, u16)> {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map(|(columns, rows)| (columns.0, rows.0))
}

/// A reporter of the kind asked for.
///
/// `out` is stderr: what people look at. `result` is stdout: JSON lines, and the one line of
/// [`ProgressMode::Quiet`].
pub fn reporter(
    progress: ProgressMode,
    options: ReportOptions,
    out: Out,
    result: Out,
) -> Box<dyn Reporter> {
    match progress {
        ProgressMode::Auto if options.is_terminal => Box::new(tty::Tty::new(options, out)),
        ProgressMode::Tty => Box::new(tty::Tty::new(options, out)),
        ProgressMode::Auto | ProgressMode::Plain => Box::new(plain::Plain::new(options, out)),
        ProgressMode::Json => Box::new(json::Json::new(result)),
        ProgressMode::Quiet => Box::new(quiet::Quiet::new(options, out, result)),
    }
}

#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;
