//! What the server saw of images over time: sizes, and since when images are behind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::{Database, DatabaseError, millis, time};
use crate::host::moment;

/// The size of a published image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishedSize {
    pub digest: String,
    /// When the server first saw it.
    #[serde(serialize_with = "moment::whole")]
    pub seen_at: Timestamp,
    pub bytes: u64,
}

impl Database {
    /// Records published images, each with its digest and size in bytes, and which images are not current now.
    /// Returns since when each of these is behind.
    pub async fn observe(
        &self,
        hierarchy: &str,
        sizes: Vec<(String, String, u64)>,
        behind: Vec<String>,
    ) -> Result<BTreeMap<String, Timestamp>, DatabaseError> {
        let (hierarchy, now) = (hierarchy.to_owned(), millis(Timestamp::now()));
        self.call(move |connection| {
            for (image, digest, bytes) in sizes {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                connection
                    .prepare_cached("INSERT OR IGNORE INTO sizes VALUES (?, ?, ?, ?, ?)")?
                    .execute(params![hierarchy, image, digest, now, bytes])?;
            }
            let mut known = connection
                .prepare_cached("SELECT image, since FROM behind WHERE hierarchy = ?")?
                .query_map([&hierarchy], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<BTreeMap<String, i64>>>()?;
            for image in known.keys().filter(|image| !behind.contains(image)) {
                connection
                    .prepare_cached("DELETE FROM behind WHERE hierarchy = ? AND image = ?")?
                    .execute([&hierarchy, image])?;
            }
            known.retain(|image, _| behind.contains(image));
            for image in behind {
                connection
                    .prepare_cached("INSERT OR IGNORE INTO behind VALUES (?, ?, ?)")?
                    .execute(params![hierarchy, image, now])?;
                known.entry(image).or_insert(now);
            }
            Ok(known.into_iter().map(|(image, since)| (image, time(since))).collect())
        })
        .await
    }

    /// The sizes of an image's published versions, the oldest first; at most 200.
    pub async fn sizes(
        &self,
        hierarchy: &str,
        image: &str,
    ) -> Result<Vec<PublishedSize>, DatabaseError> {
        let (hierarchy, image) = (hierarchy.to_owned(), image.to_owned());
        self.call(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT digest, seen_at, bytes FROM sizes WHERE hierarchy = ? AND image = ? \
                 ORDER BY seen_at DESC LIMIT 200",
            )?;
            let rows = query.query_map([hierarchy, image], |row| {
                Ok(PublishedSize {
                    digest: row.get(0)?,
                    seen_at: time(row.get(1)?),
                    bytes: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
                })
            })?;
            let mut sizes = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            sizes.reverse();
            Ok(sizes)
        })
        .await
    }
}
