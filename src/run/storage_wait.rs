//! Lets children wait a moment until their parent is stored.
//!
//! An image's digest in a registry is often not that in the engine. What was built on the latter needs one more
//! build for its labels, so that building ahead only saves time while the parent is tested, or pushed for longer.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{hierarchy::NodeName, image::Digest};

/// The longest wait: about the time of the additional builds that it saves.
const LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct StorageWait {
    /// Whether an image got another digest in the store than it had in the engine.
    renames: bool,
    /// The images that are stored now, and until when their children wait.
    until: BTreeMap<NodeName, Instant>,
}

impl StorageWait {
    /// Whether the children of an image that was built wait.
    pub(super) fn begins(&mut self, node: &NodeName, is_tested: bool) -> bool {
        let waits = self.renames && !is_tested;
        if waits {
            self.until.insert(node.clone(), Instant::now() + LIMIT);
        }
        waits
    }

    /// The image has ended; with its digest when it was built, and in the store.
    pub(super) fn ends(&mut self, node: &NodeName, digests: Option<(&Digest, &Digest)>) {
        self.until.remove(node);
        self.renames |= digests.is_some_and(|(built, stored)| built != stored);
    }

    /// The next images whose children no longer wait. Never returns if none waits.
    pub(super) async fn expired(&mut self) -> Vec<NodeName> {
        match self.until.values().min() {
            Some(time) => sleep_until(*time).await,
            None => std::future::pending().await,
        }
        let (now, mut expired) = (Instant::now(), vec![]);
        self.until.retain(|node, until| {
            let waits = *until > now;
            if !waits {
                expired.push(node.clone());
            }
            waits
        });
        expired
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn children_wait_for_the_storage_of_untested_images_that_a_store_renames() {
        let [a, b, c] = ["a", "b", "c"].map(NodeName::from);
        let (built, stored) = (Digest::of(b"built"), Digest::of(b"stored"));
        let mut wait = StorageWait::default();
        assert!(!wait.begins(&a, false), "no store has renamed an image");
        wait.ends(&a, Some((&built, &built)));
        assert!(!wait.begins(&b, false));
        wait.ends(&b, Some((&built, &stored)));
        assert!(!wait.begins(&c, true), "its tests take longer");
        assert!(wait.begins(&a, false));
        tokio::time::advance(LIMIT / 2).await;
        assert!(wait.begins(&b, false));
        assert!(wait.begins(&c, false));
        wait.ends(&b, None);
        let began = Instant::now();
        assert_eq!(wait.expired().await, [a]);
        assert_eq!(wait.expired().await, [c]);
        assert_eq!(began.elapsed(), LIMIT);
        assert_eq!(wait.expired().now_or_never(), None);
    }
}
