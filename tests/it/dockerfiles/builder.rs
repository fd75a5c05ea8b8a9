//! The engine's BuildKit, by its API alone: nothing of ours stands between.

use std::{
    collections::BTreeMap,
    env,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
};

use rebuild::{engine::Capability, image::Platform};
use url::form_urlencoded;

use super::{Case, images};
use crate::support::{engine::lacks, missing};

/// What the engine of this machine builds for.
pub(super) fn platform() -> Platform {
    let architecture = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}").parse().unwrap()
}

pub(super) struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// `None`, having said so, if there is none, or none with BuildKit.
    pub(super) fn find() -> Option<Self> {
        if lacks(Capability::BuildKit) {
            return None;
        }
        let host = env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
        let socket = host.strip_prefix("unix://").map(PathBuf::from);
        let socket = socket.filter(|socket| UnixStream::connect(socket).is_ok());
        Some(Self { socket: socket.unwrap_or_else(|| missing("no engine answers at a socket")) })
    }

    /// Builds it. An error is the engine's message.
    pub(super) fn build(&self, case: &Case, place: &str) -> Result<(), String> {
        let args: BTreeMap<_, _> = case.args.iter().copied().collect();
        let labels = BTreeMap::from([(images::LABEL, std::process::id().to_string())]);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("version", "2")
            .append_pair("dockerfile", "Dockerfile")
            .append_pair("rm", "1")
            .append_pair("forcerm", "1")
            // What others of this engine have cached may be gone the next moment.
            .append_pair("nocache", "1")
            .append_pair("buildargs", &serde_json::to_string(&args).unwrap())
            .append_pair("labels", &serde_json::to_string(&labels).unwrap());
        if let Some(target) = case.target {
            query.append_pair("target", target);
        }
        let mut context = tar::Builder::new(Vec::new());
        for (name, text) in [("Dockerfile", case.text(place)), ("f", "f\n".to_owned())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            context.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let context = context.into_inner().unwrap();

        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // Version 1.0, so that the answer comes unchunked and ends with the connection.
        let head = format!(
            "POST /build?{} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {}\r\n\r\n",
            query.finish(),
            context.len()
        );
        // Who refuses a Dockerfile need not read all of the context.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&context));
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| format!("{sent:?} {read:?}"))?;
        if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
            return Err(body.trim().to_owned());
        }
        let messages = body.lines().filter_map(|line| serde_json::from_str(line).ok());
        let error = |message: serde_json::Value| message["error"].as_str().map(str::to_owned);
        messages.filter_map(error).next_back().map_or(Ok(()), Err)
    }
}

/// Removes what the builds have pulled and made.
impl Drop for Engine {
    fn drop(&mut self) {
        let docker = |arguments: &[&str]| {
            let host = format!("unix://{}", self.socket.display());
            let done =
                Command::new("docker").args(["--host", &host]).args(arguments).output().unwrap();
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        let label = format!("label={}={}", images::LABEL, std::process::id());
        // Those on top first: what stands on others cannot be left.
        for _ in 0..5 {
            let listed = docker(&["images", "--all", "--quiet", "--no-trunc", "--filter", &label]);
            let ids: Vec<&str> = listed.lines().collect();
            if ids.is_empty() {
                return;
            }
            docker(&[&["rmi", "--force"], &ids[..]].concat());
        }
        println!("images with {label} are left");
    }
}
