//! The logins that a build needs: for the layer cache of other machines, and for bases that BuildKit pulls.

use std::collections::BTreeSet;

use super::{bases::Pinned, step::Work};
use crate::{
    engine::{BuildSecrets, Engine},
    image::Reference,
    publish::store::Store,
};

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// The node's secrets, and the logins of the registries that BuildKit reads or writes. Without a login, BuildKit
    /// gets the registry's refusal: it builds without the cache, or fails to pull a base.
    pub(super) async fn build_secrets(&self, pinned: &Pinned) -> BuildSecrets {
        let node = self.node();
        let mut secrets = self.shop.secrets.of(&node.name);
        let cache = &node.settings.cache;
        let places = cache.from.iter().chain(&cache.to);
        let places = places.filter_map(|place| place.reference(&node.repository));
        let references = places.chain(pinned.pulled_by_builds().map(str::to_owned));
        let references = references.filter_map(|text| text.parse::<Reference>().ok());
        let hosts: BTreeSet<String> =
            references.map(|one| one.repository.host().to_owned()).collect();
        for host in hosts {
            if let Ok(Some(login)) = self.shop.registries.login(&host).await {
                secrets.logins.push(login);
            }
        }
        secrets
    }
}
