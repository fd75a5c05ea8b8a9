//! Finds an engine that answers, where the user named none.
//!
//! **Invariant:** an engine that the user named is the only one that is asked.

use std::{env, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Empty;
use tokio::time::timeout;

use super::{
    Environment,
    endpoint::Endpoint,
    transport::Transport,
    unreachable,
    usual_sockets::{how_to_start, is_installed, usual},
};
use crate::engine::{EngineError, Tried};

/// An engine that is alive answers in a millisecond, on a machine that is overloaded in a second or two.
pub(in crate::engine) const PATIENCE: Duration = Duration::from_secs(5);

/// The engine to use: the one that is named, or the first that answers.
pub(in crate::engine) async fn discover(
    given: Option<&str>,
    environment: Environment<'_>,
) -> Result<Endpoint, EngineError> {
    let named = Endpoint::find(given, environment)?;
    if !named.is_default_socket() {
        return Ok(named);
    }
    let mut tried = Vec::new();
    let mut places = usual_endpoints(environment).into_iter();
    // Alone, since it mostly is the one: others might be started by being asked.
    if let Some(first) = places.next() {
        match why_not(&first).await {
            None => return Ok(first),
            Some(reason) => tried.push(Tried { place: first.to_string(), problem: Some(reason) }),
        }
    }
    let others: Vec<Endpoint> = places.collect();
    let answers = join_all(others.iter().map(why_not)).await;
    for (endpoint, problem) in others.into_iter().zip(answers) {
        if problem.is_none() {
            return Ok(endpoint);
        }
        tried.push(Tried { place: endpoint.to_string(), problem });
    }
    let hint = how_to_start(env::consts::OS, &|program| is_installed(program, environment));
    Err(EngineError::NoEngine { tried, hint })
}

/// Every place where `discover` would look, and what is wrong there.
pub(in crate::engine) async fn survey(environment: Environment<'_>) -> Vec<Tried> {
    let endpoints = match Endpoint::find(None, environment) {
        Ok(named) if named.is_default_socket() => usual_endpoints(environment),
        Ok(named) => vec![named],
        Err(_) => Vec::new(),
    };
    let answers = join_all(endpoints.iter().map(why_not)).await;
    let pairs = endpoints.iter().zip(answers);
    pairs.map(|(endpoint, problem)| Tried { place: endpoint.to_string(), problem }).collect()
}

fn usual_endpoints(environment: Environment) -> Vec<Endpoint> {
    usual(environment).into_iter().map(Endpoint::usual).collect()
}

/// Why it does not answer, `None` if it does.
async fn why_not(endpoint: &Endpoint) -> Option<String> {
    let transport = Transport::new(endpoint.clone());
    let request = Request::get("/_ping").body(Empty::<Bytes>::new()).ok()?;
    match timeout(PATIENCE, transport.request(request)).await {
        Ok(Ok(_)) => None,
        Ok(Err(failure)) => Some(unreachable::reason(endpoint, &failure)),
        Err(_) => Some(silence()),
    }
}

/// What is wrong with an engine that takes a connection and then does not answer.
pub(in crate::engine) fn silence() -> String {
    format!("no answer within {} seconds", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::net::UnixListener};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener as Listener,
    };

    use super::*;

    /// Answers everything that comes to a socket.
    fn answer_at(path: &std::path::Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = Listener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A request that was not read resets the connection.
                _ = stream.read(&mut [0; 1024]).await;
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await;
            }
        });
    }

    #[tokio::test]
    async fn the_first_place_that_answers_is_used_and_one_that_hangs_is_left() {
        let home = tempfile::tempdir().unwrap();
        let path = |inside: &str| home.path().join(inside);
        let text = home.path().display().to_string();
        let variables = BTreeMap::from([("HOME", text.clone()), ("XDG_RUNTIME_DIR", text.clone())]);
        let environment = |name: &str| variables.get(name).cloned();
        // It accepts connections, and says nothing.
        let hangs = UnixListener::bind(path("docker.sock")).unwrap();
        answer_at(&path(".orbstack/run/docker.sock"));
        answer_at(&path("podman/podman.sock"));
        let began = std::time::Instant::now();
        let tried = survey(&environment).await;
        assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
        let problem = |place: &str| {
            let found = tried.iter().find(|tried| tried.place.contains(place));
            found.unwrap().problem.clone()
        };
        assert_eq!(problem("(rootless Docker)").unwrap(), "no answer within 5 seconds");
        assert_eq!(problem("(OrbStack)"), None);
        assert_eq!(problem("(Rancher Desktop)").unwrap(), "there is no such socket");
        assert_eq!(problem("(podman of this user)"), None);
        drop(hangs);

        let named = BTreeMap::from([("DOCKER_HOST", format!("unix://{text}/none.sock"))]);
        let environment = |name: &str| named.get(name).cloned();
        let tried = survey(&environment).await;
        let [only] = &tried[..] else { panic!("{tried:?}") };
        assert_eq!(
            only.problem.as_deref(),
            Some("there is no such socket; is the docker daemon running?")
        );
    }
}
