//! One image of the hierarchy, with everything the file and its Dockerfile say about it.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
    ops::Range,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    budget::Budget,
    build_fields::BuildSettings,
    gates::Gate,
    secrets::{SecretSource, Ssh},
    template::TagTemplate,
};
use crate::{
    hierarchy::calendar::Schedule,
    image::{Platform, Reference, Repository, packages::Manager},
};

/// A node's name: that of its image in the hierarchy file, and the platform in parentheses if the image has several:
/// `app (linux/arm64)`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// Between an image and a platform. The name of an image has no space.
const OPEN: &str = " (";

/// One image that we build, for one platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: NodeName,
    /// Where it is published: `<registry>/<name>`, or `repository:` of the file.
    pub repository: Repository,
    /// Where it is published too, with a registry only.
    pub destinations: Vec<Repository>,
    /// What people pull. Never empty.
    pub tags: Vec<TagTemplate>,
    /// The build context's folder, absolute.
    pub context: PathBuf,
    pub dockerfile: Dockerfile,
    /// Paths of the context that only other platforms of its image use. They are left out.
    pub other_platforms_files: Vec<String>,
    /// The folders that its Dockerfile takes by a name of `contexts`, absolute.
    pub contexts: BTreeMap<String, PathBuf>,
    /// The stage to build; the last one if not given.
    pub target: Option<String>,
    /// The engine's own if not given.
    pub platform: Option<Platform>,
    /// Whether its image is published without it if it fails.
    pub is_optional_platform: bool,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub settings: BuildSettings,
    /// What a `RUN --mount=type=secret` gets, by ID.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The secrets without which it can be built, by ID.
    pub optional_secrets: BTreeSet<String>,
    pub ssh: Ssh,
    /// A command (argv) that fills a copy of the context before each build.
    pub prepare: Option<Vec<String>>,
    /// Its own tests; a candidate runs those of its ancestors first.
    pub tests: Vec<Test>,
    /// What must pass it on this machine before it is stored.
    pub gates: Vec<Gate>,
    /// A command of this machine (argv) that signs it before its tags move.
    pub sign: Option<Vec<String>>,
    pub on_failure: OnFailure,
    /// For one build, from the first byte sent to the last received.
    pub timeout: Duration,
    /// How often a build or a test that failed is tried again.
    pub retries: u8,
    /// How many of its images the engine keeps, where that is the only place they are.
    pub keep: NonZeroUsize,
    /// Whether its labels name the files and settings that it was built from.
    pub file_labels: bool,
    /// The limits of a candidate.
    pub budget: Budget,
    pub flatten: Flatten,
    pub refresh: Refresh,
    /// When it is refreshed by the clock.
    pub schedule: Option<Schedule>,
    /// Patterns of paths that may differ between two images that count as the same.
    pub volatile: Vec<String>,
}

/// A Dockerfile as it was read, with the place of every image that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Absolute.
    pub path: PathBuf,
    pub text: String,
    /// `FROM`, `COPY --from`, `ADD --from` and `RUN --mount=…,from=` of other images, in order of
    /// place. Stages, `scratch` and numbers are not in it.
    pub uses: Vec<BaseUse>,
    /// Every instruction, for finding the line of a step that failed.
    pub instructions: Vec<crate::dockerfile::Instruction>,
}

/// An image named in a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUse {
    /// The bytes of the token in [`Dockerfile::text`], to be replaced by what it is pinned to.
    pub span: Range<usize>,
    /// Counted from 1.
    pub line: usize,
    pub base: Base,
    /// The stage that names it, counted from 0.
    pub stage: usize,
    /// Whether it is the `FROM` of the stage that becomes the image.
    pub is_final: bool,
    /// The name that an `ONBUILD` instruction of the stage's base gives it. This Dockerfile does not name
    /// it: `span` and `line` are those of the base.
    pub on_build: Option<String>,
    /// The platform of `FROM --platform`, if it differs from that of the node.
    pub platform: Option<Platform>,
}

/// What a `FROM` line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Another image of this hierarchy.
    Node(NodeName),
    /// An image that someone else builds.
    Upstream(Reference),
    /// A folder under its name in `contexts`.
    Files(String),
}

/// Something that must hold in a container of the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
pub struct Test {
    pub check: Check,
    pub timeout: Duration,
    /// Whether the container gets a network. Most need none.
    pub network: bool,
    /// Whether the container cannot write, but to `/tmp`.
    pub read_only: bool,
    /// Whether it has a container of its own in any case.
    pub isolated: bool,
    /// Whether descendants run it too.
    pub inherit: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Run instead of the image's own command; passes with exit code 0.
    Run {
        argv: Vec<String>,
        /// A regular expression that must match somewhere in what it prints to stdout.
        stdout: Option<String>,
    },
    /// The image started as it is becomes healthy by its own `HEALTHCHECK`.
    Healthy,
}

