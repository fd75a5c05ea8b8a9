//! A container in which tests of one image run one after another: `docs/tests.md` has the times.
//!
//! **Invariant:** no test meets a process of another, or a file that the engine can show. Before each further test,
//! the engine lists or measures the files that differ from the fresh container, and [`container_init`] looks for
//! processes. After any trace, the next test gets a new container.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bollard::{
    exec::StartExecResults,
    models::{ContainerCreateBody, ExecConfig},
    query_parameters::{InspectContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{Docker, ImageStore, container::Container, container_init, output::CommandOutput};
use crate::{
    engine::EngineError,
    hierarchy::{Check, Test},
    image::Digest,
};

/// How often the engine is asked whether a program has ended that closed its output.
const POLL: Duration = Duration::from_millis(50);
/// A container of its own takes longer on any engine.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// After this number of containers with traces, each test gets its own.
const MOST_TRACES: usize = 2;
/// The program is missing or must not be run, and a kill, for which the container's memory may be the cause. The
/// first one is also a program's own code.
const UNCLEAR: [i64; 4] = [container_init::NOT_ALONE, 126, 127, 137];

pub(super) struct SharedContainer<'a> {
    docker: &'a Docker,
    /// To create it.
    body: ContainerCreateBody,
    /// Where its programs are: the image's `PATH`.
    path: Option<String>,
    /// The image's, in bytes.
    size: u64,
    /// How many tests may still use it.
    waiting: usize,
    fresh: Option<Fresh>,
    /// How many containers had traces of a test.
    traces: usize,
}

/// A container, and its files before its first test.
struct Fresh {
    container: Container,
    files: FileTrace,
    measure: Measure,
    /// How long the engine may take for that.
    patience: Duration,
    is_used: bool,
}

/// How traces in files are found.
#[derive(Clone, Copy)]
enum Measure {
    /// Complete. Docker compares all files of the image for it.
    Changes,
    /// Of what was written. It does not show removed and empty files.
    Size,
}

#[derive(PartialEq, Eq)]
enum FileTrace {
    /// Paths, and whether each was modified, added or deleted.
    Changes(BTreeSet<(String, i32)>),
    Size(i64),
}

/// For each [`Measure`], the size in bytes of the smallest image for which the engine was too slow.
#[derive(Debug)]
pub(super) struct TooLarge([AtomicU64; 2]);

impl Default for TooLarge {
    fn default() -> Self {
        Self([u64::MAX, u64::MAX].map(AtomicU64::new))
    }
}

/// How a program ended, `None` if the time was over before.
pub(super) struct Ran {
    pub(super) exit_code: Option<i64>,
    pub(super) output: CommandOutput,
}

/// Whether a test can do without a container of its own.
fn may_share(test: &Test) -> bool {
    let needs_own = test.isolated || test.network || test.read_only;
    matches!(test.check, Check::Run { .. }) && !needs_own
}

impl<'a> SharedContainer<'a> {
    /// The body is that of a container for a test.
    pub(super) async fn for_tests(
        docker: &'a Docker,
        image: &Digest,
        tests: &[&Test],
        body: ContainerCreateBody,
    ) -> Result<Self, EngineError> {
        let sharing = tests.iter().filter(|test| may_share(test)).count();
        // A single one is faster in its own container.
        let image = if sharing > 1 { docker.inspect_raw(image.as_str()).await? } else { None };
        // The engine does not list changes in volumes.
        let image = image.filter(|image| !image.has_volumes());
        let waiting = if image.is_some() { sharing } else { 0 };
        let size = image.as_ref().map_or(0, |image| image.size);
        let path = image.and_then(|image| image.variable("PATH"));
        let entrypoint = Some(vec![container_init::PATH.to_owned()]);
        let body = ContainerCreateBody { entrypoint, ..body };
        Ok(Self { docker, body, path, size, waiting, fresh: None, traces: 0 })
    }

    /// Runs a test's program in it. `None`: the test needs its own container.
    pub(super) async fn run(
        &mut self,
        test: &Test,
        argv: &[String],
    ) -> Result<Option<Ran>, EngineError> {
        if self.waiting == 0 || !may_share(test) {
            return Ok(None);
        }
        let is_last = self.waiting == 1;
        self.waiting -= 1;
        self.forget_changed().await?;
        loop {
            if self.fresh.is_none() && !is_last && self.traces < MOST_TRACES {
                self.fresh = refused_is_none(self.create().await)?;
                // An engine that refuses it once would refuse it again.
                self.traces = if self.fresh.is_none() { MOST_TRACES } else { self.traces };
            }
            let Some(fresh) = &mut self.fresh else { return Ok(None) };
            let was_used = std::mem::replace(&mut fresh.is_used, true);
            let argv = container_init::argv(argv, self.path.as_deref());
            let ran =
                refused_is_none(self.docker.exec(&fresh.container, argv, test.timeout).await)?;
            let Some(ran) = ran else { return Ok(None) };
            match ran.exit_code {
                Some(container_init::NOT_ALONE) if was_used => {
                    self.fresh = None;
                    self.traces += 1;
                }
                Some(code) if UNCLEAR.contains(&code) => return Ok(None),
                Some(_) => return Ok(Some(ran)),
                None => {
                    // Only the end of its container ends the program.
                    self.fresh = None;
                    return Ok(Some(ran));
                }
            }
        }
    }

