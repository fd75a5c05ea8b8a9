//! A request of our own to the engine, and what its errors mean.

use std::{error::Error as StdError, io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use super::{Docker, complaint::sentence};
use crate::engine::{
    EngineError,
    connect::{Failure, Reply},
};

/// No answer that is read as a whole is longer.
const LONGEST_ANSWER: usize = 16 << 20;
/// Small calls take milliseconds; a machine that swaps may need seconds.
const QUICK: Duration = Duration::from_secs(20);
/// Lists of all images, and what writes to a disk: they take as long as there are images and files.
const SLOW: Duration = Duration::from_secs(120);
/// Between an answer with a status of 500 or above and the second try.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_millis(500);

/// An answer with an error status.
#[derive(Debug)]
pub(super) struct EngineRefusal {
    pub(super) status: u16,
    pub(super) message: String,
}

impl EngineRefusal {
    pub(super) fn while_doing(self, doing: &str) -> EngineError {
        let Self { status, message } = self;
        EngineError::Refused { doing: doing.to_owned(), status, message }
    }
}

/// `path?key=value&…`
pub(super) fn path_with(path: &str, query: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

pub(super) fn request(method: Method, path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    // Paths are made of image names and IDs, which are URI characters by their grammar.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

fn unreadable(doing: &str, error: &serde_json::Error) -> EngineError {
    EngineError::Answer { doing: doing.to_owned(), message: error.to_string() }
}

fn missing(doing: &str, path: &str) -> EngineError {
    EngineError::Answer { doing: doing.to_owned(), message: format!("`{path}` does not exist") }
}

impl Docker {
    /// Sends a request; an error status is an `Ok(Err(…))`, since some are expected.
    pub(super) async fn send<B>(
        &self,
        request: Request<B>,
    ) -> Result<Result<Reply, EngineRefusal>, EngineError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let explain = |failure| self.transport.explain(&failure);
        let reply = self.transport.request(request).await.map_err(explain)?;
        let status = reply.response.status();
        if status.is_success() {
            return Ok(Ok(reply));
        }
        let (response, _connection) = reply.into_parts();
        let message = match self.whole(response).await {
            Ok(bytes) => sentence(&String::from_utf8_lossy(&bytes)),
            Err(error) => error.to_string(),
        };
        let message = if message.is_empty() { status.to_string() } else { message };
        Ok(Err(EngineRefusal { status: status.as_u16(), message }))
    }

    pub(super) async fn greet(&self) -> Result<Reply, EngineError> {
        self.get("asking whether it is there (`/_ping`)", "/_ping").await
    }

    pub(super) async fn get(&self, doing: &str, path: &str) -> Result<Reply, EngineError> {
        self.quickly(doing, || self.send(request(Method::GET, path)))
            .await?
            .map_err(|refusal| refusal.while_doing(doing))
    }

    /// The answer as JSON; `None` for 404.
    pub(super) async fn get_json_if_any<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
    ) -> Result<Option<T>, EngineError> {
        let Some(bytes) = self.get_bytes_if_any(doing, path).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(doing, &error))
    }

    /// The answer as one JSON value a line.
    pub(super) async fn get_lines<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
    ) -> Result<Vec<T>, EngineError> {
        let bytes = self.get_bytes_if_any(doing, path).await?;
        let bytes = bytes.ok_or_else(|| missing(doing, path))?;
        let lines = serde_json::Deserializer::from_slice(&bytes).into_iter();
        lines.collect::<Result<_, _>>().map_err(|error| unreadable(doing, &error))
    }

    async fn get_bytes_if_any(
        &self,
        doing: &str,
        path: &str,
    ) -> Result<Option<Bytes>, EngineError> {
        let call = || self.get_bytes_once(doing, path);
        match self.quickly(doing, call).await {
            Err(EngineError::Refused { status: 500.., .. }) => {
                sleep(BEFORE_ASKING_AGAIN).await;
                self.quickly(doing, call).await
            }
            answered => answered,
        }
    }

    async fn get_bytes_once(&self, doing: &str, path: &str) -> Result<Option<Bytes>, EngineError> {
        match self.send(request(Method::GET, path)).await? {
            Ok(reply) => {
                let (response, _connection) = reply.into_parts();
                self.whole(response).await.map(Some)
            }
            Err(EngineRefusal { status: 404, .. }) => Ok(None),
            Err(refusal) => Err(refusal.while_doing(doing)),
        }
    }

    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
    ) -> Result<T, EngineError> {
        self.get_json_if_any(doing, path).await?.ok_or_else(|| missing(doing, path))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, EngineError> {
        match Limited::new(response.into_body(), LONGEST_ANSWER).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => self.transport.explain(&Failure::Broken(*error)),
                Err(error) => EngineError::Answer {
                    doing: "reading its answer".to_owned(),
                    message: error.to_string(),
                },
            }),
        }
    }

    /// A small call, which an engine that is alive answers soon. It may be sent twice.
    pub(super) async fn quickly<T, F>(
        &self,
        doing: &str,
        call: impl Fn() -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        let after = self.idle.min(QUICK);
        for _ in 0..2 {
            match timeout(after, call()).await {
                Err(_) | Ok(Err(EngineError::Silent { .. })) => {}
                Ok(answered) => return answered,
            }
        }
        Err(self.hangs(doing, (after, true)))
    }

    /// A call that may take longer, and is sent once.
    pub(super) async fn patiently<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let after = self.idle.min(SLOW);
        match timeout(after, call).await {
            Err(_) | Ok(Err(EngineError::Silent { .. })) => Err(self.hangs(doing, (after, false))),
            Ok(answered) => answered,
        }
    }

    fn hangs(&self, doing: &str, (after, is_repeated): (Duration, bool)) -> EngineError {
        let endpoint = self.transport.endpoint().to_string();
        EngineError::Hangs { endpoint, doing: doing.to_owned(), after, is_repeated }
    }

    /// What an error of bollard means.
    pub(super) fn answer(&self, doing: &str, error: bollard::errors::Error) -> EngineError {
        use bollard::errors::Error;

        let answer = |message| EngineError::Answer { doing: doing.to_owned(), message };
        match error {
            Error::DockerResponseServerError { status_code: status, message } => {
                let (doing, message) = (doing.to_owned(), sentence(&message));
                EngineError::Refused { doing, status, message }
            }
            Error::RequestTimeoutError => {
                EngineError::Silent { doing: doing.to_owned(), after: self.idle }
            }
            Error::HyperResponseError { err } => self.transport.explain(&Failure::Broken(err)),
            Error::IOError { err } => match err.downcast::<Failure>() {
                Ok(failure) => self.transport.explain(&failure),
                // A stream that broke in the middle: bollard keeps nothing but the text of it.
                Err(err) => self.transport.explain(&Failure::Open(err)),
            },
            other => answer(other.to_string()),
        }
    }

    /// The error of an answer that ended before it said what it was asked for.
    pub(super) fn hung_up(&self) -> EngineError {
        let early = io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up");
        self.transport.explain(&Failure::Open(early))
    }
}
