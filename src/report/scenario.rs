//! Runs as lists of events, for the tests of every reporter.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Ci, Record, Recorder, ReportOptions};
use crate::{
    event::{
        Different, Event, EventKind, Outcome, Phase, Promotion, Reporter, RunTask, SizeBefore,
        StepFailure, StepSummary, StopReason, Summary,
    },
    exit::Exit,
    fingerprint::{Epoch, Inputs},
    hierarchy::{NodeName, OnFailure},
    image::{
        Digest, Tag,
        packages::{PackageUpdate, UpdateLine},
    },
    plan::{Action, Change, Plan, Reason, Step},
    size::{Excess, OverBudget, causes},
};

pub(super) fn options() -> ReportOptions {
    ReportOptions {
        is_terminal: false,
        size: || None,
        colour: false,
        ci: Ci::None,
        now: || "2026-11-29T02:59:00[UTC]".parse().unwrap(),
        verbose: false,
    }
}

/// A writer that can be read afterwards.
#[derive(Clone, Default)]
pub(super) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// What was written since the last time.
    pub(super) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    pub(super) fn out(&self) -> super::Out {
        super::Out::new(self.clone())
    }
}

impl Write for Paper {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn inputs() -> Inputs {
    Inputs {
        dockerfile: digest("dockerfile"),
        context: digest("context"),
        settings: digest("settings"),
        tests: digest("tests"),
        platform: "linux/amd64".parse().unwrap(),
        upstreams: BTreeMap::new(),
        epoch: None,
    }
}

fn step(node: &str, action: Action, reason: Reason, after: &[&str]) -> Step {
    Step {
        node: node.into(),
        action,
        reason,
        updates: vec![],
        checked: None,
        after: after.iter().map(|&name| name.into()).collect(),
        detail: crate::fingerprint::Detail::default(),
        inputs: inputs(),
        moving: [(tag("latest"), Some(digest("old")))].into(),
        members: std::collections::BTreeMap::new(),
        published: Some(digest("old")),
        has_new_base: false,
        base: Some(after.first().copied().unwrap_or("debian:12").to_owned()),
    }
}

fn build(node: &str, parent: Option<&str>) -> Step {
    let again = parent.is_none().then(|| Epoch::at("2026-11-23T12:00:00Z".parse().unwrap()));
    let reason = match parent {
        None => Reason::Changed { what: vec![Change::Dockerfile], parts: vec![] },
        Some(parent) => Reason::ParentRebuilt { parent: parent.into(), besides: None },
    };
    step(node, Action::Build { fresh: false, again }, reason, parent.as_slice())
}

/// One base with two branches below it, one image to promote and one to keep.
pub(super) fn plan() -> Plan {
    let behind = Reason::TagsBehind { tags: vec![tag("latest")], missing: vec![], foreign: vec![] };
    Plan {
        steps: vec![
            build("os-base", None),
            build("webapp-base", Some("os-base")),
            build("ruby-3.4", Some("webapp-base")),
            build("tools", Some("os-base")),
            step("cron", Action::Promote { digest: digest("cron") }, behind, &[]),
            step("mirror", Action::Keep { digest: digest("mirror") }, Reason::UpToDate, &[]),
        ],
        given: BTreeMap::new(),
        ..Plan::default()
    }
}

/// So many images of one base.
pub(super) fn wide_plan(n: usize) -> Plan {
    let steps = (0..n).map(|n| build(&format!("image-{n:03}"), None)).collect();
    Plan { steps, ..Plan::default() }
}

pub(super) fn built(node: &str) -> Outcome {
    let before = SizeBefore::Unpacked(117_200_000);
    let fingerprint = inputs().fingerprint(&BTreeMap::new());
    Outcome::Built {
        digest: digest(node),
        fingerprint,
        size: 118_400_000,
        added: 3_000_000,
        pushed: None,
        before,
        different: None,
    }
}

pub(super) fn failed(on_failure: OnFailure) -> Outcome {
    Outcome::Failed(StepFailure {
        phase: Phase::Build,
        message: "RUN make: exit code 2".to_owned(),
        exit: Exit::BuildFailed,
        on_failure,
        at: Some(("images/webapp-base/Dockerfile".into(), 7, "RUN make".to_owned())),
        tail: vec![
            b"cc -o app \x1b[31mapp.c\x1b[0m".to_vec(),
            b"make: *** [app] Error 1\xff\x1b[2J".to_vec(),
        ],
        log: Some("/var/lib/rebuild/runs/r1/webapp-base.log".into()),
        kept: None,
    })
}

/// Grows a run event by event; time passes as told.
pub(super) struct Story {
    pub events: Vec<Event>,
    plan: Plan,
    now: Duration,
    steps: BTreeMap<NodeName, (Outcome, Duration, Vec<Tag>)>,
    /// Of those that were tried again.
    attempts: BTreeMap<NodeName, usize>,
    over_budget: BTreeMap<NodeName, OverBudget>,
    stopped: Option<StopReason>,
}

impl Story {
    pub(super) fn new(plan: Plan) -> Self {
        let mut story = Self {
            events: Vec::new(),
            plan: plan.clone(),
            now: Duration::ZERO,
            steps: BTreeMap::new(),
            attempts: BTreeMap::new(),
            over_budget: BTreeMap::new(),
            stopped: None,
        };
        story.happens(EventKind::RunStarted {
            run: "r1".to_owned(),
            plan: Arc::new(plan),
            registry: Some("registry.example.com/base".to_owned()),
            jobs: 2,
            began: "2026-11-24T03:00:01Z".parse().unwrap(),
            asked: "--since abc".to_owned(),
            commit: Some("0123456789ab".to_owned()),
        });
        story
    }

