//! Whole runs on a small engine in memory, for tests: files on disk, plan, build, test, promote.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::{
    engine::fake::{FakeEngine, FakeState},
    event::{Event, EventKind, Reporter, StopReason, Summary, Telling, WithoutPromotion},
    exit::Exit,
    fingerprint::HashCache,
    hierarchy::{Hierarchy, LoadOptions, NodeName, TagValues},
    image::Digest,
    plan::{Plan, PlanRequest, Selection, order::History, plan},
    publish::{
        holds,
        indexes::Indexes,
        journal::{Began, Journal, PastRun, RunRequest, test_id},
        promote::{Publisher, Recovered, Verdict, conclude, held_back, rollback, verdict},
        store::{Local, StoreError},
    },
    registry::{Client, Credentials},
    run::{
        Origin, PoolEngine, RunOptions, Secrets, Workshop, execute,
        observe::{FactSources, Question, due, observe},
        state::{LayerCache, RunDir},
    },
};

/// A hierarchy on disk and an engine that outlives its runs.
pub(crate) struct Scenario {
    folder: TempDir,
    /// How many runs there were.
    runs: AtomicUsize,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) hashes: Arc<HashCache>,
    /// What builds took before; it grows only by what a test puts in.
    pub(crate) history: History,
    pub(crate) options: RunOptions,
    stops: Vec<(u64, StopReason)>,
    /// Nodes that newer changes have made pointless.
    pub(crate) overtaken: watch::Sender<BTreeSet<NodeName>>,
    pub(crate) date: &'static str,
    /// Whether runs refresh what they are about, and when they are asked.
    pub(crate) refresh: bool,
    /// Whether schedules count.
    pub(crate) by_schedule: bool,
    pub(crate) now: Timestamp,
    /// What the last plan had to say besides.
    pub(crate) warnings: std::sync::Mutex<Vec<String>>,
}

/// What came of one run.
pub(crate) struct ScenarioEnd {
    pub(crate) summary: Summary,
    pub(crate) events: Vec<Event>,
}

/// Lines of `child < parent parent : key=value`, where the keys are fields of hierarchy.yaml. Every
/// image has one test, which passes unless it is told otherwise.
pub(crate) fn scenario(lines: &str) -> Scenario {
    let scenario = Scenario {
        folder: TempDir::new().unwrap(),
        runs: AtomicUsize::new(0),
        engine: Arc::default(),
        hashes: Arc::default(),
        history: History::default(),
        options: RunOptions {
            jobs: NonZeroUsize::new(2).unwrap(),
            test_jobs: NonZeroUsize::new(100).unwrap(),
            speculate: true,
            keep_going: false,
            push: true,
        },
        stops: vec![],
        overtaken: watch::Sender::default(),
        date: "20261123",
        refresh: false,
        by_schedule: false,
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
        warnings: std::sync::Mutex::default(),
    };
    let mut yaml = "version: 1\nimages:\n".to_owned();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, fields) = line.split_once(" : ").unwrap_or((line, ""));
        let (name, parents) = line.split_once('<').unwrap_or((line, ""));
        let name = name.trim();
        writeln!(yaml, "  {name}:\n    test: [{{ run: [check], inherit: false }}]").unwrap();
        for (key, value) in fields.split(';').filter_map(|field| field.split_once('=')) {
            writeln!(yaml, "    {}: {}", key.trim(), value.trim()).unwrap();
        }
        let mut dockerfile = String::new();
        for parent in parents.split_whitespace() {
            writeln!(dockerfile, "FROM {parent}").unwrap();
        }
        if dockerfile.is_empty() {
            dockerfile.push_str("FROM scratch\n");
        }
        writeln!(dockerfile, "RUN make {name}").unwrap();
        scenario.write(&format!("{name}/Dockerfile"), &dockerfile);
    }
    scenario.write("hierarchy.yaml", &yaml);
    scenario
}

impl Scenario {
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn file(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn engine(&self, change: impl FnOnce(&mut FakeState)) {
        change(&mut self.engine.state.lock().unwrap());
    }

    pub(crate) fn stop_at(&mut self, millis: u64, reason: StopReason) {
        self.stops.push((millis, reason));
    }

    pub(crate) fn never_stop(&mut self) {
        self.stops.clear();
    }

    /// Every moving tag, and a short name of the image that it points at: what people would pull.
    pub(crate) fn published(&self) -> BTreeMap<String, Digest> {
        let state = self.engine.state.lock().unwrap();
        state
            .tags
            .iter()
            .filter(|(tag, _)| !tag.tag.as_str().starts_with("rb-"))
            .map(|(tag, digest)| (tag.to_string(), digest.clone()))
            .collect()
    }

    /// The nodes built since this was last asked.
    pub(crate) fn built(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.engine.state.lock().unwrap().built).into_iter().collect()
    }

