//! Build args that go nowhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use super::{Problems, read};
use crate::{
    check::{diagnostic::Diagnostic, nearest, rules::RuleCode},
    dockerfile::Instruction,
    hierarchy::{files::DockerfileRead, load::HierarchySurvey},
};

/// Those that the builder knows without an `ARG`:
/// <https://docs.docker.com/reference/dockerfile/#predefined-args>.
const PREDEFINED: [&str; 12] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOURCE_DATE_EPOCH",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDARCH",
];

/// A build arg that an image declares nowhere.
struct Useless<'s> {
    span: &'s Range<usize>,
    /// What its images do declare.
    declared: BTreeSet<String>,
}

/// One that stands at one place may be of many images, by `defaults` or a matrix; it is useless only if
/// it is for all of them.
pub(super) fn unused(survey: &HierarchySurvey) -> Problems {
    let mut useless: BTreeMap<(usize, &str), Useless<'_>> = BTreeMap::new();
    let mut used: BTreeSet<(usize, &str)> = BTreeSet::new();
    let by_name: HashMap<&str, &DockerfileRead> =
        read(survey).map(|(draft, files)| (draft.name.as_str(), files)).collect();
    for ((draft, files), uses) in survey.drafts.iter().zip(&survey.files).zip(&survey.uses) {
        let parents = uses.iter().filter_map(|used| by_name.get(used.base.node()?.as_str()));
        let of_parents = parents.flat_map(|it| declared(&it.scan.instructions, "ONBUILD ARG "));
        let declared = files.as_ref().map(|files| {
            let own = declared(&files.scan.instructions, "ARG ");
            own.into_iter().chain(of_parents).collect::<BTreeSet<String>>()
        });
        for (name, span) in &draft.image.places.build_args {
            let key = (span.start, name.as_str());
            // Of an image whose files are not known, nothing is.
            match declared.as_ref().filter(|declared| !declared.contains(name)) {
                Some(declared) if !is_predefined(name) => {
                    let one = Useless { span, declared: BTreeSet::new() };
                    let one = useless.entry(key).or_insert(one);
                    one.declared.extend(declared.iter().cloned());
                }
                _ => drop(used.insert(key)),
            }
        }
    }
    useless.retain(|key, _| !used.contains(key));
    let problem = |((_, name), one): ((usize, &str), Useless<'_>)| {
        let message = format!("no `ARG` declares the build arg `{name}`");
        let problem = Diagnostic::of(RuleCode::UnusedArgument, message);
        let problem = problem.at_name(&survey.problems.source, one.span.clone());
        problem.hint(match nearest(name, one.declared.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write `ARG {name}` into the Dockerfile, or leave it out"),
        })
    };
    useless.into_iter().map(problem).collect()
}

pub(in crate::hierarchy) fn is_predefined(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    PREDEFINED.contains(&upper.as_str()) || name.starts_with("BUILDKIT_")
}

/// What `ARG`s name, before the first `FROM` or in a stage; or those of `ONBUILD`.
pub(in crate::hierarchy) fn declared(
    instructions: &[Instruction],
    prefix: &str,
) -> BTreeSet<String> {
    let arguments = instructions.iter().filter_map(|one| one.text.strip_prefix(prefix));
    let words = arguments.flat_map(str::split_whitespace);
    words.map(|word| word.split('=').next().unwrap_or(word).to_owned()).collect()
}
