//! Dockerfiles against BuildKit itself: what we say that a build needs is what the engine asks a registry for.
//!
//! The oracle is a registry that has every image one may name, and writes down what is asked. It is the
//! only one whose answer counts: no image is needed that a builder does not ask for.

mod builder;
mod cases;
mod images;

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rebuild::hierarchy::{Base, Hierarchy, LoadOptions, NodeName};

use self::{
    builder::Engine,
    cases::{By, CASES, Case},
    images::Images,
};
use crate::support::is_whole;

/// In the quick part, so many cases are as one.
const EACH: usize = 4;

/// What a build needs, as `name:tag` or `name@digest`; an error if there cannot be one.
type Needs = Result<BTreeSet<String>, String>;

#[test]
fn the_corpus_is_read_as_it_says() {
    let wrong: Vec<String> = (0..CASES.len())
        .filter_map(|number| {
            let place = format!("registry.example.com:5000/c{number}");
            let (ours, expected) = (ours(&CASES[number], &place), CASES[number].expected());
            let agree = match (&ours, &expected) {
                (Ok(ours), Some(expected)) => ours == expected,
                (Err(_), None) => true,
                _ => false,
            };
            (!agree).then(|| format!("{:?}\n  {expected:?}, and it reads {ours:?}", CASES[number]))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkit_asks_for_what_we_say_that_it_needs() {
    let Some(engine) = Engine::find() else { return };
    let images = Images::start().await;
    let runs: Vec<usize> = (0..CASES.len())
        .filter(|number| CASES[*number].by != By::NeverSent)
        .step_by(if is_whole() { 1 } else { EACH })
        .collect();
    let (next, unread) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong: Vec<String> = tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            let work = || {
                let mine = std::iter::from_fn(|| runs.get(next.fetch_add(1, Ordering::Relaxed)));
                let compared = mine.map(|&number| {
                    compare(&engine, &images, number).inspect(|one| {
                        unread.fetch_add(usize::from(one == UNREAD), Ordering::Relaxed);
                    })
                });
                compared.flatten().filter(|one| one != UNREAD).collect::<Vec<_>>()
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    });
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), runs.len(), wrong.join("\n"));
    let unread = unread.into_inner();
    println!("{} builds compared, {unread} that this engine cannot read", runs.len() - unread);
    let newer = CASES.iter().filter(|case| case.by == By::Newer).count();
    assert!(unread <= newer, "{unread} were not read, and only {newer} are newer than an engine");
}

/// It is in words that came after this engine.
const UNREAD: &str = "unread";

/// Says how BuildKit differs from what we say, if it does.
fn compare(engine: &Engine, images: &Images, number: usize) -> Option<String> {
    let case = &CASES[number];
    let place = images.place(number);
    let result = engine.build(case, &place);
    let asked = images.asked(&place);
    let unneeded = normal(case.unneeded);
    if case.by == By::Newer && asked.is_empty() && result.is_err() {
        return Some(UNREAD.to_owned());
    }
    let ours = ours(case, &place);
    let agree = match (&ours, &result) {
        // BuildKit asks for all before its first step, which may well fail.
        (Ok(needs), _) if case.by != By::Nobody => {
            let needs: BTreeSet<String> = needs.difference(&unneeded).cloned().collect();
            needs == asked
        }
        (_, Err(_)) => asked.is_subset(&case.expected().unwrap_or_else(|| asked.clone())),
        (_, Ok(())) => false,
    };
    (!agree)
        .then(|| format!("{case:?}\n  we say {ours:?}\n  it asks {asked:?}, and ends {result:?}"))
}

/// What the program reads, as a user would have it read: in a hierarchy with one image.
fn ours(case: &Case, place: &str) -> Needs {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("one")).unwrap();
    fs::write(folder.path().join("one/Dockerfile"), case.text(place)).unwrap();
    let mut image = serde_json::json!({"context": "one", "build_args": {}});
    for (key, value) in case.args {
        image["build_args"][key] = (*value).into();
    }
    if let Some(target) = case.target {
        image["target"] = target.into();
    }
    let file = folder.path().join("hierarchy.yaml");
    let hierarchy = serde_json::json!({"version": 1, "images": {"one": image}});
    fs::write(&file, hierarchy.to_string()).unwrap();
    let options = LoadOptions { platform: Some(builder::platform()), ..LoadOptions::default() };
    let loaded = Hierarchy::load(&file, &options).map_err(|error| format!("{error:?}"))?;
    let node = loaded.hierarchy.get(&NodeName::from("one")).unwrap();
    let needs = node.dockerfile.uses.iter().map(|one| match &one.base {
        Base::Upstream(image) => {
            let name = image.repository.as_str();
            let name = name.strip_prefix(place).map_or(name, |rest| rest.trim_start_matches('/'));
            match (&image.digest, image.tag_or_latest()) {
                (Some(_), _) => format!("{name}@%"),
                (None, tag) => format!("{name}:{}", tag.unwrap()),
            }
        }
        Base::Node(name) => panic!("{name} is no image of the hierarchy"),
        Base::Files(name) => panic!("{name} is no context of the entry"),
    });
    Ok(needs.collect())
}

/// `a b:1 c@%` as builders ask.
fn normal(images: &str) -> BTreeSet<String> {
    let whole = |image: &str| {
        if image.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
    };
    images.split_whitespace().map(whole).collect()
}

impl Case {
    /// The Dockerfile, with its images in that place.
    fn text(&self, place: &str) -> String {
        let digest = format!("@{}", images::digest(place).as_str());
        self.text.replace('~', place).replace("@%", &digest)
    }

    fn expected(&self) -> Option<BTreeSet<String>> {
        self.needs.map(normal)
    }
}
