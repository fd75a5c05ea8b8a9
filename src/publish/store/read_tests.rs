use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use tokio::time::Instant;

use super::{super::RecordStage, *};
use crate::image::Repository;

/// A registry whose answers about its one tag are these, the last one for ever.
struct Answers(Mutex<Vec<&'static str>>);

fn image(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

impl Tags for Answers {
    async fn heads(&self, _: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        Ok(BTreeMap::new())
    }

    async fn head(&self, _: &Tagged) -> Result<Option<Digest>, StoreError> {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        Ok(Some(image(next)))
    }

    async fn has(&self, _: &Repository, _: &Digest) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn put(&self, _: &Tagged, _: &Digest) -> Result<(), StoreError> {
        Ok(())
    }

    fn pauses(&self) -> &'static [Duration] {
        &PAUSES
    }

    fn can_remove(&self) -> bool {
        false
    }

    async fn remove(&self, _: &Tagged) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn record(&self, _: &str, _: RecordStage, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        Ok(BTreeSet::new())
    }

    async fn records(&self, _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_waited_for_and_another_image_is_believed_sooner() {
    for (answers, expected, seconds) in [
        (vec!["new"], Ok(()), 0..1),
        // It is seen late, or one server has an old copy.
        (vec!["old", "old", "old", "old", "new"], Ok(()), 1..2),
        (vec!["older", "new"], Ok(()), 0..1),
        (vec!["old"], Err(image("old")), 19..21),
        (vec!["another"], Err(image("another")), 3..4),
        (vec!["another", "new", "another"], Err(image("another")), 3..4),
    ] {
        let store = Answers(Mutex::new(answers.clone()));
        let tag = "here".parse::<Repository>().unwrap().tagged("latest".parse().unwrap());
        let began = Instant::now();
        let old = image("old");
        let written = write(&store, &tag, &image("new"), Some(&old)).await;
        let written = written.map_err(|error| match error {
            StoreError::Lost { found, .. } => found.unwrap(),
            error => panic!("{error}"),
        });
        assert_eq!(written, expected, "{answers:?}");
        assert!(seconds.contains(&began.elapsed().as_secs()), "{answers:?}");
    }
}
