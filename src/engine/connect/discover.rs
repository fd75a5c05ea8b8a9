//! Finds an engine that answers, where the user named none.
//!
//! **Invariant:** an engine that the user named is the only one that is asked.

use std::{env, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Uri};
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
const PATIENCE: Duration = Duration::from_secs(5);

/// The engine to use: the one that is named, or else the [first](first_of) of the usual places.
pub(in crate::engine) async fn discover(
    given: Option<&str>,
    environment: Environment<'_>,
) -> Result<Endpoint, EngineError> {
    let named = Endpoint::find(given, environment)?;
    if !named.is_default_socket() {
        return Ok(named);
    }
    first_of(&usual_endpoints(environment), environment).await
}

/// The first that answers. If none does, the first that takes a connection: an overloaded engine gets as
/// much time for its answer as one that the user named.
async fn first_of(
    places: &[Endpoint],
    environment: Environment<'_>,
) -> Result<Endpoint, EngineError> {
    let (first, others) = places.split_at(places.len().min(1));
    let (mut tried, mut silent) = (Vec::new(), None);
    // The first alone, since it mostly is the one: others might be started by being asked.
    for places in [first, others] {
        let answers = join_all(places.iter().map(ask)).await;
        for (endpoint, answer) in places.iter().zip(answers) {
            match answer {
                PingAnswer::Answers => return Ok(endpoint.clone()),
                PingAnswer::Silent => silent = silent.or(Some(endpoint)),
                PingAnswer::Unreachable(_) => {}
            }
            tried.push(Tried { place: endpoint.to_string(), problem: answer.problem() });
        }
    }
    if let Some(endpoint) = silent {
        return Ok(endpoint.clone());
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
    let answers = join_all(endpoints.iter().map(ask)).await;
    let tried = |(endpoint, answer): (&Endpoint, PingAnswer)| Tried {
        place: endpoint.to_string(),
        problem: answer.problem(),
    };
    endpoints.iter().zip(answers).map(tried).collect()
}

fn usual_endpoints(environment: Environment) -> Vec<Endpoint> {
    usual(environment).into_iter().map(Endpoint::usual).collect()
}

/// What a place answers to `/_ping`.
enum PingAnswer {
    Answers,
    /// It takes a connection and says nothing for [`PATIENCE`].
    Silent,
    Unreachable(String),
}

impl PingAnswer {
    fn problem(self) -> Option<String> {
        match self {
            Self::Answers => None,
            Self::Silent => Some(format!("no answer within {} seconds", PATIENCE.as_secs())),
            Self::Unreachable(reason) => Some(reason),
        }
    }
}

async fn ask(endpoint: &Endpoint) -> PingAnswer {
    let transport = Transport::new(endpoint.clone());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static("/_ping");
    match timeout(PATIENCE, transport.request(request)).await {
        Ok(Ok(_)) => PingAnswer::Answers,
        Ok(Err(failure)) => PingAnswer::Unreachable(unreachable::reason(endpoint, &failure)),
        Err(_) => PingAnswer::Silent,
    }
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
        // If no place answers, the one that hangs may be overloaded.
        let places: Vec<Endpoint> = usual_endpoints(&environment)
            .into_iter()
            .filter(|place| place.to_string().contains(&text))
            .filter(|place| {
                !["(OrbStack)", "(podman"].iter().any(|it| place.to_string().contains(it))
            })
            .collect();
        assert!(places.len() > 1, "{places:?}");
        let found = first_of(&places, &environment).await.unwrap();
        assert!(found.to_string().contains("(rootless Docker)"), "{found}");
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
