//! A model of two concurrent promotions: every order of their events, with a crash at any point and one
//! fault.
//!
//! It runs [`Publisher::promote`] and [`Publisher::recover`] on a store that executes requests only on
//! command. From each state of the registry and of both runs, it tries every next event by replaying both
//! runs up to there. It tries each state once, and so covers all possible orders for a chain of images. The
//! registry contains records of old runs from the beginning. After every end, an undisturbed next run must
//! succeed.

use std::{
    array::from_fn,
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::*;
use crate::{
    engine::EngineError,
    event::{Event, Reporter},
    image::{Digest, Repository, Tagged},
    publish::{
        journal::{Began, Memory, RunRequest},
        store::StoreError,
    },
};

/// The images before both runs, of each run, and of runs before all that: a person may go back to those.
const BEFORE: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const EARLIER: usize = 3;

/// Made once, since a walk through all states asks millions of times.
static IMAGES: LazyLock<[[Digest; 4]; 3]> = LazyLock::new(|| {
    from_fn(|node| from_fn(|of| Digest::of(format!("{node} of {of}").as_bytes())))
});

fn image(node: usize, of: usize) -> Digest {
    IMAGES[node][of].clone()
}

fn tag(node: usize) -> Tagged {
    let repository: Repository = format!("n{node}").parse().unwrap();
    repository.tagged("latest".parse().unwrap())
}

fn node_of(tag: &Tagged) -> usize {
    tag.repository.as_str()[1..].parse().unwrap()
}

/// What a run asks of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ModelRequest {
    Head(usize),
    Put(usize, Digest),
}

/// The instructions for a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ModelInstruction {
    Found(Option<Digest>),
    Stored,
    Refused,
    /// Records, of which so many say how their run ended.
    Records(usize),
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The second run begins.
    Begin,
    /// The run's request is done and answered.
    Do(usize),
    /// Its PUT is answered and not done.
    Lose(usize),
    /// Its PUT is done, and arrives a second time before the run continues.
    Double(usize),
    /// The second copy arrives.
    Again(usize),
    /// Its PUT is refused.
    Refuse(usize),
    /// It is killed before its request is done.
    Kill(usize),
    /// It is killed after its request was done, before it hears of it.
    KillAfter(usize),
    /// Its HEAD is answered with what the tag showed before the last write.
    Stale(usize),
    /// Its PUT is answered, and is seen later.
    Late(usize),
    /// A write that was late is seen.
    Appear(usize),
    /// Its PUT is refused, and so is every one after it until the run ends.
    RefuseFrom(usize),
    /// A person points the tag of this image at an earlier one.
    Person(usize),
    /// The next command on the machine of the first run finishes it.
    Recover,
}

/// The registry, and both runs as far as they are.
#[derive(Default)]
struct ModelWorld {
    tags: Vec<Digest>,
    /// What each run waits for, in the order in which it asked. They are answered in that order.
    asked: [VecDeque<(usize, ModelRequest, Waker)>; 2],
    answers: [BTreeMap<usize, ModelInstruction>; 2],
    questions: usize,
    /// Everything each run was told: with that, where it stands is known.
    heard: [Vec<ModelInstruction>; 2],
    /// A PUT that arrives once more.
    copies: [Option<(usize, Digest)>; 2],
    /// What each tag showed before the last write.
    previous: Vec<Option<Digest>>,
    /// Writes that are not seen yet.
    late: Vec<Option<Digest>>,
    /// Whether a read may show an old value.
    is_eventual: bool,
    /// Whether all writes of a run are refused.
    refuses: [bool; 2],
    /// The last answer to each run about a tag.
    told: [BTreeMap<usize, Digest>; 2],
    /// The last record of each run. Unlike tags they are read and written at once.
    records: Records,
}

impl ModelWorld {
    fn new(tags: Vec<Digest>) -> Self {
        let none = vec![None; tags.len()];
        let (previous, late) = (none.clone(), none);
        Self { tags, previous, late, ..Self::default() }
    }

