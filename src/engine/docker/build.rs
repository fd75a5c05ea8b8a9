//! One build: the context up, the messages down; over a session of BuildKit, or as a tar.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{Request, header};
use http_body_util::StreamBody;
use hyper::body::{Body, Frame};
use tokio::time::sleep;

use super::{
    Capability, Docker,
    activity::Activity,
    build_query::{build_query, label_query},
    call::{EngineRefusal, path_with},
    message::EngineMessages,
    solve::SessionBuild,
    transcript::Transcript,
};
use crate::{
    engine::{
        BuildProgress, BuildRequest, EngineError, LocalImage,
        session::{BuildSession, SessionFiles},
        tar,
    },
    image::Digest,
};

pub(in crate::engine) const DOING: &str = "building";
/// Podman makes OCI images unless told otherwise, and those have no `HEALTHCHECK`. Docker ignores it.
const OUTPUT_FORMAT: (&str, &str) =
    ("outputformat", "application/vnd.docker.distribution.manifest.v2+json");

impl Docker {
    /// Dropping the future hangs up, which the engine takes as a cancel (within 24 ms, measured
    /// with both builders of 20.10).
    pub(super) async fn build_image(
        &self,
        mut request: BuildRequest,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        for (name, value) in &self.proxies {
            // The user's own build argument wins, as with `docker build`.
            request.build_args.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let (timeout, run) = (request.timeout, request.run.clone());
        let activity = Activity::begin();
        let id = tokio::select! {
            built = self.exchange(request, &activity, &mut progress) => built?,
            () = activity.silent_for(self.idle) => {
                return Err(EngineError::Silent { doing: DOING.to_owned(), after: self.idle });
            }
            () = sleep(timeout) => {
                return Err(EngineError::TimedOut { doing: DOING.to_owned(), after: timeout });
            }
        };
        let built = self.inspect_built(&id, &run).await?.ok_or_else(|| EngineError::Answer {
            doing: DOING.to_owned(),
            message: format!("it built `{}`, and then that there is no such image", id.short()),
        })?;
        self.known.learn_image(&built);
        Ok(built)
    }

    async fn exchange(
        &self,
        request: BuildRequest,
        activity: &Activity,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> Result<Digest, EngineError> {
        if self.capabilities.has(Capability::BuildKit) {
            return self.in_session(request, activity, progress).await;
        }
        let text = request.dockerfile.clone();
        let dockerfile =
            tar::Dockerfile::new(&request.context, &request.dockerfile_path, text, true);
        let dockerfile = dockerfile.map_err(|error| EngineError::Context(with_causes(&error)))?;
        let path = self.build_path(&request, &dockerfile.name, &[OUTPUT_FORMAT]);
        let unreadable = UnreadableContext::default();
        let context = tar::stream(request.context, dockerfile, request.context_digest);
        let body = observed(context, activity, &unreadable);
        let post = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(StreamBody::new(body));
        let post = post.map_err(|error| EngineError::Context(error.to_string()))?;
        let told = self.converse(post, activity, progress).await;
        // A context that broke off is the cause of whatever the engine says about it.
        match unreadable.take() {
            Some(message) => Err(EngineError::Context(message)),
            None => told,
        }
    }

    /// A build for which BuildKit asks for the files it lacks, over a connection of their own.
    async fn in_session(
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
        if !self.capabilities.has(Capability::AnyNames) {
            let session = session.clone();
            let checked = tokio::task::spawn_blocking(move || session.refuse_other_names());
            let checked = checked.await.expect("a walk does not panic");
            checked.map_err(|error| EngineError::Context(with_causes(&error)))?;
        }
        let connection = self
            .transport
            .upgrade("/session", "h2c", session.headers())
            .await
            .map_err(|failure| self.transport.explain(&failure))?;
        let build = SessionBuild {
            request: &request,
            dockerfile: &name,
            session: session.id(),
            exports_caches: self.capabilities.has(Capability::CacheExport),
            attests: self.capabilities.has(Capability::Attestations),
        };
        tokio::select! {
            solved = self.solve(build, activity, progress) => solved,
            // The engine never ends a session before the build has answered.
            error = session.serve(connection) => Err(EngineError::Answer {
                doing: DOING.to_owned(),
                message: format!("the session broke: {error}"),
            }),
        }
    }

    /// Sends a build and reads what comes of it.
    async fn converse<B>(
        &self,
        post: Request<B>,
        activity: &Activity,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> Result<Digest, EngineError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut transcript = Transcript::default();
        let reply = match self.send(post).await? {
            Ok(reply) => reply,
            // What the engine does not take: a Dockerfile that cannot be parsed, mostly.
            Err(EngineRefusal { status: 400..500, message }) => {
                return Err(transcript.failure(&message, None));
            }
            Err(refusal) => return Err(refusal.while_doing(DOING)),
        };
        let mut messages = EngineMessages::new(self, DOING, reply, activity.clone());
        while let Some(message) = messages.next().await? {
            transcript.take(&message, progress)?;
        }
        transcript.finish()
    }

    /// The request's path with what both builders are told, and what one of them is told besides.
    fn build_path(
        &self,
        request: &BuildRequest,
        dockerfile: &str,
        more: &[(&str, &str)],
    ) -> String {
        let json = |map| serde_json::to_string(map).unwrap_or_default();
        let arguments = json(&request.build_args);
        let labels = label_query(&request.labels, self.capabilities.builder);
        let platform = request.platform.as_ref().map(ToString::to_string);
        // Podman has one switch for all stages.
        let has_no_cache = request.no_cache || !request.settings.no_cache_filter.is_empty();
        let mut query = vec![
            ("dockerfile", dockerfile),
            ("buildargs", &arguments),
            ("labels", &labels),
            ("rm", "1"),
            // Without it podman leaves the container of a failed RUN behind.
            ("forcerm", "1"),
        ];
        query.extend(request.target.as_deref().map(|target| ("target", target)));
        query.extend(platform.as_deref().map(|platform| ("platform", platform)));
        // Podman leaves out stages that the Dockerfile itself does not name. Docker ignores it.
        let named = request.named.iter().map(|(name, image)| format!("{name}=image:{image}"));
        let named: Vec<String> = named.collect();
        query.extend(named.iter().map(|named| ("additionalbuildcontexts", named.as_str())));
        query.extend(has_no_cache.then_some(("nocache", "1")));
        let options = build_query(&request.settings, self.capabilities.builder);
        query.extend(options.iter().map(|(name, value)| (*name, value.as_str())));
        query.extend(more);
        path_with("/build", &query)
    }
}

/// The name of the Dockerfile in a session.
pub(in crate::engine) fn dockerfile_name(request: &BuildRequest) -> String {
    let inside = request.dockerfile_path.strip_prefix(&request.context.root).ok();
    let name = inside.or(request.dockerfile_path.file_name().map(Path::new));
    name.and_then(Path::to_str).unwrap_or("Dockerfile").to_owned()
}

/// Why the context could not be sent to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct UnreadableContext(Arc<Mutex<Option<String>>>);

impl UnreadableContext {
    fn set(&self, message: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same pieces as a body; each counts as activity, and an error is remembered.
pub(super) fn observed(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    activity: &Activity,
    unreadable: &UnreadableContext,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    let (activity, unreadable) = (activity.clone(), unreadable.clone());
    pieces
        .inspect_ok(move |_| activity.touch())
        .inspect_err(move |error| unreadable.set(with_causes(error)))
        .map_ok(Frame::data)
}

/// `cannot read `x` of the build context: permission denied`
pub(in crate::engine) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
