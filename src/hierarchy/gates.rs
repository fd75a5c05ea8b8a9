//! `gate:` commands of the host that an image must pass before it is stored.

use std::time::Duration;

use super::{
    fields::{Problems, item},
    schema::command,
    units,
    yaml::Yaml,
};

/// A scanner downloads its database in some minutes.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A command on this machine that decides whether an image may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub run: Vec<String>,
    /// Whether it gets the image as an OCI archive.
    pub archive: bool,
    pub timeout: Duration,
    /// Whether descendants pass it, too.
    pub inherit: bool,
}

impl Gate {
    pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        let mut fields = problems.map("a gate", &item("gate"), yaml)?;
        let run = fields.take("run");
        let archive = fields.take("archive").and_then(|yaml| problems.switch("archive", yaml));
        let timeout = fields
            .take("timeout")
            .and_then(|yaml| problems.parsed("timeout", yaml, units::duration));
        let inherit = fields.take("inherit").and_then(|yaml| problems.switch("inherit", yaml));
        fields.finish(problems);
        let Some(run) = run else {
            let hint = "write `run: [program, argument]`";
            problems.push_with_hint(&yaml.span, "a gate needs `run`", hint);
            return None;
        };
        Some(Self {
            run: command("run", run, problems)?,
            archive: archive.unwrap_or(false),
            timeout: timeout.map_or(TIMEOUT, |timeout| timeout.value),
            inherit: inherit.unwrap_or(false),
        })
    }
}
