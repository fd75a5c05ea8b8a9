//! Reports registries that keep a command waiting: silence, and retries.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::RegistryError;

/// The silence of a registry after which it is reported first.
const SILENCE: Duration = Duration::from_secs(5);
/// Requests with a longer pause between them are not of one wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How often an open request checks what there is to report.
const TICK: Duration = Duration::from_secs(1);
/// The interval of further reports.
const AGAIN: Duration = Duration::from_secs(10);
/// Many requests fail together: a failure that adds nothing is reported at most this often for each host.
const REPEAT: Duration = Duration::from_secs(5);

/// Why a command waits for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delay {
    /// A request was sent, and no answer has begun since.
    Silence { host: String, since: Duration },
    /// Requests follow each other, and each is answered in time.
    Busy { host: String, answers: usize, since: Duration },
    /// The engine's push or pull failed, and the engine tries it again after a pause.
    Engine { host: String, action: &'static str, pause: Duration },
    /// The engine has printed nothing about its push or pull since. Podman retries without a message.
    SilentEngine { host: String, action: &'static str, since: Duration },
    /// A request failed, and is sent again after a pause.
    Retry { host: String, why: String, attempt: usize, of: usize, pause: Duration },
}

impl Delay {
    /// The registry's host.
    pub fn host(&self) -> &str {
        match self {
            Self::Silence { host, .. }
            | Self::Busy { host, .. }
            | Self::Engine { host, .. }
            | Self::SilentEngine { host, .. }
            | Self::Retry { host, .. } => host,
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence { host, since } => {
                let seconds = since.as_secs();
                write!(f, "waiting for the registry {host}: no answer for {seconds} s")
            }
            Self::Busy { host, answers, since } => {
                let (s, seconds) = (if *answers == 1 { "" } else { "s" }, since.as_secs());
                write!(f, "the registry {host} is slow: {answers} answer{s} in {seconds} s")
            }
            Self::Engine { host, action, pause } => {
                let seconds = pause.as_secs();
                write!(
                    f,
                    "the engine's {action} failed at the registry {host}: it retries in {seconds} s"
                )
            }
            Self::SilentEngine { host, action, since } => {
                let seconds = since.as_secs();
                write!(
                    f,
                    "waiting for the engine's {action} at the registry {host}: no message for \
                     {seconds} s; the engine may be retrying"
                )
            }
            Self::Retry { why, attempt, of, pause, .. } => {
                write!(f, "{why}: attempt {attempt} of {of} ")?;
                match pause.as_secs_f64() {
                    pause if pause < 0.95 => write!(f, "in {pause:.1} s"),
                    pause => write!(f, "in {pause:.0} s"),
                }
            }
        }
    }
}

type Listener = Arc<dyn Fn(Delay) + Send + Sync>;

/// Reports delays to one listener; shared by all requests of a client, and by an engine.
#[derive(Default)]
pub struct Delays {
    listener: Mutex<Option<Listener>>,
    hosts: Mutex<HashMap<String, HostDelay>>,
}

#[derive(Default)]
struct HostDelay {
    /// The start of the oldest request since the last answer.
    waiting: Option<Instant>,
    /// The last report of a wait.
    reported: Option<Instant>,
    /// Requests without an answer.
    open: usize,
    /// The start of the requests that follow each other, and the answers since.
    busy: Option<(Instant, usize)>,
    /// When the last request ended.
    ended: Option<Instant>,
    /// The last reported attempt.
    retry: Option<(usize, Instant)>,
    /// The pause that the engine named last, and when.
    engine: Option<(Duration, Instant)>,
}

impl HostDelay {
    /// A request begins. Since when the host is silent.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        let is_new = self.open == 0 && self.ended.is_none_or(|at| now - at > PAUSE);
        if is_new {
            self.busy = None;
        }
        self.open += 1;
        self.busy.get_or_insert((now, 0));
        *self.waiting.get_or_insert(now)
    }

    fn answered(&mut self) {
        self.waiting = None;
        if let Some((_, answers)) = &mut self.busy {
            *answers += 1;
        }
    }

    /// What there is to report of a request that began then.
    fn wait(&mut self, host: &str, began: Instant) -> Option<Delay> {
        let now = Instant::now();
        let host = host.to_owned();
        let is_old = |at: Option<Instant>, least| at.is_none_or(|at| now - at >= least);
        let silence = now - self.waiting.unwrap_or(began).min(began);
        let (since, answers) = self.busy.map_or((now, 0), |(since, answers)| (since, answers));
        let delay = if silence >= SILENCE {
            // A retry says more.
            let is_retried = !is_old(self.retry.map(|(_, at)| at), AGAIN);
            let is_due = is_old(self.reported, AGAIN) && !is_retried;
            is_due.then_some(Delay::Silence { host, since: silence })
        } else {
            let is_due = answers > 1 && now - since >= SILENCE && is_old(self.reported, AGAIN);
            is_due.then_some(Delay::Busy { host, answers, since: now - since })
        };
        self.reported = if delay.is_some() { Some(now) } else { self.reported };
        delay
    }
}

