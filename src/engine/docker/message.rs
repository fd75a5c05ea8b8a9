//! One line of what an engine says while it builds, pushes or pulls.

use bytes::Bytes;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Docker,
    activity::Activity,
    body_lines::{BodyLines, LineError},
    complaint::sentence,
};
use crate::engine::{
    EngineError,
    connect::{Failure, Reply},
};

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(super) struct EngineMessage {
    /// The classic builder's log.
    pub(super) stream: Option<String>,
    /// A push's or a pull's log.
    pub(super) status: Option<String>,
    /// What `aux` is: `moby.buildkit.trace`, `moby.image.id`; or a layer in a push.
    pub(super) id: Option<String>,
    pub(super) aux: Option<serde_json::Value>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct ErrorDetail {
    code: Option<i64>,
    message: Option<String>,
}

impl EngineMessage {
    /// What went wrong, whichever of the two fields says so, and the exit code that comes with it.
    pub(super) fn error(&self) -> Option<(String, Option<i64>)> {
        let detail = self.error_detail.clone().unwrap_or_default();
        let given = |text: &String| !text.is_empty();
        if let Some(message) = detail.message.filter(given).or(self.error.clone().filter(given)) {
            return Some((sentence(&message), detail.code.filter(|code| *code != 0)));
        }
        let empty = self.error.is_some() || self.error_detail.is_some();
        empty.then(|| ("an error without a message".to_owned(), detail.code))
    }
}

/// The messages of one answer. Dropping it hangs up.
pub(super) struct EngineMessages<'a> {
    docker: &'a Docker,
    doing: &'a str,
    lines: BodyLines<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl<'a> EngineMessages<'a> {
    pub(super) fn new(
        docker: &'a Docker,
        doing: &'a str,
        reply: Reply,
        activity: Activity,
    ) -> Self {
        let (response, connection) = reply.into_parts();
        let lines = BodyLines::new(response.into_body(), activity);
        Self { docker, doing, lines, _connection: connection }
    }

    pub(super) async fn next(&mut self) -> Result<Option<EngineMessage>, EngineError> {
        let line = match self.lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(LineError::Broken(error)) => {
                return Err(self.docker.transport.explain(&Failure::Broken(error)));
            }
            Err(error @ LineError::TooLong) => {
                return Err(EngineError::Answer {
                    doing: self.doing.to_owned(),
                    message: error.to_string(),
                });
            }
        };
        parse(&line)
            .map(Some)
            .map_err(|message| EngineError::Answer { doing: self.doing.to_owned(), message })
    }
}

fn parse(line: &Bytes) -> Result<EngineMessage, String> {
    serde_json::from_slice(line).map_err(|error| {
        let start = String::from_utf8_lossy(&line[..line.len().min(200)]);
        format!("`{start}`, which is not the JSON it should be ({error})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_is_seen() {
        let error =
            |line: &'static str| parse(&Bytes::from_static(line.as_bytes())).unwrap().error();
        for (line, expected) in [
            (r#"{"stream":"ok"}"#, None),
            (r#"{"error":"bad"}"#, Some(("bad", None))),
            (
                r#"{"error":"bad","errorDetail":{"code":7,"message":"worse"}}"#,
                Some(("worse", Some(7))),
            ),
            (r#"{"errorDetail":{"message":"worse"}}"#, Some(("worse", None))),
            (r#"{"error":"bad","errorDetail":{}}"#, Some(("bad", None))),
            (r#"{"error":""}"#, Some(("an error without a message", None))),
        ] {
            let expected = expected.map(|(text, code)| (text.to_owned(), code));
            assert_eq!(error(line), expected, "{line}");
        }
        assert_eq!(
            parse(&Bytes::from_static(b"<html>")).unwrap_err(),
            "`<html>`, which is not the JSON it should be (expected value at line 1 column 1)"
        );
    }
}