    fn write(&mut self, node: usize, digest: &Digest) {
        let previous = std::mem::replace(&mut self.tags[node], digest.clone());
        if previous != *digest {
            self.previous[node] = Some(previous);
        }
        self.late[node] = None;
    }
}

type Records = BTreeMap<String, (RecordStage, Vec<u8>)>;

/// Of hierarchies of one image, of two and of three.
static EARLIER_RUNS: LazyLock<[Records; 3]> = LazyLock::new(|| from_fn(|less| earlier(less + 1)));

/// The records of runs that are over: of each image another one has published what the tags show, and two
/// have wanted something else before, of which one failed.
fn earlier(nodes: usize) -> Records {
    let all: Vec<usize> = (0..nodes).collect();
    let mut runs = vec![(all.clone(), BEFORE, EARLIER, Exit::Done)];
    runs.push((all, BEFORE, EARLIER, Exit::PromotionFailed));
    runs.extend((0..nodes).map(|node| (vec![node], EARLIER, BEFORE, Exit::Done)));
    let record = |(number, (nodes, from, to, exit)): (usize, (Vec<usize>, usize, usize, Exit))| {
        let run = format!("before {number}");
        let asked = RunRequest::Run { flags: String::new() };
        let mut journal = Journal::none(Began::new(&run, "nowhere", asked));
        let moves = nodes.iter().map(|node| Move {
            from: Some(image(*node, from)),
            to: Some(image(*node, to)),
            ..a_move(*node)
        });
        journal.commit(&moves.collect::<Vec<_>>()).unwrap();
        if exit == Exit::PromotionFailed {
            journal.turned("no");
        }
        journal.end(exit, false);
        (run, (RecordStage::Ended, journal.text().to_owned()))
    };
    runs.into_iter().enumerate().map(record).collect()
}

fn a_move(node: usize) -> Move {
    let name = format!("n{node}").as_str().into();
    Move { node: name, tag: tag(node), from: None, to: None, wave: node }
}

struct Registry {
    world: Arc<Mutex<ModelWorld>>,
    run: usize,
}

impl Registry {
    fn world(&self) -> MutexGuard<'_, ModelWorld> {
        self.world.lock().unwrap()
    }

    async fn ask(&self, request: ModelRequest) -> ModelInstruction {
        let mut question = None;
        std::future::poll_fn(|context: &mut Context<'_>| {
            let mut world = self.world();
            if let Some(number) = question {
                return world.answers[self.run].remove(&number).map_or(Poll::Pending, Poll::Ready);
            }
            let number = world.questions;
            world.questions += 1;
            question = Some(number);
            let waker = context.waker().clone();
            world.asked[self.run].push_back((number, request.clone(), waker));
            Poll::Pending
        })
        .await
    }
}

fn refused() -> StoreError {
    let (doing, message) = ("moving a tag".to_owned(), "no".to_owned());
    StoreError::Engine(EngineError::Answer { doing, message })
}

impl Tags for Registry {
    async fn heads(&self, _: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        unreachable!("a promotion asks for one tag at a time")
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        match self.ask(ModelRequest::Head(node_of(tag))).await {
            ModelInstruction::Found(found) => Ok(found),
            _ => Err(refused()),
        }
    }