impl Check {
    /// As it could be typed: `sh -c 'exit 3'`, `healthy`.
    pub fn shown(&self) -> String {
        match self {
            Self::Run { argv, .. } => command_line(argv),
            Self::Healthy => "healthy".to_owned(),
        }
    }
}

/// A command as it could be typed into a shell.
pub fn command_line(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Which layers of an image become one after its build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flatten {
    #[default]
    No,
    All,
    /// Those above its parent's.
    Own,
}

/// When a node is built without the layer cache, to take in package updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// So long after its image was built; never by itself if not given.
    pub every: Option<Duration>,
    /// Only if this package manager has newer versions.
    pub packages: Option<Manager>,
}

/// What the failure of a node means for the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing of the run is promoted.
    #[default]
    Block,
    /// The node and its descendants keep their old tags, the rest is promoted, the run fails.
    Hold,
    /// As hold, and the run still succeeds.
    Optional,
}

impl Node {
    /// Whether a tag is the same whatever day or commit it is made on.
    pub fn stable_tags(&self) -> impl Iterator<Item = &TagTemplate> {
        self.tags.iter().filter(|tag| tag.is_stable())
    }
}

impl Node {
    /// All repositories with its moving tags.
    pub fn repositories(&self) -> impl Iterator<Item = &Repository> {
        std::iter::once(&self.repository).chain(&self.destinations)
    }

    /// The image of the hierarchy that its last stage is `FROM`.
    pub fn base(&self) -> Option<&NodeName> {
        self.dockerfile.uses.iter().find(|used| used.is_final)?.base.node()
    }

    /// The image from outside that its last stage is `FROM`.
    pub fn upstream(&self) -> Option<&Reference> {
        self.dockerfile.uses.iter().find(|used| used.is_final)?.base.upstream()
    }
}

impl Base {
    /// The node that it names.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Base::Node(name) => Some(name),
            Base::Upstream(_) | Base::Files(_) => None,
        }
    }

    /// The image from outside that it names.
    pub fn upstream(&self) -> Option<&Reference> {
        match self {
            Base::Upstream(reference) => Some(reference),
            Base::Node(_) | Base::Files(_) => None,
        }
    }
}

impl Flatten {
    /// As the hierarchy file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "false",
            Self::All => "true",
            Self::Own => "own",
        }
    }
}

impl FromStr for Flatten {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::No, Self::All, Self::Own];
        all.into_iter()
            .find(|flatten| flatten.as_str() == text)
            .ok_or_else(|| format!("`flatten` must be `true`, `false` or `own`, not `{text}`"))
    }
}

impl NodeName {
    /// The node of an image for one of its platforms.
    pub fn of_platform(image: &str, platform: &Platform) -> Self {
        Self(format!("{image}{OPEN}{platform})").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same without a character that a shell reads: `app@linux/arm64`.
    pub fn argument(&self) -> String {
        match self.platform() {
            Some(platform) => format!("{}@{platform}", self.image()),
            None => self.0.to_string(),
        }
    }

    /// The name of its image in the file.
    pub fn image(&self) -> &str {
        self.0.split_once(OPEN).map_or(&self.0, |(image, _)| image)
    }

    /// How many images nodes are: the platforms of an image are one.
    pub fn images<'n>(names: impl IntoIterator<Item = &'n Self>) -> usize {
        names.into_iter().map(Self::image).collect::<BTreeSet<_>>().len()
    }

    /// The platform, if its image has several.
    pub fn platform(&self) -> Option<&str> {
        self.0.split_once(OPEN)?.1.strip_suffix(')')
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_of_an_image_are_one_image() {
        let names = ["app (linux/amd64)", "app (linux/arm64)", "app2"].map(NodeName::from);
        assert_eq!(NodeName::images(&names), 2);
    }

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let shown = |argv: &[&str]| {
            let argv = argv.iter().map(|word| (*word).to_owned()).collect();
            Check::Run { argv, stdout: None }.shown()
        };
        assert_eq!(shown(&["cat", "/etc/os-release"]), "cat /etc/os-release");
        assert_eq!(
            shown(&["sh", "-c", "echo 'a'; exit 7", ""]),
            r"sh -c 'echo '\''a'\''; exit 7' ''"
        );
    }
}
