//! One build by BuildKit: the frontend turns the Dockerfile into a result, and the engine stores it as an image.
//!
//! A later build that is based on such an image gets the result as its base. So BuildKit continues where it was,
//! instead of loading the image from the engine's store: see [`solved_images`](super::solved_images).

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::time::timeout;

use super::{
    Docker,
    activity::Activity,
    build::DOING,
    frontend_options::{HOST_GATEWAY, frontend_options},
    solved_images::{BuildResult, SolvedImage},
    trace::StatusResponse,
    transcript::Transcript,
};
use crate::{
    engine::{
        BuildProgress, BuildRequest, EngineError,
        connect::Failure,
        control::{
            self, CallError, Control, ControlSolve, ControlSolved, FrontendSolve, FrontendSolved,
            ListWorkers, Return, Returned, RpcStatus, StatusRequest, Workers,
        },
    },
    hierarchy::BuildNetwork,
    image::Digest,
};

/// The frontend that every BuildKit has.
const FRONTEND: &str = "dockerfile.v0";
/// Docker's own exporter: into its image store.
const EXPORTER: &str = "moby";
/// The image's ID, in the answer of that exporter.
const IMAGE_ID: &str = "containerimage.digest";
/// The image's configuration, in the metadata of a result.
const IMAGE_CONFIG: &str = "containerimage.config";
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
    /// The result of the build that made the base. `None`: the engine's store has the base.
    pub(super) base: Option<&'a SolvedImage>,
}

/// An image in the engine's store, and the result that it was made of.
pub(super) struct Exported {
    pub(super) id: Digest,
    pub(super) result: Option<BuildResult>,
}

impl Docker {
    /// Builds with the files of an open session.
    pub(super) async fn solve(
        &self,
        build: SessionBuild<'_>,
        activity: &Activity,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> Result<Exported, EngineError> {
        let io = self.transport.upgrade("/grpc", "h2c", []).await;
        let io = io.map_err(|failure| self.transport.explain(&failure))?;
        let mut transcript = Transcript::default();
        if let Some(base) = build.base {
            transcript.inherit(base.result.vertices());
        }
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

async fn solve(control: &Control, build: SessionBuild<'_>) -> Result<Exported, CallError> {
    let settings = &build.request.settings;
    let needs_gateway = settings.add_hosts.values().any(|address| address == HOST_GATEWAY);
    let gateway = if needs_gateway { gateway(control).await? } else { None };
    let has_host_network = settings.network == BuildNetwork::Host;
    let solve = ControlSolve {
        build: build.session.to_owned(),
        exporter: EXPORTER.to_owned(),
        session: build.session.to_owned(),
        entitlements: has_host_network.then(|| HOST_NETWORK.to_owned()).into_iter().collect(),
        internal: true,
        ..ControlSolve::default()
    };
    let mut frontend = FrontendSolve {
        frontend: FRONTEND.to_owned(),
        options: frontend_options(build.request, build.dockerfile, gateway.as_deref()),
        allow_result: true,
        allow_references: true,
        ..FrontendSolve::default()
    };
    if let (Some(image), Some(base)) = (build.base, &build.request.base) {
        let config = BASE64_STANDARD.encode(&image.result.config);
        let metadata = serde_json::json!({ IMAGE_CONFIG: config }).to_string();
        let name = &base.name;
        frontend.options.insert(format!("context:{name}"), format!("input:{name}"));
        frontend.options.insert(format!("input-metadata:{name}"), metadata);
        frontend.inputs.insert(name.clone(), image.result.definition.clone());
    }
    let exported = control.call::<ControlSolved>(control::SOLVE, None, &solve);
    tokio::pin!(exported);
    let result = tokio::select! {
        result = run_frontend(control, build.session, &frontend) => result?,
        exported = &mut exported => {
            exported?;
            return Err(CallError::Invalid("the end of the build, and no result".to_owned()));
        }
    };
    let mut exported = exported.await?.exporter;
    let id = exported.remove(IMAGE_ID).unwrap_or_default();
    let id = id.parse().map_err(|_| CallError::Invalid(format!("`{id}` as the image's ID")))?;
    Ok(Exported { id, result })
}

/// Runs the frontend, and hands its result, or its error, to the exporter.
async fn run_frontend(
    control: &Control,
    build: &str,
    frontend: &FrontendSolve,
) -> Result<Option<BuildResult>, CallError> {
    let build = Some(build);
    let answer = control.call::<FrontendSolved>(control::FRONTEND_SOLVE, build, frontend).await;
    let (returned, outcome) = match answer {
        Ok(FrontendSolved { result }) => {
            let kept = result.as_ref().and_then(|result| {
                let definition = result.reference.as_ref()?.definition.clone();
                let config = result.metadata.get(IMAGE_CONFIG)?.clone();
                (!definition.is_empty()).then_some(BuildResult { definition, config })
            });
            (Return { result, error: None }, Ok(kept))
        }
        Err(CallError::Refused { code, message }) => {
            let error = Some(RpcStatus { code, message: message.clone() });
            (Return { result: None, error }, Err(CallError::Refused { code, message }))
        }
        Err(error) => return Err(error),
    };
    control.call::<Returned>(control::FRONTEND_RETURN, build, &returned).await?;
    outcome
}

/// The address of the engine's machine, if BuildKit knows it.
async fn gateway(control: &Control) -> Result<Option<String>, CallError> {
    let workers: Workers = control.call(control::LIST_WORKERS, None, &ListWorkers {}).await?;
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
    let Ok(mut answers) = control.stream(control::STATUS, None, &request).await else { return };
    // The build itself reports a broken connection.
    while let Ok(Some(status)) = answers.next().await {
        activity.touch();
        take(status);
    }
}
