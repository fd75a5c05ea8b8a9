//! Options that a call gives to a script or a function, which reads them in a loop over `$1`.

use super::{
    cases::{CaseMark, is_match},
    evidence::Values,
    functions::NumberedLine,
    shell::assignments,
    variables::{Syntax, expand},
};

/// The variables that the arms of a `case`, with which the lines begin, assign for the arguments `$1`, `$2`, ….
pub(super) fn given(lines: &[NumberedLine], values: &Values) -> Values {
    let (arms, behind) = arms(lines);
    let numbers = || (1..10).map(|number: usize| number.to_string());
    let mut arguments: Vec<String> =
        numbers().map_while(|number| values.get(&number).cloned()).collect();
    let mut given = Values::new();
    while let Some(first) = arguments.first() {
        let is_it = |arm: &&OptionArm<'_>| arm.patterns.iter().any(|one| is_match(one, first));
        let Some(arm) = arms.iter().find(is_it) else { break };
        let mut here = values.clone();
        here.extend(given.clone());
        here.retain(|name, _| !numbers().any(|number| number == *name));
        here.extend(numbers().zip(arguments.iter().cloned()));
        for (name, value) in arm.lines.iter().flat_map(|line| assignments(line, Syntax::Shell)) {
            let value = expand(&value, &here, Syntax::Shell);
            here.insert(name.clone(), value.clone());
            given.insert(name, value);
        }
        let count = behind + arm.lines.iter().map(|line| shifts(line)).sum::<usize>();
        if count == 0 {
            break;
        }
        arguments.drain(..count.min(arguments.len()));
    }
    given
}

struct OptionArm<'l> {
    patterns: Vec<&'l str>,
    lines: Vec<&'l str>,
}

/// The arms, and by how many places the loop shifts the arguments behind them.
fn arms(lines: &[NumberedLine]) -> (Vec<OptionArm<'_>>, usize) {
    let mut arms: Vec<OptionArm<'_>> = Vec::new();
    let (mut depth, mut behind) = (0usize, 0);
    for (_, line) in lines {
        match CaseMark::of(line) {
            Some(CaseMark::Begin(_)) => depth += 1,
            Some(CaseMark::End) => depth = depth.saturating_sub(1),
            Some(CaseMark::Arm(pattern)) if depth == 1 => {
                let patterns = pattern.split('|').map(|one| one.trim().trim_matches(['"', '\'']));
                arms.push(OptionArm { patterns: patterns.collect(), lines: Vec::new() });
            }
            None if depth == 1 => {
                arms.iter_mut().rev().take(1).for_each(|arm| arm.lines.push(line));
            }
            None if depth == 0 => {
                behind += shifts(line);
                if line.trim_start().starts_with("done") {
                    break;
                }
            }
            _ => {}
        }
    }
    (arms, behind)
}

/// By how many places `shift` and `shift 2` of a line move the arguments.
fn shifts(line: &str) -> usize {
    let count = |command: &str| match command.split_whitespace().collect::<Vec<_>>()[..] {
        ["shift"] => 1,
        ["shift", count] => count.parse().unwrap_or(1),
        _ => 0,
    };
    line.split([';', '&', '|']).map(count).sum()
}
