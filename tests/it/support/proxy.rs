//! A proxy between `rebuild` and something real, a registry or an engine, that passes everything on but
//! for what a test tells it to spoil.
//!
//! Each connection carries one request: the proxy asks both sides to close afterwards, so that what it
//! does to a request happens to no other.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rebuild::image::Digest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Runtime,
    sync::watch,
};
use tokio_util::either::Either;

/// Until an engine that is going away is gone: so far a build or a test has come.
const A_MOMENT: Duration = Duration::from_millis(300);

/// What happens to a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// The proxy answers with this status and these headers, and asks nobody.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The same with a body of this type.
    Says(u16, &'static str, &'static str),
    /// It is passed on, and a moment later every connection is cut, and none is taken for so long.
    Gone(Duration),
    /// A reset instead of an answer, and for so long nobody listens.
    Closed(Duration),
    /// It is passed on after so long.
    Delay(Duration),
    /// It is never answered.
    Silence,
    /// A TCP reset instead of an answer.
    Reset,
    /// It is passed on, and the connection ends after so many bytes of the answer.
    CutAfter(usize),
    /// It is passed on, and after so many bytes of the answer nothing follows.
    SilentAfter(usize),
    /// It is passed on, and the answer comes in pieces of so many bytes, with a pause before each.
    Dribble(usize, Duration),
    /// A PUT that is answered with 201 and never passed on.
    Lost,
    /// A PUT that arrives twice.
    Doubled,
    /// A HEAD that is answered as it was before the last PUT to this path, if there was one.
    Stale,
    /// Something is done, and then it is passed on.
    First(Arc<dyn Fn() + Send + Sync>),
    /// The answer is changed; it must not be binary.
    Edited(fn(&str) -> String),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, _) => write!(f, "{status}"),
            Self::Says(status, kind, _) => write!(f, "{status} {kind}"),
            Self::Closed(pause) => write!(f, "closed for {pause:?}"),
            Self::Gone(pause) => write!(f, "gone for {pause:?}"),
            Self::Delay(pause) => write!(f, "delay of {pause:?}"),
            Self::Silence => f.write_str("silence"),
            Self::Reset => f.write_str("reset"),
            Self::CutAfter(length) => write!(f, "cut after {length}"),
            Self::SilentAfter(length) => write!(f, "silence after {length}"),
            Self::Dribble(length, pause) => write!(f, "{length} bytes each {pause:?}"),
            Self::Lost => f.write_str("lost"),
            Self::Doubled => f.write_str("doubled"),
            Self::Stale => f.write_str("stale"),
            Self::First(_) => f.write_str("something first"),
            Self::Edited(_) => f.write_str("edited"),
        }
    }
}

/// Which requests: the method, a part of the path, and of those that match how many are passed on before
/// and how many are spoilt then.
struct Rule {
    method: &'static str,
    path: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// Where everything is passed on to.
#[derive(Clone)]
enum Real {
    Tcp(String),
    Unix(PathBuf),
}

type Stream = Either<TcpStream, UnixStream>;

struct State {
    real: Real,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<String>>,
    /// For so long a HEAD is answered as before a PUT.
    lag: Mutex<Duration>,
    /// When a manifest was last written, and what a HEAD was answered before.
    old: Mutex<HashMap<String, (Instant, Vec<u8>)>>,
    /// Requests that are being served, by the order in which they came.
    open: Mutex<BTreeMap<usize, String>>,
    /// Until when nothing is served; each change cuts what is.
    gone: watch::Sender<Option<Instant>>,
    /// Each change closes the port for so long.
    closed: watch::Sender<Duration>,
}

/// Listens until it is dropped.
pub(crate) struct Proxy {
    address: String,
    state: Arc<State>,
    runtime: Option<Runtime>,
    _folder: Option<TempDir>,
}

impl Proxy {
    /// In front of a server such as `127.0.0.1:5000`.
    pub(crate) fn to_host(host: &str) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State::new(Real::Tcp(host.to_owned()));
        runtime.spawn(listen(listener, state.clone()));
        Self { address, state, runtime: Some(runtime), _folder: None }
    }

