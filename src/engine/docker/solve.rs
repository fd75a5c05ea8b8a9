//! One build by BuildKit, through its control API.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Docker,
    activity::Activity,
    build::DOING,
    frontend_options::{annotations, cache_exports, frontend_options},
    trace::StatusResponse,
    transcript::Transcript,
};
use crate::{
    engine::{
        BuildProgress, BuildRequest, EngineError,
        connect::Failure,
        control::{
            self, CallError, Control, ControlSolve, ControlSolved, ListWorkers, StatusRequest,
            Workers,
        },
    },
    hierarchy::{BuildNetwork, HOST_GATEWAY},
    image::Digest,
};

/// The frontend that every BuildKit has.
const FRONTEND: &str = "dockerfile.v0";
/// Docker's own exporter: into its image store.
const EXPORTER: &str = "moby";
/// The image's ID, in the answer of that exporter.
const IMAGE_ID: &str = "containerimage.digest";
/// Attributes of the frontend that ask for attestations begin with this.
const ATTEST: &str = "attest:";
/// The permission to build with the network of the engine's machine.
const HOST_NETWORK: &str = "network.host";
/// The label of BuildKit's worker with the address of the engine's machine.
const GATEWAY_LABEL: &str = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";
/// How long the last messages of a build may take after its end.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// A build whose session is open.
#[derive(Clone, Copy)]
pub(super) struct SessionBuild<'a> {
    pub(super) request: &'a BuildRequest,
    /// The name of the Dockerfile in the session.
    pub(super) dockerfile: &'a str,
    /// The session's ID, which also becomes the build's.
    pub(super) session: &'a str,
    /// Whether BuildKit can write its cache to a registry.
    pub(super) exports_caches: bool,
    /// Whether the engine keeps an image with its attestations.
    pub(super) attests: bool,
}

impl Docker {
    /// Builds with the files of an open session. Returns the image's ID.
    pub(super) async fn solve(
        &self,
        build: SessionBuild<'_>,
        activity: &Activity,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> Result<Digest, EngineError> {
        let io = self.transport.upgrade("/grpc", "h2c", []).await;
        let io = io.map_err(|failure| self.transport.explain(&failure))?;
        let mut transcript = Transcript::default();
        let ended = match Control::over(io).await {
            Ok(control) => {
                let following = follow(&control, build.session, activity, |status| {
                    transcript.status(status, progress);
                });
                let solving = solve(&control, build);
                tokio::pin!(following, solving);
                tokio::select! {
                    ended = &mut solving => {
                        // The failed step may be in the last messages.
                        _ = timeout(LAST_MESSAGES, following).await;
                        ended
                    }
                    () = &mut following => solving.await,
                }
            }
            Err(error) => Err(error),
        };
        ended.map_err(|error| match error {
            CallError::Refused { message, .. } => transcript.failure(&message, None),
            CallError::Broken(reason) => self.transport.explain(&Failure::Lost(reason)),
            CallError::Invalid(message) => EngineError::Answer { doing: DOING.to_owned(), message },
        })
    }
}

async fn solve(control: &Control, build: SessionBuild<'_>) -> Result<Digest, CallError> {
    let settings = &build.request.settings;
    let needs_gateway = settings.add_hosts.values().any(|address| address == HOST_GATEWAY);
    let gateway = if needs_gateway { gateway(control).await? } else { None };
    let has_host_network = settings.network == BuildNetwork::Host;
    let mut options = frontend_options(build.request, build.dockerfile, gateway.as_deref());
    options.retain(|name, _| build.attests || !name.starts_with(ATTEST));
    let solve = ControlSolve {
        build: build.session.to_owned(),
        exporter: EXPORTER.to_owned(),
        session: build.session.to_owned(),
        frontend: FRONTEND.to_owned(),
        options,
        entitlements: has_host_network.then(|| HOST_NETWORK.to_owned()).into_iter().collect(),
        exporter_attributes: annotations(settings),
        cache: cache_exports(build.request, build.exports_caches),
        internal: true,
    };
    let mut solved: ControlSolved = control.call(control::SOLVE, &solve).await?;
    let id = solved.exporter.remove(IMAGE_ID).unwrap_or_default();
    id.parse().map_err(|_| CallError::Invalid(format!("`{id}` as the image's ID")))
}

/// The address of the engine's machine, if BuildKit knows it.
async fn gateway(control: &Control) -> Result<Option<String>, CallError> {
    let workers: Workers = control.call(control::LIST_WORKERS, &ListWorkers {}).await?;
    Ok(workers.workers.into_iter().find_map(|mut worker| worker.labels.remove(GATEWAY_LABEL)))
}

/// Passes on what BuildKit reports, until the build has ended.
async fn follow(
    control: &Control,
    build: &str,
    activity: &Activity,
    mut take: impl FnMut(StatusResponse),
) {
    let request = StatusRequest { build: build.to_owned() };
    let Ok(mut answers) = control.stream(control::STATUS, &request).await else { return };
    // The build itself reports a broken connection.
    while let Ok(Some(status)) = answers.next().await {
        activity.touch();
        take(status);
    }
}