    fn store(&self) -> Local<FakeEngine> {
        Local::new(self.engine.clone()).with_notes(self.file(".state/notes"))
    }

    pub(crate) fn hierarchy(&self) -> Arc<Hierarchy> {
        let file = self.folder.path().join("hierarchy.yaml");
        Arc::new(Hierarchy::load(&file, &LoadOptions::default()).unwrap().hierarchy)
    }

    /// What is due by age or by schedule, as `--refresh --due` selects it.
    pub(crate) async fn due(&self) -> Selection {
        let (store, hierarchy) = (self.store(), self.hierarchy());
        Selection::Among(due(&store, (&hierarchy, &self.tag_values()), self.now).await.unwrap())
    }

    pub(crate) async fn plan(&self, selection: &Selection) -> Plan {
        let request = PlanRequest {
            selection: selection.clone(),
            refresh: self.refresh,
            by_schedule: self.by_schedule,
            platforms: BTreeSet::new(),
            now: self.now,
        };
        let hierarchy = self.hierarchy();
        let (observed, warnings) = {
            let store = self.store();
            let registries = Client::new(Credentials::none()).unwrap();
            let sources = FactSources {
                engine: &*self.engine,
                store: &store,
                registries: &registries,
                mirror: None,
            };
            let question = Question {
                hierarchy: &hierarchy,
                request: &request,
                platform: &"linux/amd64".parse().unwrap(),
                tag_values: &self.tag_values(),
                hashes: &self.hashes,
                offline: false,
                only_asks: false,
                run: "run",
            };
            observe(&sources, &question).await.unwrap()
        };
        *self.warnings.lock().unwrap() = warnings;
        plan(&hierarchy, &observed, &request)
    }

    /// The plan as lines of `node: action: reason`.
    pub(crate) async fn planned(&self, selection: &Selection) -> String {
        let mut text = String::new();
        for step in self.plan(selection).await.steps {
            let action = format!("{:?}", step.action);
            let action = action.split([' ', '{']).next().unwrap().to_lowercase();
            writeln!(text, "{}: {action}: {}", step.node, step.reason).unwrap();
        }
        text
    }

    pub(crate) async fn run(&self, selection: &Selection) -> ScenarioEnd {
        let plan = Arc::new(self.plan(selection).await);
        self.run_plan(plan).await
    }

    /// Runs while nobody reads the reports.
    pub(crate) async fn run_unheard(&self, selection: &Selection) -> ScenarioEnd {
        let plan = Arc::new(self.plan(selection).await);
        self.run_reporting(plan, Events { broken: true, ..Events::default() }).await
    }

    /// Runs a plan that may have been made a while ago.
    pub(crate) async fn run_plan(&self, plan: Arc<Plan>) -> ScenarioEnd {
        self.run_reporting(plan, Events::default()).await
    }

    async fn run_reporting(&self, plan: Arc<Plan>, mut events: Events) -> ScenarioEnd {
        let store = Arc::new(self.store());
        let shop = Arc::new(Workshop {
            engine: self.engine.clone(),
            store: store.clone(),
            registries: Client::new(Credentials::none()).unwrap(),
            hierarchy: self.hierarchy(),
            plan: plan.clone(),
            hashes: self.hashes.clone(),
            layers: LayerCache::at(self.folder.path().join(".layers")),
            secrets: Secrets::default(),
            history: self.history.clone(),
            run: RunDir::at(&self.folder.path().join(".logs")),
            revision: None,
            origin: Origin { tag_values: Some(self.tag_values()), ..Origin::default() },
            tag_values: self.tag_values(),
            overtaken: self.overtaken.subscribe(),
            options: self.options,
        });
        let (sender, mut stops) = mpsc::channel(4);
        let times = self.stops.clone();
        tokio::spawn(async move {
            for (millis, reason) in times {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                _ = sender.send(reason).await;
            }
            std::future::pending::<()>().await;
        });
        let mut telling = Telling::new(&mut events);
        let engines = [PoolEngine::only(shop.clone())];
        let executed = execute(&engines, &mut stops, &mut telling).await;
        let verdict = if self.options.push {
            let held = held_back(&shop.hierarchy, &plan, &executed);
            let of_run = (&*plan, &executed);
            let indexes = Indexes::new();
            verdict(&shop.hierarchy, of_run, &self.tag_values(), (held, &indexes)).unwrap()
        } else {
            Verdict::NotAsked(WithoutPromotion::NoPush)
        };
        let number = self.runs.fetch_add(1, Ordering::SeqCst);
        let began = Began::new(test_id(number), "here", RunRequest::Run { flags: String::new() });
        let mut journal = Journal::begin(&self.journal(number), began);
        let mut publisher = Publisher {
            store: &*store,
            journal: &mut journal,
            stops: &mut stops,
            telling: &mut telling,
        };
        let promoted = publisher.promote(verdict).await;
        let took = publisher.telling.elapsed();
        let summary = conclude("run".to_owned(), &plan, executed, promoted, took);
        if summary.stopped == Some(StopReason::ReportFailed) {
            publisher.journal.output_is_closed();
        }
        publisher.end(summary.exit).await;
        holds::end(&*store, &summary).await.unwrap();
        self.nothing_is_left();
        ScenarioEnd { summary, events: events.kept }
    }

