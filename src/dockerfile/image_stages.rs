//! The stages that become an image.

use std::collections::BTreeSet;

use super::Instruction;

/// Each instruction with the number of its stage, counted from 1; 0 before the first `FROM`. And the stages that
/// become the image: the target or else the last one, and those that it is `FROM`.
pub fn image_stages<'f>(
    instructions: &'f [Instruction],
    target: Option<&str>,
) -> (Vec<(usize, &'f Instruction)>, BTreeSet<usize>) {
    let mut all = Vec::new();
    let mut bases: Vec<(String, String)> = Vec::new();
    for one in instructions {
        if let Some(from) = one.text.strip_prefix("FROM ") {
            let mut words = from.split(' ').filter(|word| !word.starts_with("--"));
            let base = words.next().unwrap_or_default().to_ascii_lowercase();
            bases.push((base, words.nth(1).unwrap_or_default().to_ascii_lowercase()));
        }
        all.push((bases.len(), one));
    }
    let is_target = |(number, (_, name)): &(usize, &(String, String))| {
        target
            .is_some_and(|target| target.eq_ignore_ascii_case(name) || target == number.to_string())
    };
    let found = bases.iter().enumerate().find(is_target).map(|(number, _)| number);
    let mut stages = BTreeSet::new();
    let mut at = found.or(bases.len().checked_sub(1));
    while let Some(stage) = at {
        stages.insert(stage + 1);
        at = bases[..stage].iter().rposition(|(_, name)| *name == bases[stage].0);
    }
    (all, stages)
}
