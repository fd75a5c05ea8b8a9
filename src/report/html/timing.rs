//! When the steps of a run worked, what each of them waited for, and which chain decided how long the run took.

use std::collections::BTreeSet;

use super::view::{BarPart, ImageView, RunView};

/// Shorter waits are the machine's own.
const NOTICED: f64 = 0.1;

/// A step that began, in the order of the starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// The place of the image in the run.
    pub(super) image: usize,
    pub(super) began: f64,
    pub(super) ended: f64,
    pub(super) parts: Vec<(BarPart, f64, f64)>,
    /// The parent whose end it waited for.
    pub(super) after: Option<usize>,
    /// It could have begun at this time, but no job was free.
    pub(super) queued: Option<f64>,
    pub(super) is_critical: bool,
}

/// The bars of a run.
pub(super) fn bars(run: &RunView) -> Vec<Bar> {
    let mut bars: Vec<Bar> = (0..run.images.len()).filter_map(|image| bar(run, image)).collect();
    bars.sort_by(|a, b| a.began.total_cmp(&b.began).then(a.image.cmp(&b.image)));
    let critical = critical(run, &bars);
    for bar in &mut bars {
        bar.is_critical = critical.contains(&bar.image);
    }
    bars
}

/// The images of the chain that ended last, from its first to its last.
pub(super) fn chain(bars: &[Bar]) -> Vec<&Bar> {
    bars.iter().filter(|bar| bar.is_critical).collect()
}

fn bar(run: &RunView, place: usize) -> Option<Bar> {
    let image = &run.images[place];
    let began = image.started?;
    let ended = image.ended.unwrap_or(run.now).max(began);
    let parts = image.phases.iter().map(|phase| {
        let until = phase.ended.unwrap_or(ended).max(phase.began);
        (phase.part, phase.began, until)
    });
    let ready = parents(run, image)
        .map(|parent| (parent, ready(&run.images[parent], began)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let since = ready.map_or(0.0, |(_, since)| since);
    Some(Bar {
        image: place,
        began,
        ended,
        parts: parts.collect(),
        after: ready.map(|(parent, _)| parent),
        queued: Some(since).filter(|since| began - since >= NOTICED),
        is_critical: false,
    })
}

/// The parents whose steps ran.
fn parents<'a>(run: &'a RunView, image: &'a ImageView) -> impl Iterator<Item = usize> + 'a {
    let places = image.after.iter().filter_map(|parent| run.place(parent));
    places.filter(|&parent| run.images[parent].started.is_some())
}

/// When a child that began at this time could use a parent: at its end, or before its tests.
fn ready(parent: &ImageView, began: f64) -> f64 {
    let is_before = |at: &f64| *at <= began + NOTICED / 2.0;
    let tests = parent.phases.iter().find(|phase| phase.part != BarPart::Build);
    let built = tests.map(|phase| phase.began);
    let times = [parent.ended.filter(is_before), built.filter(is_before)];
    times.into_iter().flatten().next().unwrap_or(began).min(began)
}

fn critical(run: &RunView, bars: &[Bar]) -> BTreeSet<usize> {
    let mut critical = BTreeSet::new();
    let last = bars.iter().max_by(|a, b| a.ended.total_cmp(&b.ended));
    let mut next = last.map(|bar| bar.image);
    while let Some(place) = next.filter(|place| critical.insert(*place)) {
        let image = &run.images[place];
        // It waited for the tests of the parent that ended last before the wait did.
        let wait = image.phases.iter().rev().find(|phase| {
            phase.part == BarPart::Wait
                && phase.ended.is_some_and(|ended| ended - phase.began >= NOTICED)
        });
        let awaited = wait.and_then(|phase| {
            let until = phase.ended? + NOTICED / 2.0;
            let ends = parents(run, image)
                .filter_map(|parent| Some((parent, run.images[parent].ended?)))
                .filter(|(_, ended)| (phase.began..=until).contains(ended));
            Some(ends.max_by(|a, b| a.1.total_cmp(&b.1))?.0)
        });
        let before = bars.iter().find(|bar| bar.image == place).and_then(|bar| bar.after);
        next = awaited.or(before);
    }
    critical
}

/// The step of a scale with at most this many parts, in seconds, and the number of parts.
pub(super) fn scale(length: f64, parts: f64) -> (f64, u32) {
    const STEPS: [f64; 22] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0,
        3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0, 604_800.0,
    ];
    let step = STEPS.into_iter().find(|step| length <= step * parts).unwrap_or(length / parts);
    let mut count = 1;
    while step * f64::from(count) < length && count < 20 {
        count += 1;
    }
    (step, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{html::tests::view, scenario};

    #[test]
    fn bars_are_in_the_order_of_their_starts() {
        let run = view(&scenario::success());
        let bars = bars(&run);
        let text: Vec<String> = bars
            .iter()
            .map(|bar| {
                let name = |place: usize| run.images[place].name.as_str();
                let after = bar.after.map_or("-", name);
                let critical = if bar.is_critical { "critical" } else { "" };
                let queued = bar.queued.map_or(String::new(), |at| format!("queued {at:.1}"));
                let (name, began, ended) = (name(bar.image), bar.began, bar.ended);
                format!("{name} {began:.1}..{ended:.1} after {after} {queued} {critical}")
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn a_scale_has_few_parts() {
        for length in [0.0, 0.05, 1.0, 13.2, 59.0, 61.0, 3000.0, 1e6, 1e9] {
            let (step, count) = scale(length, 6.0);
            assert!(step * f64::from(count) >= length, "{length}: {step} {count}");
            assert!((1..=7).contains(&count), "{length}: {step} {count}");
        }
    }
}