/// A request that has not ended; a dropped one has.
struct OpenRequest<'d> {
    delays: &'d Delays,
    host: &'d str,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.delays.host(self.host, |found| {
            found.open -= 1;
            found.ended = Some(Instant::now());
        });
    }
}

impl fmt::Debug for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delays").finish_non_exhaustive()
    }
}

impl Delays {
    /// Replaces the listener.
    pub(super) fn listen(&self, listener: impl Fn(Delay) + Send + Sync + 'static) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(listener));
    }

    /// Waits for the beginning of an answer from this host.
    pub(super) async fn answer<T, E>(
        &self,
        host: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = self.host(host, HostDelay::begin);
        let _open = OpenRequest { delays: self, host };
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    // After an error the host is still silent: a retry continues to count.
                    if answer.is_ok() {
                        self.host(host, HostDelay::answered);
                    }
                    return answer;
                }
                () = tokio::time::sleep(TICK) => {
                    if let Some(delay) = self.host(host, |found| found.wait(host, began)) {
                        self.report(delay);
                    }
                }
            }
        }
    }

    /// The engine says how long it pauses. It counts down, a message a second, for each layer.
    pub fn engine(&self, host: &str, action: &'static str, pause: Duration) {
        let now = Instant::now();
        let is_news = self.host(host, |found| {
            let last = found.engine.replace((pause, now));
            last.is_none_or(|(before, at)| pause > before || now - at >= REPEAT)
        });
        if is_news {
            self.report(Delay::Engine { host: host.to_owned(), action, pause });
        }
    }

    /// The engine has printed nothing about a transfer since. Several transfers at once are one report.
    pub fn silent_engine(&self, host: &str, action: &'static str, since: Duration) {
        let now = Instant::now();
        let is_due = self.host(host, |found| {
            let is_due = found.reported.is_none_or(|at| now - at >= AGAIN);
            found.reported = if is_due { Some(now) } else { found.reported };
            is_due
        });
        if is_due {
            self.report(Delay::SilentEngine { host: host.to_owned(), action, since });
        }
    }

    /// A request failed, and attempt `attempt` of `of` follows after the pause.
    pub(super) fn retry(
        &self,
        error: &RegistryError,
        (attempt, of): (usize, usize),
        pause: Duration,
    ) {
        let (host, why) = match error {
            RegistryError::Answer { host, status, .. } => {
                (host, format!("the registry {host} answered {status}"))
            }
            RegistryError::Unreachable { host, reason, .. } => {
                (host, format!("cannot reach the registry {host}: {reason}"))
            }
            RegistryError::Refused { host, .. } | RegistryError::Credentials { host, .. } => {
                (host, error.to_string())
            }
        };
        let now = Instant::now();
        let is_news = self.host(host, |found| {
            let is_news = found.retry.is_none_or(|(told, at)| attempt > told || now - at >= REPEAT);
            found.retry = if is_news { Some((attempt, now)) } else { found.retry };
            is_news
        });
        if is_news {
            self.report(Delay::Retry { host: host.clone(), why, attempt, of, pause });
        }
    }

    fn host<T>(&self, host: &str, change: impl FnOnce(&mut HostDelay) -> T) -> T {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(host.to_owned()).or_default())
    }

    fn report(&self, delay: Delay) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener {
            listener(delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (Delays, Arc<Mutex<Vec<String>>>) {
        let (delays, told) = (Delays::default(), Arc::<Mutex<Vec<String>>>::default());
        let into = told.clone();
        delays.listen(move |delay| into.lock().unwrap().push(delay.to_string()));
        (delays, told)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_reported_after_five_seconds_and_then_every_ten() {
        let (delays, told) = listening();
        let answer = |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, ()>(())
        };
        delays.answer("r.example", answer(4)).await.unwrap();
        assert!(told.lock().unwrap().is_empty());
        let (a, b) = tokio::join!(
            delays.answer("r.example", answer(16)),
            delays.answer("r.example", answer(16)),
        );
        assert_eq!((a, b), (Ok(()), Ok(())));
        assert_eq!(
            *told.lock().unwrap(),
            [
                "waiting for the registry r.example: no answer for 5 s",
                "waiting for the registry r.example: no answer for 15 s",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_answers_that_take_long_together_are_reported() {
        let (delays, told) = listening();
        let answer = |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, ()>(())
        };
        for _ in 0..10 {
            delays.answer("r.example", answer(2)).await.unwrap();
        }
        // The next wait begins after a pause.
        tokio::time::sleep(Duration::from_secs(9)).await;
        for _ in 0..2 {
            delays.answer("r.example", answer(2)).await.unwrap();
        }
        assert_eq!(
            *told.lock().unwrap(),
            [
                "the registry r.example is slow: 2 answers in 5 s",
                "the registry r.example is slow: 7 answers in 15 s",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_refuses_is_not_silent() {
        let (delays, told) = listening();
        let error = RegistryError::Unreachable {
            host: "r.example".into(),
            reason: "connection refused".into(),
            hint: None,
        };
        for attempt in 2..5 {
            _ = delays.answer("r.example", async { Err::<(), ()>(()) }).await;
            delays.retry(&error, (attempt, 5), Duration::from_secs(4));
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, ()>(())
        };
        delays.answer("r.example", late).await.unwrap();
        assert_eq!(told.lock().unwrap().len(), 3, "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_countdown_of_the_engine_is_one_line() {
        let (delays, told) = listening();
        for seconds in [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 10, 10, 9] {
            delays.engine("r.example", "push", Duration::from_secs(seconds));
        }
        assert_eq!(
            *told.lock().unwrap(),
            [
                "the engine's push failed at the registry r.example: it retries in 5 s",
                "the engine's push failed at the registry r.example: it retries in 10 s",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_prints_nothing_is_reported_every_ten_seconds() {
        let (delays, told) = listening();
        for seconds in [10, 10, 15, 20] {
            delays.silent_engine("r.example", "push", Duration::from_secs(seconds));
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let line = |seconds| {
            format!(
                "waiting for the engine's push at the registry r.example: no message for {seconds} s; \
                 the engine may be retrying"
            )
        };
        assert_eq!(*told.lock().unwrap(), [line(10), line(20)]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_fail_together_are_one_line() {
        let (delays, told) = listening();
        let error = RegistryError::Answer {
            host: "r.example".into(),
            status: 503,
            action: "read",
            repository: "a".into(),
            reason: "overloaded".into(),
        };
        for attempt in [2, 2, 2, 3, 2, 3] {
            delays.retry(&error, (attempt, 5), Duration::from_millis(600 * attempt as u64));
        }
        assert_eq!(
            *told.lock().unwrap(),
            [
                "the registry r.example answered 503: attempt 2 of 5 in 1 s",
                "the registry r.example answered 503: attempt 3 of 5 in 2 s",
            ]
        );
    }
}
