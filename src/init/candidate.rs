//! A Dockerfile, or a target of a bake or compose file, on its way to an image of the hierarchy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::find;
use crate::{
    bounded,
    hierarchy::{self, Survey, Unreadable},
    image::{Platform, Reference},
};

/// A file beside a Dockerfile that is larger says nothing of it in particular.
const SMALL: u64 = 16 * 1024;

/// What may become an image.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    /// Relative to the folder of the hierarchy, as all paths are.
    pub(super) dockerfile: PathBuf,
    pub(super) given: Given,
    pub(super) survey: Survey,
    /// The images that it needs and that are good references, with the line.
    pub(super) uses: Vec<(Reference, usize)>,
    /// Folders and the stem of the file's name.
    pub(super) segments: Vec<String>,
    /// Words of its comments and labels, and of small files beside it.
    pub(super) said: BTreeSet<String>,
}

/// What a bake or compose file says of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) name: Option<String>,
    pub(super) context: Option<PathBuf>,
    pub(super) target: Option<String>,
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) platform: Option<Platform>,
    pub(super) tags: Vec<Reference>,
    /// What the builder takes instead of an image of that name.
    pub(super) contexts: BTreeMap<String, Named>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Named {
    Target(String),
    Image(String),
    Elsewhere(String),
}

impl Candidate {
    /// Reads a Dockerfile as it would be built.
    pub(super) fn read(
        root: &Path,
        dockerfile: PathBuf,
        given: Given,
        host: &Platform,
    ) -> Result<Self, Unreadable> {
        let failed = |message: String| Unreadable { line: 1, message, hint: None };
        let bytes = bounded::read(&root.join(&dockerfile), bounded::TEXT)
            .map_err(|error| failed(format!("it cannot be read: {error}")))?;
        let text = hierarchy::decode(bytes).map_err(|_| failed("it is not UTF-8 text".into()))?;
        let platform = given.platform.as_ref().unwrap_or(host);
        let survey = hierarchy::survey(&text, &given.build_args, given.target.as_deref(), platform);
        let survey = survey.map_err(|error| {
            if text.contains("{{") {
                failed("it looks like a template of Dockerfiles".into())
            } else {
                error
            }
        })?;
        let mut uses = Vec::new();
        for image in &survey.images {
            if given.contexts.contains_key(&image.image) {
                continue;
            }
            match image.image.parse() {
                Ok(reference) => uses.push((reference, image.line)),
                Err(error) => {
                    let line = image.line;
                    let hint = image.written.contains('$').then(|| {
                        format!("`{}` needs values: give them in `build_args`", image.written)
                    });
                    let message = format!("{error}");
                    return Err(Unreadable { line, message, hint });
                }
            }
        }
        let segments = segments(&dockerfile);
        let said = said(&text, &survey);
        Ok(Self { dockerfile, given, survey, uses, segments, said })
    }

    pub(super) fn folder(&self) -> &Path {
        self.dockerfile.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn uses_image(&self, reference: &Reference) -> bool {
        self.uses.iter().any(|(one, _)| one == reference)
    }

    /// Adds what small files beside it say. It must be the only Dockerfile of its folder.
    pub(super) fn listen(&mut self, root: &Path) {
        let Ok(entries) = fs::read_dir(root.join(self.folder())) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let speaks = is_about_builds(&entry.file_name().to_string_lossy());
            let is_small = entry.metadata().is_ok_and(|data| data.is_file() && data.len() <= SMALL);
            if speaks
                && is_small
                && let Ok(text) = bounded::text(&path)
            {
                add_words(&text, &mut self.said);
            }
        }
    }
}

fn is_about_builds(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    let ending = small.rsplit_once('.').map(|(_, ending)| ending);
    ["makefile", "tag", "tags", "version", "image", "repository", "name"].contains(&small.as_str())
        || ending.is_some_and(|ending| {
            ["mk", "sh", "json", "yaml", "yml", "env", "toml", "tags", "hcl"].contains(&ending)
        })
}

fn segments(dockerfile: &Path) -> Vec<String> {
    let folder = dockerfile.parent().unwrap_or(Path::new(""));
    let parts = folder.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "..").chain(find::stem(dockerfile)).collect()
}

fn said(text: &str, survey: &Survey) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            add_words(comment, &mut said);
        }
    }
    for (_, value) in &survey.values {
        add_words(value, &mut said);
    }
    said
}

fn add_words(text: &str, words: &mut BTreeSet<String>) {
    let separators = [
        ' ', '\t', '\n', '\r', '"', '\'', '`', '=', ',', ';', '(', ')', '[', ']', '{', '}', '<',
        '>', '|',
    ];
    let clean = text.split(separators).map(|word| word.trim_end_matches(['.', ':']));
    words.extend(clean.filter(|word| !word.is_empty()).map(str::to_owned));
}
