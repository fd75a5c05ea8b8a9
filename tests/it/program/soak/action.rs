//! One thing that happens: edits, one or two commands, and what is done to them.

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Soak, world::NODES};
use crate::support::{
    proxy::{Fault, Proxy},
    running::{Ended, Running},
};

/// No command of the soak takes nearly as long, whatever is done to it.
const PATIENCE: Duration = Duration::from_secs(400);
/// Longer than the program waits for an answer of a registry.
const LONG: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Run,
    Refresh,
    Rollback,
    Gc,
}

/// A command that has ended.
pub(super) struct Deed {
    pub(super) machine: usize,
    pub(super) what: What,
    pub(super) ended: Ended,
}

impl What {
    pub(super) fn is_run(self) -> bool {
        matches!(self, Self::Run | Self::Refresh)
    }

    fn arguments(self) -> &'static str {
        match self {
            Self::Run => "",
            Self::Refresh => "--refresh",
            Self::Rollback => "rollback",
            // Nothing is young enough to stay for that.
            Self::Gc => "gc --keep 1ms --yes",
        }
    }

    /// How it may end if it is neither killed nor interrupted.
    fn may_end(self, ended: &Ended) -> bool {
        match (self, ended.status.code()) {
            (_, Some(0 | 12 | 13 | 20 | 21 | 75)) | (Self::Run | Self::Refresh, Some(10 | 11)) => {
                true
            }
            (Self::Rollback, Some(2)) => {
                let refusals = ["no run has moved a tag", "undid run"];
                refusals.iter().any(|refusal| ended.stderr.contains(refusal))
            }
            _ => false,
        }
    }
}

const REGISTRY: [(&str, &str); 13] = [
    ("PUT", "/manifests/latest"),
    ("PUT", "/manifests/latest"),
    ("PUT", "/manifests/1"),
    ("PUT", "/manifests/rb-"),
    ("PUT", "/rebuild-runs/manifests/"),
    ("HEAD", "/manifests/"),
    ("HEAD", "/manifests/latest"),
    ("GET", "/manifests/"),
    ("GET", "/blobs/"),
    ("GET", "/tags/list"),
    ("POST", "/blobs/uploads/"),
    ("PATCH", "/blobs/uploads/"),
    ("PUT", "/blobs/uploads/"),
];
/// Not 404: of a registry that says that a tag is not there, nobody can know that it lies.
const STATUSES: [u16; 11] = [400, 401, 403, 405, 408, 413, 429, 500, 502, 503, 504];
const ENGINE: [(&str, &str); 11] = [
    ("POST", "/build"),
    ("POST", "/build"),
    ("POST", "/push"),
    ("POST", "/images/create"),
    ("POST", "/tag"),
    ("GET", "/images/"),
    ("GET", "/info"),
    ("POST", "/containers/"),
    ("DELETE", "/containers/"),
    ("DELETE", "/images/"),
    ("POST", "/session"),
];

/// What stands before a registry says, and not the registry.
const GATEWAY: &str = "<html><body><h1>Bad Gateway</h1></body></html>";

