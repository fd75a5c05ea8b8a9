//! The size of the image that a new one replaces.

use super::step::Work;
use crate::{
    engine::Engine,
    event::SizeBefore,
    plan::Reason,
    publish::store::{Store, StoredSize},
};

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// `packed`: the size of the new image in the registry. An engine that has not pulled the published image does
    /// not know its unpacked size, and a manifest has only the packed one.
    pub(super) async fn size_before(&self, packed: Option<u64>) -> SizeBefore {
        let Some(published) = &self.step.published else {
            let may_exist = self.step.reason == Reason::NotInEngine;
            return if may_exist { SizeBefore::Unknown } else { SizeBefore::New };
        };
        // The engine of containerd's image store takes 17 ms for each question about an image.
        if let Some(size) = self.shop.history.unpacked(&self.step.node, published) {
            return SizeBefore::Unpacked(size);
        }
        let repository = &self.node().repository;
        if self.shop.hierarchy.registry.is_some() {
            let pulled = format!("{repository}@{published}");
            if let Ok(Some(image)) = self.shop.engine.inspect(&pulled).await {
                return SizeBefore::Unpacked(image.size);
            }
        }
        let Ok(Some(found)) = self.shop.store.describe(repository, published).await else {
            return SizeBefore::Unknown;
        };
        match (found.stored.as_ref().map(StoredSize::total), packed) {
            (None, _) => SizeBefore::Unpacked(found.size),
            (Some(before), Some(now)) => SizeBefore::Packed { before, now },
            (Some(_), None) => SizeBefore::Unknown,
        }
    }
}
