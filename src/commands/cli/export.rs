//! The arguments of `rebuild export`.

use std::{num::NonZeroUsize, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use super::{SelectionArgs, at_least_one};
use crate::{export::CiSystem, hierarchy::check_label, image::Platform};

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  rebuild export github --dry-run  the jobs as a tree, with their expected minutes
  rebuild export github --out .github/workflows/rebuild.yaml
                                   commit and push the file: GitHub runs it
  rebuild export gitlab --out child.yml
                                   in a job of the parent pipeline, which triggers child.yml
  rebuild export argo | kubectl create -f -
  rebuild export tekton | kubectl create -f -
  rebuild export jobs | kubectl create -f -
  rebuild export gitlab --from os-base --merge-chains
                                   what a rebuild of os-base needs, a chain of images in one job";

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The CI system
    #[arg(value_enum, value_name = "SYSTEM")]
    pub system: CiSystemArg,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Export this plan: a file of `rebuild plan --out`, or the ID of a plan in the registry
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["from", "only", "since", "refresh"])]
    pub plan: Option<String>,
    /// Write the file here instead of to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print the jobs as a tree, with the expected minutes of each level and the cost; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Build images that follow each other without a fork in one job: fewer jobs wait for a runner
    #[arg(long)]
    pub merge_chains: bool,
    /// Run at most N jobs at once [default: as many as there are runners]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_parallel: Option<NonZeroUsize>,
    /// The runner of the jobs, or of the images of one platform: `linux/arm64=ubuntu-24.04-arm`
    ///
    /// GitHub: a label of `runs-on`. GitLab: a tag. Kubernetes: an architecture, or a label of nodes such as
    /// `pool=builders`.
    #[arg(long = "runner", value_name = "[PLATFORM=]LABEL")]
    pub runners: Vec<RunnerLabel>,
    /// How jobs call `rebuild`
    #[arg(long, value_name = "COMMAND", default_value = "rebuild")]
    pub rebuild: String,
    /// A shell line before it in each job, for example to install `rebuild`; write no passwords here
    #[arg(long, value_name = "LINE")]
    pub setup: Vec<String>,
    /// The image of the jobs, with `rebuild`, git, a shell and the docker command (all systems but GitHub)
    #[arg(long, value_name = "IMAGE", default_value = concat!("rebuild:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// The address of an engine for the jobs [default: on Kubernetes, each pod has its own]
    #[arg(long, value_name = "URL")]
    pub docker_host: Option<String>,
    /// The repository that pods clone [default: the remote `origin`]
    #[arg(long, value_name = "URL")]
    pub repository: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CiSystemArg {
    /// A workflow of GitHub Actions
    Github,
    /// A child pipeline of GitLab CI
    Gitlab,
    /// An Argo Workflow
    Argo,
    /// A Tekton `PipelineRun`
    Tekton,
    /// Plain Kubernetes Jobs
    Jobs,
}

impl From<CiSystemArg> for CiSystem {
    fn from(system: CiSystemArg) -> Self {
        match system {
            CiSystemArg::Github => Self::GitHub,
            CiSystemArg::Gitlab => Self::GitLab,
            CiSystemArg::Argo => Self::Argo,
            CiSystemArg::Tekton => Self::Tekton,
            CiSystemArg::Jobs => Self::Jobs,
        }
    }
}

/// The runner of one platform, or of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerLabel {
    pub platform: Option<Platform>,
    pub label: String,
}

impl FromStr for RunnerLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (platform, label) = match text.split_once('=') {
            Some((platform, label))
                if platform.contains('/') && platform.parse::<Platform>().is_ok() =>
            {
                (platform.parse().ok(), label)
            }
            _ => (None, text),
        };
        check_label(label)?;
        Ok(Self { platform, label: label.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_that_of_a_platform() {
        let read = |text: &str| {
            text.parse::<RunnerLabel>().map(|it| (it.platform.map(|it| it.to_string()), it.label))
        };
        let arm = (Some("linux/arm64".to_owned()), "ubuntu-24.04-arm".to_owned());
        assert_eq!(read("linux/arm64=ubuntu-24.04-arm"), Ok(arm));
        assert_eq!(read("ubuntu-latest"), Ok((None, "ubuntu-latest".to_owned())));
        assert_eq!(read("pool=builders"), Ok((None, "pool=builders".to_owned())));
        for hostile in ["${{ secrets.X }}", "a b", "", "linux/arm64=", "x\ny"] {
            assert!(read(hostile).is_err(), "{hostile:?}");
        }
    }
}
