//! What a job did with one image, as `rebuild promote` reads it from the registry.
//!
//! Messages and lines have passed the mask of the run that wrote them: no value of a secret is in a record.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::JobPlace;
use crate::{
    event::{
        ContentTag, ContentTags, Different, Outcome, Phase, SizeBefore, StepFailure, StepSummary,
    },
    exit::Exit,
    fingerprint::Fingerprint,
    hierarchy::{Node, NodeName, OnFailure},
    image::{Digest, Tag},
    plan::order::Pushed,
};

/// Readers ignore records of another version: the image counts as built by somebody else.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    v: u32,
    /// The ID of the plan.
    pub plan: String,
    pub node: NodeName,
    /// The run of the job.
    pub run: String,
    pub job: JobPlace,
    /// The checkout, followed by `-dirty` if files differed.
    pub commit: Option<String>,
    pub times: StageTimes,
    outcome: StageOutcome,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    content_tags: Vec<StagedTag>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// When the job worked on the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimes {
    #[serde(with = "crate::publish::journal::moment")]
    pub began: Timestamp,
    #[serde(with = "crate::publish::journal::moment")]
    pub ended: Timestamp,
    /// Without waiting, in milliseconds.
    pub took_ms: u64,
    pub attempts: usize,
    /// The parts of the step in milliseconds, by the names that reports give them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(String, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StagedTag {
    template: String,
    tag: Tag,
    from: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
enum StageOutcome {
    Built {
        digest: Digest,
        fingerprint: Fingerprint,
        size: u64,
        added: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pushed: Option<Pushed>,
        before: StagedSize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        different: Option<Different>,
    },
    Unchanged {
        digest: Digest,
    },
    Reused {
        digest: Digest,
    },
    Failed(Box<StagedFailure>),
    Skipped {
        failed: NodeName,
    },
    /// The job was stopped.
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StagedSize {
    New,
    Unpacked(u64),
    Packed { before: u64, now: u64 },
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StagedFailure {
    phase: Phase,
    message: String,
    exit: Exit,
    on_failure: OnFailure,
    /// Relative to the folder of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<(String, usize, String)>,
    tail: Vec<String>,
}

impl StageRecord {
    /// Of a step that a job has ended. `root` is the folder of the hierarchy.
    pub fn new(
        (plan, run): (&str, &str),
        step: &StepSummary,
        (times, job): (StageTimes, JobPlace),
        root: &Path,
    ) -> Self {
        Self {
            v: VERSION,
            plan: plan.to_owned(),
            node: step.node.clone(),
            run: run.to_owned(),
            job,
            commit: None,
            times,
            outcome: StageOutcome::of(&step.outcome, root),
            content_tags: Vec::new(),
            warnings: step.over_budget.iter().map(|over| over.sentence.clone()).collect(),
        }
    }

    /// `None` for a record of another plan, of an unknown version, or none at all.
    pub fn read(plan: &str, text: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(text).ok()?;
        (record.v == VERSION && record.plan == plan).then_some(record)
    }

    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    /// The image that the job says it has stored.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.outcome {
            StageOutcome::Built { digest, .. }
            | StageOutcome::Unchanged { digest }
            | StageOutcome::Reused { digest } => Some(digest),
            StageOutcome::Failed(_) | StageOutcome::Skipped { .. } | StageOutcome::Cancelled => {
                None
            }
        }
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, StageOutcome::Failed(_))
    }

    pub fn took(&self) -> Duration {
        Duration::from_millis(self.times.took_ms)
    }

    /// As a report of the whole pipeline shows it. A failure names its job.
    pub fn outcome(&self, root: &Path) -> Outcome {
        match self.outcome.clone() {
            StageOutcome::Built { digest, fingerprint, size, added, pushed, before, different } => {
                let before = match before {
                    StagedSize::New => SizeBefore::New,
                    StagedSize::Unpacked(bytes) => SizeBefore::Unpacked(bytes),
                    StagedSize::Packed { before, now } => SizeBefore::Packed { before, now },
                    StagedSize::Unknown => SizeBefore::Unknown,
                };
                Outcome::Built { digest, fingerprint, size, added, pushed, before, different }
            }
            StageOutcome::Unchanged { digest } => Outcome::Unchanged { digest },
            StageOutcome::Reused { digest } => Outcome::Reused { digest },
            StageOutcome::Skipped { failed } => Outcome::Skipped { failed: vec![failed] },
            StageOutcome::Cancelled => Outcome::Cancelled,
            StageOutcome::Failed(failure) => {
                let StagedFailure { phase, mut message, exit, on_failure, at, tail } = *failure;
                if let Some(job) = self.job.shown() {
                    message = format!("{message}\njob: {job}");
                }
                Outcome::Failed(StepFailure {
                    phase,
                    message,
                    exit,
                    on_failure,
                    at: at.map(|(path, line, text)| (root.join(path), line, text)),
                    tail: tail.into_iter().map(String::into_bytes).collect(),
                    log: None,
                    kept: None,
                })
            }
        }
    }

    #[must_use]
    pub fn with_content_tags(mut self, tags: &ContentTags) -> Self {
        let staged = |(template, ContentTag { tag, from }): (&_, &ContentTag)| StagedTag {
            template: ToString::to_string(template),
            tag: tag.clone(),
            from: from.clone(),
        };
        self.content_tags = tags.iter().map(staged).collect();
        self
    }

    /// The tags that were read from the image, by the templates of its node.
    pub fn content_tags(&self, node: &Node) -> ContentTags {
        let of = |template: &str| node.tags.iter().find(|known| known.to_string() == template);
        let tags = self.content_tags.iter().filter_map(|staged| {
            let tag = ContentTag { tag: staged.tag.clone(), from: staged.from.clone() };
            Some((of(&staged.template)?.clone(), tag))
        });
        tags.collect()
    }
}

