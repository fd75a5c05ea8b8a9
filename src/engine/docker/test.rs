//! One test of an image, in a container of its own.
//!
//! The container is [confined](super::confined), and has no network unless the test asks for it.

use std::{collections::HashMap, time::Duration};

use bollard::models::{ContainerCreateBody, ContainerState, HealthConfig, HealthStatusEnum};
use http::Method;
use regex::bytes::{Regex, RegexBuilder};
use tokio::time::{sleep, timeout};

use super::{
    Docker, ImageStore,
    call::request,
    confined::{Limits, confined},
    container::{Container, RUN_LABEL, no_healthcheck},
    output::Output,
};
use crate::{
    engine::{EngineError, TestResult, seconds},
    hierarchy::{Check, Test},
    image::Digest,
};

pub(super) const MEMORY: i64 = 512 << 20;
pub(super) const LOG: &str = "16m";
/// How often a container's health is asked for; an inspect takes a millisecond.
const HEALTH_POLL: Duration = Duration::from_millis(200);
/// How often a check runs.
const INTERVAL: Duration = Duration::from_secs(1);
const DOING: &str = "testing";

/// What to say, `None` if the test passed.
type Verdict = Option<String>;

/// What is printed ends with a line end, and `^ok$` is to match it all the same.
fn by_line(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).multi_line(true).build()
}

impl Docker {
    pub(super) async fn test_image(
        &self,
        image: &Digest,
        test: &Test,
        run: &str,
    ) -> Result<TestResult, EngineError> {
        let (pattern, healthcheck) = match &test.check {
            Check::Run { stdout: Some(pattern), .. } => match by_line(pattern) {
                Ok(pattern) => (Some(pattern), no_healthcheck()),
                Err(error) => return Ok(failed(format!("`stdout` is not a pattern: {error}"))),
            },
            Check::Run { stdout: None, .. } => (None, no_healthcheck()),
            Check::Healthy => {
                let seen = self.inspect_raw(image.as_str()).await?;
                match seen.and_then(|image| image.healthcheck()) {
                    Some(check) => (None, impatient(check, test.timeout)),
                    None => return Ok(failed("the image has no HEALTHCHECK".to_owned())),
                }
            }
        };
        let body = ContainerCreateBody {
            healthcheck: Some(healthcheck),
            ..body(image, test, (run, &self.limits))
        };
        let container = Container::create(self, body).await?;
        let result = self.test_in(&container, test, pattern.as_ref()).await;
        container.remove_after(&result).await;
        result
    }

    async fn test_in(
        &self,
        container: &Container,
        test: &Test,
        pattern: Option<&Regex>,
    ) -> Result<TestResult, EngineError> {
        match container.start(self).await {
            Ok(()) => {}
            // Nothing of that name in the image, mostly: the image's fault, not the engine's.
            Err(error) => match error.not_started() {
                Some(message) => return Ok(failed(format!("it cannot be started: {message}"))),
                None => return Err(error),
            },
        }
        let verdict = match test.check {
            Check::Run { .. } => self.ends_well(container, test.timeout).await?,
            Check::Healthy => self.becomes_healthy(container, test.timeout).await?,
        };
        let Output { both, stdout } = self.output(DOING, &container.id).await?;
        let failure = verdict.or_else(|| {
            let missing = pattern.filter(|pattern| !pattern.is_match(&stdout))?;
            Some(format!("stdout does not match `{missing}`"))
        });
        Ok(TestResult { failure, output: both })
    }

    async fn ends_well(
        &self,
        container: &Container,
        limit: Duration,
    ) -> Result<Verdict, EngineError> {
        let Ok(ended) = timeout(limit, container.wait(self)).await else {
            container.kill(self).await?;
            return Ok(Some(format!("still running after {}", seconds(limit))));
        };
        ended?;
        let state = container.state(self).await?;
        if state.running == Some(true) {
            return Err(EngineError::Answer {
                doing: DOING.to_owned(),
                message: "the container has ended, and then that it still runs".to_owned(),
            });
        }
        Ok((state.exit_code != Some(0)).then(|| how_it_ended(&state)))
    }

