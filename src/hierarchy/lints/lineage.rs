//! Advice that needs to know what an image is `FROM`.

use std::collections::HashMap;

use super::Problems;
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    hierarchy::{Base, Check, load::HierarchySurvey},
};

/// What ends the line of images that each is `FROM` the next.
pub(super) enum End {
    /// We build all of it.
    Scratch,
    /// An upstream, or something that could not be read.
    Unknown,
}

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    let mut problems = Vec::new();
    let file = &survey.problems.source;
    let index: HashMap<&str, usize> =
        survey.drafts.iter().enumerate().map(|(n, draft)| (draft.name.as_str(), n)).collect();
    // Of each base, how many images on it have no test at all.
    let mut without_test: HashMap<usize, usize> = HashMap::new();
    for n in 0..survey.drafts.len() {
        let (line, _) = line(survey, &index, n);
        let is_tested = |&n: &usize| survey.drafts[n].image.test.iter().flatten().next().is_some();
        if line.len() > 1 && !line.iter().any(is_tested) {
            *without_test.entry(line[line.len() - 1]).or_default() += 1;
        }
    }
    for (n, draft) in survey.drafts.iter().enumerate() {
        let (line, end) = line(survey, &index, n);
        let untested = |n: usize| survey.drafts[n].image.test.iter().flatten().next().is_none();
        // Told of the base alone: a test there is inherited.
        if line.len() == 1 && untested(n) && !draft.image.is_broken {
            let message = match without_test.get(&n) {
                None => format!("`{}` has no test", draft.name),
                Some(1) => {
                    format!("`{}` has no test, and 1 image on it has none either", draft.name)
                }
                Some(more) => {
                    format!(
                        "`{}` has no test, and {more} images on it have none either",
                        draft.name
                    )
                }
            };
            let hint = "a test of a base is inherited: `test: [{ run: [cat, /etc/os-release] }]`";
            let problem =
                Diagnostic::of(RuleCode::NoTest, message).at(file, draft.span.clone(), "");
            problems.push(problem.hint(hint));
        }
        let checks_health = line.iter().any(|&n| {
            let files = survey.files[n].as_ref();
            files.is_none_or(|files| {
                files.scan.instructions.iter().any(|one| one.text.starts_with("HEALTHCHECK "))
            })
        });
        if let (End::Scratch, false) = (end, checks_health) {
            let tests = draft.image.test.iter().flatten().zip(&draft.image.places.tests);
            for (_, span) in tests.filter(|(test, _)| test.check == Check::Healthy) {
                let message = format!("`{}` has no HEALTHCHECK to wait for", draft.name);
                let problem =
                    Diagnostic::of(RuleCode::NoHealthcheck, message).at(file, span.clone(), "");
                problems
                    .push(problem.hint("write one into its Dockerfile, or into that of its base"));
            }
        }
        if let Some(problem) = other_platform(survey, n, &line) {
            problems.push(problem);
        }
    }
    problems
}

fn other_platform(survey: &HierarchySurvey, n: usize, line: &[usize]) -> Option<Diagnostic> {
    let built_for = |n: usize| {
        let platform = survey.drafts[n].image.platform.as_ref();
        platform.map_or(&survey.platform, |platform| &platform.value)
    };
    let &base = line.get(1)?;
    let (draft, own, other) = (&survey.drafts[n], built_for(n), built_for(base));
    if own == other {
        return None;
    }
    let name = &survey.drafts[base].name;
    let message = format!(
        "`{}` is built for {own}, and is FROM `{name}`, which is built for {other}",
        draft.name
    );
    let span = draft.image.platform.as_ref().map_or(&draft.span, |platform| &platform.span);
    let problem = Diagnostic::of(RuleCode::OtherPlatform, message);
    let problem = problem.at(&survey.problems.source, span.clone(), "");
    Some(problem.hint("give both the same `platform`"))
}

/// The image, what it is `FROM`, what that is `FROM`, and so on.
pub(super) fn line(
    survey: &HierarchySurvey,
    index: &HashMap<&str, usize>,
    from: usize,
) -> (Vec<usize>, End) {
    let mut line = vec![from];
    let mut at = from;
    loop {
        if survey.files[at].is_none() {
            return (line, End::Unknown);
        }
        match survey.uses[at].iter().find(|used| used.is_final).map(|used| &used.base) {
            None => return (line, End::Scratch),
            Some(Base::Upstream(_) | Base::Files(_)) => return (line, End::Unknown),
            Some(Base::Node(name)) => match index.get(name.as_str()) {
                // A ring is told as such.
                Some(&next) if line.len() < survey.drafts.len() => at = next,
                _ => return (line, End::Unknown),
            },
        }
        line.push(at);
    }
}
