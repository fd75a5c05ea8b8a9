//! Which Dockerfiles a build command is for.
//!
//! **Invariant:** a variable without a value in a path makes a guess of every Dockerfile that fits, unless the variable
//! stands for files: that of a loop over them, or of a pattern rule of a Makefile.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    build_options::DroppedOption,
    candidate::Given,
    evidence::{Evidence, EvidenceRule, FoundBuilds, Open, PublishedImage, Values, tidy},
    loops,
    shell::BuildCommand,
};

/// Finds the Dockerfiles that a build is for.
pub(super) fn bind(
    rule: EvidenceRule,
    place: &str,
    folder: &Path,
    command: &BuildCommand,
    dockerfiles: &BTreeSet<PathBuf>,
    found: &mut FoundBuilds,
) {
    let context = command.context.clone().unwrap_or_else(|| Open(".".to_owned()));
    if context.0.contains("://") {
        return;
    }
    let join = |base: &Path, path: &Open| {
        Open(
            tidy(&base.join(path.0.trim_start_matches("./")).to_string_lossy())
                .to_string_lossy()
                .into_owned(),
        )
    };
    // Scripts run in their own folder, or in one above it.
    for base in folder.ancestors() {
        let context = join(base, &context);
        let files: Vec<Open> = match &command.dockerfile {
            Some(file) => vec![join(base, file), join(Path::new(&context.0), file)],
            None => ["Dockerfile", "Containerfile"]
                .map(|name| join(Path::new(&context.0), &Open(name.to_owned())))
                .into(),
        };
        for file in files {
            let mut hits: Vec<(PathBuf, Values)> = Vec::new();
            if file.is_known() {
                let path = PathBuf::from(&file.0);
                if dockerfiles.contains(&path) {
                    hits.push((path, Values::new()));
                }
            } else {
                hits.extend(
                    dockerfiles
                        .iter()
                        .filter_map(|path| Some((path.clone(), file.bind(path.to_str()?)?))),
                );
                // A loop over `*/` sees one level.
                let is_flat =
                    |(_, values): &(PathBuf, Values)| values.values().all(|one| !one.contains('/'));
                if hits.iter().any(is_flat) {
                    hits.retain(is_flat);
                }
                let named = command.tags.iter().flat_map(Open::variables);
                let named: BTreeSet<&str> = named.collect();
                // The path must say what the name is.
                if hits.len() > 1 && file.variables().is_disjoint(&named) {
                    hits.clear();
                }
            }
            if hits.is_empty() {
                continue;
            }
            let is_open = file.variables().iter().any(|name| !command.is_file(rule, name));
            let is_one_of_many = hits.len() > 1;
            let rule = if is_open && is_one_of_many { EvidenceRule::Guess } else { rule };
            for (path, values) in hits {
                let mut one = evidence(rule, place, path, &values, &context, command);
                one.given.is_only_match = is_open && !is_one_of_many;
                found.known.push(one);
            }
            return;
        }
    }
    let tags: Vec<String> = command.tags.iter().map(Open::shown).collect();
    let unknown = match &tags[..] {
        [] => place.to_owned(),
        tags => format!("{place} ({})", tags.join(", ")),
    };
    if !found.unknown.contains(&unknown) {
        found.unknown.push(unknown);
    }
}

impl BuildCommand {
    /// Whether a variable stands for the files that a loop or a pattern rule of a Makefile goes over.
    fn is_file(&self, rule: EvidenceRule, name: &str) -> bool {
        let is_automatic = name.starts_with(['@', '*', '<', '^'])
            || ["$@", "$*", "$<", "$(@", "$(*"].iter().any(|one| name.contains(one));
        (rule == EvidenceRule::Makefile && is_automatic)
            || self.files.iter().any(|file| file == name || loops::uses(file, name))
    }
}

fn evidence(
    rule: EvidenceRule,
    place: &str,
    dockerfile: PathBuf,
    values: &Values,
    context: &Open,
    command: &BuildCommand,
) -> Evidence {
    let known = |open: &Open| {
        let open = open.fill(values);
        open.is_known().then_some(open.0)
    };
    let mut outputs: Vec<PublishedImage> = Vec::new();
    for output in command.tags.iter().filter_map(|tag| PublishedImage::read(&tag.fill(values))) {
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    let mut given = Given {
        is_local: command.is_local,
        context: known(context).filter(|_| !command.has_no_context).map(|path| tidy(&path)),
        outputs,
        ..command.options.give(known)
    };
    // That of a guess has one line for all that is not known.
    let is_said = |one: &DroppedOption| rule != EvidenceRule::Guess || !one.is_unknown();
    given.dropped.retain(is_said);
    Evidence { rule, place: place.to_owned(), dockerfile, given }
}
