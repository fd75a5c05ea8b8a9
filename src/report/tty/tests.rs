//! What a terminal shows during a run. The terminal is a small real one: it obeys the
//! sequences that [`Screen`] writes, and refuses all others.

use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::{
    hierarchy::OnFailure,
    report::scenario::{self, Paper, Story, built, failed, ms, options, plan, wide_plan},
};

/// A terminal of some columns and rows, with what scrolled out of it.
struct TestTerminal {
    size: Size,
    gone: Vec<String>,
    rows: Vec<String>,
    row: usize,
}

impl TestTerminal {
    fn new(size: Size) -> Self {
        Self { size, gone: Vec::new(), rows: vec![String::new()], row: 0 }
    }

    fn show(&mut self, text: &str) {
        let mut column = 0;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let (sequence, after) = rest.split_at(end + 1);
                    rest = after;
                    match (sequence.trim_start_matches('['), column) {
                        ("?2026h" | "?2026l", _) => {}
                        ("J", 0) => self.rows.truncate(self.row + 1),
                        ("K", _) => {
                            let row = &mut self.rows[self.row];
                            *row = row.chars().take(column).collect();
                            continue;
                        }
                        (sgr, _) if sgr.ends_with('m') => continue,
                        (up, _) => {
                            let n: usize = up.strip_suffix('A').unwrap().parse().unwrap();
                            self.row = self.row.checked_sub(n).expect("up beyond the top");
                        }
                    }
                    if sequence == "[J" {
                        self.rows[self.row].clear();
                    }
                }
                '\r' => column = 0,
                '\n' => {
                    column = 0;
                    self.feed();
                }
                c => {
                    if column == self.size.0 {
                        column = 0;
                        self.feed();
                    }
                    let row = &mut self.rows[self.row];
                    let tail: String = row.chars().skip(column + 1).collect();
                    *row = row.chars().take(column).chain([c]).collect::<String>() + &tail;
                    column += 1;
                }
            }
        }
        assert_eq!(column, 0, "a frame ends at the beginning of a row");
    }

    fn feed(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(String::new());
        }
        while self.rows.len() > self.size.1 {
            self.gone.push(self.rows.remove(0));
            self.row -= 1;
        }
    }

    fn screen(&self) -> String {
        let rows = self.rows.iter().map(|row| row.trim_end().to_owned() + "\n");
        rows.collect::<String>().trim_end().to_owned()
    }

    fn everything(&self) -> String {
        let gone: String = self.gone.iter().map(|row| row.trim_end().to_owned() + "\n").collect();
        gone + &self.screen()
    }
}

/// A reporter with a clock that stands still between the events.
struct Watched {
    tty: Tty,
    now: Arc<Mutex<Duration>>,
    paper: Paper,
    terminal: TestTerminal,
    frames: usize,
}

impl Watched {
    fn new(size: fn() -> Option<Size>) -> Self {
        let (now, paper) = (Arc::new(Mutex::new(Duration::ZERO)), Paper::default());
        let clock = now.clone();
        let options = ReportOptions { size, is_terminal: true, ..options() };
        let tty = Tty::with_clock(options, paper.out(), Box::new(move || *clock.lock().unwrap()));
        let terminal = TestTerminal::new(size().unwrap());
        Self { tty, now, paper, terminal, frames: 0 }
    }

    /// The events, with a tick between any two.
    fn see(&mut self, events: &[Event]) -> &mut Self {
        for event in events {
            self.tick(event.at);
            self.tty.report(event).unwrap();
            self.look();
        }
        self
    }

    fn tick(&mut self, now: Duration) -> &mut Self {
        *self.now.lock().unwrap() = now;
        self.tty.tick().unwrap();
        self.look();
        self
    }

    fn look(&mut self) {
        let written = self.paper.take();
        self.frames += usize::from(!written.is_empty());
        self.terminal.show(&written);
    }
}

#[test]
fn steps_that_wait_for_others_do_not_count_as_running() {
    let mut story = Story::new(plan());
    story.after(200).starts("os-base").starts("tools").phase("tools", Phase::WaitForTestJob);
    let mut watched = Watched::new(|| Some((80, 24)));
    watched.see(&story.events).tick(ms(2_000));
    let screen = watched.terminal.screen();
    assert!(screen.contains("0/5 images · 1 building · 1 waiting · 0:02"), "{screen}");
}