    async fn becomes_healthy(
        &self,
        container: &Container,
        limit: Duration,
    ) -> Result<Verdict, EngineError> {
        let mut last = ContainerState::default();
        let healthy = timeout(limit, async {
            loop {
                self.check_health(container).await?;
                last = container.state(self).await?;
                if last.running != Some(true) {
                    let how = how_it_ended(&last);
                    return Ok(Some(format!("it ended before it was healthy: {how}")));
                }
                match last.health.as_ref().and_then(|health| health.status) {
                    Some(HealthStatusEnum::HEALTHY) => return Ok(None),
                    Some(HealthStatusEnum::UNHEALTHY) => {
                        return Ok(Some(format!("unhealthy{}", last_check(&last))));
                    }
                    _ => sleep(self.health_poll()).await,
                }
            }
        });
        let in_time = healthy.await;
        in_time.unwrap_or_else(|_| {
            let check = last_check(&last);
            Ok(Some(format!("not healthy after {}{check}", seconds(limit))))
        })
    }
}

impl Docker {
    /// Podman leaves the checks to timers of systemd, which not every machine has. One check more than
    /// those does no harm.
    async fn check_health(&self, container: &Container) -> Result<(), EngineError> {
        if self.capabilities.store != ImageStore::Podman {
            return Ok(());
        }
        let path = format!("/libpod/containers/{}/healthcheck", container.id);
        // A container that has just ended cannot be checked; its state, which is asked for next, says so.
        _ = self.send(request(Method::GET, &path)).await?;
        Ok(())
    }

    fn health_poll(&self) -> Duration {
        if self.capabilities.store == ImageStore::Podman { INTERVAL } else { HEALTH_POLL }
    }
}

const NANOSECONDS_A_SECOND: i64 = 1_000_000_000;

/// What a test may write with `read_only`.
const SCRATCH: (&str, &str) = ("/tmp", "size=64m,mode=1777");

fn body(image: &Digest, test: &Test, (run, limits): (&str, &Limits)) -> ContainerCreateBody {
    let entrypoint = match &test.check {
        // An entry point without a command also takes the image's command away.
        Check::Run { argv, .. } => Some(argv.clone()),
        Check::Healthy => None,
    };
    let network = if test.network { "default" } else { "none" };
    let mut host_config = confined(limits, network, MEMORY, LOG);
    if test.read_only {
        host_config.readonly_rootfs = Some(true);
        host_config.tmpfs = Some(HashMap::from([(SCRATCH.0.to_owned(), SCRATCH.1.to_owned())]));
    }
    ContainerCreateBody {
        image: Some(image.to_string()),
        entrypoint,
        labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
        host_config: Some(host_config),
        ..Default::default()
    }
}

/// The image's own check, asked every second: docker's default is every 30 s, and the first time
/// only then. So often asked, the image's number of retries would be used up while it still
/// starts; it has until the test's timeout.
fn impatient(check: HealthConfig, limit: Duration) -> HealthConfig {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    HealthConfig {
        interval: Some(NANOSECONDS_A_SECOND),
        retries: Some(seconds.saturating_add(1)),
        ..check
    }
}

fn failed(failure: String) -> TestResult {
    TestResult { failure: Some(failure), output: Vec::new() }
}

fn how_it_ended(state: &ContainerState) -> String {
    let Some(code) = state.exit_code else { return "no exit code".to_owned() };
    let memory = if state.oom_killed == Some(true) {
        format!(", out of memory (the limit is {} MiB)", MEMORY >> 20)
    } else {
        String::new()
    };
    format!("exit code {code}{memory}")
}

/// `: <what the last check printed>`, if it printed anything.
fn last_check(state: &ContainerState) -> String {
    let log = state.health.as_ref().and_then(|health| health.log.as_ref());
    let last = log.and_then(|log| log.last()).and_then(|check| check.output.as_deref());
    last.map(str::trim).filter(|text| !text.is_empty()).map_or(String::new(), |text| {
        let text: String = text.chars().take(500).collect();
        format!(": {text}")
    })
}
