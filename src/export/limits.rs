//! The limits of the systems, with their sources, and what an export does about them.

use std::fmt;

/// Jobs of one matrix. <https://docs.github.com/en/actions/reference/limits>: "A job matrix can generate a maximum of
/// 256 jobs per workflow run. This limit applies to both GitHub-hosted and self-hosted runners."
pub(super) const GITHUB_MATRIX: usize = 256;
/// The same page: "A workflow file larger than 500 KB will not start runs."
pub(super) const GITHUB_FILE: usize = 500_000;
/// The same page: a job on a runner of GitHub ends after 6 hours; on a runner of your own after 5 days.
pub(super) const GITHUB_HOSTED_MINUTES: u64 = 6 * 60;

/// <https://docs.gitlab.com/administration/instance_limits/>, `max_yaml_size_bytes`: 2 MB by default.
pub(super) const GITLAB_FILE: usize = 2 << 20;
/// The same page, `ci_needs_size_limit`: how many jobs one job may name in `needs`, by default.
pub(super) const GITLAB_NEEDS: usize = 50;
/// The same page: jobs in active pipelines on the Free tier of gitlab.com.
pub(super) const GITLAB_FREE_JOBS: usize = 500;

/// <https://etcd.io/docs/latest/dev-guide/limit/>: "By default, the maximum size of any request is 1.5 MiB."
/// A workflow also stores the state of each of its jobs in the same object: Argo documents 1 MB
/// (<https://argo-workflows.readthedocs.io/en/latest/offloading-large-workflows/>).
pub(super) const KUBERNETES_OBJECT: usize = 1_000_000;

/// A limit that an export met, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitNote {
    pub limit: String,
    pub done: String,
}

impl LimitNote {
    pub(super) fn new(limit: impl Into<String>, done: impl Into<String>) -> Self {
        Self { limit: limit.into(), done: done.into() }
    }
}

impl fmt::Display for LimitNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.limit, self.done)
    }
}
