//! Makes one layer of several layers of an image: exports it, and loads the result.

use std::io::Read;

use bytes::Bytes;
use futures_util::Stream;
use http::{Request, header};
use http_body_util::StreamBody;

use super::{
    Docker, ImageStore,
    activity::Activity,
    build::{UnreadableContext, observed},
    export::local,
    message::EngineMessages,
};
use crate::engine::{
    EngineError, Flattening, LocalImage,
    flat::{ExportedImage, FlatImage, Interrupt, InterruptGuard, LoadFormat},
    tar,
};

impl Docker {
    /// Dropping the future ends the export and the upload. An engine that has the whole archive already may still
    /// load it, under a name of the run.
    pub(super) async fn flatten_image(
        &self,
        image: &LocalImage,
        flattening: &Flattening,
    ) -> Result<LocalImage, EngineError> {
        let doing = format!("flattening `{}`", image.id.short());
        let activity = Activity::begin();
        let (interrupt, _guard) = interrupt(&activity);
        let of_reader = interrupt.clone();
        let read = move |archive: &mut dyn Read| ExportedImage::read(archive, &of_reader);
        let exported = self.read_export(&[&image.id], &doing, read).await?;
        let (layers, kept, of_writer) = (image.layers.clone(), flattening.kept, interrupt.clone());
        let flat =
            tokio::task::spawn_blocking(move || exported.flatten((&layers, kept), &of_writer));
        let wrong = |message: String| EngineError::Answer { doing: doing.clone(), message };
        let flat = flat.await.map_err(|lost| wrong(lost.to_string()))?;
        let flat =
            flat.map_err(|error| local(&error).unwrap_or_else(|| wrong(error.to_string())))?;
        let expected = flat.layers.clone();
        activity.touch();
        tokio::select! {
            loaded = self.load(&doing, (flat, flattening), interrupt, &activity) => loaded?,
            () = activity.silent_for(self.idle) => {
                return Err(EngineError::Silent { doing: doing.clone(), after: self.idle });
            }
        }
        let loaded = self.inspect_image(&flattening.name.to_string()).await?;
        let loaded = loaded
            .ok_or_else(|| wrong("it loaded the image, and then does not have it".to_owned()))?;
        if loaded.layers != expected {
            return Err(wrong("it loaded an image with other layers".to_owned()));
        }
        if (&loaded.config, &loaded.labels) != (&image.config, &image.labels) {
            return Err(wrong("it loaded an image with another configuration".to_owned()));
        }
        Ok(loaded)
    }

    async fn load(
        &self,
        doing: &str,
        (flat, flattening): (FlatImage, &Flattening),
        interrupt: Interrupt,
        activity: &Activity,
    ) -> Result<(), EngineError> {
        let failed = |message| EngineError::Answer { doing: doing.to_owned(), message };
        let format = match self.capabilities.store {
            ImageStore::StorageDriver => LoadFormat::Docker { with_kept: false },
            ImageStore::Podman => LoadFormat::Docker { with_kept: true },
            ImageStore::Containerd => LoadFormat::Oci,
        };
        let unreadable = UnreadableContext::default();
        let name = flattening.name.clone();
        let archive = tar::written(move |out| flat.write((format, &name), &interrupt, out));
        let loaded = self.post_archive(doing, observed(archive, activity, &unreadable), activity);
        let loaded = loaded.await;
        // An archive that broke off is the cause of whatever the engine answers.
        match unreadable.take() {
            Some(message) => Err(failed(message)),
            None => loaded,
        }
    }

    pub(super) async fn post_archive(
        &self,
        doing: &str,
        archive: impl Stream<Item = std::io::Result<hyper::body::Frame<Bytes>>> + Send + 'static,
        activity: &Activity,
    ) -> Result<(), EngineError> {
        let failed = |message| EngineError::Answer { doing: doing.to_owned(), message };
        let post = Request::post("/images/load")
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(StreamBody::new(archive))
            .map_err(|error| failed(error.to_string()))?;
        let reply = self.send(post).await?.map_err(|refusal| failed(refusal.message))?;
        let mut messages = EngineMessages::new(self, doing, reply, activity.clone());
        while let Some(message) = messages.next().await? {
            if let Some((text, _)) = message.error() {
                return Err(failed(text));
            }
        }
        Ok(())
    }
}

/// The thread that reads and writes layers is active while it does, and ends with the future.
fn interrupt(activity: &Activity) -> (Interrupt, InterruptGuard) {
    let activity = activity.clone();
    Interrupt::new(move || activity.touch())
}
