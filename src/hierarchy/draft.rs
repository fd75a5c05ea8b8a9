//! Nodes on their way from the file to the graph: names and tags are good, files not yet read.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

use super::{
    NodeName, TagTemplate,
    fields::Problems,
    load::LoadOptions,
    matrix::Room,
    schema::{File, Image},
    template::{TagValues, TemplateError},
};
use crate::{
    check::rules::RuleCode,
    image::{ReferenceError, Repository},
};

/// The end of the repository for records: `rebuild gc` would remove them as images without tags.
const RECORDS: &str = "/rebuild-runs";

/// An image of the file for one platform, a matrix written out.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) name: NodeName,
    /// Of the entry's name in the file.
    pub(super) span: Range<usize>,
    pub(super) image: Image,
    /// None if it is not good, which is among the problems.
    pub(super) repository: Option<Repository>,
    /// Where it is published, too.
    pub(super) destinations: Vec<Repository>,
    /// Where the file alone would have published it.
    pub(super) repository_of_file: Option<Repository>,
    pub(super) tags: Vec<TagTemplate>,
    /// One for each tag.
    pub(super) tag_spans: Vec<Range<usize>>,
    /// The build args of the command line that it has only if its Dockerfile declares them.
    pub(super) offered: BTreeSet<String>,
}

/// All nodes in the order of the file.
pub(super) fn drafts(file: File, options: &LoadOptions, problems: &mut Problems) -> Vec<Draft> {
    let override_ = options.registry.as_ref();
    let mut drafts: Vec<Draft> = Vec::new();
    let mut seen: HashMap<String, Range<usize>> = HashMap::new();
    let mut told: HashSet<usize> = HashSet::new();
    let of_file = file.registry.map(|registry| registry.value);
    let room = Room::new();
    for (entry, image) in file.images {
        for (name, image) in image.nodes(&entry, (&room, &mut *problems)) {
            match seen.get(&name) {
                None => drop(seen.insert(name.clone(), entry.span.clone())),
                Some(first) if *first == entry.span => {
                    if told.insert(entry.span.start) {
                        problems.push_with_hint(
                            &entry.span,
                            format!("this matrix makes `{name}` more than once"),
                            "put every key of the matrix into the name, as in `ruby-{ruby}`",
                        );
                        problems.last_is(RuleCode::WrongMatrix);
                    }
                    continue;
                }
                Some(first) => {
                    problems.push(&entry.span, format!("there are two images named `{name}`"));
                    problems.last_is(RuleCode::NameTwice);
                    let (source, first) = (problems.source.clone(), first.clone());
                    if let Some(last) = problems.found.pop() {
                        problems.found.push(last.at(&source, first, "the other one"));
                    }
                    continue;
                }
            }
            let image = options.overrides.applied(&name, image, problems);
            let mut draft = Draft {
                name: NodeName::from(name),
                span: entry.span.clone(),
                image,
                repository: None,
                destinations: Vec::new(),
                repository_of_file: None,
                tags: Vec::new(),
                tag_spans: Vec::new(),
                offered: BTreeSet::new(),
            };
            let before = problems.found.len();
            draft.publish(of_file.as_ref(), override_, problems);
            draft.publish_elsewhere(of_file.as_ref(), override_, problems);
            draft.tag(problems);
            problems.recode(before, RuleCode::WrongName);
            drafts.extend(draft.for_platforms(problems));
        }
    }
    drafts
}

impl Draft {
    /// Where it is published.
    fn publish(
        &mut self,
        of_file: Option<&Repository>,
        override_: Option<&Repository>,
        problems: &mut Problems,
    ) {
        let (span, wrong) = match &self.image.repository {
            Some(given) => (&given.span, false),
            None => (&self.span, self.name.as_str().contains(['{', '}'])),
        };
        let parsed = match &self.image.repository {
            Some(given) => given.value.parse(),
            None => in_registry(of_file, self.name.as_str()),
        };
        // A name must be good by itself, so that `FROM name` can be written.
        let name = self.name.as_str().parse::<Repository>();
        let checked = parsed.and_then(|repository| {
            name?;
            match override_ {
                None => Ok((repository.clone(), repository)),
                Some(override_) => {
                    Ok((in_registry(Some(override_), &below(&repository, of_file))?, repository))
                }
            }
        });
        match checked {
            Ok((published, _)) if published.as_str().ends_with(RECORDS) => problems.push_with_hint(
                span,
                format!("`{published}` is the repository for records of runs"),
                "choose another name",
            ),
            Ok((published, by_file)) => {
                self.repository = Some(published);
                self.repository_of_file = Some(by_file);
            }
            // Without its matrix, a name is not good and could not be.
            Err(_) if wrong && self.image.is_broken => {}
            Err(error) if wrong => problems.push_with_hint(
                span,
                error.to_string(),
                "`{…}` in a name must be a key of the image's `matrix`",
            ),
            Err(error) => problems.push(span, error.to_string()),
        }
        self.image.is_broken |= self.repository.is_none();
    }