    async fn has(&self, _: &Repository, _: &Digest) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        match self.ask(ModelRequest::Put(node_of(tag), digest.clone())).await {
            ModelInstruction::Stored => Ok(()),
            _ => Err(refused()),
        }
    }

    /// They take no time. Two are enough: a tag may be read wrong once.
    fn pauses(&self) -> &'static [Duration] {
        if self.world().is_eventual { &[Duration::ZERO; 2] } else { &[] }
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut world = self.world();
        let ended = world.records.iter().filter(|(_, (stage, _))| *stage == RecordStage::Ended);
        let ended: BTreeSet<String> = ended.map(|(run, _)| run.clone()).collect();
        world.heard[self.run].push(ModelInstruction::Records(ended.len()));
        Ok(ended)
    }

    async fn remove(&self, _: &Tagged) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn can_remove(&self) -> bool {
        false
    }

    async fn records(&self, _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut world = self.world();
        let ended =
            world.records.values().filter(|(stage, _)| *stage == RecordStage::Ended).count();
        world.heard[self.run].push(ModelInstruction::Records(ended));
        Ok(world.records.values().rev().map(|(_, text)| text.clone()).collect())
    }

    async fn record(&self, run: &str, stage: RecordStage, text: &[u8]) -> Result<(), StoreError> {
        self.world().records.insert(run.to_owned(), (stage, text.to_owned()));
        Ok(())
    }
}

struct SilentReporter;

impl Reporter for SilentReporter {
    fn report(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }
}

/// A promotion of a chain of images, each a wave of its own, that begins where the tags point now.
fn moves(from: &[Digest], of: usize) -> Vec<Move> {
    let one = |node: usize| Move {
        from: Some(from[node].clone()),
        to: Some(image(node, of)),
        ..a_move(node)
    };
    // Of descendants of the first image that moves, also those that are right.
    (0..from.len()).map(one).skip_while(Move::is_check).collect()
}

