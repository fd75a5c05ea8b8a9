//! One build: the context up, the messages down, both builders.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{Method, Request, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::sleep;

use super::{
    Docker,
    activity::Activity,
    call::{Refusal, path_with},
    message::Messages,
    transcript::Transcript,
};
use crate::{
    engine::{BuildProgress, BuildRequest, EngineError, tar},
    image::Digest,
};

const DOING: &str = "building";

impl Docker {
    /// Dropping the future hangs up, which the engine takes as a cancel (within 24 ms, measured
    /// with both builders of 20.10).
    pub(super) async fn build_image(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<Digest, EngineError> {
        let timeout = request.timeout;
        let activity = Activity::begin();
        let id = tokio::select! {
            built = self.exchange(request, &activity, progress) => built?,
            () = activity.silent_for(self.idle) => {
                return Err(EngineError::Silent { doing: DOING.to_owned(), after: self.idle });
            }
            () = sleep(timeout) => {
                return Err(EngineError::TimedOut { doing: DOING.to_owned(), after: timeout });
            }
        };
        if self.inspect_image(id.as_str()).await?.is_none() {
            return Err(EngineError::Answer {
                doing: DOING.to_owned(),
                message: format!("it built `{}`, and then that there is no such image", id.short()),
            });
        }
        Ok(id)
    }

    async fn exchange(
        &self,
        request: BuildRequest,
        activity: &Activity,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<Digest, EngineError> {
        let text = request.dockerfile.clone();
        let dockerfile =
            tar::Dockerfile::new(&request.context, &request.dockerfile_path, text, !self.buildkit);
        let dockerfile = dockerfile.map_err(|error| EngineError::Context(with_causes(&error)))?;
        let path = self.path(&request, &dockerfile.name);
        let unreadable = Unreadable::default();
        let context = tar::stream(request.context, dockerfile, None);
        let body = observed(context, activity, &unreadable);
        let post = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(StreamBody::new(body));
        let post = post.map_err(|error| EngineError::Context(error.to_string()))?;
        let mut transcript = Transcript::default();
        let told = async {
            let reply = match self.send(post).await? {
                Ok(reply) => reply,
                // What the engine does not take: a Dockerfile that cannot be parsed, mostly.
                Err(Refusal { status: 400..500, message }) => {
                    return Err(transcript.failure(&message, None));
                }
                Err(Refusal { message, .. }) => {
                    return Err(EngineError::Answer { doing: DOING.to_owned(), message });
                }
            };
            let mut messages = Messages::new(self, DOING, reply, activity.clone());
            while let Some(message) = messages.next().await? {
                transcript.take(&message, &mut progress)?;
            }
            Ok(())
        };
        let told = told.await;
        // A context that broke off is the cause of whatever the engine says about it.
        if let Some(message) = unreadable.take() {
            return Err(EngineError::Context(message));
        }
        told?;
        transcript.finish()
    }

    fn path(&self, request: &BuildRequest, dockerfile: &str) -> String {
        let json = |map| serde_json::to_string(map).unwrap_or_default();
        let arguments = json(&request.build_args);
        let labels = json(&request.labels);
        let platform = request.platform.as_ref().map(ToString::to_string);
        let mut query = vec![
            ("dockerfile", dockerfile),
            ("buildargs", &arguments),
            ("labels", &labels),
            ("rm", "1"),
            // Without it the classic builder leaves the container of a failed RUN behind.
            ("forcerm", "1"),
        ];
        query.extend(request.target.as_deref().map(|target| ("target", target)));
        query.extend(platform.as_deref().map(|platform| ("platform", platform)));
        query.extend(request.no_cache.then_some(("nocache", "1")));
        query.extend(self.buildkit.then_some(("version", "2")));
        path_with("/build", &query)
    }
}

/// Why the context could not be sent to its end.
#[derive(Clone, Debug, Default)]
struct Unreadable(Arc<Mutex<Option<String>>>);

impl Unreadable {
    fn set(&self, message: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same pieces as a body; each counts as activity, and an error is remembered.
fn observed(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    activity: &Activity,
    unreadable: &Unreadable,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    let (activity, unreadable) = (activity.clone(), unreadable.clone());
    pieces
        .inspect_ok(move |_| activity.touch())
        .inspect_err(move |error| unreadable.set(with_causes(error)))
        .map_ok(Frame::data)
}

/// `cannot read `x` of the build context: permission denied`
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