    /// Below which other prefixes it is published. An override of the registry is for all of them.
    fn publish_elsewhere(
        &mut self,
        of_file: Option<&Repository>,
        override_: Option<&Repository>,
        problems: &mut Problems,
    ) {
        let Some(prefixes) = self.image.publish.as_ref().filter(|_| override_.is_none()) else {
            return;
        };
        let Some(by_file) = &self.repository_of_file else { return };
        if of_file.is_none() && !prefixes.value.is_empty() {
            problems.push_with_hint(
                &prefixes.span,
                "`publish` needs a `registry`",
                "the build tags and the records of runs are in the `registry`; `publish` lists more registries",
            );
            self.image.is_broken = true;
            return;
        }
        let path = below(by_file, of_file);
        for prefix in &prefixes.value {
            let repository = prefix.value.parse::<Repository>().and_then(|it| it.join(&path));
            match repository {
                Ok(found) if found == *by_file || self.destinations.contains(&found) => {
                    problems.push(
                        &prefix.span,
                        format!("`{}` is published to `{found}` already", self.name),
                    );
                    self.image.is_broken = true;
                }
                Ok(found) => self.destinations.push(found),
                Err(error) => {
                    problems.push(&prefix.span, error.to_string());
                    self.image.is_broken = true;
                }
            }
        }
    }

    fn tag(&mut self, problems: &mut Problems) {
        let Some(tags) = &self.image.tags else {
            self.tags.push("latest".parse().expect("`latest` is a tag"));
            self.tag_spans.push(self.span.clone());
            return;
        };
        if tags.value.is_empty() && !self.image.is_broken {
            problems.push(&tags.span, "`tags` is empty: an image needs one at least");
        }
        let values = TagValues { date: "20261123".into(), git: Some("0".into()) };
        for tag in &tags.value {
            let parsed = tag.value.parse::<TagTemplate>().and_then(|template| {
                // What is in the image is checked when it is built.
                let is_build_tag = match template.expand(&values, self.name.image(), "0") {
                    Err(TemplateError::InImage(_)) => template.as_str().starts_with("rb-"),
                    tag => tag?.as_str().starts_with("rb-"),
                };
                Ok((template, is_build_tag))
            });
            match parsed {
                Ok((template, true)) => {
                    problems.push_with_hint(
                        &tag.span,
                        format!("the tag `{template}` of `{}` begins with `rb-`", self.name),
                        "only build tags begin so, and `rebuild gc` removes them; choose another name",
                    );
                    self.image.is_broken = true;
                }
                Ok((template, _)) if self.tags.contains(&template) => {
                    problems.push(&tag.span, format!("the tag `{template}` is given twice"));
                }
                Ok((template, _)) => {
                    self.tags.push(template);
                    self.tag_spans.push(tag.span.clone());
                }
                Err(error) => {
                    problems.push(&tag.span, error.to_string());
                    self.image.is_broken = true;
                }
            }
        }
        self.image.is_broken |= self.tags.is_empty();
    }
}

fn in_registry(registry: Option<&Repository>, name: &str) -> Result<Repository, ReferenceError> {
    match registry {
        Some(registry) => registry.join(name),
        None => name.parse(),
    }
}

/// The path below the file's registry; of a repository elsewhere, the path below its host. So an
/// override moves every image, and none is published to the real place by a run that said otherwise.
fn below(repository: &Repository, of_file: Option<&Repository>) -> String {
    let inside = of_file.and_then(|registry| {
        repository.as_str().strip_prefix(registry.as_str())?.strip_prefix('/')
    });
    if let Some(path) = inside {
        path.to_owned()
    } else {
        let text = repository.as_str();
        let host = format!("{}/", repository.host());
        text.strip_prefix(&host).unwrap_or(text).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::{Hierarchy, LoadOptions};

    #[test]
    fn names_of_rebuild_itself_are_refused() {
        for (images, refused) in [
            ("rb: { tags: [\"{name}-{fingerprint}\"] }", "begins with `rb-`"),
            ("a: { tags: [rb-1] }", "begins with `rb-`"),
            ("\"rb-{n}\": { matrix: { n: [1] }, tags: [\"{name}\"] }", "begins with `rb-`"),
            ("rebuild-runs: {}", "is the repository for records of runs"),
            ("a: { repository: r.example/x/rebuild-runs }", "is the repository for records"),
            ("a: { labels: { rebuild.run: x } }", "the label `rebuild.run` begins with"),
        ] {
            let text = format!("version: 1\nregistry: r.example/x\nimages:\n  {images}\n");
            let options = LoadOptions { names_only: true, ..LoadOptions::default() };
            let error = Hierarchy::load_text("/h.yaml".into(), text, &options).unwrap_err();
            assert!(error.problems[0].message.contains(refused), "{images}: {error}");
        }
    }
}