    /// In front of the engine at this address, a socket of this machine.
    pub(crate) fn to_engine(address: &str) -> Self {
        let socket = address.strip_prefix("unix://").expect("the engine listens at a socket");
        let runtime = runtime();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let inside = runtime.enter();
        let listener = UnixListener::bind(&path).unwrap();
        let state = State::new(Real::Unix(socket.into()));
        let shared = state.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Either::Right(stream), shared.clone()));
            }
        });
        drop(inside);
        let address = format!("unix://{}", path.display());
        Self { address, state, runtime: Some(runtime), _folder: Some(folder) }
    }

    /// `127.0.0.1:port`, or `unix://…`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Spoils the first such requests, so many.
    pub(crate) fn spoil(&self, request: (&'static str, &str), times: usize, fault: Fault) {
        self.spoil_after(0, request, times, fault);
    }

    /// Passes `skip` such requests on before.
    pub(crate) fn spoil_after(
        &self,
        skip: usize,
        (method, path): (&'static str, &str),
        times: usize,
        fault: Fault,
    ) {
        let rule = Rule { method, path: path.to_owned(), skip, times, fault };
        self.state.rules.lock().unwrap().push(rule);
    }

    /// From here on, what is written to a tag is seen so much later.
    pub(crate) fn lag(&self, lag: Duration) {
        self.state.old.lock().unwrap().clear();
        *self.state.lag.lock().unwrap() = lag;
    }

    /// From here on everything is passed on.
    pub(crate) fn behave(&self) {
        self.state.rules.lock().unwrap().clear();
        if self.state.gone.borrow().is_some() {
            self.state.gone.send_replace(None);
        }
        // A port that is closed is opened again in a moment.
        let deadline = Instant::now() + Duration::from_secs(60);
        while matches!(self.state.real, Real::Tcp(_))
            && std::net::TcpStream::connect(&self.address).is_err()
        {
            assert!(Instant::now() < deadline, "nobody listens at {}", self.address);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many requests of this kind arrived.
    pub(crate) fn count(&self, (method, path): (&str, &str)) -> usize {
        let log = self.state.log.lock().unwrap();
        log.iter().filter(|line| line.starts_with(method) && line.contains(path)).count()
    }

    /// Until nothing is under way any more: what a process asked for that was killed may still happen.
    pub(crate) fn wait_until_quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let open = || self.state.open.lock().unwrap().clone();
        while !open().is_empty() {
            assert!(Instant::now() < deadline, "under way, and no client waits: {:?}", open());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether nothing is left that was to be spoilt: else a test would prove nothing.
    #[track_caller]
    pub(crate) fn assert_all_spoilt(&self) {
        for rule in self.state.rules.lock().unwrap().iter() {
            let met = rule.times == 0 || rule.times > usize::MAX / 2;
            assert!(met, "{} {} was not met {} times", rule.method, rule.path, rule.times);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(mut listener: TcpListener, state: Arc<State>) {
    let address = listener.local_addr().unwrap();
    let mut closed = state.closed.subscribe();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                tokio::spawn(serve(Either::Left(stream), state.clone()));
            }
            Ok(()) = closed.changed() => {
                let pause = *closed.borrow_and_update();
                drop(listener);
                tokio::time::sleep(pause).await;
                listener = TcpListener::bind(address).await.unwrap();
            }
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl State {
    fn new(real: Real) -> Arc<Self> {
        Arc::new(Self {
            real,
            rules: Mutex::default(),
            log: Mutex::default(),
            lag: Mutex::default(),
            old: Mutex::default(),
            open: Mutex::default(),
            gone: watch::Sender::new(None),
            closed: watch::Sender::new(Duration::ZERO),
        })
    }

    /// What is to happen to this request.
    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.method == method && path.contains(&rule.path) && (rule.skip > 0 || rule.times > 0)
        })?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// What a HEAD is answered.
    async fn seen(&self, path: &str, head: &str) -> io::Result<Vec<u8>> {
        let login =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        let login: String = login.flat_map(|line| [line, "\r\n"]).collect();
        let accept = [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        ];
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nHost: registry\r\nAccept: {}\r\n{login}Connection: close\r\n\r\n",
            accept.join(", ")
        );
        let mut real = self.connect().await?;
        real.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        real.read_to_end(&mut text).await?;
        Ok(text)
    }

    async fn connect(&self) -> io::Result<Stream> {
        match &self.real {
            Real::Tcp(host) => TcpStream::connect(host).await.map(Either::Left),
            Real::Unix(path) => UnixStream::connect(path).await.map(Either::Right),
        }
    }
}

/// One request. Whoever hangs up in the middle is part of many a test.
async fn serve(mut client: Stream, state: Arc<State>) {
    static ARRIVED: AtomicUsize = AtomicUsize::new(0);
    let number = ARRIVED.fetch_add(1, Ordering::SeqCst);
    state.open.lock().unwrap().insert(number, "a connection".to_owned());
    let mut gone = state.gone.subscribe();
    let is_gone = gone.borrow().is_some_and(|until| Instant::now() < until);
    if !is_gone {
        tokio::select! {
            _ = try_serve(&mut client, &state, number) => {}
            _ = gone.changed() => {}
        }
    }
    state.open.lock().unwrap().remove(&number);
}

async fn try_serve(client: &mut Stream, state: &Arc<State>, number: usize) -> io::Result<()> {
    let head = head(client).await?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    state.log.lock().unwrap().push(format!("{method} {path}"));
    state.open.lock().unwrap().insert(number, format!("{method} {path}"));
    let request = closing(&head);
    let is_tag = path.contains("/manifests/") && !path.contains("sha256:");
    let fault = state.fault(method, path);
    let is_kept_back =
        method == "PUT" && matches!(fault, Some(Fault::Lost | Fault::Status(..) | Fault::Says(..)));
    if is_tag && method == "PUT" && !is_kept_back {
        let before = state.seen(path, &head).await?;
        state.old.lock().unwrap().insert(path.to_owned(), (Instant::now(), before));
    }
    if is_tag && method == "HEAD" {
        let lag = *state.lag.lock().unwrap();
        let old = state.old.lock().unwrap().get(path).cloned();
        if let Some((written, before)) = old
            && (matches!(fault, Some(Fault::Stale)) || written.elapsed() < lag)
        {
            return client.write_all(&before).await;
        }
    }
    match fault {
        None => pass(client, state, &request).await,
        Some(fault) => spoil(client, state, fault, (&head, &request)).await,
    }
}

async fn pass(client: &mut Stream, state: &State, request: &str) -> io::Result<()> {
    let mut real = state.connect().await?;
    real.write_all(request.as_bytes()).await?;
    tokio::io::copy_bidirectional(client, &mut real).await.map(drop)
}

async fn spoil(
    client: &mut Stream,
    state: &Arc<State>,
    fault: Fault,
    (head, request): (&str, &str),
) -> io::Result<()> {
    match fault {
        Fault::Status(status, headers) => {
            body(client, head).await?;
            answer(client, status, headers).await
        }
        Fault::Says(status, kind, said) => {
            body(client, head).await?;
            let length = said.len();
            let text = format!(
                "HTTP/1.1 {status} Spoilt\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{said}"
            );
            client.write_all(text.as_bytes()).await
        }
        Fault::Gone(pause) => {
            let shared = state.clone();
            tokio::spawn(async move {
                tokio::time::sleep(A_MOMENT).await;
                shared.gone.send_replace(Some(Instant::now() + pause));
            });
            pass(client, state, request).await
        }
        Fault::Delay(pause) => {
            tokio::time::sleep(pause).await;
            pass(client, state, request).await
        }
        Fault::Silence => hung_up(client).await,
        Fault::Closed(pause) => {
            state.closed.send_replace(pause);
            Ok(())
        }
        Fault::Reset => match client {
            Either::Left(stream) => stream.set_zero_linger(),
            Either::Right(_) => Ok(()),
        },
        Fault::CutAfter(length) | Fault::SilentAfter(length) => {
            let mut real = state.connect().await?;
            real.write_all(request.as_bytes()).await?;
            let (answered, mut asked) = tokio::io::split(real);
            let (mut reader, mut writer) = tokio::io::split(client);
            let mut part = answered.take(length as u64);
            tokio::select! {
                done = tokio::io::copy(&mut part, &mut writer) => drop(done?),
                Err(error) = tokio::io::copy(&mut reader, &mut asked) => return Err(error),
            }
            writer.flush().await?;
            if matches!(fault, Fault::SilentAfter(_)) {
                return hung_up(&mut reader).await;
            }
            Ok(())
        }
        Fault::Dribble(length, pause) => {
            let text = whole(client, state, head, request).await?;
            for piece in text.chunks(length) {
                tokio::time::sleep(pause).await;
                client.write_all(piece).await?;
                client.flush().await?;
            }
            Ok(())
        }
        Fault::Lost => {
            let digest = Digest::of(&body(client, head).await?);
            let head = format!(
                "HTTP/1.1 201 Created\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await
        }
        Fault::Doubled => {
            let body = body(client, head).await?;
            let mut said = Vec::new();
            for _ in 0..2 {
                said.clear();
                let mut real = state.connect().await?;
                real.write_all(request.as_bytes()).await?;
                real.write_all(&body).await?;
                real.read_to_end(&mut said).await?;
            }
            client.write_all(&said).await
        }
        Fault::Stale => pass(client, state, request).await,
        Fault::First(act) => {
            tokio::task::spawn_blocking(move || act()).await?;
            pass(client, state, request).await
        }
        Fault::Edited(edit) => {
            // An old client gets an answer that is neither chunked nor of a promised length.
            let request = request.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1);
            let text = whole(client, state, head, &request).await?;
            let text = edit(&String::from_utf8_lossy(&text)).replacen("HTTP/1.0", "HTTP/1.1", 1);
            client.write_all(without(&text, "content-length").as_bytes()).await
        }
    }
}

/// Until the client has lost its patience, or its life.
async fn hung_up(client: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    tokio::io::copy(client, &mut tokio::io::sink()).await.map(drop)
}

/// The real one's whole answer.
async fn whole(
    client: &mut Stream,
    state: &State,
    head: &str,
    request: &str,
) -> io::Result<Vec<u8>> {
    let body = body(client, head).await?;
    let mut real = state.connect().await?;
    real.write_all(request.as_bytes()).await?;
    real.write_all(&body).await?;
    let mut text = Vec::new();
    real.read_to_end(&mut text).await?;
    Ok(text)
}

async fn head(client: &mut Stream) -> io::Result<String> {
    let mut bytes = Vec::new();
    // Byte by byte, so that nothing of the body is taken away.
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(client.read_u8().await?);
        // The first byte of a TLS handshake. Whoever tries that first waits for seconds, unless it is
        // told as a web server without TLS would.
        if bytes == [0x16] {
            client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The body, if the head promises its length.
async fn body(client: &mut Stream, head: &str) -> io::Result<Vec<u8>> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.next().map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;
    Ok(body)
}

/// The head, with the wish that the connection ends with the answer, unless it is to become another one.
fn closing(head: &str) -> String {
    if head.to_ascii_lowercase().contains("\r\nupgrade:") {
        return head.to_owned();
    }
    without(head, "connection").replacen("\r\n", "\r\nConnection: close\r\n", 1)
}

/// A message without a header.
fn without(message: &str, name: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let is_other = |line: &&str| {
        line.split_once(':').is_none_or(|(header, _)| !header.eq_ignore_ascii_case(name))
    };
    let lines: Vec<&str> = head.split("\r\n").filter(is_other).collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

async fn answer(
    client: &mut Stream,
    status: u16,
    headers: &[(&'static str, &'static str)],
) -> io::Result<()> {
    let mut text =
        format!("HTTP/1.1 {status} Spoilt\r\nContent-Length: 0\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    client.write_all(text.as_bytes()).await
}
