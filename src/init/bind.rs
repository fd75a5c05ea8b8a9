//! Which Dockerfiles a build command is for.
//!
//! **Invariant:** a variable without a value in a path makes a guess of every Dockerfile that fits, unless the variable
//! stands for files: that of a loop over them, or of a pattern rule of a Makefile.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    build_command::BuildCommand,
    build_options::DroppedOption,
    candidate::Given,
    copies::CopiedFiles,
    evidence::{Evidence, EvidenceRule, FoundBuilds, Open, PublishedImage, Values, tidy},
    loops,
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
                let files = CopiedFiles::new(&found.root, folder);
                let mut one = evidence(rule, place, (path, &values), (&context, files), command);
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

/// Of builds of one image of which a run does only one, the tags that all have are known.
pub(super) fn keep_common_tags(builds: &mut [Evidence]) {
    let all = builds.to_vec();
    for one in builds {
        let is_same = |other: &&Evidence| {
            (&other.dockerfile, &other.given.target) == (&one.dockerfile, &one.given.target)
                && other.given.build_args == one.given.build_args
        };
        let same: Vec<&Evidence> = all.iter().filter(is_same).collect();
        for output in &mut one.given.outputs {
            if !same.iter().all(|other| other.given.outputs.contains(output)) {
                (output.tag, output.template) = (None, None);
            }
        }
        one.given.outputs.sort();
        one.given.outputs.dedup();
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

/// The images that a build publishes, and the names that are not known. Beside other tags of its repository, a
/// conditional tag is that of some builds only.
fn outputs(tags: &[Open]) -> (Vec<PublishedImage>, Vec<DroppedOption>) {
    let (mut outputs, mut unknown): (Vec<PublishedImage>, Vec<DroppedOption>) = (vec![], vec![]);
    let (later, first): (Vec<&Open>, Vec<&Open>) =
        tags.iter().partition(|tag| tag.is_conditional());
    for tag in first.into_iter().chain(later) {
        let output = PublishedImage::read(tag);
        let is_beside_others = |output: &PublishedImage| {
            tag.is_conditional() && outputs.iter().any(|one| one.repository == output.repository)
        };
        match output {
            Some(output) if is_beside_others(&output) => unknown.push(DroppedOption::of_tag(tag)),
            Some(output) if !outputs.contains(&output) => outputs.push(output),
            None if !tag.is_known() => unknown.push(DroppedOption::of_tag(tag)),
            _ => {}
        }
    }
    unknown.sort();
    unknown.dedup();
    (outputs, unknown)
}

fn evidence(
    rule: EvidenceRule,
    place: &str,
    (dockerfile, values): (PathBuf, &Values),
    (context, files): (&Open, CopiedFiles<'_>),
    command: &BuildCommand,
) -> Evidence {
    let fill = |open: &Open| files.fill(&open.fill(values));
    let known = |open: &Open| Some(fill(open)).filter(Open::is_known).map(|open| open.0);
    let tags: Vec<Open> = command.tags.iter().map(fill).collect();
    let (outputs, unknown) = outputs(&tags);
    let mut given = Given {
        is_local: command.is_local,
        context: known(context).filter(|_| !command.has_no_context).map(|path| tidy(&path)),
        outputs,
        ..command.options.give(known)
    };
    given.dropped.extend(unknown);
    given.dropped.extend(files.into_used().iter().map(|file| DroppedOption::of_copy(file)));
    // That of a guess has one line for all that is not known.
    let is_said = |one: &DroppedOption| rule != EvidenceRule::Guess || !one.is_unknown();
    given.dropped.retain(is_said);
    Evidence { rule, place: place.to_owned(), dockerfile, given }
}
