//! The CI job that runs a command, for a report that another job writes.

use serde::{Deserialize, Serialize};

/// Where a job ran. All of it is text from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlace {
    /// The page of the job, or of its workflow run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The runner, or the machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
}

impl JobPlace {
    /// From the variables that CI systems set. `REBUILD_JOB_URL` and `REBUILD_JOB` win: exported pipelines set them
    /// where the system has no variable.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let github = || {
            let server = get("GITHUB_SERVER_URL")?;
            let (repository, run) = (get("GITHUB_REPOSITORY")?, get("GITHUB_RUN_ID")?);
            let attempt = get("GITHUB_RUN_ATTEMPT").filter(|attempt| attempt != "1");
            let attempt = attempt.map_or(String::new(), |attempt| format!("/attempts/{attempt}"));
            Some(format!("{server}/{repository}/actions/runs/{run}{attempt}"))
        };
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        Self {
            // GitLab, Jenkins.
            url: get("REBUILD_JOB_URL")
                .or_else(github)
                .or_else(|| first(&["CI_JOB_URL", "BUILD_URL"])),
            name: first(&["REBUILD_JOB", "CI_JOB_NAME", "GITHUB_JOB", "JOB_NAME"]),
            runner: first(&["RUNNER_NAME", "CI_RUNNER_DESCRIPTION", "NODE_NAME", "HOSTNAME"]),
        }
    }

    /// The URL, or the name of the job if it has none.
    pub fn shown(&self) -> Option<&str> {
        self.url.as_deref().or(self.name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_what_the_ci_system_says() {
        let place = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(other, _)| *other == name);
            let place = JobPlace::from_variables(|name| find(name).map(|(_, it)| (*it).to_owned()));
            (place.shown().map(str::to_owned), place.runner)
        };
        let github = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "a/b"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("RUNNER_NAME", "r1"),
        ];
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(place(&github), (url("https://github.com/a/b/actions/runs/7"), url("r1")));
        let mut again = github;
        again[3].1 = "2";
        assert_eq!(place(&again).0, url("https://github.com/a/b/actions/runs/7/attempts/2"));
        assert_eq!(place(&[("CI_JOB_URL", "https://x/-/jobs/1")]).0, url("https://x/-/jobs/1"));
        assert_eq!(
            place(&[("BUILD_URL", "https://j/1/"), ("REBUILD_JOB_URL", "mine")]).0,
            url("mine")
        );
        assert_eq!(
            place(&[("REBUILD_JOB", "workflow w"), ("CI_JOB_URL", "")]).0,
            url("workflow w")
        );
        assert_eq!(place(&[]), (None, None));
    }
}
