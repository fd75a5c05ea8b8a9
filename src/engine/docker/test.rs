//! The tests of an image.
//!
//! Containers are [confined](super::confined), and have no network unless the test asks for it.

use std::{collections::HashMap, time::Duration};

use bollard::models::{ContainerCreateBody, ContainerState, HealthConfig, HealthStatusEnum};
use http::Method;
use regex::bytes::{Regex, RegexBuilder};
use tokio::time::{sleep, timeout};

use super::{
    Docker, ImageStore,
    call::request,
    confined::confined,
    container::{Container, RUN_LABEL, no_healthcheck},
    output::CommandOutput,
    shared::{Ran, SharedContainer},
};
use crate::{
    engine::{EngineError, TestProgress, not_started_because, seconds},
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

/// How one test ended.
struct TestResult {
    failure: Verdict,
    output: Vec<u8>,
}

impl Docker {
    pub(super) async fn test_image(
        &self,
        (image, run): (&Digest, &str),
        tests: &[&Test],
        mut progress: impl FnMut(TestProgress) + Send,
    ) -> Result<Verdict, EngineError> {
        let body = self.body(image, run);
        let mut shared = SharedContainer::for_tests(self, image, tests, body.clone()).await?;
        for (index, test) in tests.iter().enumerate() {
            progress(TestProgress::Begins(index));
            let body = for_test(body.clone(), test);
            let TestResult { failure, output } = match &test.check {
                Check::Run { argv, stdout } => {
                    let ran = shared.run(test, argv).await?;
                    self.runs_well(test, (argv, stdout.as_deref()), (ran, body)).await?
                }
                Check::Healthy => self.is_healthy(image, test, body).await?,
            };
            progress(TestProgress::Output(output));
            if failure.is_some() {
                return Ok(failure);
            }
        }
        Ok(None)
    }

    async fn runs_well(
        &self,
        test: &Test,
        (argv, stdout): (&[String], Option<&str>),
        (ran, body): (Option<Ran>, ContainerCreateBody),
    ) -> Result<TestResult, EngineError> {
        let pattern = match stdout.map(by_line).transpose() {
            Ok(pattern) => pattern,
            Err(error) => return Ok(failed(format!("`stdout` is not a pattern: {error}"))),
        };
        let (verdict, output) = if let Some(Ran { exit_code, output }) = ran {
            let verdict = match exit_code {
                Some(0) => None,
                Some(code) => Some(format!("exit code {code}")),
                None => Some(too_slow(test.timeout)),
            };
            (verdict, output)
        } else {
            // An entry point without a command also takes the image's command away.
            let body = ContainerCreateBody { entrypoint: Some(argv.to_vec()), ..body };
            self.test_in_own(test, body).await?
        };
        let failure = verdict.or_else(|| {
            let missing = pattern.filter(|pattern| !pattern.is_match(&output.stdout))?;
            Some(format!("stdout does not match `{missing}`"))
        });
        Ok(TestResult { failure, output: output.both })
    }

    async fn is_healthy(
        &self,
        image: &Digest,
        test: &Test,
        body: ContainerCreateBody,
    ) -> Result<TestResult, EngineError> {
        let seen = self.inspect_raw(image.as_str()).await?;
        let Some(check) = seen.and_then(|image| image.healthcheck()) else {
            return Ok(failed("the image has no HEALTHCHECK".to_owned()));
        };
        let healthcheck = Some(impatient(check, test.timeout));
        let body = ContainerCreateBody { healthcheck, ..body };
        let (failure, output) = self.test_in_own(test, body).await?;
        Ok(TestResult { failure, output: output.both })
    }

    async fn test_in_own(
        &self,
        test: &Test,
        body: ContainerCreateBody,
    ) -> Result<(Verdict, CommandOutput), EngineError> {
        // Its removal goes on while the next test runs.
        let container = Container::create(self, body).await?;
        match container.start(self).await {
            Ok(()) => {}
            // Nothing of that name in the image, mostly: the image's fault, not the engine's.
            Err(error) => match error.not_started() {
                Some(message) => {
                    let verdict = match &test.check {
                        Check::Run { argv, .. } => {
                            let program = argv.first().map_or("", String::as_str);
                            not_started_because(program, message)
                        }
                        Check::Healthy => format!("it cannot be started: {message}"),
                    };
                    return Ok((Some(verdict), CommandOutput::default()));
                }
                None => return Err(error),
            },
        }
        let verdict = match test.check {
            Check::Run { .. } => self.ends_well(&container, test.timeout).await?,
            Check::Healthy => self.becomes_healthy(&container, test.timeout).await?,
        };
        Ok((verdict, self.output(DOING, &container.id).await?))
    }

    async fn ends_well(
        &self,
        container: &Container,
        limit: Duration,
    ) -> Result<Verdict, EngineError> {
        let Ok(ended) = timeout(limit, container.wait(self)).await else {
            container.kill(self).await?;
            return Ok(Some(too_slow(limit)));
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

impl Docker {
    fn body(&self, image: &Digest, run: &str) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(image.to_string()),
            healthcheck: Some(no_healthcheck()),
            labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
            host_config: Some(confined(&self.limits, "none", MEMORY, LOG)),
            ..Default::default()
        }
    }
}

fn for_test(mut body: ContainerCreateBody, test: &Test) -> ContainerCreateBody {
    let host_config = body.host_config.get_or_insert_default();
    if test.network {
        host_config.network_mode = Some("default".to_owned());
    }
    if test.read_only {
        let (folder, options) = SCRATCH;
        host_config.readonly_rootfs = Some(true);
        host_config.tmpfs = Some(HashMap::from([(folder.to_owned(), options.to_owned())]));
    }
    body
}

/// The image's own check, asked every second: docker's default is every 30 s, and the first time
/// only then. So often asked, the image's number of retries would be used up while it still
/// starts; it has until the test's timeout.
fn impatient(check: HealthConfig, limit: Duration) -> HealthConfig {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    HealthConfig {
        interval: Some(NANOSECONDS_A_SECOND),
        // Within it, Docker 25 and later check every 5 seconds. 0 would keep that of the image.
        start_period: Some(NANOSECONDS_A_SECOND / 1000),
        retries: Some(seconds.saturating_add(1)),
        ..check
    }
}

fn failed(failure: String) -> TestResult {
    TestResult { failure: Some(failure), output: Vec::new() }
}

fn too_slow(limit: Duration) -> String {
    format!("still running after {}", seconds(limit))
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

/// `: <the output of the last check>`, or its exit code if it printed nothing.
fn last_check(state: &ContainerState) -> String {
    let log = state.health.as_ref().and_then(|health| health.log.as_ref());
    let Some(last) = log.and_then(|log| log.last()) else { return String::new() };
    let output = last.output.as_deref().unwrap_or_default().trim();
    match last.exit_code {
        _ if !output.is_empty() => format!(": {}", output.chars().take(500).collect::<String>()),
        Some(code) => format!(": the last check printed nothing, exit code {code}"),
        None => String::new(),
    }
}