impl StageOutcome {
    fn of(outcome: &Outcome, root: &Path) -> Self {
        match outcome.clone() {
            Outcome::Built { digest, fingerprint, size, added, pushed, before, different } => {
                let before = match before {
                    SizeBefore::New => StagedSize::New,
                    SizeBefore::Unpacked(bytes) => StagedSize::Unpacked(bytes),
                    SizeBefore::Packed { before, now } => StagedSize::Packed { before, now },
                    SizeBefore::Unknown => StagedSize::Unknown,
                };
                Self::Built { digest, fingerprint, size, added, pushed, before, different }
            }
            Outcome::Unchanged { digest } => Self::Unchanged { digest },
            Outcome::Reused { digest } | Outcome::Kept { digest } | Outcome::Held { digest } => {
                Self::Reused { digest }
            }
            Outcome::Skipped { failed } => match failed.into_iter().next() {
                Some(failed) => Self::Skipped { failed },
                None => Self::Cancelled,
            },
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Failed(StepFailure { phase, message, exit, on_failure, at, tail, .. }) => {
                let relative = |path: PathBuf| {
                    path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned()
                };
                let text = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
                Self::Failed(Box::new(StagedFailure {
                    phase,
                    message,
                    exit,
                    on_failure,
                    at: at.map(|(path, line, text)| (relative(path), line, text)),
                    tail: tail.into_iter().map(text).collect(),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outcome: Outcome) -> StepSummary {
        StepSummary {
            node: "app".into(),
            reason: crate::plan::Reason::NeverBuilt,
            outcome,
            took: Duration::from_secs(2),
            attempts: 1,
            over_budget: vec![],
            reports: vec![],
            promoted: vec![],
            content_tags: ContentTags::new(),
        }
    }

    fn record(outcome: Outcome) -> StageRecord {
        let times = StageTimes {
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            took_ms: 2000,
            attempts: 1,
            parts: vec![("build".to_owned(), 1500)],
        };
        let job = JobPlace { url: Some("https://ci/7".to_owned()), ..JobPlace::default() };
        StageRecord::new(("01p", "01r"), &step(outcome), (times, job), Path::new("/a"))
    }

    #[test]
    fn a_record_says_what_the_job_said() {
        let (digest, fingerprint) = (
            Digest::of(b"x"),
            crate::fingerprint::Inputs {
                dockerfile: Digest::of(b""),
                context: Digest::of(b""),
                settings: Digest::of(b""),
                tests: Digest::of(b""),
                platform: "linux/amd64".parse().unwrap(),
                upstreams: std::collections::BTreeMap::new(),
                epoch: None,
            }
            .fingerprint(&crate::fingerprint::Parents::new()),
        );
        for outcome in [
            Outcome::Built {
                digest: digest.clone(),
                fingerprint,
                size: 7,
                added: 3,
                pushed: Some(Pushed { own: 1, upstream: 2 }),
                before: SizeBefore::Packed { before: 4, now: 5 },
                different: Some(Different::Configuration),
            },
            Outcome::Unchanged { digest: digest.clone() },
            Outcome::Reused { digest },
            Outcome::Skipped { failed: vec!["web".into()] },
            Outcome::Cancelled,
        ] {
            let record = record(outcome.clone());
            let read = StageRecord::read("01p", &record.written()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.outcome(Path::new("/b")), outcome);
            assert_eq!(read.digest(), outcome.digest());
            assert_eq!(StageRecord::read("01q", &record.written()), None);
        }
    }

    #[test]
    fn a_failure_names_its_job_and_the_line_in_this_checkout() {
        let failure = |at: &str, message: &str| {
            Outcome::Failed(StepFailure {
                phase: Phase::Test { number: 2, total: 3 },
                message: message.to_owned(),
                exit: Exit::TestFailed,
                on_failure: OnFailure::Hold,
                at: Some((PathBuf::from(at), 7, "RUN make".to_owned())),
                tail: vec![b"cc \xff".to_vec()],
                log: Some(PathBuf::from("/tmp/x.log")),
                kept: None,
            })
        };
        let record = record(failure("/a/images/Dockerfile", "exit code 2"));
        let read = StageRecord::read("01p", &record.written()).unwrap();
        assert!(read.has_failed());
        let Outcome::Failed(found) = read.outcome(Path::new("/b")) else { panic!("{read:?}") };
        assert_eq!(found.message, "exit code 2\njob: https://ci/7");
        assert_eq!(found.at.unwrap().0, Path::new("/b/images/Dockerfile"));
        assert_eq!((found.exit, found.on_failure), (Exit::TestFailed, OnFailure::Hold));
        assert_eq!(found.tail, ["cc \u{fffd}".as_bytes().to_vec()]);
    }

    #[test]
    fn fuzz_stage_record() {
        let text = record(Outcome::Cancelled).written();
        let words = ["\"outcome\":\"built\"", "{", "}", "null", "[", "-1"];
        crate::testing::fuzz::each(&[&text], &words, |text| {
            _ = StageRecord::read("01p", text);
        });
    }
}
