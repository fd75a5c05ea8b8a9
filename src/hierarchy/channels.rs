//! Who hears of a run that is over: `notify`.
//!
//! **Invariant:** an address is never in the file, and never in a message. The file names the environment variable
//! that has it.

use super::{
    fields::{Fields, Located, Problems, item},
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
    /// Repositories of GitHub whose workflows start when tags have moved.
    pub repository_dispatch: Vec<RepositoryDispatch>,
    /// Projects of GitLab whose pipelines start when tags have moved.
    pub gitlab_trigger: Vec<GitlabTrigger>,
}

/// A `repository_dispatch` event for a repository of GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryDispatch {
    /// `owner/name`.
    pub repository: String,
    /// What the workflow listens to: `on: repository_dispatch: types`.
    pub event_type: String,
    /// The environment variable with a token that may write to the repository.
    pub token: String,
}

/// A pipeline of a project of GitLab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitlabTrigger {
    /// The address of the project's page.
    pub project: String,
    pub branch: String,
    /// The environment variable with a trigger token of the project.
    pub token: String,
}

impl Notify {
    pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        if !matches!(yaml.kind, ValueKind::Map(_)) {
            let command = Some(command("notify", yaml, problems)?);
            return Some(Self { command, ..Self::default() });
        }
        let mut fields = problems.map("`notify`", "`notify`", yaml)?;
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
            repository_dispatch: downstream(&mut fields, "repository_dispatch", problems, dispatch),
            gitlab_trigger: downstream(&mut fields, "gitlab_trigger", problems, trigger),
        };
        fields.finish(problems);
        Some(notify)
    }
}

/// The entries of a list of maps.
fn downstream<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    problems: &mut Problems,
    read: impl Fn(&mut Fields<'_>, &Yaml, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(list) = fields.take(name) else { return Vec::new() };
    let field = format!("notify.{name}");
    let entries = problems.list(&field, list).unwrap_or_default();
    let mut all = Vec::new();
    for entry in entries {
        let Some(mut fields) = problems.map("the entry", &item(&field), entry) else { continue };
        all.extend(read(&mut fields, entry, problems));
        fields.finish(problems);
    }
    all
}

fn dispatch(
    fields: &mut Fields<'_>,
    entry: &Yaml,
    problems: &mut Problems,
) -> Option<RepositoryDispatch> {
    let part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_repository = |text: &str| {
        text.split_once('/').is_some_and(|(owner, name)| {
            [owner, name].iter().all(|it| !it.is_empty() && it.chars().all(part))
        })
    };
    let repository = needed(fields, (entry, "repository"), problems)?;
    if !is_repository(&repository.value) {
        let message = format!("`{}` is not a repository", repository.value);
        problems.push_with_hint(&repository.span, message, "write `owner/name`");
        return None;
    }
    let event_type = fields.take("event_type");
    let event_type = event_type.and_then(|yaml| problems.text("event_type", yaml));
    let event_type = event_type.map_or_else(|| "rebuild".to_owned(), |text| text.value);
    let token = token(fields, entry, problems)?;
    Some(RepositoryDispatch { repository: repository.value, event_type, token })
}

fn trigger(
    fields: &mut Fields<'_>,
    entry: &Yaml,
    problems: &mut Problems,
) -> Option<GitlabTrigger> {
    let project = needed(fields, (entry, "project"), problems)?;
    let is_address = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            rest.split_once('/').is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
        })
    };
    if !is_address(&project.value) {
        let message = format!("`{}` is not the address of a project", project.value);
        problems.push_with_hint(
            &project.span,
            message,
            "such as `https://gitlab.example.com/group/project`",
        );
        return None;
    }
    let branch = fields.take("branch").and_then(|yaml| problems.text("branch", yaml));
    let branch = branch.map_or_else(|| "main".to_owned(), |text| text.value);
    let token = token(fields, entry, problems)?;
    Some(GitlabTrigger { project: project.value, branch, token })
}

fn needed(
    fields: &mut Fields<'_>,
    (entry, name): (&Yaml, &'static str),
    problems: &mut Problems,
) -> Option<Located<String>> {
    let Some(yaml) = fields.take(name) else {
        problems.push(&entry.span, format!("the entry needs `{name}`"));
        return None;
    };
    problems.text(name, yaml)
}

fn token(fields: &mut Fields<'_>, entry: &Yaml, problems: &mut Problems) -> Option<String> {
    if !fields.has("token") {
        problems.push(&entry.span, "the entry needs `token`");
    }
    variable(fields, "token", problems)
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
        "the variable has the address or the token, such as `SLACK_WEBHOOK_URL`; keep the value out of this file",
    );
    None
}
