//! Combines many events into one change: a save in an editor causes several events, a checkout thousands.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A burst ends after this time without events. Editors write, sync and rename within some milliseconds.
const QUIET: Duration = Duration::from_millis(100);
/// A burst ends after this time in any case: a program may write continuously.
const LONGEST: Duration = Duration::from_millis(400);
/// With more paths than this, checking everything is faster.
const MOST: usize = 4096;

/// An event of the watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Path(PathBuf),
    /// Events were lost.
    Lost,
}

/// The places that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedPlaces {
    Paths(BTreeSet<PathBuf>),
    /// Anywhere.
    Everything,
}

#[derive(Debug)]
pub struct Bursts {
    seen: mpsc::UnboundedReceiver<Seen>,
    /// The events so far, with the times of the first and the last.
    open: Option<(ChangedPlaces, Instant, Instant)>,
}

impl Bursts {
    pub fn new(seen: mpsc::UnboundedReceiver<Seen>) -> Self {
        Self { seen, open: None }
    }

    /// The next change. Dropping the future loses no event.
    pub async fn next(&mut self) -> ChangedPlaces {
        loop {
            let until =
                self.open.as_ref().map(|(_, first, last)| (*first + LONGEST).min(*last + QUIET));
            tokio::select! {
                // The timer first: otherwise a process that writes continuously would delay it forever.
                biased;
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    if let Some((change, ..)) = self.open.take() {
                        return change;
                    }
                }
                seen = self.seen.recv() => match seen {
                    Some(seen) => self.take(seen),
                    // The watcher is dropped.
                    None if until.is_none() => std::future::pending().await,
                    None => sleep_until(until.unwrap_or_else(Instant::now)).await,
                },
            }
        }
    }

    fn take(&mut self, seen: Seen) {
        let now = Instant::now();
        let nothing = || (ChangedPlaces::Paths(BTreeSet::new()), now, now);
        let (change, _, last) = self.open.get_or_insert_with(nothing);
        *last = now;
        match (seen, &mut *change) {
            (Seen::Path(path), ChangedPlaces::Paths(paths)) if paths.len() < MOST => {
                _ = paths.insert(path);
            }
            (Seen::Path(_), ChangedPlaces::Everything) => {}
            (Seen::Path(_) | Seen::Lost, _) => *change = ChangedPlaces::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Seen {
        Seen::Path(name.into())
    }

    fn paths(names: &[&str]) -> ChangedPlaces {
        ChangedPlaces::Paths(names.iter().map(PathBuf::from).collect())
    }

    fn bursts() -> (mpsc::UnboundedSender<Seen>, Bursts) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Bursts::new(receiver))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_one_change() {
        let (sender, mut bursts) = bursts();
        let began = Instant::now();
        for name in ["a", "b", "a"] {
            sender.send(path(name)).unwrap();
        }
        assert_eq!(bursts.next().await, paths(&["a", "b"]));
        assert!(began.elapsed() <= QUIET + Duration::from_millis(2));
        sender.send(path("c")).unwrap();
        assert_eq!(bursts.next().await, paths(&["c"]));
    }

    #[tokio::test(start_paused = true)]
    async fn constant_writes_do_not_delay_forever() {
        let (sender, mut bursts) = bursts();
        let began = Instant::now();
        tokio::spawn(async move {
            while sender.send(path("log")).is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        for n in 1..4 {
            assert_eq!(bursts.next().await, paths(&["log"]));
            let most = (LONGEST + Duration::from_millis(25)) * n;
            assert!(began.elapsed() <= most, "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_event_or_too_many_are_a_change_anywhere() {
        let (sender, mut bursts) = bursts();
        for seen in [path("a"), Seen::Lost, path("b")] {
            sender.send(seen).unwrap();
        }
        assert_eq!(bursts.next().await, ChangedPlaces::Everything);
        for n in 0..=MOST {
            sender.send(path(&n.to_string())).unwrap();
        }
        assert_eq!(bursts.next().await, ChangedPlaces::Everything);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_loses_nothing() {
        let (sender, mut bursts) = bursts();
        sender.send(path("a")).unwrap();
        let short = Duration::from_millis(30);
        assert!(tokio::time::timeout(short, bursts.next()).await.is_err());
        drop(sender);
        assert_eq!(bursts.next().await, paths(&["a"]));
        assert!(tokio::time::timeout(short, bursts.next()).await.is_err(), "nothing more comes");
    }
}
