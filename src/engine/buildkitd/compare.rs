//! Comparing the files of two images: their layers come from the registry.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use super::{Buildkitd, transfer};
use crate::{
    engine::{EngineError, PathDifference, Volatile, tree::LayerTars},
    image::Digest,
    layers::decompress,
};

/// Pieces that wait for their reader.
const IN_FLIGHT: usize = 16;

impl Buildkitd {
    pub(super) async fn compare_layers(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        let (before, now) = (self.known(old)?.image.layers, self.known(new)?.image.layers);
        if before == now {
            return Ok(vec![]);
        }
        let doing = format!("comparing the files of `{}` and `{}`", old.short(), new.short());
        let failed = |error: String| EngineError::Answer { doing: doing.clone(), message: error };
        let mut tars = LayerTars::default();
        let mut read: Vec<Digest> = Vec::new();
        for image in [old, new] {
            let (repository, manifest) = self.manifest_of(image).await?;
            for layer in manifest.layers {
                if read.contains(&layer.digest) {
                    continue;
                }
                let (sender, receiver) = mpsc::channel(IN_FLIGHT);
                let reading = tokio::task::spawn_blocking(move || {
                    let mut pieces = Pieces { receiver, rest: Bytes::new() };
                    let added = decompress(&mut pieces).and_then(|tar| tars.add(tar));
                    added.map(|()| tars)
                });
                let sending = self.registries.stream_blob(&repository, &layer.digest, sender);
                let (sent, added) = tokio::join!(sending, reading);
                let is_there = sent.map_err(|error| transfer(doing.clone(), error))?;
                if !is_there {
                    return Err(failed(format!("the layer {} is missing", layer.digest.short())));
                }
                let added = added.map_err(|error| failed(error.to_string()))?;
                tars = added.map_err(|error| failed(error.to_string()))?;
                read.push(layer.digest);
            }
        }
        let volatile = volatile.clone();
        let differences =
            tokio::task::spawn_blocking(move || tars.differences(&before, &now, &volatile)).await;
        let differences = differences.map_err(|error| failed(error.to_string()))?;
        differences.map_err(|error| failed(error.to_string()))
    }
}

/// Reads what is received. Blocks. A layer that was cut has another digest, and counts as missing.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.split_to(taken).copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
