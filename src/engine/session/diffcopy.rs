//! The call by which the engine takes files: `moby.filesync.v1.FileSync/DiffCopy`.
//!
//! We list what it [asked](super::requested_files) for; it requests the content of what it lacks; we send
//! that; it says that it is done. (github.com/tonistiigi/fsutil, `receive.go`.)

use std::sync::{Arc, mpsc as blocking};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::HeaderMap;
use tokio::sync::mpsc;

use super::{
    Served,
    grpc::{self, GrpcAnswer, GrpcCode, GrpcMessages, Status},
    requested_files::RequestedFiles,
    sender::{Sender, Stop},
    tree,
    wire::{Packet, PacketKind},
};

/// Parts of 64 KiB that may wait to be sent.
const QUEUE: usize = 8;

pub(super) async fn answer(
    served: Arc<Served>,
    headers: &HeaderMap,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let asked = RequestedFiles::of(headers);
    tracing::debug!(?asked, "the engine asks for files");
    let items: Items = match &*asked.folder {
        // The patterns it finds in `.dockerignore` it sends back, for us to apply. They have been
        // applied, or those of `<Dockerfile>.dockerignore` instead, so we look at none. To hide
        // the file would be wrong: the engine asks only once for it, even to copy it.
        b"context" => Box::new(move |served| {
            tree::of_context(&served.files.context.root, &served.entries()?, &asked)
        }),
        b"dockerfile" => Box::new(|served| {
            Ok(tree::of_memory(&served.files.dockerfile_name, &served.files.dockerfile))
        }),
        other => {
            let message = format!("there is no folder {}", String::from_utf8_lossy(other));
            return grpc::refuse(respond, &Status::new(GrpcCode::NotFound, message));
        }
    };
    let mut answer = GrpcAnswer::begin(&mut respond)?;
    let outcome = exchange(served, items, GrpcMessages::of(body), &mut answer).await;
    answer.end(outcome)
}

type Items = Box<dyn FnOnce(&Served) -> Result<Vec<tree::ListedFile>, tree::Error> + Send>;

/// Both directions at once; whichever fails ends the other.
async fn exchange(
    served: Arc<Served>,
    items: Items,
    messages: GrpcMessages,
    answer: &mut GrpcAnswer,
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
            Ok(Err(Stop::Gone)) => Err(Status::new(GrpcCode::Cancelled, "nobody listens any more")),
            Ok(Err(Stop::Failed(why))) => Err(Status::new(GrpcCode::Aborted, why)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    };
    tokio::try_join!(incoming(messages, wanted), outgoing)?;
    let mut finish = BytesMut::new();
    grpc::put(&Packet { kind: PacketKind::Finish.into(), ..Packet::default() }, &mut finish);
    Ok(answer.send(finish.freeze()).await?)
}

/// Passes on what the engine wants, until it wants no more.
async fn incoming(mut messages: GrpcMessages, wanted: blocking::Sender<u32>) -> Result<(), Status> {
    while let Some(packet) = messages.next::<Packet>().await? {
        match packet.kind() {
            // Nobody receives once the sender has failed, which then ends the call.
            PacketKind::Request => _ = wanted.send(packet.id),
            PacketKind::Finish => return Ok(()),
            PacketKind::Error => {
                let why = String::from_utf8_lossy(&packet.data);
                return Err(Status::new(GrpcCode::Aborted, format!("the engine gave up: {why}")));
            }
            PacketKind::Stat | PacketKind::Data => {
                return Err(Status::new(GrpcCode::Internal, "the engine sent files to the sender"));
            }
        }
    }
    Err(Status::new(GrpcCode::Cancelled, "the engine stopped before it had all it wants"))
}