    async fn create(&self) -> Result<Option<Fresh>, EngineError> {
        let Some(program) = &self.docker.init else { return Ok(None) };
        let began = Instant::now();
        let container = Container::create(self.docker, self.body.clone()).await?;
        self.docker.put(&container, container_init::PATH, program).await?;
        container.start(self.docker).await?;
        // If the engine is slower, containers of their own are as fast.
        let patience = LEAST_PATIENCE.max(began.elapsed() / 2);
        for measure in [Measure::Changes, Measure::Size] {
            let too_large = &self.docker.too_large_to_share.0[measure as usize];
            if self.size >= too_large.load(Ordering::Relaxed) {
                continue;
            }
            match timeout(patience, self.docker.files(&container, measure)).await {
                Ok(files) => {
                    let files = files?;
                    let is_used = false;
                    return Ok(Some(Fresh { container, files, measure, patience, is_used }));
                }
                Err(_) => _ = too_large.fetch_min(self.size, Ordering::Relaxed),
            }
        }
        Ok(None)
    }

    async fn forget_changed(&mut self) -> Result<(), EngineError> {
        let Some(fresh) = self.fresh.as_ref().filter(|fresh| fresh.is_used) else {
            return Ok(());
        };
        let files = self.docker.files(&fresh.container, fresh.measure);
        let files = timeout(fresh.patience, files).await;
        let files = refused_is_none(files.map_or(Ok(None), |files| files.map(Some)))?;
        if files.as_ref() != Some(&fresh.files) {
            self.fresh = None;
            self.traces += 1;
        }
        Ok(())
    }
}

/// What the engine refuses, or cannot do, is a reason for a container of its own.
fn refused_is_none<T>(result: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Err(EngineError::Refused { .. } | EngineError::Answer { .. }) => Ok(None),
        other => other,
    }
}

const DOING: &str = "testing";

impl Docker {
    /// Writes an executable file into the root folder of a container that does not run.
    async fn put(
        &self,
        container: &Container,
        path: &str,
        content: &[u8],
    ) -> Result<(), EngineError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o555);
        header.set_entry_type(tar::EntryType::Regular);
        let mut archive = tar::Builder::new(Vec::new());
        let archive = archive
            .append_data(&mut header, path.trim_start_matches('/'), content)
            .and_then(|()| archive.into_inner())
            .map_err(|error| EngineError::Context(error.to_string()))?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_full(archive.into());
        let put = self.api.upload_to_container(&container.id, Some(options), body);
        self.patiently(DOING, async { put.await.map_err(|error| self.answer(DOING, error)) }).await
    }

    async fn files(&self, container: &Container, by: Measure) -> Result<FileTrace, EngineError> {
        let answer = |error| self.answer(DOING, error);
        Ok(match by {
            Measure::Changes => {
                let changes = self.api.container_changes(&container.id).await.map_err(answer)?;
                let changes = changes.unwrap_or_default().into_iter();
                FileTrace::Changes(changes.map(|it| (it.path, it.kind as i32)).collect())
            }
            Measure::Size => {
                let options = InspectContainerOptionsBuilder::default().size(true).build();
                let seen = self.api.inspect_container(&container.id, Some(options)).await;
                let size = seen.map_err(answer)?.size_rw;
                FileTrace::Size(size.ok_or_else(|| EngineError::Answer {
                    doing: DOING.to_owned(),
                    message: "no size of the container".to_owned(),
                })?)
            }
        })
    }

    async fn exec(
        &self,
        container: &Container,
        argv: Vec<String>,
        limit: Duration,
    ) -> Result<Option<Ran>, EngineError> {
        let created = || async {
            let config = ExecConfig {
                cmd: Some(argv.clone()),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                ..Default::default()
            };
            let created = self.api.create_exec(&container.id, config).await;
            created.map_err(|error| self.answer(DOING, error))
        };
        let id = self.quickly(DOING, created).await?.id;
        let mut output = CommandOutput::default();
        let ended = timeout(limit, self.exec_to_end(&id, &mut output)).await;
        output.end();
        let exit_code = match ended {
            Ok(Ok(Some(exit_code))) => Some(exit_code),
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Err(_) => None,
        };
        Ok(Some(Ran { exit_code, output }))
    }

    /// The exit code, or `None` if the engine did not start it.
    async fn exec_to_end(
        &self,
        id: &str,
        output: &mut CommandOutput,
    ) -> Result<Option<i64>, EngineError> {
        let start = self.api.start_exec(id, None);
        let start = async { start.await.map_err(|error| self.answer(DOING, error)) };
        let StartExecResults::Attached { output: mut pieces, input: _open } =
            self.patiently(DOING, start).await?
        else {
            return Ok(None);
        };
        // If a process in the background holds the output open, the engine ends it two seconds after the program.
        while let Some(piece) = pieces.next().await {
            output.take(&piece.map_err(|error| self.answer(DOING, error))?);
        }
        // A program may close its output before it ends.
        loop {
            if let Some(code) = self.exit_code(id).await? {
                return Ok(Some(code));
            }
            sleep(POLL).await;
        }
    }

    /// `None` while it runs.
    async fn exit_code(&self, exec: &str) -> Result<Option<i64>, EngineError> {
        let inspected = || async {
            let inspected = self.api.inspect_exec(exec).await;
            inspected.map_err(|error| self.answer(DOING, error))
        };
        let inspected = self.quickly(DOING, inspected).await?;
        // Podman's exit code is 0 before the program starts.
        let is_podman = self.capabilities.store == ImageStore::Podman;
        let has_ended =
            inspected.running == Some(false) && (!is_podman || inspected.can_remove == Some(true));
        Ok(inspected.exit_code.filter(|_| has_ended))
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