/// A run under way, or how it ended; killed, it has no end.
enum ModelRun {
    Running(Pin<Box<dyn Future<Output = &'static str>>>),
    Ended(&'static str),
    Killed,
}

impl ModelRun {
    /// `moves` are none for one that was cut off, which is in `memory`.
    fn start(
        world: &Arc<Mutex<ModelWorld>>,
        (run, committed): (usize, Option<i64>),
        memory: &Memory,
        moves: Option<Vec<Move>>,
    ) -> Self {
        let store = Registry { world: world.clone(), run };
        let memory = memory.clone();
        let mut started = Self::Running(Box::pin(async move {
            let (_open, mut stops) = mpsc::channel(1);
            let mut nobody = SilentReporter;
            let mut telling = Telling::new(&mut nobody);
            let began = || {
                let asked = RunRequest::Run { flags: String::new() };
                Began {
                    committed,
                    ..Began::new(crate::publish::journal::test_id(run), "nowhere", asked)
                }
            };
            let mut journal = Journal::in_memory(&memory, began).unwrap();
            let mut publisher = Publisher {
                store: &store,
                journal: &mut journal,
                stops: &mut stops,
                telling: &mut telling,
            };
            let Some(moves) = moves else {
                return match publisher.recover(Vec::new()).await {
                    Ok(Recovered::Finished { .. }) => "finished",
                    Ok(Recovered::PutBack { .. }) => "put back",
                    Ok(Recovered::LeftTo { .. }) => "left to another",
                    Ok(Recovered::Stuck { .. }) | Err(_) => "open",
                };
            };
            let verdict = Verdict::Move { moves, held: BTreeMap::new() };
            let promotion = publisher.promote(verdict).await.promotion;
            let is_done = matches!(promotion, Promotion::Done { .. } | Promotion::Nothing);
            publisher.end(if is_done { Exit::Done } else { Exit::PromotionFailed }).await;
            match promotion {
                Promotion::Nothing => "nothing",
                _ if is_done => "done",
                _ if journal.past().is_open() => "open",
                _ => "given up",
            }
        }));
        started.go_on();
        started
    }

    fn go_on(&mut self) {
        let Self::Running(future) = self else { return };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(state) = future.as_mut().poll(&mut context) {
            *self = Self::Ended(state);
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::Killed => "killed",
            Self::Ended(state) => state,
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    /// The second begins when the first has ended or is killed: the lock of one machine.
    #[default]
    Locked,
    /// The same, but a command finishes the first while the second is running, on another machine.
    Recovering,
    /// Both plan at the same moment, and then every order is tried.
    Free,
}

/// What may happen.
#[derive(Clone, Copy, Default)]
struct Rules {
    nodes: usize,
    /// What the second run publishes; `None`: there is no second run.
    second: Option<usize>,
    /// Whether the first run has the newer commit; otherwise its commit is unknown.
    first_is_newer: bool,
    order: Order,
    budget: Budget,
}

/// How much may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    writes: usize,
    kills: usize,
    stale_reads: usize,
    late_writes: usize,
    refusals_from_then_on: usize,
    persons: usize,
    recoveries: usize,
}

/// The state from which a play continues.
#[derive(PartialEq, Eq, Hash)]
struct PlayState {
    tags: Vec<Digest>,
    hidden: (Vec<Option<Digest>>, Vec<Option<Digest>>, [bool; 2]),
    asked: Vec<ModelRequest>,
    heard: [Vec<ModelInstruction>; 2],
    copies: [Option<(usize, Digest)>; 2],
    states: [&'static str; 2],
    budget: Budget,
}

struct Play {
    world: Arc<Mutex<ModelWorld>>,
    /// `None`: not begun yet.
    runs: [Option<ModelRun>; 2],
    journals: [Memory; 2],
    /// Whether a command on the first machine has begun to finish the first run.
    is_recovered: bool,
    rules: Rules,
}

impl Play {
    /// Both runs from the beginning, with everything that happened so far.
    fn replay(rules: Rules, history: &[Choice]) -> Self {
        let tags = (0..rules.nodes).map(|node| image(node, BEFORE)).collect();
        let world = Arc::new(Mutex::new(ModelWorld::new(tags)));
        let Budget { stale_reads, late_writes, .. } = rules.budget;
        {
            let mut world = world.lock().unwrap();
            world.is_eventual = stale_reads + late_writes > 0;
            // Two at once have much to read as it is.
            if rules.order != Order::Free {
                world.records.clone_from(&EARLIER_RUNS[rules.nodes - 1]);
            }
        }
        let (runs, journals) = ([None, None], Default::default());
        let mut play = Self { world, runs, journals, is_recovered: false, rules };
        play.start(0, FIRST);
        if let (Order::Free, Some(second)) = (rules.order, rules.second) {
            play.start(1, second);
        }
        for choice in history {
            play.happens(*choice);
        }
        play
    }

    fn start(&mut self, run: usize, of: usize) {
        let tags = self.world().tags.clone();
        let committed = self.rules.first_is_newer.then_some(if run == 0 { 2 } else { 1 });
        let moves = Some(moves(&tags, of));
        self.runs[run] =
            Some(ModelRun::start(&self.world, (run, committed), &self.journals[run], moves));
    }

    fn world(&self) -> MutexGuard<'_, ModelWorld> {
        self.world.lock().unwrap()
    }

    /// Everything that can happen next.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let (world, budget) = (self.world(), self.rules.budget);
        let is_over =
            |run: &Option<ModelRun>| matches!(run, Some(ModelRun::Ended(_) | ModelRun::Killed));
        let is_open = ["killed", "open"].contains(&self.states()[0]);
        let is_beside = self.rules.order == Order::Recovering;
        let is_alone = self.states()[1] != "running";
        if is_open && budget.recoveries > 0 && (is_alone || is_beside) {
            choices.push(Choice::Recover);
        }
        let may_begin = is_over(&self.runs[0]) || is_beside && self.is_recovered;
        if self.runs[1].is_none() && self.rules.second.is_some() && may_begin {
            choices.push(Choice::Begin);
        }
        // The requests of a killed run arrive before the next run begins.
        choices.extend((0..2).filter(|run| world.copies[*run].is_some()).map(Choice::Again));
        if world.copies.iter().any(Option::is_some) && self.rules.order != Order::Free {
            return choices;
        }
        let nodes = 0..self.rules.nodes;
        choices
            .extend(nodes.clone().filter(|node| world.late[*node].is_some()).map(Choice::Appear));
        let is_running = self.runs.iter().flatten().any(|run| run.state() == "running");
        if budget.persons > 0 && (is_running || is_open && budget.recoveries > 0) {
            choices.extend(nodes.map(Choice::Person));
        }
        for run in 0..2 {
            if world.copies[run].is_some() {
                continue;
            }
            let Some((_, request, _)) = world.asked[run].front() else { continue };
            match request {
                ModelRequest::Put(..) if world.refuses[run] => choices.push(Choice::Refuse(run)),
                _ => choices.push(Choice::Do(run)),
            }
            let is_put = matches!(request, ModelRequest::Put(..)) && !world.refuses[run];
            if is_put && budget.writes > 0 {
                choices.extend([Choice::Lose(run), Choice::Double(run), Choice::Refuse(run)]);
            }
            if is_put && budget.late_writes > 0 {
                choices.push(Choice::Late(run));
            }
            if is_put && budget.refusals_from_then_on > 0 {
                choices.push(Choice::RefuseFrom(run));
            }
            if let ModelRequest::Head(node) = request
                && budget.stale_reads > 0
                && world.previous[*node].is_some()
            {
                choices.push(Choice::Stale(run));
            }
            if budget.kills > 0 {
                choices.push(Choice::Kill(run));
                choices.extend(is_put.then_some(Choice::KillAfter(run)));
            }
        }
        choices
    }

    fn happens(&mut self, choice: Choice) {
        match choice {
            Choice::Begin => {
                let second = self.rules.second.unwrap();
                self.start(1, second);
            }
            Choice::Recover => {
                self.rules.budget.recoveries -= 1;
                self.is_recovered = true;
                self.world().refuses[0] = false;
                let run = ModelRun::start(&self.world, (0, None), &self.journals[0], None);
                self.runs[0] = Some(run);
            }
            Choice::Person(node) => {
                self.rules.budget.persons -= 1;
                self.world().write(node, &image(node, EARLIER));
            }
            Choice::Appear(node) => {
                let mut world = self.world();
                let digest = world.late[node].take().unwrap();
                world.write(node, &digest);
            }
            Choice::Again(run) => {
                let mut world = self.world();
                let (node, digest) = world.copies[run].take().unwrap();
                world.write(node, &digest);
            }
            Choice::Do(run)
            | Choice::Lose(run)
            | Choice::Double(run)
            | Choice::Refuse(run)
            | Choice::RefuseFrom(run)
            | Choice::Late(run)
            | Choice::Stale(run)
            | Choice::Kill(run)
            | Choice::KillAfter(run) => self.answer(run, choice),
        }
    }

    fn answer(&mut self, run: usize, choice: Choice) {
        let mut world = self.world.lock().unwrap();
        let (number, request, waker) = world.asked[run].pop_front().unwrap();
        let answer = match (&request, choice) {
            (ModelRequest::Head(node), Choice::Stale(_)) => {
                ModelInstruction::Found(world.previous[*node].clone())
            }
            (ModelRequest::Head(node), _) => {
                let now = world.tags[*node].clone();
                world.told[run].insert(*node, now.clone());
                ModelInstruction::Found(Some(now))
            }
            (ModelRequest::Put(..), Choice::Lose(_)) => ModelInstruction::Stored,
            (
                ModelRequest::Put(..),
                Choice::Refuse(_) | Choice::RefuseFrom(_) | Choice::Kill(_),
            ) => ModelInstruction::Refused,
            (ModelRequest::Put(node, digest), Choice::Late(_)) => {
                world.late[*node] = Some(digest.clone());
                ModelInstruction::Stored
            }
            (ModelRequest::Put(node, digest), _) => {
                let persons = image(*node, EARLIER);
                let knew = world.told[run].get(node) == Some(&persons);
                assert!(!knew || world.tags[*node] != persons, "a tag of a person was moved");
                world.write(*node, digest);
                if matches!(choice, Choice::Double(_)) {
                    world.copies[run] = Some((*node, digest.clone()));
                }
                ModelInstruction::Stored
            }
        };
        let budget = &mut self.rules.budget;
        match choice {
            Choice::Refuse(_) if world.refuses[run] => {}
            Choice::Lose(_) | Choice::Double(_) | Choice::Refuse(_) => budget.writes -= 1,
            Choice::Late(_) => budget.late_writes -= 1,
            Choice::Stale(_) => budget.stale_reads -= 1,
            Choice::RefuseFrom(_) => {
                budget.refusals_from_then_on -= 1;
                world.refuses[run] = true;
            }
            Choice::Kill(_) | Choice::KillAfter(_) => {
                budget.kills -= 1;
                world.asked[run].clear();
                drop(world);
                self.runs[run] = Some(ModelRun::Killed);
                return;
            }
            _ => {}
        }
        world.heard[run].push(answer.clone());
        world.answers[run].insert(number, answer);
        drop(world);
        waker.wake();
        if let Some(run) = &mut self.runs[run] {
            run.go_on();
        }
    }

    fn states(&self) -> [&'static str; 2] {
        [0, 1].map(|run| self.runs[run].as_ref().map_or("not begun", ModelRun::state))
    }

    /// Two plays with equal keys continue in the same ways.
    fn key(&self) -> PlayState {
        let world = self.world();
        let asked = world.asked.iter().flatten().map(|(_, request, _)| request.clone());
        PlayState {
            tags: world.tags.clone(),
            asked: asked.collect(),
            heard: world.heard.clone(),
            // What plays no part any more makes no difference.
            hidden: (
                if self.rules.budget.stale_reads > 0 { world.previous.clone() } else { vec![] },
                world.late.clone(),
                world.refuses,
            ),
            copies: world.copies.clone(),
            states: self.states(),
            budget: self.rules.budget,
        }
    }
}

/// Whose image each tag shows: `[1, 1, 0]`.
fn shown(tags: &[Digest]) -> Vec<usize> {
    let whose = |(node, digest): (usize, &Digest)| {
        (0..=EARLIER)
            .find(|of| IMAGES[node][*of] == *digest)
            .expect("I1: an image that nobody tested")
    };
    tags.iter().enumerate().map(whose).collect()
}

/// What is left when nothing can happen any more: the states of the runs, and what the tags show.
type End = ([&'static str; 2], Vec<usize>);

/// Tries everything. Returns how many states there are, and every end.
fn explore(rules: Rules, mut check: impl FnMut(&Play, &[Choice])) -> (usize, BTreeSet<End>) {
    let (mut seen, mut ends) = (HashSet::new(), BTreeSet::new());
    let mut open: Vec<Vec<Choice>> = vec![vec![]];
    while let Some(mut history) = open.pop() {
        let mut play = Play::replay(rules, &history);
        while seen.insert(play.key()) {
            check(&play, &history);
            let choices = play.choices();
            let Some((first, others)) = choices.split_first() else {
                let tags = play.world().tags.clone();
                if ends.insert((play.states(), shown(&tags))) {
                    heals(&tags);
                }
                break;
            };
            open.extend(others.iter().map(|next| [&history[..], &[*next]].concat()));
            // One of them continues from here without a replay.
            play.happens(*first);
            history.push(*first);
        }
    }
    (seen.len(), ends)
}

/// Whatever an end looks like, a next run that nothing disturbs makes all tags one run's complete set.
fn heals(tags: &[Digest]) {
    let world = Arc::new(Mutex::new(ModelWorld::new(tags.to_vec())));
    let moves = Some(moves(tags, SECOND));
    let mut next = ModelRun::start(&world, (0, None), &Memory::default(), moves);
    while matches!(next, ModelRun::Running(_)) {
        let mut now = world.lock().unwrap();
        let (number, request, waker) = now.asked[0].pop_front().unwrap();
        let answer = match request {
            ModelRequest::Head(node) => ModelInstruction::Found(Some(now.tags[node].clone())),
            ModelRequest::Put(node, digest) => {
                now.write(node, &digest);
                ModelInstruction::Stored
            }
        };
        now.answers[0].insert(number, answer);
        drop(now);
        waker.wake();
        next.go_on();
    }
    assert!(["done", "nothing"].contains(&next.state()));
    assert!(shown(&world.lock().unwrap().tags).iter().all(|of| *of == SECOND));
}

/// No child is newer than its parent: `[2, 1, 0]`, never `[0, 1, 0]`.
fn is_parents_first(shown: &[usize]) -> bool {
    shown.is_sorted_by(|parent, child| parent >= child)
}

#[test]
fn one_after_the_other_whatever_goes_wrong_the_tags_are_whole() {
    let budget = Budget { writes: 1, kills: 1, ..Budget::default() };
    let rules = Rules { nodes: 3, second: Some(SECOND), budget, ..Rules::default() };
    let (states, ends) = explore(rules, |play, history| {
        let shown = shown(&play.world().tags);
        assert!(is_parents_first(&shown), "{shown:?} after {history:?}");
        if let [first, None] = &play.runs {
            match first.as_ref().map(ModelRun::state) {
                Some("done") => assert_eq!(shown, [FIRST; 3], "I3 after {history:?}"),
                Some("given up") => assert_eq!(shown, [BEFORE; 3], "I5 after {history:?}"),
                _ => {}
            }
        }
    });
    for (runs, shown) in &ends {
        match runs {
            [_, "done"] => assert_eq!(*shown, [SECOND; 3], "I3: {runs:?}"),
            ["killed", "given up"] => {
                // Moves of the killed run stay, and the next run continues from them.
                assert!(shown.iter().all(|of| [BEFORE, FIRST].contains(of)), "{shown:?}");
            }
            [_, "given up"] => {
                assert!([[BEFORE; 3], [FIRST; 3]].iter().any(|whole| shown == whole), "{shown:?}");
            }
            _ => {}
        }
    }
    assert!(states > 300 && ends.len() > 10, "{states} states and {} ends", ends.len());
}

/// Without a lock, on two machines, and with a registry that cannot compare and write in one step.
#[test]
fn at_the_same_time_one_of_them_has_its_way() {
    for (first_is_newer, writes, kills) in
        [(false, 0, 0), (true, 0, 0), (false, 1, 0), (false, 0, 1)]
    {
        let budget = Budget { writes, kills, ..Budget::default() };
        one_has_its_way(2, first_is_newer, budget);
    }
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn at_the_same_time_one_of_them_has_its_way_with_three_images_for_minutes() {
    for first_is_newer in [false, true] {
        one_has_its_way(3, first_is_newer, Budget::default());
    }
}

fn one_has_its_way(nodes: usize, first_is_newer: bool, budget: Budget) {
    let second = Some(SECOND);
    let rules = Rules { nodes, second, first_is_newer, order: Order::Free, budget };
    let (_, ends) = explore(rules, |play, _| drop(shown(&play.world().tags)));
    if budget == Budget::default() {
        for (runs, shown) in &ends {
            // What people see is its whole set. If both succeed, it was one after the other.
            let has_its_way =
                |of: usize| runs[of - 1] == "done" && shown.iter().all(|whose| *whose == of);
            assert!(has_its_way(FIRST) || has_its_way(SECOND), "{runs:?} {shown:?}");
        }
    }
    assert!(ends.iter().any(|(runs, _)| runs.contains(&"done")));
}

#[path = "fault_model_tests.rs"]
mod faults;
