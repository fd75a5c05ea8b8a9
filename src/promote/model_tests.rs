//! Every order in which two promotions can meet, with a crash anywhere and one write that goes wrong.
//!
//! What runs is [`Publisher::promote`] itself, on a store that does nothing until it is told to. From each state of
//! the registry and of both runs every next event is tried, by running both again up to there, and a
//! state that was seen before is not tried twice: the whole of what can happen to a chain of images, and
//! not a sample. From every end a next run is played that nothing disturbs, and it must succeed.

use std::{
    array::from_fn,
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    engine::EngineError,
    image::{Digest, Repository, Tagged},
    journal::{Asked, Began},
    run::{Event, Reporter},
    store::confirm,
};

/// The images before both runs, and of each run.
const BEFORE: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;

/// Made once, since a walk through all states asks millions of times.
static IMAGES: LazyLock<[[Digest; 3]; 3]> = LazyLock::new(|| {
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
enum Request {
    Head(usize),
    Put(usize, Digest),
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
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
    /// Its PUT is done, and will arrive a second time before the run goes on.
    Double(usize),
    /// The second copy arrives.
    Again(usize),
    /// Its PUT is refused.
    Refuse(usize),
    /// It is killed before its request is done.
    Kill(usize),
    /// It is killed after its request was done, before it hears of it.
    KillAfter(usize),
}

/// The registry, and both runs as far as they are.
#[derive(Default)]
struct World {
    tags: Vec<Digest>,
    /// What each run waits for, in the order in which it asked. They are answered in that order.
    asked: [VecDeque<(usize, Request, Waker)>; 2],
    answers: [BTreeMap<usize, Answer>; 2],
    questions: usize,
    /// Everything each run was told: with that, where it stands is known.
    heard: [Vec<Answer>; 2],
    /// A PUT that arrives once more.
    copies: [Option<(usize, Digest)>; 2],
    /// The last record of each run. Unlike tags they are read and written at once.
    records: BTreeMap<String, (Stage, Vec<u8>)>,
}

struct Registry {
    world: Arc<Mutex<World>>,
    run: usize,
}

impl Registry {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    async fn ask(&self, request: Request) -> Answer {
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
        match self.ask(Request::Head(node_of(tag))).await {
            Answer::Found(found) => Ok(found),
            _ => Err(refused()),
        }
    }

    async fn has(&self, _: &Repository, _: &Digest) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn point(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        match self.ask(Request::Put(node_of(tag), digest.clone())).await {
            Answer::Stored => confirm(tag, digest, self.head(tag).await?),
            _ => Err(refused()),
        }
    }

    async fn remove(&self, _: &Tagged) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn can_remove(&self) -> bool {
        false
    }

    async fn records(&self, _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut world = self.world();
        let ended = world.records.values().filter(|(stage, _)| *stage == Stage::Ended).count();
        world.heard[self.run].push(Answer::Records(ended));
        Ok(world.records.values().rev().map(|(_, text)| text.clone()).collect())
    }

    async fn record(&self, run: &str, stage: Stage, text: &[u8]) -> Result<(), StoreError> {
        self.world().records.insert(run.to_owned(), (stage, text.to_owned()));
        Ok(())
    }
}

struct Nobody;

impl Reporter for Nobody {
    fn report(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }
}

/// A promotion of a chain of images, each a wave of its own, that begins where the tags point now.
fn moves(from: &[Digest], of: usize) -> Vec<Move> {
    let one = |node: usize| Move {
        node: format!("n{node}").as_str().into(),
        tag: tag(node),
        from: Some(from[node].clone()),
        to: Some(image(node, of)),
        wave: node,
    };
    (0..from.len()).map(one).filter(|one| one.from != one.to).collect()
}

/// A run under way, or how it ended; killed, it has no end.
enum Run {
    Running(Pin<Box<dyn Future<Output = Promotion>>>),
    Ended(Promotion),
    Killed,
}

impl Run {
    fn start(
        world: &Arc<Mutex<World>>,
        (run, committed): (usize, Option<i64>),
        moves: Vec<Move>,
    ) -> Self {
        let store = Registry { world: world.clone(), run };
        let mut started = Self::Running(Box::pin(async move {
            let (_open, mut stops) = mpsc::channel(1);
            let mut nobody = Nobody;
            let mut telling = Telling::new(&mut nobody);
            let verdict = Verdict::Move { moves, held: BTreeMap::new() };
            let asked = Asked::Run { flags: String::new() };
            let began = Began::new(format!("run {run}"), "nowhere", asked);
            let mut journal = Journal::none(Began { committed, ..began });
            let mut publisher = Publisher {
                store: &store,
                journal: &mut journal,
                stops: &mut stops,
                telling: &mut telling,
            };
            let promotion = publisher.promote(verdict).await.promotion;
            let is_done = matches!(promotion, Promotion::Done { .. });
            publisher.end(if is_done { Exit::Done } else { Exit::PromotionFailed }).await;
            promotion
        }));
        started.go_on();
        started
    }

    fn go_on(&mut self) {
        let Self::Running(future) = self else { return };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(promotion) = future.as_mut().poll(&mut context) {
            *self = Self::Ended(promotion);
        }
    }

    fn is_success(&self) -> bool {
        matches!(self, Self::Ended(Promotion::Done { .. } | Promotion::Nothing))
    }

    /// Without the times that things took.
    fn state(&self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::Killed => "killed",
            Self::Ended(_) if self.is_success() => "done",
            Self::Ended(_) => "given up",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The second begins when the first has ended or is killed: the lock of one machine.
    Locked,
    /// Both plan at the same moment, and then every order is tried.
    Free,
}

/// What may happen, and how much may go wrong: writes, and runs that are killed.
#[derive(Clone, Copy)]
struct Rules {
    nodes: usize,
    /// The first run is of the newer commit; else nobody knows, and it is of no commit.
    first_is_newer: bool,
    order: Order,
    writes: usize,
    kills: usize,
}

/// What a play goes on from.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    tags: Vec<Digest>,
    asked: Vec<Request>,
    heard: [Vec<Answer>; 2],
    copies: [Option<(usize, Digest)>; 2],
    states: [&'static str; 2],
    left: (usize, usize),
}

struct Play {
    world: Arc<Mutex<World>>,
    /// `None`: not begun yet.
    runs: [Option<Run>; 2],
    left: Rules,
}

impl Play {
    /// Both runs from the beginning, with everything that happened so far.
    fn replay(rules: Rules, history: &[Choice]) -> Self {
        let tags = (0..rules.nodes).map(|node| image(node, BEFORE)).collect();
        let world = Arc::new(Mutex::new(World { tags, ..World::default() }));
        let mut play = Self { world, runs: [None, None], left: rules };
        play.start(FIRST);
        if rules.order == Order::Free {
            play.start(SECOND);
        }
        for choice in history {
            play.happens(*choice);
        }
        play
    }

    fn start(&mut self, of: usize) {
        let tags = self.world().tags.clone();
        let committed = self.left.first_is_newer.then_some(if of == FIRST { 2 } else { 1 });
        self.runs[of - 1] = Some(Run::start(&self.world, (of - 1, committed), moves(&tags, of)));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Everything that can happen next.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let world = self.world();
        let is_over = |run: &Option<Run>| matches!(run, Some(Run::Ended(_) | Run::Killed));
        if self.runs[1].is_none() && is_over(&self.runs[0]) {
            return vec![Choice::Begin];
        }
        for run in 0..2 {
            if world.copies[run].is_some() {
                choices.push(Choice::Again(run));
                continue;
            }
            let Some((_, request, _)) = world.asked[run].front() else { continue };
            choices.push(Choice::Do(run));
            let is_put = matches!(request, Request::Put(..));
            if is_put && self.left.writes > 0 {
                choices.extend([Choice::Lose(run), Choice::Double(run), Choice::Refuse(run)]);
            }
            if self.left.kills > 0 {
                choices.push(Choice::Kill(run));
                choices.extend(is_put.then_some(Choice::KillAfter(run)));
            }
        }
        choices
    }

    fn happens(&mut self, choice: Choice) {
        if choice == Choice::Begin {
            return self.start(SECOND);
        }
        let (Choice::Do(run)
        | Choice::Lose(run)
        | Choice::Double(run)
        | Choice::Again(run)
        | Choice::Refuse(run)
        | Choice::Kill(run)
        | Choice::KillAfter(run)) = choice
        else {
            return;
        };
        let mut world = self.world.lock().unwrap();
        if choice == Choice::Again(run) {
            let (node, digest) = world.copies[run].take().unwrap();
            world.tags[node] = digest;
            return;
        }
        let (number, request, waker) = world.asked[run].pop_front().unwrap();
        let answer = match (&request, choice) {
            (Request::Head(node), _) => Answer::Found(Some(world.tags[*node].clone())),
            (Request::Put(..), Choice::Lose(_)) => Answer::Stored,
            (Request::Put(..), Choice::Refuse(_) | Choice::Kill(_)) => Answer::Refused,
            (Request::Put(node, digest), _) => {
                world.tags[*node] = digest.clone();
                if matches!(choice, Choice::Double(_)) {
                    world.copies[run] = Some((*node, digest.clone()));
                }
                Answer::Stored
            }
        };
        match choice {
            Choice::Lose(_) | Choice::Double(_) | Choice::Refuse(_) => self.left.writes -= 1,
            Choice::Kill(_) | Choice::KillAfter(_) => {
                self.left.kills -= 1;
                world.asked[run].clear();
                drop(world);
                self.runs[run] = Some(Run::Killed);
                return;
            }
            Choice::Begin | Choice::Do(_) | Choice::Again(_) => {}
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
        [0, 1].map(|run| self.runs[run].as_ref().map_or("not begun", Run::state))
    }

    /// Two plays with equal keys go on in the same ways.
    fn key(&self) -> Key {
        let world = self.world();
        let asked = world.asked.iter().flatten().map(|(_, request, _)| request.clone());
        Key {
            tags: world.tags.clone(),
            asked: asked.collect(),
            heard: world.heard.clone(),
            copies: world.copies.clone(),
            states: self.states(),
            left: (self.left.writes, self.left.kills),
        }
    }
}

/// Whose image each tag shows: `[1, 1, 0]`.
fn shown(tags: &[Digest]) -> Vec<usize> {
    let whose = |(node, digest): (usize, &Digest)| {
        (0..=SECOND)
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
            // One of them goes on from here, without a replay.
            play.happens(*first);
            history.push(*first);
        }
    }
    (seen.len(), ends)
}

/// Whatever an end looks like, a next run that nothing disturbs makes all tags one run's complete set.
fn heals(tags: &[Digest]) {
    let world = Arc::new(Mutex::new(World { tags: tags.to_vec(), ..World::default() }));
    let mut next = Run::start(&world, (0, None), moves(tags, SECOND));
    while matches!(next, Run::Running(_)) {
        let mut now = world.lock().unwrap();
        let (number, request, waker) = now.asked[0].pop_front().unwrap();
        let answer = match request {
            Request::Head(node) => Answer::Found(Some(now.tags[node].clone())),
            Request::Put(node, digest) => {
                now.tags[node] = digest;
                Answer::Stored
            }
        };
        now.answers[0].insert(number, answer);
        drop(now);
        waker.wake();
        next.go_on();
    }
    assert!(next.is_success());
    assert!(shown(&world.lock().unwrap().tags).iter().all(|of| *of == SECOND));
}

/// No child is newer than its parent: `[2, 1, 0]`, never `[0, 1, 0]`.
fn is_parents_first(shown: &[usize]) -> bool {
    shown.is_sorted_by(|parent, child| parent >= child)
}

#[test]
fn one_after_the_other_whatever_goes_wrong_the_tags_are_whole() {
    let rules =
        Rules { nodes: 3, first_is_newer: false, order: Order::Locked, writes: 1, kills: 1 };
    let (states, ends) = explore(rules, |play, history| {
        let shown = shown(&play.world().tags);
        assert!(is_parents_first(&shown), "{shown:?} after {history:?}");
        if let [first, None] = &play.runs {
            match first.as_ref().map(Run::state) {
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
                // What the one that was killed had moved stays, for the next to go on from.
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
        one_has_its_way(Rules { nodes: 2, first_is_newer, order: Order::Free, writes, kills });
    }
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn at_the_same_time_one_of_them_has_its_way_with_three_images() {
    for first_is_newer in [false, true] {
        let order = Order::Free;
        one_has_its_way(Rules { nodes: 3, first_is_newer, order, writes: 0, kills: 0 });
    }
}

fn one_has_its_way(rules: Rules) {
    let (_, ends) = explore(rules, |play, _| drop(shown(&play.world().tags)));
    if rules.writes + rules.kills == 0 {
        for (runs, shown) in &ends {
            // What people see is its whole set. If both succeed, it was one after the other.
            let has_its_way =
                |of: usize| runs[of - 1] == "done" && shown.iter().all(|whose| *whose == of);
            assert!(has_its_way(FIRST) || has_its_way(SECOND), "{runs:?} {shown:?}");
        }
    }
    assert!(ends.iter().any(|(runs, _)| runs.contains(&"done")));
}
