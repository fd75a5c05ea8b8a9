//! Scripts that other scripts, Makefiles and CI files call with arguments: `./build.sh web 1.2`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    evidence::{FoundBuilds, Open, Values, tidy},
    path_words::is_one_of,
};

/// Scripts that call each other are followed to this depth.
const DEEPEST: usize = 3;
/// More calls are not followed.
const MOST: usize = 500;

/// The texts of the scripts of a repository, and how far their calls were followed.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    pub(super) texts: BTreeMap<PathBuf, String>,
    depth: usize,
    count: usize,
    called: BTreeSet<PathBuf>,
    /// What each file says on its own: the positions of its builds that are known, and of those that are not.
    own: Vec<OwnBuilds>,
}

#[derive(Debug)]
struct OwnBuilds {
    path: PathBuf,
    known: Range<usize>,
    unknown: Range<usize>,
}

impl FoundBuilds {
    /// Begins what a file says on its own, without a call.
    pub(super) fn begin(&mut self, path: &Path) {
        let (known, unknown) = (self.known.len(), self.unknown.len());
        let (known, unknown) = (known..known, unknown..unknown);
        self.scripts.own.push(OwnBuilds { path: path.to_owned(), known, unknown });
    }

    pub(super) fn end(&mut self) {
        if let Some(own) = self.scripts.own.last_mut() {
            (own.known.end, own.unknown.end) = (self.known.len(), self.unknown.len());
        }
    }

    /// Drops what a script says on its own of the Dockerfiles that its calls build, which have their arguments.
    pub(super) fn drop_called(&mut self) {
        let called = &self.scripts.called;
        let own = self.scripts.own.iter().filter(|own| called.contains(&own.path));
        let (mut known, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for own in own {
            let is_of = |place: &str| {
                place
                    .strip_prefix(&*own.path.to_string_lossy())
                    .is_some_and(|rest| rest.starts_with(':'))
            };
            let by_calls = self.known.iter().enumerate();
            let by_calls =
                by_calls.filter(|(at, one)| !own.known.contains(at) && is_of(&one.place));
            let built: BTreeSet<&Path> =
                by_calls.map(|(_, one)| one.dockerfile.as_path()).collect();
            let is_built = |at: &usize| {
                is_of(&self.known[*at].place)
                    && built.contains(self.known[*at].dockerfile.as_path())
            };
            known.extend(own.known.clone().filter(is_built));
            let is_own = |at: &usize| is_of(&self.unknown[*at]) && !built.is_empty();
            unknown.extend(own.unknown.clone().filter(is_own));
        }
        let mut at = 0..;
        self.known.retain(|_| !at.next().is_some_and(|at| known.contains(&at)));
        let mut at = 0..;
        self.unknown.retain(|_| !at.next().is_some_and(|at| unknown.contains(&at)));
    }
}

/// A call of a script.
pub(super) struct ScriptCall {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) arguments: Vec<String>,
    /// Variables that the call sets.
    pub(super) variables: Values,
    /// Where its commands run.
    pub(super) folder: PathBuf,
}

impl Scripts {
    /// Whether a text names one of the scripts.
    pub(super) fn are_named_in(&self, text: &str) -> bool {
        let names = self.texts.keys().filter_map(|path| path.file_name()?.to_str());
        names.into_iter().any(|name| text.contains(name))
    }

    /// Whether a command calls a script. `folder` is where it runs.
    pub(super) fn has(&self, words: &[String], folder: &Path) -> bool {
        !self.texts.is_empty() && self.find(words, folder).is_some()
    }

    /// The script that a command calls with arguments or variables, if those are known, or in an environment with some.
    pub(super) fn called(
        &mut self,
        words: &[String],
        folder: &Path,
        has_environment: bool,
    ) -> Option<ScriptCall> {
        let (path, at) = self.find(words, folder)?;
        let assigned = words[..at].iter().filter_map(|word| assignment(word));
        let variables: Values = assigned.map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = words[at + 1..].to_vec();
        let is_said = has_environment || !arguments.is_empty() || !variables.is_empty();
        let mut texts = arguments.iter().chain(variables.values());
        let is_known = texts.all(|text| Open(text.clone()).is_known());
        if !is_said || !is_known || self.depth >= DEEPEST || self.count >= MOST {
            return None;
        }
        self.count += 1;
        self.called.insert(path.clone());
        let text = self.texts.get(&path)?.clone();
        // A script that names its own folder goes there.
        let names_own = ["$0", "${0", "BASH_SOURCE"].iter().any(|one| text.contains(one));
        let own = path.parent().unwrap_or(Path::new(""));
        let folder = if text.contains("dirname") && names_own { own } else { folder }.to_owned();
        Some(ScriptCall { path, text, arguments, variables, folder })
    }

    /// The script, and which of the words names it.
    fn find(&self, words: &[String], folder: &Path) -> Option<(PathBuf, usize)> {
        let is_before = |word: &&String| {
            assignment(word).is_some() || is_one_of(word, "bash sh exec sudo env -e -x -ex -eu")
        };
        let at = words.iter().take_while(is_before).count();
        let name = words.get(at).filter(|name| Open((*name).clone()).is_known())?;
        let mut places = folder.ancestors().map(|base| tidy(&base.join(name).to_string_lossy()));
        Some((places.find(|path| self.texts.contains_key(path))?, at))
    }

    /// Goes into a call, and out of it with `false`.
    pub(super) fn enter(&mut self, is_in: bool) {
        self.depth = if is_in { self.depth + 1 } else { self.depth.saturating_sub(1) };
    }
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .then_some((name, value))
}

/// The variables of a call that a script does not set itself.
pub(super) fn not_set_in(text: &str, variables: &Values) -> Values {
    let is_set = |name: &str| {
        let own = [format!("${name}"), format!("${{{name}")];
        text.lines().any(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
            value.is_some_and(|value| !own.iter().any(|one| value.contains(one)))
        })
    };
    let kept = variables.iter().filter(|(name, _)| !is_set(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}
