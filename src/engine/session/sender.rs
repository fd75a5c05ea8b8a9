//! The side of the file transfer that reads from the disk, in a thread that may block.
//!
//! **Invariant:** at most one file is open and some hundred kilobytes are in memory, however many
//! and big the files are: it waits when the engine is slow.

use std::{
    io::Read,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{
    Served, grpc,
    tree::{Error, FileVersion, ItemContent, ListedFile},
    wire::{Packet, PacketKind},
};
use crate::fingerprint::context::{ContextEntry, ContextError};

/// What one packet holds of a file, as in docker's own client.
const PART: usize = 32 * 1024;

/// Small packets travel together.
const TOGETHER: usize = 64 * 1024;

/// Why it ended early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The call is over.
    Gone,
    /// Something cannot be sent. The engine has been told.
    Failed(String),
}

impl From<ContextError> for Stop {
    fn from(error: ContextError) -> Self {
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        Self::Failed(message)
    }
}

pub(super) struct Sender<'a> {
    served: &'a Served,
    frames: mpsc::Sender<Bytes>,
    pending: BytesMut,
}

impl<'a> Sender<'a> {
    pub(super) fn new(served: &'a Served, frames: mpsc::Sender<Bytes>) -> Self {
        Self { served, frames, pending: BytesMut::new() }
    }

    /// Lists all items, then sends the content of each that is `wanted`, by its place in the list.
    pub(super) fn run(
        &mut self,
        items: impl FnOnce() -> Result<Vec<ListedFile>, Error>,
        wanted: &Receiver<u32>,
    ) -> Result<(), Stop> {
        let outcome = self.list_and_send(items, wanted);
        if let Err(Stop::Failed(why)) = &outcome {
            // The text of this packet is what the build then fails with.
            self.put(PacketKind::Error, 0, why.clone().into())?;
            self.flush()?;
        }
        outcome
    }

    fn list_and_send(
        &mut self,
        items: impl FnOnce() -> Result<Vec<ListedFile>, Error>,
        wanted: &Receiver<u32>,
    ) -> Result<(), Stop> {
        let mut contents = Vec::new();
        for ListedFile { stat, content } in items()? {
            self.packet(&Packet { stat: Some(stat), ..Packet::default() })?;
            self.served.listed.fetch_add(1, Ordering::Relaxed);
            contents.push(content);
        }
        self.packet(&Packet::default())?;
        while let Some(id) = self.next(wanted)? {
            // Taken, as the engine has no reason to ask twice.
            let content =
                contents.get_mut(id as usize).map(|it| std::mem::replace(it, ItemContent::None));
            match content {
                Some(ItemContent::Memory(bytes)) => self.part(id, bytes)?,
                Some(ItemContent::File { entry, version }) => self.file(id, &entry, version)?,
                Some(ItemContent::None) | None => {
                    return Err(Stop::Failed(format!(
                        "the engine asked for file {id}, which does not exist"
                    )));
                }
            }
            self.put(PacketKind::Data, id, Bytes::new())?;
            self.served.sent_files.fetch_add(1, Ordering::Relaxed);
        }
        self.flush()
    }

    /// The next file wanted. Before it waits for one, everything is on its way.
    fn next(&mut self, wanted: &Receiver<u32>) -> Result<Option<u32>, Stop> {
        match wanted.try_recv() {
            Ok(id) => Ok(Some(id)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => {
                self.flush()?;
                Ok(wanted.recv().ok())
            }
        }
    }

    fn file(&mut self, id: u32, entry: &ContextEntry, version: FileVersion) -> Result<(), Stop> {
        let files = &self.served.files.context;
        let mut content = files.read(entry)?;
        loop {
            let mut part = Vec::with_capacity(PART);
            let read = Read::by_ref(&mut content).take(PART as u64).read_to_end(&mut part);
            read.map_err(|error| ContextError::from_read(error, &entry.path))?;
            if part.is_empty() {
                break;
            }
            self.part(id, part.into())?;
        }
        // While it was read it did not change; but it may have since it was listed.
        if FileVersion::now(&files.root, entry)? != version {
            return Err(ContextError::Changed { path: entry.path.clone() }.into());
        }
        Ok(())
    }

    fn part(&mut self, id: u32, bytes: Bytes) -> Result<(), Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.split_to(PART.min(rest.len()));
            self.served.sent_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
            self.put(PacketKind::Data, id, part)?;
        }
        Ok(())
    }

    fn put(&mut self, kind: PacketKind, id: u32, data: Bytes) -> Result<(), Stop> {
        self.packet(&Packet { kind: kind.into(), id, data, stat: None })
    }

    fn packet(&mut self, packet: &Packet) -> Result<(), Stop> {
        grpc::put(packet, &mut self.pending);
        if self.pending.len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.frames.blocking_send(self.pending.split().freeze()).map_err(|_| Stop::Gone)
    }
}
