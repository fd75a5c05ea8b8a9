//! The call by which the engine takes files: `moby.filesync.v1.FileSync/DiffCopy`.
//!
//! We list everything; it asks for the content of what it lacks; we send that. Which folder it
//! means, and which part of it, is in the headers of the call (buildkit `session/filesync`).

use std::{
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering, mpsc as blocking},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::HeaderMap;
use tokio::sync::mpsc;

use super::{
    Served,
    grpc::{self, Answer, Code, Messages, Status},
    sender::{Sender, Stop},
    tree,
    wire::{Packet, PacketKind},
};

/// Parts of 64 KiB that may wait to be sent.
const QUEUE: usize = 8;

/// What the headers of a call ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// `context` or `dockerfile`.
    pub(super) folder: Vec<u8>,
    /// If there are any, the engine will look at nothing else, but for where links among them
    /// lead. Patterns, in the last part of a path.
    pub(super) follow: Vec<Vec<u8>>,
    /// Further patterns of what it will look at.
    pub(super) include: Vec<Vec<u8>>,
}

pub(super) async fn answer(
    served: Arc<Served>,
    headers: &HeaderMap,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let asked = Asked::of(headers);
    tracing::debug!(?asked, "the engine asks for files");
    let items: Items = match &*asked.folder {
        // The engine looks for patterns to have us apply them. They have been applied, and perhaps
        // they were those of another file, `<Dockerfile>.dockerignore`; so there are none. But
        // that is its first question, by the very words of a build that copies only this file.
        b"context" if asked.is_for_ignore_file() && !served.ignore_file_was_asked() => {
            Box::new(|_| Ok(Vec::new()))
        }
        b"context" => Box::new(move |served| tree::of_context(&served.files.context, &asked)),
        b"dockerfile" => Box::new(|served| {
            Ok(tree::of_memory(&served.files.dockerfile_name, &served.files.dockerfile))
        }),
        other => {
            let message = format!("there is no folder {}", String::from_utf8_lossy(other));
            return grpc::refuse(respond, &Status::new(Code::NotFound, message));
        }
    };
    let mut answer = Answer::begin(&mut respond)?;
    let outcome = exchange(served, items, Messages::of(body), &mut answer).await;
    answer.end(outcome)
}

type Items = Box<dyn FnOnce(&Served) -> Result<Vec<tree::Item>, tree::Error> + Send>;

/// Both directions at once; whichever fails ends the other.
async fn exchange(
    served: Arc<Served>,
    items: Items,
    messages: Messages,
    answer: &mut Answer,
) -> Result<(), Status> {
    // Not bounded, but the engine can ask only once for each file: four bytes each.
    let (wanted, wanted_by_engine) = blocking::channel();
    let (frames, mut to_send) = mpsc::channel(QUEUE);
    let worker = tokio::task::spawn_blocking(move || {
        let mut sender = Sender::new(&served, frames);
        sender.run(|| items(&served), &wanted_by_engine)
    });
    let outgoing = async {
        while let Some(frames) = to_send.recv().await {
            answer.send(frames).await?;
        }
        match worker.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stop::Gone)) => Err(Status::new(Code::Cancelled, "nobody listens any more")),
            Ok(Err(Stop::Failed(why))) => Err(Status::new(Code::Aborted, why)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    };
    tokio::try_join!(incoming(messages, wanted), outgoing)?;
    let mut finish = BytesMut::new();
    grpc::put(&Packet { kind: PacketKind::Finish.into(), ..Packet::default() }, &mut finish);
    Ok(answer.send(finish.freeze()).await?)
}

/// Passes on what the engine wants, until it wants no more.
async fn incoming(mut messages: Messages, wanted: blocking::Sender<u32>) -> Result<(), Status> {
    while let Some(packet) = messages.next::<Packet>().await? {
        match packet.kind() {
            // Nobody receives once the sender has failed, which then ends the call.
            PacketKind::Request => _ = wanted.send(packet.id),
            PacketKind::Finish => return Ok(()),
            PacketKind::Error => {
                let why = String::from_utf8_lossy(&packet.data);
                return Err(Status::new(Code::Aborted, format!("the engine gave up: {why}")));
            }
            PacketKind::Stat | PacketKind::Data => {
                return Err(Status::new(Code::Internal, "the engine sent files to the sender"));
            }
        }
    }
    Err(Status::new(Code::Cancelled, "the engine stopped before it had all it wants"))
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            folder: values(headers, "dir-name").into_iter().next().unwrap_or_default(),
            follow: values(headers, "followpaths"),
            include: values(headers, "include-patterns"),
        }
    }

    fn is_for_ignore_file(&self) -> bool {
        self.include.is_empty() && self.follow == [b".dockerignore"]
    }
}

impl Served {
    /// Whether it was, before now.
    fn ignore_file_was_asked(&self) -> bool {
        self.ignore_file_asked.swap(true, Ordering::Relaxed)
    }
}

/// The values of a header that may be repeated. Since buildkit v0.12 they are in the encoding of
/// URL queries if another header, `<name>-encoded`, says so; before that they are raw bytes.
fn values(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let encoded = headers.get(format!("{name}-encoded")).is_some_and(|flag| flag == "1");
    let values = headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes);
    values.map(|value| if encoded { query_decoded(value) } else { value.to_vec() }).collect()
}

/// Go's `url.QueryUnescape`: `+` is a space, `%41` is `A`.
fn query_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits make a byte"));
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

/// A path as it is on the wire.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
