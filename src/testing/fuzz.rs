//! Hostile input for each parser, for unit tests.
//!
//! A test takes texts that are good, changes them at random, and gives them to the parser, which may
//! refuse them and may not panic. It tries some hundreds of them; with `REBUILD_FUZZ_SECONDS` it goes on
//! for so long and also fails if one takes more than 10 seconds. CONTRIBUTING.md has the command.

use std::{
    env,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// The longest that one input may take.
const LONGEST: Duration = Duration::from_secs(10);

/// What is done to a text at a place, both of them as a part of the whole.
#[derive(Clone, Debug)]
enum Edit {
    Insert(f64, Vec<u8>),
    Delete(f64, f64),
    /// A part of it once more, somewhere else.
    Repeat(f64, f64, f64, usize),
    Flip(f64, u8),
}

/// Gives changed texts to a parser. `words` are what has a meaning there.
pub(crate) fn each(texts: &[&[u8]], words: &[&'static str], parse: impl Fn(&[u8])) {
    let seconds = env::var("REBUILD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(seconds.unwrap_or(0));
    let config = Config { failure_persistence: None, ..Config::with_cases(400) };
    let mut runner = TestRunner::new(config);
    let began = Instant::now();
    loop {
        let result = runner.run(&changed(texts, words), |text| {
            let began = Instant::now();
            parse(&text);
            let took = began.elapsed();
            prop_assert!(seconds.is_none() || took < LONGEST, "it took {took:?}");
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        if began.elapsed() >= limit {
            return;
        }
    }
}

fn changed(texts: &[&[u8]], words: &[&'static str]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let at = || 0.0..1.0;
    let piece = prop_oneof![
        3 => proptest::sample::select(words),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    let edit = prop_oneof![
        4 => (at(), piece).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        2 => (at(), 0.0..0.2).prop_map(|(at, length)| Edit::Delete(at, length)),
        2 => (at(), 0.0..0.2, at(), 1..30_usize).prop_map(|(a, b, c, n)| Edit::Repeat(a, b, c, n)),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Flip(at, byte)),
    ];
    let edits = proptest::collection::vec(edit, 0..12);
    (proptest::sample::select(texts), edits)
        .prop_map(|(text, edits)| edits.into_iter().fold(text, changed_by))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short text"
)]
fn changed_by(mut text: Vec<u8>, edit: Edit) -> Vec<u8> {
    let all = text.len();
    let place = |part: f64| ((all as f64 * part) as usize).min(all);
    match edit {
        Edit::Insert(at, piece) => drop(text.splice(place(at)..place(at), piece)),
        Edit::Delete(at, length) => drop(text.drain(place(at)..place((at + length).min(1.0)))),
        Edit::Repeat(at, length, to, times) => {
            let part = text[place(at)..place((at + length).min(1.0))].repeat(times);
            text.splice(place(to)..place(to), part);
        }
        Edit::Flip(at, byte) => {
            if let Some(one) = text.get_mut(place(at)) {
                *one = byte;
            }
        }
    }
    text.truncate(64 * 1024);
    text
}
