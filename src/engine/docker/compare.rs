//! Comparing the files of two images: the engine exports both, and they are read as they come.

use http::Method;

use super::{
    Docker,
    activity::Activity,
    body_reader::pieces,
    call::{path_with, request},
};
use crate::{
    engine::{EngineError, PathDifference, Volatile, connect::Failure, tree},
    image::Digest,
};

impl Docker {
    pub(super) async fn compare_trees(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        let doing = format!("comparing the files of `{}` and `{}`", old.short(), new.short());
        let layers = (self.layers_of(old, &doing).await?, self.layers_of(new, &doing).await?);
        if layers.0 == layers.1 {
            return Ok(vec![]);
        }
        let failed = |message| EngineError::Answer { doing: doing.clone(), message };
        let activity = Activity::begin();
        let comparing = async {
            // In one archive, since what both have in common then comes once.
            let names = [("names", old.as_str()), ("names", new.as_str())];
            let get = request(Method::GET, &path_with("/images/get", &names));
            // The engine collects everything on its disk before it answers: not a small call.
            let reply = self.send(get).await?.map_err(|refusal| failed(refusal.message))?;
            let (response, _connection) = reply.into_parts();
            let (received, archive) = pieces();
            let volatile = volatile.clone();
            // It ends soon after this future, which owns the other end of what it reads.
            let reading = tokio::task::spawn_blocking(move || {
                tree::differences(archive, &layers.0, &layers.1, &volatile)
            });
            let (received, read) =
                tokio::join!(received.receive(response.into_body(), &activity), reading);
            received.map_err(|error| self.transport.explain(&Failure::Broken(error)))?;
            read.map_err(|lost| failed(lost.to_string()))?
                .map_err(|error| failed(error.to_string()))
        };
        tokio::select! {
            compared = comparing => compared,
            () = activity.silent_for(self.idle) => {
                Err(EngineError::Silent { doing: doing.clone(), after: self.idle })
            }
        }
    }

    async fn layers_of(&self, id: &Digest, doing: &str) -> Result<Vec<Digest>, EngineError> {
        match self.inspect_image(id.as_str()).await? {
            Some(image) => Ok(image.layers),
            None => Err(EngineError::Refused {
                doing: doing.to_owned(),
                status: 404,
                message: format!("No such image: {id}"),
            }),
        }
    }
}
