//! A Dockerfile, built one way, that may become an image of the hierarchy.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    build_options::DroppedOption,
    evidence::{Evidence, EvidenceRule, PublishedImage},
    find, path_words,
    target_options::OptionTexts,
};
use crate::{
    dockerfile::{self, DockerfileSurvey, UnreadableDockerfile},
    host::bounded,
    image::{Platform, Reference},
};

/// What may become an image.
#[derive(Debug, Default)]
pub(super) struct ImageCandidate {
    /// Relative to the folder of the hierarchy, as all paths are.
    pub(super) dockerfile: PathBuf,
    pub(super) given: Given,
    /// The rule that says how it is built, and where; none if only the Dockerfile is known.
    pub(super) said: Option<(EvidenceRule, String)>,
    pub(super) survey: DockerfileSurvey,
    /// The images that it needs and that are good references, with the line.
    pub(super) uses: Vec<(Reference, usize)>,
    /// Folders and the stem of the file's name.
    pub(super) segments: Vec<String>,
    /// The words of each segment.
    pub(super) words: Vec<Vec<String>>,
    /// Arguments that need a value.
    pub(super) fill_in: Vec<String>,
}

/// What evidence says of a build.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) name: Option<String>,
    pub(super) context: Option<PathBuf>,
    pub(super) target: Option<String>,
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Several are of one image.
    pub(super) platforms: Vec<Platform>,
    pub(super) outputs: Vec<PublishedImage>,
    /// What the builder takes instead of an image of that name.
    pub(super) contexts: BTreeMap<String, ContextSource>,
    /// The text of the Dockerfile, if it is in no file.
    pub(super) inline: Option<String>,
    /// Other fields of the entry.
    pub(super) options: OptionTexts,
    /// The build is one for this machine, such as one for tests.
    pub(super) is_local: bool,
    /// A variable without a known value is in the path of the Dockerfile, and no other Dockerfile fits.
    pub(super) is_only_match: bool,
    /// What the entry of the image cannot say.
    pub(super) dropped: Vec<DroppedOption>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ContextSource {
    Target(String),
    Image(String),
    /// A folder, relative to that of the hierarchy, or the address of a git repository.
    Files(String),
}

impl ImageCandidate {
    /// The last part of its path, as a name.
    pub(super) fn last(&self) -> String {
        self.segments.last().map_or_else(String::new, |one| path_words::kebab(one))
    }

    /// Reads a Dockerfile as it would be built.
    pub(super) fn read(
        root: &Path,
        evidence: Evidence,
        host: &Platform,
    ) -> Result<Self, (PathBuf, UnreadableDockerfile)> {
        let path = evidence.dockerfile.clone();
        Self::of(root, evidence, host).map_err(|error| (path, error))
    }

    fn of(root: &Path, evidence: Evidence, host: &Platform) -> Result<Self, UnreadableDockerfile> {
        let Evidence { rule, place, dockerfile, mut given } = evidence;
        if given.context.as_ref().is_some_and(|folder| !root.join(folder).is_dir()) {
            given.context = None;
        }
        let failed = |message: String| UnreadableDockerfile { line: 1, message, hint: None };
        let text = if let Some(text) = &given.inline {
            text.clone()
        } else {
            let bytes = bounded::read(&root.join(&dockerfile), bounded::TEXT)
                .map_err(|error| failed(format!("it cannot be read: {error}")))?;
            dockerfile::decode(bytes).map_err(|_| failed("it is not UTF-8 text".into()))?
        };
        if text.contains("{{") || text.contains("{%") || text.contains("<%=") {
            return Err(failed("it is a template of Dockerfiles".into()));
        }
        let platform = given.platforms.first().unwrap_or(host);
        let (mut args, mut fill_in) = (given.build_args.clone(), Vec::new());
        // A stand-in for each value that is missing, so that the rest can be read.
        let survey = loop {
            let survey = dockerfile::survey(&text, &args, given.target.as_deref(), platform);
            let missing = match &survey {
                Ok(survey) => {
                    let bad =
                        |image: &&dockerfile::Mention| image.image.parse::<Reference>().is_err();
                    survey.images.iter().find(bad).map(|image| image.written.clone())
                }
                Err(error) => Some(error.message.clone()),
            };
            let missing = missing.iter().flat_map(|written| variables(written));
            let missing: Vec<String> = missing
                .filter(|name| args.get(name).is_none_or(String::is_empty))
                .filter(|name| declares(&text, name, |default| default.is_none_or(str::is_empty)))
                .collect();
            if missing.is_empty() {
                break survey?;
            }
            for name in missing {
                args.insert(name.clone(), STAND_IN.to_owned());
                fill_in.push(name);
            }
        };
        let mut uses = Vec::new();
        for image in &survey.images {
            let named = match given.contexts.get(&image.image) {
                None => &image.image,
                Some(ContextSource::Image(instead)) => instead,
                Some(ContextSource::Target(_) | ContextSource::Files(_)) => continue,
            };
            if named.contains(STAND_IN) {
                continue;
            }
            match named.parse() {
                Ok(reference) => uses.push((reference, image.line)),
                Err(error) => {
                    return Err(UnreadableDockerfile {
                        line: image.line,
                        message: format!("{error}"),
                        hint: None,
                    });
                }
            }
        }
        let segments = segments(&dockerfile);
        let words = segments.iter().map(|segment| path_words::words(segment)).collect();
        let said = (!place.is_empty()).then_some((rule, place));
        Ok(Self { dockerfile, given, said, survey, uses, segments, words, fill_in })
    }

    /// Whether a command only fits it.
    pub(super) fn is_guess(&self) -> bool {
        matches!(self.said, Some((EvidenceRule::Guess, _)))
    }

    pub(super) fn folder(&self) -> &Path {
        self.dockerfile.parent().unwrap_or(Path::new(""))
    }
}

/// The value of an argument that has none.
const STAND_IN: &str = "value-to-fill-in";

/// The variables that a text takes, `X` of `$X` and `${X}`.
pub(super) fn variables(text: &str) -> Vec<String> {
    let names = text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// What is built from an image does not make it: a script that says so builds a test of it. A command that builds
/// several Dockerfiles, with tags that are not known, may make one of them from another.
pub(super) fn drop_tests(candidates: &mut [ImageCandidate]) {
    let mut builds: BTreeMap<String, usize> = BTreeMap::new();
    for (_, place) in candidates.iter().filter_map(|one| one.said.as_ref()) {
        *builds.entry(place.clone()).or_default() += 1;
    }
    for candidate in candidates {
        let ImageCandidate { given, uses, said, .. } = candidate;
        let is_one_of_many = said.as_ref().is_some_and(|(_, place)| builds[place] > 1);
        given.outputs.retain(|output| {
            let is_used = uses.iter().any(|(one, _)| output.makes(one));
            !is_used || (output.tag.is_none() && is_one_of_many)
        });
    }
}

/// Whether there is an `ARG` of that name.
/// Whether an argument is declared, and its first default is like this.
fn declares(text: &str, name: &str, is_like: impl Fn(Option<&str>) -> bool) -> bool {
    let arguments = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("ARG"))?;
        words.find_map(|word| {
            let (own, default) = match word.split_once('=') {
                Some((own, default)) => (own, Some(default)),
                None => (word, None),
            };
            (own == name).then_some(default)
        })
    });
    arguments.into_iter().next().is_some_and(is_like)
}

fn segments(dockerfile: &Path) -> Vec<String> {
    let folder = dockerfile.parent().unwrap_or(Path::new(""));
    let parts = folder.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "..").chain(find::stem(dockerfile)).collect()
}