    pub(super) fn after(&mut self, millis: u64) -> &mut Self {
        self.now += ms(millis);
        self
    }

    pub(super) fn happens(&mut self, kind: EventKind) -> &mut Self {
        self.events.push(Event { at: self.now, kind });
        self
    }

    pub(super) fn starts(&mut self, node: &str) -> &mut Self {
        self.happens(EventKind::StepStarted { node: node.into(), engine: None });
        self.phase(node, Phase::Build)
    }

    pub(super) fn phase(&mut self, node: &str, phase: Phase) -> &mut Self {
        self.happens(EventKind::PhaseStarted { node: node.into(), phase })
    }

    pub(super) fn step(&mut self, node: &str, number: usize, text: &str) -> &mut Self {
        let (node, text) = (node.into(), text.to_owned());
        self.happens(EventKind::BuildStep { node, stage: None, number, total: 3, text })
    }

    pub(super) fn log(&mut self, node: &str, line: &[u8]) -> &mut Self {
        self.happens(EventKind::Log { node: node.into(), line: line.to_vec() })
    }

    pub(super) fn ends(&mut self, node: &str, outcome: Outcome, took: u64) -> &mut Self {
        self.steps.insert(node.into(), (outcome.clone(), ms(took), Vec::new()));
        let attempts = self.attempts(&node.into());
        self.happens(EventKind::StepFinished {
            node: node.into(),
            outcome,
            took: ms(took),
            attempts,
            over_budget: self.over_budget(&node.into()),
        })
    }

    /// The first attempt failed, and there is a second.
    pub(super) fn fails_once(&mut self, node: &str, message: &str) -> &mut Self {
        self.attempts.insert(node.into(), 2);
        self.warns(Some(node), &format!("attempt 1 of 3 failed: {message}"))
    }

    /// It is larger than its budget, which only warns.
    pub(super) fn exceeds(&mut self, node: &str, excess: Excess) -> &mut Self {
        let over = causes(excess, (&[], &[]), &[]);
        self.over_budget.insert(node.into(), over.clone());
        self.warns(Some(node), &over.to_string())
    }

    fn over_budget(&self, node: &NodeName) -> Vec<OverBudget> {
        self.over_budget.get(node).cloned().into_iter().collect()
    }

    fn attempts(&self, node: &NodeName) -> usize {
        self.attempts.get(node).copied().unwrap_or(1)
    }

    pub(super) fn warns(&mut self, node: Option<&str>, message: &str) -> &mut Self {
        let node = node.map(NodeName::from);
        self.happens(EventKind::Warning { node, message: message.to_owned() })
    }

    pub(super) fn estimates(&mut self, left: Option<u64>) -> &mut Self {
        self.happens(EventKind::Estimated { left: left.map(ms) })
    }

    pub(super) fn stops(&mut self, reason: StopReason, running: usize) -> &mut Self {
        self.stopped = Some(reason);
        self.happens(EventKind::StopBegan { reason, running })
    }

    pub(super) fn moves(&mut self, nodes: &[&str]) -> &mut Self {
        self.happens(EventKind::PromotionStarted { tags: nodes.len() });
        for &node in nodes {
            let (outcome, _, promoted) = self.steps.get_mut(&NodeName::from(node)).unwrap();
            promoted.push(tag("latest"));
            let kind = EventKind::TagMoved {
                node: node.into(),
                tag: format!("registry.example.com/base/{node}:latest")
                    .parse::<crate::image::Reference>()
                    .map(|name| name.repository.tagged(tag("latest")))
                    .unwrap(),
                from: Some(digest("old")),
                to: outcome.digest().cloned(),
            };
            self.happens(kind);
        }
        self
    }

