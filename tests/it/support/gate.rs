//! A proxy in front of a registry that lets requests pass, holds them for ever, or answers itself.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Through,
    /// Nobody ever hears of it.
    Held,
    /// The registry hears of it, and its answer is lost.
    AnswerHeld,
    /// With this status, instead of the registry.
    Refused(u16),
}

type Rule = dyn Fn(&str, &str) -> Pass + Send + Sync;

/// Listens on a port of its own until the process ends; its connections are of one request each.
pub(crate) struct Gate {
    host: String,
    state: Arc<State>,
}

struct State {
    upstream: String,
    rule: Mutex<Arc<Rule>>,
    held: AtomicUsize,
}

impl Gate {
    pub(crate) fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let open: Arc<Rule> = Arc::new(|_, _| Pass::Through);
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            rule: Mutex::new(open),
            held: AtomicUsize::new(0),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || {
                    // A client that hangs up is part of many a test.
                    _ = serve(stream, &state);
                });
            }
        });
        Self { host, state }
    }

    /// `127.0.0.1:port`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// From now on; the rule is given the method and the path.
    pub(crate) fn rule(&self, rule: impl Fn(&str, &str) -> Pass + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Arc::new(rule);
        self.state.held.store(0, Ordering::SeqCst);
    }

    /// Lets so many writes of moving tags pass, and treats the others in this way.
    pub(crate) fn after_tags(&self, passing: usize, then: Pass) {
        self.after(is_moving_tag, passing, then);
    }

    /// Lets so many of these requests pass, and treats the others in this way.
    pub(crate) fn after(&self, which: fn(&str, &str) -> bool, passing: usize, then: Pass) {
        let left = AtomicUsize::new(passing);
        self.rule(move |method, path| {
            let is_passing = !which(method, path)
                || left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok();
            if is_passing { Pass::Through } else { then }
        });
    }

    pub(crate) fn wait_until_held(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.state.held.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "nothing is held");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a request writes a tag that people pull.
pub(crate) fn is_moving_tag(method: &str, path: &str) -> bool {
    let tag = path.split_once("/manifests/").map(|(_, tag)| tag);
    method == "PUT" && tag.is_some_and(|tag| !tag.starts_with("rb-") && !tag.contains(':'))
}

fn serve(mut client: TcpStream, state: &State) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        // The first byte of a TLS handshake: an engine tries that first.
        if head.is_empty() && byte[0] == 0x16 {
            return client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rule = state.rule.lock().unwrap().clone();
    let pass = rule(method, path);
    if pass == Pass::Held {
        state.held.fetch_add(1, Ordering::SeqCst);
        return wait_for_end(&mut client);
    }
    if let Pass::Refused(status) = pass {
        let body = r#"{"errors":[{"code":"DENIED","message":"so it says"}]}"#;
        let length = body.len();
        write!(
            client,
            "HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        // What the client still sends is read, or the answer would be lost in a reset.
        client.shutdown(Shutdown::Write)?;
        return wait_for_end(&mut client);
    }
    let mut server = TcpStream::connect(&state.upstream)?;
    let lines = head.split_inclusive("\r\n");
    let kept = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: String = kept.collect();
    server.write_all(head.trim_end_matches("\r\n").as_bytes())?;
    server.write_all(b"\r\nConnection: close\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    if pass == Pass::AnswerHeld {
        std::io::copy(&mut server, &mut std::io::sink())?;
        state.held.fetch_add(1, Ordering::SeqCst);
        return wait_for_end(&mut client);
    }
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

fn wait_for_end(client: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(client, &mut std::io::sink()).map(|_| ())
}
