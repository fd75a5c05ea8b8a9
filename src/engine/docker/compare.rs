//! Comparing the files of two images: the engine exports both, and they are read as they come.

use super::Docker;
use crate::{
    engine::{EngineError, PathDifference, Volatile, tree},
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
        let volatile = volatile.clone();
        // In one archive, since what both have in common then comes once.
        self.read_export(&[old, new], &doing, move |archive| {
            tree::differences(archive, &layers.0, &layers.1, &volatile)
        })
        .await
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
