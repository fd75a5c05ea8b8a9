//! Many deliveries, many readers, and readers that are slow.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Instant,
};

use super::{SECRET, Server, push, signature};
use crate::support::{
    http::send,
    project::{Place, Project},
};

/// The most memory that the process had, in KiB: proc(5).
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn a_thousand_deliveries_and_hundreds_of_readers_need_little_memory() {
    let project = Project::of_files();
    project.commit();
    project.rebuilt(Place::Engine);
    let server = Server::start(&project);
    let open = |path: &str| {
        let mut stream = TcpStream::connect(&server.host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let mut readers: Vec<TcpStream> = (0..200).map(|_| open("/h/project/events")).collect();
    for reader in &mut readers {
        let mut head = [0; 12];
        reader.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    // They ask for a page and never read it, or never finish to ask.
    let slow: Vec<TcpStream> = (0..25).map(|_| open("/h/project?format=html")).collect();
    let stuck: Vec<TcpStream> = (0..25)
        .map(|_| {
            let mut stream = TcpStream::connect(&server.host).unwrap();
            stream.write_all(b"POST /hooks/github HTTP/1.1\r\nContent-Le").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let host = &server.host;
    let statuses: Vec<u16> = thread::scope(|scope| {
        let sender = |thread: usize| {
            move || {
                let deliver = |n: usize| {
                    // Each fifth is the one before again, and each tenth has a wrong signature. Later ones come first.
                    let n = 1000 - n;
                    let unique = if n.is_multiple_of(5) { n - 1 } else { n };
                    let id = format!("{unique:040x}");
                    let body =
                        push(&id, &format!("{:040x}", unique + 1), &["tool/page"]).to_string();
                    let secret = if n.is_multiple_of(10) { "wrong secret" } else { SECRET };
                    let signature = signature(secret, body.as_bytes());
                    let headers =
                        [("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &*signature)];
                    send(host, None, "POST", "/hooks/github", &headers, body.as_bytes()).status
                };
                (0..1000).filter(|n| n % 4 == thread).map(deliver).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(sender(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let took = began.elapsed();
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((count(202), count(401)), (900, 100), "{took:?}");
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "rebuild_webhooks_total{hook=\"github\",result=\"accepted\"} 800",
        "rebuild_webhooks_total{hook=\"github\",result=\"duplicate\"} 100",
        "rebuild_webhooks_total{hook=\"github\",result=\"refused\"} 100",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let page = server.idle();
    let runs = page["runs"].as_array().unwrap();
    assert!((1..20).contains(&runs.len()), "{} runs", runs.len());
    let peak = peak(server.running.id());
    assert!(peak < 150 * 1024, "{peak} KiB");
    drop((readers, slow, stuck));
}
