//! Reads the present and former versions of bases: their tags, build tags, and digests of run records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};

use super::images::{ImageReader, ReadImage, Unread};
use crate::{
    audit::{BaseHistory, BaseMove, KnownBase},
    image::{Digest, Platform, Repository, Tag},
    publish::store::built_at,
};

/// The client has a limit for each host as well.
const AT_ONCE: usize = 8;
const BUILD_TAGS: &str = "rb-";

pub(super) struct BaseReader<'a> {
    pub(super) reader: &'a ImageReader<'a>,
    pub(super) moves: &'a [BaseMove],
}

impl BaseReader<'_> {
    /// What is known of these repositories.
    pub(super) async fn read(
        &self,
        repositories: BTreeMap<Repository, Option<Tag>>,
    ) -> (BaseHistory, Unread) {
        let moving = repositories.iter();
        let moving = moving.filter_map(|(name, tag)| Some((name.clone(), tag.clone()?))).collect();
        let read: Vec<(Repository, Vec<ReadImage>, Unread)> =
            stream::iter(repositories.into_keys())
                .map(async |repository| {
                    let (images, unread) = self.versions(&repository).await;
                    (repository, images, unread)
                })
                .buffered(AT_ONCE)
                .collect()
                .await;
        let mut bases = BaseHistory { moving, ..BaseHistory::default() };
        let mut not_read = Unread::new();
        for (repository, images, unread) in read {
            not_read.extend(unread);
            for image in &images {
                let tags = image.tags.iter().map(|tag| repository.tagged(tag.clone()));
                bases.present.extend(tags.map(|tag| (tag, image.version.clone())));
            }
            bases.images.extend(merged(images));
            bases.repositories.insert(repository);
        }
        (bases, not_read)
    }

    async fn versions(&self, repository: &Repository) -> (Vec<ReadImage>, Unread) {
        let tags = match self.reader.client.tags(repository).await {
            Ok(tags) => tags,
            Err(error) => return (Vec::new(), vec![(repository.to_string(), error.to_string())]),
        };
        let (mut images, mut unread) = self.reader.tagged(repository, tags).await;
        let known: BTreeSet<&Digest> = images.iter().flat_map(|image| &image.digests).collect();
        let of_moves = self.moves.iter().filter(|one| one.tag.repository == *repository);
        let former: BTreeSet<&Digest> = of_moves.map(|one| &one.to).collect();
        let former: Vec<Digest> = former.difference(&known).copied().cloned().collect();
        let read: Vec<_> = stream::iter(former)
            .map(async |digest| {
                let read = self.reader.version(repository, digest.as_str(), BTreeSet::new()).await;
                (digest, read)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        for (digest, read) in read {
            match read {
                // What was deleted is missing.
                Ok(read) => images.extend(read),
                Err(error) => unread.push((format!("{repository}@{digest}"), error.to_string())),
            }
        }
        (images, unread)
    }
}

/// Each image once: a build tag points at the image of one platform, a moving tag at the index with it.
fn merged(images: Vec<ReadImage>) -> Vec<KnownBase> {
    let mut places: HashMap<(Digest, Option<Platform>), usize> = HashMap::new();
    let mut bases: Vec<KnownBase> = Vec::new();
    // Indexes first: they are what tags of users point at.
    let (of_index, single): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|image| image.platform.is_some());
    for image in of_index.into_iter().chain(single) {
        let known = image.digests.iter().find_map(|digest| {
            let key = (digest.clone(), image.platform.clone());
            places.get(&key).or_else(|| places.get(&(digest.clone(), None)))
        });
        let digests = image.digests.clone();
        let (version, platform) = (image.version.clone(), image.platform.clone());
        let known = known.copied();
        let known = known.filter(|place| bases[*place].facts.layers == image.facts.layers);
        let base = base_of(image);
        let place = if let Some(place) = known {
            bases[place].tags.extend(base.tags);
            bases[place].digests.extend(base.digests);
            place
        } else {
            bases.push(base);
            bases.len() - 1
        };
        for digest in digests {
            // The digest of an index stands for several images.
            let of = platform.clone().filter(|_| digest == version);
            places.entry((digest, of)).or_insert(place);
        }
    }
    bases
}

fn base_of(image: ReadImage) -> KnownBase {
    let ReadImage { repository, tags, version, digests, facts, .. } = image;
    KnownBase {
        repository,
        digests,
        version,
        tags: tags.into_iter().filter(|tag| !tag.as_str().starts_with(BUILD_TAGS)).collect(),
        built: built_at(&facts.labels),
        facts: (*facts).clone(),
    }
}
