//! Who hears of a run that is over: `notify`.
//!
//! **Invariant:** an address is never in the file, and never in a message. The file names the environment variable
//! that has it.

use super::{
    fields::{Fields, Problems},
    schema::command,
    yaml::{ValueKind, Yaml},
};

/// The channels of `notify`. A list of words is the command alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub command: Option<Vec<String>>,
    /// The environment variable with the address of an incoming webhook of Slack.
    pub slack: Option<String>,
    /// The same for a workflow of Teams.
    pub teams: Option<String>,
    /// The same for any program that takes the JSON report.
    pub webhook: Option<String>,
    /// A comment in the pull request that the job is for.
    pub github_comment: bool,
}

impl Notify {
    pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        if !matches!(yaml.kind, ValueKind::Map(_)) {
            let command = Some(command("notify", yaml, problems)?);
            return Some(Self { command, ..Self::default() });
        }
        let mut fields = problems.map("`notify`", "notify", yaml)?;
        let notify = Self {
            command: fields
                .take("command")
                .and_then(|yaml| command("notify.command", yaml, problems)),
            slack: variable(&mut fields, "slack", problems),
            teams: variable(&mut fields, "teams", problems),
            webhook: variable(&mut fields, "webhook", problems),
            github_comment: fields
                .take("github_comment")
                .and_then(|yaml| problems.switch("github_comment", yaml))
                .unwrap_or_default(),
        };
        fields.finish(problems);
        Some(notify)
    }
}

fn variable(
    fields: &mut Fields<'_>,
    name: &'static str,
    problems: &mut Problems,
) -> Option<String> {
    let yaml = fields.take(name)?;
    let value = yaml.scalar().unwrap_or_default();
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if value.starts_with(is_first) && value.chars().all(|c| is_first(c) || c.is_ascii_digit()) {
        return Some(value);
    }
    problems.push_secret(
        &yaml.span,
        format!("`notify.{name}` must be the name of an environment variable"),
        "the variable has the address, such as `SLACK_WEBHOOK_URL`; the address does not belong into this file",
    );
    None
}
