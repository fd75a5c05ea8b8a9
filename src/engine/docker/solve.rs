//! One build by BuildKit, through its control API.

use std::{collections::HashMap, time::Duration};

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
pub(in crate::engine) const IMAGE_ID: &str = "containerimage.digest";
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
pub(in crate::engine) struct SessionBuild<'a> {
    pub(in crate::engine) request: &'a BuildRequest,
    /// The name of the Dockerfile in the session.
    pub(in crate::engine) dockerfile: &'a str,
    /// The session's ID, which also becomes the build's.
    pub(in crate::engine) session: &'a str,
    /// Whether BuildKit can write its cache to a registry.
    pub(in crate::engine) exports_caches: bool,
    /// Whether the engine keeps an image with its attestations.
    pub(in crate::engine) attests: bool,
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
        let ended = async {
            let control = Control::over(io).await?;
            let solve = docker_solve(&control, build).await?;
            let answer = solve_followed(&control, &solve, activity, |status| {
                transcript.status(status, progress);
            });
            let id = answer.await?.remove(IMAGE_ID).unwrap_or_default();
            id.parse().map_err(|_| CallError::Invalid(format!("`{id}` as the image's ID")))
        };
        let ended: Result<Digest, CallError> = ended.await;
        ended.map_err(|error| match error {
            CallError::Refused { message, .. } => transcript.failure(&message, None),
            CallError::Broken(reason) => self.transport.explain(&Failure::Lost(reason)),
            CallError::Invalid(message) => EngineError::Answer { doing: DOING.to_owned(), message },
        })
    }
}

/// Into Docker's image store.
async fn docker_solve(
    control: &Control,
    build: SessionBuild<'_>,
) -> Result<ControlSolve, CallError> {
    let needs_gateway =
        build.request.settings.add_hosts.values().any(|address| address == HOST_GATEWAY);
    let gateway = if needs_gateway { gateway(control).await? } else { None };
    Ok(build.solve(EXPORTER, gateway.as_deref()))
}

impl SessionBuild<'_> {
    pub(in crate::engine) fn solve(&self, exporter: &str, gateway: Option<&str>) -> ControlSolve {
        let settings = &self.request.settings;
        let has_host_network = settings.network == BuildNetwork::Host;
        let mut options = frontend_options(self.request, self.dockerfile, gateway);
        options.retain(|name, _| self.attests || !name.starts_with(ATTEST));
        ControlSolve {
            build: self.session.to_owned(),
            exporter: exporter.to_owned(),
            session: self.session.to_owned(),
            frontend: FRONTEND.to_owned(),
            options,
            entitlements: has_host_network.then(|| HOST_NETWORK.to_owned()).into_iter().collect(),
            exporter_attributes: annotations(settings),
            cache: cache_exports(self.request, self.exports_caches),
            internal: true,
        }
    }
}

/// Runs a build, and passes on what BuildKit reports. Returns what the exporter says.
pub(in crate::engine) async fn solve_followed(
    control: &Control,
    solve: &ControlSolve,
    activity: &Activity,
    take: impl FnMut(StatusResponse),
) -> Result<HashMap<String, String>, CallError> {
    let following = follow(control, &solve.build, activity, take);
    let solving = control.call::<ControlSolved>(control::SOLVE, solve);
    tokio::pin!(following, solving);
    let solved = tokio::select! {
        ended = &mut solving => {
            // The failed step may be in the last messages.
            _ = timeout(LAST_MESSAGES, following).await;
            ended
        }
        () = &mut following => solving.await,
    };
    Ok(solved?.exporter)
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
