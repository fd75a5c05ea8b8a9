//! A server on a real socket that answers as the test says: the faults a good registry never shows.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinHandle,
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// How the server behaves towards one request.
pub(crate) enum Act {
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// A TCP reset instead of an answer.
    Reset,
    /// Half of an answer, and the end.
    Cut,
    /// Nothing, for ever.
    Silence,
    /// A byte of an answer now and then, for ever.
    Trickle,
    /// As `Reply` with 200, once so many requests wait at the same time.
    Together(Arc<Barrier>),
}

pub(crate) fn reply(status: u16) -> Act {
    Act::Reply { status, headers: Vec::new(), body: String::new() }
}

impl Act {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    pub(crate) fn body(mut self, text: impl Into<String>) -> Self {
        if let Self::Reply { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }
}

/// Listens until it is dropped. `GET /v2/`, by which a client finds out the scheme, is answered
/// with 200 and not recorded.
pub(crate) struct Scripted {
    host: String,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

type Script = dyn Fn(usize, &Seen) -> Act + Send + Sync;

struct State {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Scripted {
    /// `script` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(
        script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            script: Box::new(script),
            seen: Mutex::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let listening = tokio::spawn(async move {
            // Connections are aborted with the set when the listener is.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                connections.spawn(async move {
                    // A client that hangs up is part of many a test.
                    _ = serve(stream, &state).await;
                });
            }
        });
        Self { host, state, listening }
    }

    /// `127.0.0.1:port`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The requests as lines: method, path, `Authorization` and body, as far as there.
    pub(crate) fn log(&self) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        let line = |seen: &Seen| {
            let parts = [Some(&seen.method), Some(&seen.path), seen.authorization.as_ref()];
            let body = Some(&seen.body).filter(|body| !body.is_empty());
            let parts: Vec<&str> =
                parts.into_iter().chain([body]).flatten().map(String::as_str).collect();
            parts.join(" ")
        };
        seen.iter().map(line).collect()
    }

    /// The requests.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests were being answered at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One connection, many requests.
async fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream).await? {
        if (seen.method.as_str(), seen.path.as_str()) == ("GET", "/v2/") {
            write(&mut stream, &seen, 200, &[], "{}").await?;
            continue;
        }
        let number = {
            let mut all = state.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let running = state.running.fetch_add(1, Ordering::SeqCst) + 1;
        state.most.fetch_max(running, Ordering::SeqCst);
        let act = (state.script)(number, &seen);
        if let Act::Together(barrier) = &act {
            barrier.wait().await;
        }
        state.running.fetch_sub(1, Ordering::SeqCst);
        match act {
            Act::Reply { status, headers, body } => {
                write(&mut stream, &seen, status, &headers, &body).await?;
            }
            Act::Together(_) => write(&mut stream, &seen, 200, &[], "{}").await?,
            Act::Reset => return stream.get_ref().set_zero_linger(),
            Act::Cut => {
                let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
                return stream.write_all(half).await;
            }
            Act::Silence => std::future::pending().await,
            Act::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
                loop {
                    stream.write_all(b" ").await?;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Seen>> {
    // The first byte of a TLS handshake, which web servers without TLS answer with a 400.
    if stream.fill_buf().await?.first() == Some(&0x16) {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await?;
        return Ok(None);
    }
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (mut authorization, mut length, mut headers) = (None, 0, BTreeMap::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Seen { method, path, authorization, body, headers }))
}

async fn write(
    stream: &mut BufReader<TcpStream>,
    seen: &Seen,
    status: u16,
    headers: &[(&'static str, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    if seen.method != "HEAD" {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}