impl Soak {
    /// Does one thing, and looks at what came of it.
    pub(super) fn act(&mut self, at: Duration) {
        self.tally.actions += 1;
        let mut line = format!("{:4} {:3} s ", self.tally.actions, at.as_secs());
        self.edit(&mut line);
        let (what, machine) = (self.what(), self.machine());
        let mut commands = vec![(what, machine)];
        if self.chance(20) {
            let (what, machine) = (self.what(), self.machine());
            // With nothing young enough to stay, what one run has just stored would go with another's `gc`.
            let is_gc = what == What::Gc || commands[0].0 == What::Gc;
            let what = if is_gc { What::Run } else { what };
            if is_gc {
                commands[0].0 = What::Run;
            }
            commands.push((what, machine));
        }
        if self.chance(20) {
            self.move_by_hand(&mut line);
        }
        let is_cut = self.chance(45);
        if !is_cut || self.chance(30) {
            self.spoil(machine, &mut line);
        }
        let pid = Arc::new(AtomicU32::new(0));
        let signal = is_cut.then(|| self.cut(machine, &pid, &mut line));

        self.world.under_way.clone_from(&line);
        let mut running = Vec::new();
        for (what, machine) in &commands {
            if matches!(what, What::Run | What::Refresh) {
                // What was rolled back would be held, and never settle.
                self.world.rebuild(*machine, "resume").run();
            }
            let started = self.world.rebuild(*machine, what.arguments()).start();
            if running.is_empty() {
                pid.store(started.id(), Ordering::SeqCst);
            }
            running.push((*what, *machine, started));
        }
        let end = |(what, machine, mut started): (What, usize, Running<'_>)| Deed {
            machine,
            what,
            ended: started.end_within(PATIENCE),
        };
        let deeds: Vec<Deed> = running.into_iter().map(end).collect();
        self.world.behave();
        self.world.way.wait_until_quiet();
        for (index, Deed { machine, what, ended }) in deeds.iter().enumerate() {
            self.tally.runs += 1;
            let name = self.world.machines[*machine].name;
            let code = ended.status.code();
            let end = code.map_or("killed".to_owned(), |code| code.to_string());
            write!(line, " {name}: {what:?} -> {end}").unwrap();
            let may_be_cut = index == 0
                && match signal {
                    Some("KILL") => code.is_none(),
                    Some("INT") => code == Some(130),
                    Some(_) => code == Some(143),
                    None => false,
                };
            self.world.machines[*machine].is_untidy |= code.is_none();
            self.tally.kills += usize::from(code.is_none());
            self.tally.signals += usize::from(matches!(code, Some(130 | 143)));
            if !may_be_cut && !what.may_end(ended) {
                self.world.say(line);
                panic!("it may not end like that: {ended}");
            }
            self.world.may_roll_back |= *what == What::Rollback && code != Some(0);
            // A next command that is killed while it puts them back cannot say so.
            self.world.may_roll_back |= ended.stderr.contains("could not be put back");
        }
        self.world.under_way.clear();
        self.world.say(line);
        self.world.said = deeds.iter().map(|deed| deed.ended.to_string()).collect();
        self.world.check(&deeds);
        self.world.by_hand = None;
        // Another machine publishes before the one that was killed comes back.
        let was_killed = deeds.iter().any(|deed| deed.ended.status.code().is_none());
        self.other_first = (was_killed && self.chance(50)).then_some(1 - machine);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    fn what(&mut self) -> What {
        match self.rng.u32(0..100) {
            0..74 => What::Run,
            74..80 => What::Refresh,
            80..92 => What::Rollback,
            _ => What::Gc,
        }
    }

    fn machine(&mut self) -> usize {
        self.other_first.take().unwrap_or_else(|| usize::from(self.chance(40)))
    }

    fn edit(&mut self, line: &mut String) {
        // A base moves most tags.
        let node = if self.chance(35) { NODES[0] } else { NODES[self.rng.usize(0..NODES.len())] };
        match self.rng.u32(0..100) {
            0..6 => {
                self.world.spoil(true);
                line.push_str(" a page that fails,");
            }
            6..70 if self.world.is_bad => {
                self.world.spoil(false);
                line.push_str(" a page that is good again,");
            }
            _ if self.world.is_bad => {}
            6..78 => {
                self.world.edit(node);
                write!(line, " edited {node},").unwrap();
            }
            78..84 => {
                self.world.remark(node);
                write!(line, " a remark in {node},").unwrap();
            }
            84..89 => {
                self.world.project.forget_images();
                line.push_str(" every image removed from the engine,");
            }
            89..94 => {
                let machine = self.rng.usize(0..2);
                let machine = &self.world.machines[machine];
                // What was killed is known by its state, and would stay for a day.
                if !machine.is_untidy {
                    fs::remove_dir_all(&machine.state).unwrap();
                    fs::create_dir(&machine.state).unwrap();
                    write!(line, " the state of {} is lost,", machine.name).unwrap();
                }
            }
            _ => {}
        }
        if self.chance(75) {
            self.world.pull();
        }
    }

    /// Up to three faults, of the registry or of the engine.
    fn spoil(&mut self, machine: usize, line: &mut String) {
        if self.chance(10) {
            let status = [400, 403, 405, 409, 422][self.rng.usize(0..5)];
            let skip = self.rng.usize(0..12);
            write!(line, " {status} on each PUT from the {skip}th on,").unwrap();
            self.world.way.spoil_after(
                skip,
                ("PUT", "/manifests/"),
                9999,
                Fault::Status(status, &[]),
            );
            self.tally.faults += 1;
        }
        if self.chance(10) {
            let skip = self.rng.usize(0..12);
            write!(line, " a stale HEAD after {skip},").unwrap();
            self.world.way.spoil_after(skip, ("HEAD", "/manifests/"), 1, Fault::Stale);
            self.tally.faults += 1;
        }
        for _ in 0..self.rng.u32(0..=3) {
            let is_registry = self.chance(65);
            let requests = if is_registry { &REGISTRY[..] } else { &ENGINE[..] };
            let request = requests[self.rng.usize(0..requests.len())];
            let fault = self.fault(is_registry, request);
            let (skip, times) =
                (self.rng.usize(0..6), if self.chance(8) { 99 } else { self.rng.usize(1..=3) });
            let proxy =
                if is_registry { &self.world.way } else { &self.world.machines[machine].engine };
            write!(line, " {fault:?} {times}x on {} {},", request.0, request.1).unwrap();
            proxy.spoil_after(skip, request, times, fault);
            self.tally.faults += 1;
        }
    }

    /// While a command works, a person points a tag at an image that it had before.
    fn move_by_hand(&mut self, line: &mut String) {
        let node = NODES[self.rng.usize(0..NODES.len())];
        let tag = format!("~{node}:latest");
        let images = self.world.published(node);
        if images.is_empty() {
            return;
        }
        let digest = images[self.rng.usize(0..images.len())].clone();
        let repository = self.world.project.name(&format!("demo/~{node}"));
        let act = self.world.registry.by_hand(&repository, "latest", &digest);
        let (method, path) = [
            ("PUT", "/manifests/latest"),
            ("HEAD", "/manifests/latest"),
            ("PUT", "/rebuild-runs/"),
        ][self.rng.usize(0..3)];
        let skip = self.rng.usize(0..4);
        write!(line, " {tag} to {} by hand at {method} {path} after {skip},", &digest[7..19])
            .unwrap();
        let fault = Fault::First(Arc::new(act));
        self.world.way.spoil_after(skip, (method, path), 1, fault);
        self.world.by_hand = Some((tag, digest));
        self.tally.by_hand += 1;
    }

    fn fault(&mut self, is_registry: bool, (method, path): (&str, &str)) -> Fault {
        let pause = Duration::from_millis(self.rng.u64(0..900));
        let length = self.rng.usize(0..600);
        match self.rng.u32(0..11) {
            // Now and then all of the registry or of the engine is away, and not only one request.
            10 if is_registry && self.chance(30) => Fault::Closed(2 * pause),
            10 if !is_registry => Fault::Gone(3 * pause),
            3 if is_registry && self.chance(50) => {
                Fault::Says(if self.chance(50) { 502 } else { 503 }, "text/html", GATEWAY)
            }
            0..4 if is_registry => Fault::Status(STATUSES[self.rng.usize(0..STATUSES.len())], &[]),
            0..3 => Fault::Status(if self.chance(50) { 500 } else { 503 }, &[]),
            4 | 5 => Fault::Reset,
            6 | 7 => Fault::CutAfter(length),
            8 if is_registry && method == "PUT" && path.contains("/manifests/") => {
                if self.chance(50) { Fault::Lost } else { Fault::Doubled }
            }
            // The engine's pushes and pulls may be silent for 10 minutes.
            9 if is_registry && self.chance(15) && path.contains("/blobs/") => Fault::Delay(LONG),
            9 if is_registry && !path.contains("/blobs/") && self.chance(15) => Fault::Silence,
            _ => Fault::Delay(pause),
        }
    }

    /// Ends the process when it sends some request, or at some moment.
    fn cut(&mut self, machine: usize, pid: &Arc<AtomicU32>, line: &mut String) -> &'static str {
        let signal =
            ["KILL", "KILL", "KILL", "KILL", "INT", "TERM", "HUP", "QUIT"][self.rng.usize(0..8)];
        let pid = pid.clone();
        let hit = move || kill_our_own(&pid, signal);
        if self.chance(25) {
            let moment = Duration::from_millis(self.rng.u64(0..6000));
            write!(line, " {signal} after {moment:?},").unwrap();
            thread::spawn(move || {
                thread::sleep(moment);
                hit();
            });
            return signal;
        }
        let engine = &self.world.machines[machine].engine;
        let (proxy, (method, path), most): (&Proxy, _, _) = match self.rng.u32(0..10) {
            0..7 => (&self.world.way, REGISTRY[self.rng.usize(0..3)], 3),
            7 => (&self.world.way, REGISTRY[self.rng.usize(0..REGISTRY.len())], 9),
            _ => (engine, ENGINE[self.rng.usize(0..ENGINE.len())], 7),
        };
        let skip = self.rng.usize(0..most);
        write!(line, " {signal} at {method} {path} after {skip},").unwrap();
        proxy.spoil_after(skip, (method, path), 1, Fault::First(Arc::new(hit)));
        signal
    }
}

/// Only a process that is a child of this one, so that no number that was given anew is hit.
fn kill_our_own(pid: &AtomicU32, signal: &str) {
    let pid = pid.load(Ordering::SeqCst);
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return };
    let after = stat.rsplit(") ").next().unwrap_or_default();
    if after.split(' ').nth(1) == Some(&std::process::id().to_string()) {
        _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    }
}
