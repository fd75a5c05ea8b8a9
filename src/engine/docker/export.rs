//! Exporting images: the engine sends their layers in one archive, which is read as it comes.

use std::io::{self, Read};

use http::Method;

use super::{
    Docker,
    activity::Activity,
    body_reader::pieces,
    call::{path_with, request},
};
use crate::{
    engine::{EngineError, connect::Failure, flat::TemporaryFileError},
    image::Digest,
};

impl Docker {
    /// `read` runs in a thread of its own. Layers that images share come once.
    pub(super) async fn read_export<T: Send + 'static>(
        &self,
        images: &[&Digest],
        doing: &str,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let failed = |message| EngineError::Answer { doing: doing.to_owned(), message };
        let activity = Activity::begin();
        let exporting = async {
            let names: Vec<(&str, &str)> =
                images.iter().map(|image| ("names", image.as_str())).collect();
            let get = request(Method::GET, &path_with("/images/get", &names));
            // The engine collects everything on its disk before it answers: not a small call.
            let reply = self.send(get).await?.map_err(|refusal| failed(refusal.message))?;
            let (response, _connection) = reply.into_parts();
            let (received, mut archive) = pieces();
            // It ends soon after this future, which owns the other end of what it reads.
            let reading = tokio::task::spawn_blocking(move || read(&mut archive));
            let (received, read) =
                tokio::join!(received.receive(response.into_body(), &activity), reading);
            received.map_err(|error| self.transport.explain(&Failure::Broken(error)))?;
            read.map_err(|lost| failed(lost.to_string()))?
                .map_err(|error| local(&error).unwrap_or_else(|| failed(error.to_string())))
        };
        tokio::select! {
            read = exporting => read,
            () = activity.silent_for(self.idle) => {
                Err(EngineError::Silent { doing: doing.to_owned(), after: self.idle })
            }
        }
    }
}

/// The error of a temporary file, which is not an answer of the engine.
pub(super) fn local(error: &io::Error) -> Option<EngineError> {
    let error = error.get_ref()?.downcast_ref::<TemporaryFileError>()?;
    Some(EngineError::Context(error.to_string()))
}