    /// Where the journal of the `number`th run is, from 0.
    pub(crate) fn journal(&self, number: usize) -> std::path::PathBuf {
        self.folder.path().join(format!(".state/journal/{number}.jsonl"))
    }

    pub(crate) fn past(&self, number: usize) -> PastRun {
        PastRun::read(&fs::read(self.journal(number)).unwrap()).unwrap()
    }

    /// What the next command does with the journal of a run; `None` if it leaves it alone.
    pub(crate) async fn recover(
        &self,
        number: usize,
    ) -> (Option<Result<Recovered, StoreError>>, Vec<Event>) {
        let store = self.store();
        let Some(mut journal) = Journal::reopen(&self.journal(number)).unwrap() else {
            return (None, vec![]);
        };
        let neighbors =
            crate::publish::journal::find(&self.folder.path().join(".state/journal"), "here");
        let (_sender, mut stops) = mpsc::channel(4);
        let mut events = Events::default();
        let mut telling = Telling::new(&mut events);
        let mut publisher = Publisher {
            store: &store,
            journal: &mut journal,
            stops: &mut stops,
            telling: &mut telling,
        };
        let recovered = publisher.recover(neighbors).await;
        (Some(recovered), events.kept)
    }

    /// Takes back a run, as a run of its own. Says which tags stay, and why.
    pub(crate) async fn roll_back(&self, number: usize) -> String {
        let store = self.store();
        let planned = rollback(&store, &self.past(number)).await.unwrap();
        let staying = planned.staying.iter().fold(String::new(), |mut text, (one, staying)| {
            writeln!(text, "{} {staying}", one.tag).unwrap();
            text
        });
        let (_sender, mut stops) = mpsc::channel(4);
        let mut events = Events::default();
        let mut telling = Telling::new(&mut events);
        let next = self.runs.fetch_add(1, Ordering::SeqCst);
        let asked = RunRequest::Rollback { of: test_id(number) };
        let mut journal =
            Journal::begin(&self.journal(next), Began::new(test_id(next), "here", asked));
        let mut publisher = Publisher {
            store: &store,
            journal: &mut journal,
            stops: &mut stops,
            telling: &mut telling,
        };
        let verdict = Verdict::Move { moves: planned.moves.clone(), held: BTreeMap::new() };
        publisher.promote(verdict).await;
        publisher.end(Exit::Done).await;
        holds::add(&store, (&test_id(next), self.now), &planned.moves).await.unwrap();
        staying
    }

    fn tag_values(&self) -> TagValues {
        TagValues { date: self.date.to_owned(), git: None }
    }

    /// No pin survives a run, whatever happened in it.
    fn nothing_is_left(&self) {
        let state = self.engine.state.lock().unwrap();
        let pins: Vec<_> =
            state.tags.keys().filter(|tag| tag.repository.host() == "rebuild.invalid").collect();
        assert!(pins.is_empty(), "{pins:?}");
    }
}

impl ScenarioEnd {
    /// What became of each node, a line each.
    pub(crate) fn outcomes(&self) -> String {
        self.summary.steps.iter().fold(String::new(), |mut text, step| {
            writeln!(text, "{}: {}", step.node, step.outcome).unwrap();
            text
        })
    }

    /// The tags that moved, in order.
    pub(crate) fn moved(&self) -> Vec<String> {
        let moved = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TagMoved { tag, .. } => Some(tag.to_string()),
            _ => None,
        });
        moved.collect()
    }
}

/// Keeps every event.
#[derive(Default)]
struct Events {
    kept: Vec<Event>,
    /// Whether the reader of the events has ended.
    broken: bool,
}

impl Reporter for Events {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        self.kept.push(event.clone());
        if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// Nodes by name.
pub(crate) fn names(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::from(*name)).collect()
}