    pub(super) fn finishes(&mut self, promotion: Promotion, exit: Exit) -> Vec<Event> {
        let steps = self.plan.steps.iter().map(|step| {
            let (outcome, took, promoted) = self.steps.get(&step.node).cloned().unwrap();
            let (node, reason) = (step.node.clone(), step.reason.clone());
            let attempts = self.attempts(&node);
            let over_budget = self.over_budget(&node);
            let reports = Vec::new();
            let content_tags = crate::event::ContentTags::new();
            StepSummary {
                node,
                reason,
                outcome,
                took,
                attempts,
                over_budget,
                reports,
                promoted,
                content_tags,
            }
        });
        let summary = Summary {
            is_local: false,
            run: "r1".to_owned(),
            steps: steps.collect(),
            stopped: self.stopped,
            promotion,
            took: self.now,
            exit,
        };
        self.happens(EventKind::RunFinished { summary });
        std::mem::take(&mut self.events)
    }
}

fn begun() -> Story {
    story(Story::new(plan()))
}

fn story(mut story: Story) -> Story {
    story
        .ends("mirror", Outcome::Kept { digest: digest("mirror") }, 0)
        .ends("cron", Outcome::Reused { digest: digest("cron") }, 0)
        .after(100)
        .starts("os-base")
        .step("os-base", 1, "FROM scratch")
        .after(2_000)
        .step("os-base", 2, "RUN apt-get install -y \x1b[2Jmake")
        .log("os-base", b"\x1b[32mSetting up make\x1b[0m ::set-output::x")
        .phase("os-base", Phase::Test { number: 1, total: 2 })
        .after(10_000)
        .phase("os-base", Phase::Push)
        .ends("os-base", built("os-base"), 12_000)
        .starts("webapp-base")
        .starts("tools")
        .warns(Some("tools"), "`debian:1` is a tag nobody makes");
    story
}

pub(super) fn success() -> Vec<Event> {
    let promotion = Promotion::Done { moved: 4, took: ms(300), held: BTreeMap::new() };
    let mut begun = Story::new(plan());
    begun.estimates(Some(100_000));
    story(begun)
        .after(20_000)
        .estimates(Some(70_000))
        .after(10_000)
        .ends("tools", Outcome::Unchanged { digest: digest("tools") }, 30_000)
        .ends("webapp-base", built("webapp-base"), 30_000)
        .starts("ruby-3.4")
        .after(61_000)
        .estimates(None)
        .ends("ruby-3.4", built("ruby-3.4"), 61_000)
        .moves(&["cron", "os-base", "webapp-base", "ruby-3.4"])
        .after(300)
        .finishes(promotion, Exit::Done)
}

/// Two images are built without the layer cache, and one of them comes out with other files.
pub(super) fn refreshed() -> Vec<Event> {
    let again = Some(Epoch::at("2026-11-23T12:00:00Z".parse().unwrap()));
    let fresh = |node, reason| step(node, Action::Build { fresh: true, again }, reason, &[]);
    let update = PackageUpdate {
        package: "libssl3".to_owned(),
        from: "3.0.15-1".to_owned(),
        to: "3.0.16-1".to_owned(),
    };
    let images = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let fixed = UpdateLine::Fixed { update: update.clone(), images: images(&["os-base", "tools"]) };
    let version = update.from.clone();
    let left = UpdateLine::Left { update, version, images: images(&["web\u{1b}[2J"]) };
    let due = Reason::RefreshDue {
        every: Duration::from_secs(36 * 3600),
        last: "2026-11-22T00:00:00Z".parse().unwrap(),
    };
    let steps = vec![fresh("os-base", Reason::Refresh { besides: None }), fresh("tools", due)];
    let mut os_base = built("os-base");
    if let Outcome::Built { different, before, .. } = &mut os_base {
        *before = SizeBefore::Packed { before: 40_000_000, now: 41_000_000 };
        let first = ["/etc/os-release", "/usr/bin/make", "/var/\u{1b}[2J"];
        *different = Some(Different::Files { count: 14, first: first.map(str::to_owned).to_vec() });
    }
    Story::new(Plan { steps, ..Plan::default() })
        .starts("os-base")
        .starts("tools")
        .after(12_000)
        .phase("os-base", Phase::Compare)
        .ends("os-base", os_base, 12_000)
        .ends("tools", Outcome::Unchanged { digest: digest("tools") }, 12_000)
        .happens(EventKind::RegistryDelayed {
            registry: "registry.example.com".to_owned(),
            message: "the registry registry.example.com answered 503: attempt 2 of 5 in 4 s"
                .to_owned(),
        })
        .happens(EventKind::TaskStarted { task: RunTask::Packages })
        .happens(EventKind::PackagesFixed { lines: vec![fixed, left] })
        .moves(&["os-base"])
        .happens(EventKind::ImagesRemoved { images: 3, bytes: 12_300_000 })
        .finishes(Promotion::Done { moved: 1, took: ms(100), held: BTreeMap::new() }, Exit::Done)
}

pub(super) fn failure() -> Vec<Event> {
    begun()
        .after(30_000)
        .ends("webapp-base", failed(OnFailure::Block), 30_000)
        .ends("ruby-3.4", Outcome::Skipped { failed: vec!["webapp-base".into()] }, 0)
        .stops(StopReason::StepFailed, 1)
        .ends("tools", Outcome::Cancelled, 30_000)
        .finishes(Promotion::Withheld, Exit::BuildFailed)
}

pub(super) fn held() -> Vec<Event> {
    let branch = ["webapp-base", "ruby-3.4"];
    let held = branch.map(|node| (node.into(), "webapp-base".into())).into();
    begun()
        .after(30_000)
        .ends("webapp-base", failed(OnFailure::Hold), 30_000)
        .ends("ruby-3.4", Outcome::Skipped { failed: vec!["webapp-base".into()] }, 0)
        .fails_once("tools", "`RUN make` ended with exit code 2")
        .warns(Some("tools"), "failed once and then succeeded: `RUN make` ended with exit code 2")
        .ends("tools", Outcome::Unchanged { digest: digest("tools") }, 30_000)
        .moves(&["cron", "os-base"])
        .after(200)
        .finishes(Promotion::Done { moved: 2, took: ms(200), held }, Exit::BuildFailed)
}

/// One image is larger than its budget, which only warns.
pub(super) fn over_budget() -> Vec<Event> {
    let steps = vec![build("os-base", None)];
    Story::new(Plan { steps, ..Plan::default() })
        .starts("os-base")
        .after(12_000)
        .exceeds("os-base", Excess::Layers { has: 32, limit: 30 })
        .ends("os-base", built("os-base"), 12_000)
        .moves(&["os-base"])
        .finishes(Promotion::Done { moved: 1, took: ms(100), held: BTreeMap::new() }, Exit::Done)
}

pub(super) fn interrupted() -> Vec<Event> {
    begun()
        .after(1_000)
        .stops(StopReason::Interrupted, 2)
        .ends("webapp-base", Outcome::Cancelled, 1_000)
        .ends("tools", Outcome::Cancelled, 1_000)
        .ends("ruby-3.4", Outcome::Cancelled, 0)
        .finishes(Promotion::Withheld, Exit::Interrupted)
}

/// A run in which every text that comes from outside is this one.
pub(super) fn hostile(bytes: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let failure = StepFailure {
        phase: Phase::Push,
        message: text.clone(),
        exit: Exit::PushFailed,
        on_failure: OnFailure::Block,
        at: Some((text.clone().into(), 1, text.clone())),
        tail: vec![bytes.to_vec(); 2],
        log: Some(text.clone().into()),
        kept: None,
    };
    Story::new(wide_plan(1))
        .warns(Some(&text), &text)
        .starts("image-000")
        .step("image-000", 1, &text)
        .log("image-000", bytes)
        .ends("image-000", Outcome::Failed(failure), 1)
        .finishes(
            Promotion::Incomplete { moved: 0, of: 1, why: text, left: Vec::new() },
            Exit::PushFailed,
        )
}

/// So many images are built.
pub(super) fn wide(n: usize) -> Vec<Event> {
    let mut story = Story::new(wide_plan(n));
    for n in 0..n {
        let name = format!("image-{n:03}");
        story.starts(&name).ends(&name, built(&name), 1000);
    }
    story.finishes(Promotion::Nothing, Exit::Done)
}

pub(super) fn nothing_to_do() -> Vec<Event> {
    let mut plan = plan();
    plan.steps.drain(..5);
    Story::new(plan)
        .ends("mirror", Outcome::Kept { digest: digest("mirror") }, 0)
        .finishes(Promotion::Nothing, Exit::Done)
}

/// What is kept of a run.
pub(super) fn recorded(events: &[Event]) -> Record {
    struct NoReporter;
    impl Reporter for NoReporter {
        fn report(&mut self, _event: &Event) -> io::Result<()> {
            Ok(())
        }
    }
    let mut record = Record::new("--since abc".to_owned());
    record.began = "2026-11-24T03:00:00Z".parse().unwrap();
    record.commit = Some("0123456789ab".to_owned());
    tell(&mut Recorder::new(Box::new(NoReporter), &mut record), events);
    record
}

pub(super) fn tell(reporter: &mut dyn Reporter, events: &[Event]) {
    for event in events {
        reporter.report(event).unwrap();
    }
}
