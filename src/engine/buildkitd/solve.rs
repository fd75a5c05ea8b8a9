//! One build: over one connection go the session with the files, the build, and its messages.

use std::sync::Arc;

use tokio::time::sleep;

use super::{Buildkitd, session_stream::SessionStream};
use crate::{
    engine::{
        BuildProgress, BuildRequest, EngineError, LocalImage,
        connect::Failure,
        control::{CallError, Control, ControlSolve},
        docker::{
            Activity, DOING, IMAGE_ID, SessionBuild, Transcript, Transfer, dockerfile_name,
            solve_followed, with_causes,
        },
        session::{BuildSession, SessionFiles},
    },
    image::{Digest, Reference, Repository},
    registry::is_loopback,
};

/// BuildKit's exporter of images to registries.
const EXPORTER: &str = "image";
/// How BuildKit's message of a failed push begins.
const PUSH_FAILED: &str = "failed to push";
/// What to do about a registry without TLS.
const PLAIN_HTTP: &str = "name it in buildkitd.toml: `[registry.\"HOST\"]` with `http = true`";

/// The names of images in a build, and what they are in registries.
struct RegistryBases(Vec<(String, String)>);

impl RegistryBases {
    fn in_registry(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, stored)| text.replace(name, stored))
    }

    fn as_named(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, stored)| text.replace(stored, name))
    }

    fn hosts(&self) -> impl Iterator<Item = String> {
        let references = self.0.iter().filter_map(|(_, stored)| stored.parse::<Reference>().ok());
        references.map(|reference| reference.repository.host().to_owned())
    }
}

impl Buildkitd {
    /// Dropping the future closes the connection, which cancels the build.
    pub(super) async fn build_image(
        &self,
        mut request: BuildRequest,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        for (name, value) in &self.proxies {
            // The user's own build argument wins, as with `docker build`.
            request.build_args.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let named: String =
            request.named.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        let bases = RegistryBases(self.images.names_in(&format!("{} {named}", request.dockerfile)));
        request.dockerfile = bases.in_registry(&request.dockerfile);
        for image in request.named.values_mut() {
            *image = bases.in_registry(image);
        }
        self.add_logins(&mut request, &bases).await?;
        let (timeout, repository) = (request.timeout, request.repository.clone());
        let activity = Activity::begin();
        let mut told = |message| {
            progress(match message {
                BuildProgress::Step { stage, number, total, text } => {
                    BuildProgress::Step { stage, number, total, text: bases.as_named(&text) }
                }
                other => other,
            });
        };
        let built = tokio::select! {
            built = self.exchange(request, &activity, &mut told) => built,
            () = activity.silent_for(self.idle) => {
                return Err(EngineError::Silent { doing: DOING.to_owned(), after: self.idle });
            }
            () = sleep(timeout) => {
                return Err(EngineError::TimedOut { doing: DOING.to_owned(), after: timeout });
            }
        };
        let id = built.map_err(|error| explained(error, &bases, &repository))?;
        self.learn_pushed(&repository, &id).await
    }

    /// BuildKit pulls the bases and pushes the image, with our logins.
    async fn add_logins(
        &self,
        request: &mut BuildRequest,
        bases: &RegistryBases,
    ) -> Result<(), EngineError> {
        for host in bases.hosts().chain([request.repository.host().to_owned()]) {
            if request.secrets.logins.iter().all(|login| login.host != host) {
                request.secrets.logins.extend(self.login(&host).await?);
            }
        }
        Ok(())
    }

    async fn exchange(
        &self,
        request: BuildRequest,
        activity: &Activity,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> Result<Digest, EngineError> {
        let name = dockerfile_name(&request);
        let files = SessionFiles {
            context: request.context.clone(),
            dockerfile_name: name.clone(),
            dockerfile: request.dockerfile.clone().into_bytes(),
        };
        let session = Arc::new(BuildSession::new(files, request.secrets.clone()));
        let checked = session.clone();
        let checked = tokio::task::spawn_blocking(move || checked.refuse_other_names()).await;
        let checked = checked.expect("a walk does not panic");
        checked.map_err(|error| EngineError::Context(with_causes(&error)))?;
        let build = SessionBuild {
            request: &request,
            dockerfile: &name,
            session: session.id(),
            exports_caches: true,
            attests: true,
        };
        let mut solve = build.solve(EXPORTER, None);
        pushed_by_digest(&mut solve, &request.repository);
        let mut transcript = Transcript::default();
        let ended = async {
            let io = self.transport.open().await.map_err(Failure::Open);
            let io = io.map_err(|failure| self.transport.explain(&failure));
            let io = io.map_err(Ok)?;
            let control = Control::over(io).await.map_err(Err)?;
            let stream = SessionStream::open(&control, session.headers()).await.map_err(Err)?;
            let SessionStream { io, moving: _moving } = stream;
            tokio::select! {
                solved = solve_followed(&control, &solve, activity, |status| {
                    transcript.status(status, progress);
                }) => solved.map_err(Err),
                error = session.serve(io) => Err(Err(CallError::Broken(error.to_string()))),
            }
        };
        let ended: Result<_, Result<EngineError, CallError>> = ended.await;
        let mut exported = ended.map_err(|error| match error {
            Ok(error) => error,
            Err(CallError::Refused { message, .. }) => transcript.failure(&message, None),
            Err(CallError::Broken(reason)) => self.transport.explain(&Failure::Lost(reason)),
            Err(CallError::Invalid(message)) => {
                EngineError::Answer { doing: DOING.to_owned(), message }
            }
        })?;
        let id = exported.remove(IMAGE_ID).unwrap_or_default();
        id.parse().map_err(|_| EngineError::Answer {
            doing: DOING.to_owned(),
            message: format!("`{id}` as the image's digest"),
        })
    }
}

/// Names bases as the build request does, and a push that failed.
fn explained(error: EngineError, bases: &RegistryBases, repository: &Repository) -> EngineError {
    match error {
        EngineError::Build { message, .. } if message.starts_with(PUSH_FAILED) => {
            let transfer =
                Transfer { action: "push", repository, login: None, plain_http: PLAIN_HTTP };
            let cause = transfer.registry_error(&message).map(Box::new);
            let doing = format!("pushing an image to `{repository}`");
            EngineError::Transfer { doing, message, cause }
        }
        EngineError::Build { message, step, exit_code } => EngineError::Build {
            message: bases.as_named(&message),
            step: step.map(|step| bases.as_named(&step)),
            exit_code,
        },
        other => other,
    }
}

/// Without a tag: the image is not tested yet.
fn pushed_by_digest(solve: &mut ControlSolve, repository: &Repository) {
    let mut set = |name: &str, value: &str| {
        solve.exporter_attributes.insert(name.to_owned(), value.to_owned());
    };
    set("name", repository.as_str());
    set("push", "true");
    set("push-by-digest", "true");
    set("name-canonical", "true");
    set("oci-mediatypes", "true");
    if is_loopback(repository.host()) {
        set("registry.insecure", "true");
    }
}