#[test]
fn what_runs_stays_at_the_bottom() {
    let mut story = Story::new(plan());
    story.after(200).starts("os-base").step(
        "os-base",
        2,
        "RUN apt-get install -y --no-install-recommends make gcc libc6-dev git",
    );
    let mut watched = Watched::new(|| Some((80, 24)));
    watched.see(&story.events).tick(ms(12_000));
    assert_snapshot!(watched.terminal.screen(), @"
    run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once ·
    registry.example.com/base
    os-base  11s  [2/3] RUN apt-get install -y --no-install-recommends make gcc li…
    ────────────────────  0/5 images · 1 building · 0:12
    ");

    story.events.clear();
    story
        .after(13_000)
        .ends("os-base", built("os-base"), 13_000)
        .starts("webapp-base")
        .phase("webapp-base", Phase::Test { number: 1, total: 2 })
        .starts("tools")
        .warns(None, "a warning")
        .after(500)
        .ends("webapp-base", failed(OnFailure::Block), 500)
        .ends("ruby-3.4", Outcome::Skipped { failed: vec!["webapp-base".into()] }, 0)
        .stops(StopReason::StepFailed, 1);
    watched.see(&story.events).tick(ms(14_000));
    assert_snapshot!(watched.terminal.screen(), @"
    run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once ·
    registry.example.com/base
    ✓ os-base      built in 13 s, 118 MB (+1.2 MB)
    warning: a warning
    ✗ webapp-base  build failed after 0.5 s: RUN make: exit code 2
    tools   0s  building
    3/5 images · stopping: an image failed · 1 building · 1 failed · 0:14
    ");
}

#[test]
fn whole_runs() {
    let all = |events: &[Event]| {
        let mut watched = Watched::new(|| Some((80, 24)));
        watched.see(events).terminal.everything()
    };
    assert_snapshot!(all(&scenario::success()), @"
    run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once ·
    registry.example.com/base
    ✓ cron         already built (found c374eea599bb)
    ✓ os-base      built in 12 s, 118 MB (+1.2 MB)
    warning: tools: `debian:1` is a tag nobody makes
    ✓ tools        built in 30 s, unchanged
    ✓ webapp-base  built in 30 s, 118 MB (+1.2 MB)
    ✓ ruby-3.4     built in 1 min 1 s, 118 MB (+1.2 MB)

    image        result            why                                   time
    os-base      built             its Dockerfile changed                12 s
    webapp-base  built             `os-base` is rebuilt                  30 s
    ruby-3.4     built             `webapp-base` is rebuilt         1 min 1 s
    tools        built, unchanged  `os-base` is rebuilt                  30 s
    cron         already built     built, not promoted to `latest`

    promoted 4 tags of 4 images in 0.3 s, parents first
    done in 1 min 43 s: 3 built, 1 unchanged, 1 already built, 1 up to date
    ");
    assert_snapshot!(all(&scenario::failure()), @r"
    run r1: at most 4 to build, 1 to promote, 1 up to date · 2 at once ·
    registry.example.com/base
    ✓ cron         already built (found c374eea599bb)
    ✓ os-base      built in 12 s, 118 MB (+1.2 MB)
    warning: tools: `debian:1` is a tag nobody makes
    ✗ webapp-base  build failed after 30 s: RUN make: exit code 2
    – tools        cancelled

    image        result         why                              time   change
    os-base      built          its Dockerfile changed           12 s  +1.2 MB
    webapp-base  build failed   `os-base` is rebuilt             30 s
    cron         already built  built, not promoted to `latest`
    ruby-3.4     skipped        `webapp-base` failed
    tools        cancelled      `os-base` is rebuilt             30 s

    webapp-base: build failed after 30 s: RUN make: exit code 2
      at images/webapp-base/Dockerfile:7: RUN make
      | cc -o app app.c
      | make: *** [app] Error 1\xff␛[2J
      whole log: /var/lib/rebuild/runs/r1/webapp-base.log
      skipped because of it: `ruby-3.4`

    nothing was promoted: `webapp-base` failed, every tag is where it was
    failed after 42 s (exit code 10): 1 failed, 1 skipped, 1 cancelled, 1 built, 1
    already built, 1 up to date
    ");
    assert_snapshot!(all(&scenario::nothing_to_do()), @"
    run r1: 1 up to date · registry.example.com/base

    nothing to do: the image is up to date
    ");
}

#[test]
fn how_long_the_rest_takes_is_counted_down() {
    let mut story = Story::new(plan());
    story.estimates(Some(100_000)).starts("os-base");
    let mut watched = Watched::new(|| Some((80, 24)));
    watched.see(&story.events);
    let mut bar = |now: u64| {
        watched.tick(ms(now));
        let screen = watched.terminal.screen();
        screen.lines().last().unwrap().trim_start_matches('─').trim().to_owned()
    };
    assert_eq!(bar(2_000), "0/5 images · 1 building · 0:02 · about 2 min left");
    assert_eq!(bar(62_000), "0/5 images · 1 building · 1:02 · about 40 s left");
    // Later than it was thought: nobody knows how much.
    assert_eq!(bar(100_000), "0/5 images · 1 building · 1:40");

    story.events.clear();
    story.after(120_000).estimates(Some(30_000)).after(1_000).estimates(None);
    watched.see(&story.events[..1]);
    let mut bar = |now: u64| {
        watched.tick(ms(now));
        watched.terminal.screen().lines().last().unwrap().contains("left")
    };
    assert!(bar(120_500));
    watched.see(&story.events[1..]);
    let screen = watched.tick(ms(121_500)).terminal.screen();
    assert!(!screen.contains("left"), "{screen}");
}

/// Forty images at once, and then more than the terminal has rows.
#[test]
fn more_than_fits_is_a_number() {
    let mut story = Story::new(wide_plan(40));
    for n in 0..40 {
        story.starts(&format!("image-{n:03}"));
    }
    let mut watched = Watched::new(|| Some((40, 10)));
    watched.see(&story.events).tick(ms(3_000));
    assert_snapshot!(watched.terminal.screen(), @"
    run r1: 40 to build · 2 at once ·
    registry.example.com/base
    image-000   3s  building
    image-001   3s  building
    … and 38 more
    0/40 images · 40 building · 0:03
    ");
}

/// What happens to each image, and after the last one.
#[test]
fn the_bar_names_what_happens_now() {
    let mut story = Story::new(plan());
    story
        .starts("os-base")
        .starts("tools")
        .phase("tools", Phase::Test { number: 1, total: 2 })
        .starts("webapp-base")
        .phase("webapp-base", Phase::Push)
        .starts("ruby-3.4")
        .phase("ruby-3.4", Phase::WaitForParents);
    let mut watched = Watched::new(|| Some((80, 24)));
    watched.see(&story.events).tick(ms(2_000));
    let bar = |watched: &Watched, columns| watched.tty.bar(columns, ms(2_000)).text;
    let whole = "0/5 images · 1 building · 1 testing · 1 pushing · 1 waiting · 0:02";
    assert_eq!(bar(&watched, 79), whole);
    assert_eq!(bar(&watched, 60), "0/5 images · 3 running · 1 waiting · 0:02");

    story.events.clear();
    for image in ["os-base", "tools", "webapp-base", "ruby-3.4"] {
        story.ends(image, built(image), 2_000);
    }
    story.happens(EventKind::TaskStarted { task: RunTask::Copy });
    watched.see(&story.events).tick(ms(3_000));
    let screen = watched.terminal.screen();
    assert!(screen.contains("4/5 images · copying to other registries · 0:03"), "{screen}");
    story.events.clear();
    story.happens(EventKind::PromotionStarted { tags: 21 });
    watched.see(&story.events).tick(ms(4_000));
    let screen = watched.terminal.screen();
    assert!(screen.contains("promoting 0/21 tags · 0:04"), "{screen}");
}

/// A terminal that is half as wide shows each line of the frame in two rows.
#[test]
fn a_narrower_terminal_keeps_no_old_frame() {
    let mut story = Story::new(wide_plan(40));
    for n in 0..40 {
        story.starts(&format!("image-{n:03}")).step(&format!("image-{n:03}"), 1, &"x".repeat(200));
    }
    for rows in 8..40 {
        let mut watched = Watched::new(|| Some((120, 24)));
        watched.see(&story.events);
        let frame = watched.tty.frame((120, rows));
        let wrapped: usize = frame.iter().map(|line| line.width.div_ceil(60)).sum();
        assert!(wrapped < rows.max(9), "{wrapped} of {rows} rows");
    }
}

#[test]
fn a_flood_of_events_is_ten_frames_a_second() {
    let mut story = Story::new(plan());
    story.starts("os-base");
    for n in 0..5_000 {
        story.after(1).step("os-base", n, "RUN make").log("os-base", b"line");
    }
    let mut watched = Watched::new(|| Some((80, 24)));
    watched.see(&story.events);
    assert!((40..=51).contains(&watched.frames), "{} frames in 5 s", watched.frames);
}

proptest! {
    /// Whatever its names and whatever its size: no row is wrapped, and nothing above is touched.
    #[test]
    fn frames_fit(names in proptest::collection::vec("\\PC{0,40}", 0..30), columns in 1_usize..100, rows in 1_usize..30, what in any::<String>()) {
        let mut story = Story::new(plan());
        for name in &names {
            story.starts(name).step(name, 1, &what);
        }
        let mut watched = Watched::new(|| Some((80, 24)));
        watched.see(&story.events);
        let frame = watched.tty.frame((columns, rows));
        prop_assert!(frame.len() < rows.max(1) || frame.is_empty(), "{} in {rows}", frame.len());
        for line in &frame {
            prop_assert!(unicode_width::UnicodeWidthStr::width(line.text.as_str()) <= line.width);
            prop_assert!(line.width < columns.max(1) || line.text.is_empty());
            prop_assert!(!line.text.chars().any(char::is_control));
        }
    }
}
