//! The least that can speak to an engine: one request a connection, by hand.
//!
//! HTTP/1.0, so that an answer ends where the connection does. Nothing of the program is used
//! here, since it is what the program is measured against.

use std::{
    env,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use serde_json::Value;
use url::form_urlencoded;

use crate::Result;

/// Sends a request and returns what the engine answers.
pub(crate) fn call(
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    body: &[u8],
) -> Result<Vec<u8>> {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let mut stream = UnixStream::connect(socket())?;
    let head = format!(
        "{method} /v1.41{path}?{query} HTTP/1.0\r\nHost: docker\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let body = answer.split_off(end + 4);
    let status = String::from_utf8_lossy(&answer);
    if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
        return Ok(body);
    }
    Err(format!("{method} {path}: {}", String::from_utf8_lossy(&body)).into())
}

fn socket() -> String {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// Builds with BuildKit, and returns the image's ID.
pub(crate) fn build(tar: &[u8]) -> Result<String> {
    let query = [("version", "2"), ("rm", "1"), ("forcerm", "1")];
    let said = call("POST", "/build", &query, tar)?;
    let mut id = None;
    for message in serde_json::Deserializer::from_slice(&said).into_iter::<Value>() {
        let message = message?;
        if let Some(error) = message.get("error") {
            return Err(error.to_string().into());
        }
        if message["id"] == "moby.image.id" {
            id = message["aux"]["ID"].as_str().map(str::to_owned);
        }
    }
    id.ok_or_else(|| "the build ended without an image".into())
}

pub(crate) fn tag(image: &str, name: &str) -> Result<()> {
    call("POST", &format!("/images/{image}/tag"), &[("repo", name), ("tag", "latest")], b"")?;
    Ok(())
}

/// Takes away every name that contains this.
pub(crate) fn forget(part: &str) -> Result<()> {
    let images: Value = serde_json::from_slice(&call("GET", "/images/json", &[], b"")?)?;
    let names = images.as_array().into_iter().flatten().flat_map(|image| {
        let digests = image["RepoDigests"].as_array().into_iter().flatten();
        image["RepoTags"].as_array().into_iter().flatten().chain(digests)
    });
    for name in names.filter_map(Value::as_str).filter(|name| name.contains(part)) {
        // With its last tag an image goes, and the digests of it that were listed.
        _ = call("DELETE", &format!("/images/{name}"), &[], b"");
    }
    Ok(())
}
