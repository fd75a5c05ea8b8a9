//! Which node a reference in a Dockerfile names, if any.
//!
//! **Invariant:** a look-up does not depend on how many nodes there are.

use std::collections::{HashMap, HashSet};

use super::{Base, NodeName, TagTemplate};
use crate::{
    check::{nearest, rules::RuleCode},
    image::{Reference, Repository},
};

/// More tags than these are not listed in a hint.
const SHOWN: usize = 5;

/// What of a node decides whether a reference means it.
#[derive(Debug)]
pub(super) struct NodeIdentity<'n> {
    pub(super) name: &'n NodeName,
    /// Where it is published; and, if `--registry` moves it, where the file says.
    pub(super) repositories: Vec<&'n Repository>,
    /// None if they could not be read: then any tag may be one of them.
    pub(super) tags: Option<&'n [TagTemplate]>,
}

/// All nodes, by what a reference says.
#[derive(Debug)]
pub(super) struct ReferenceIndex<'n> {
    /// One for each image, whatever platforms it has.
    nodes: Vec<NodeIdentity<'n>>,
    by_repository: HashMap<(String, String), Vec<usize>>,
    by_name: HashMap<&'n str, usize>,
    /// By the last part of the repository.
    by_last_part: HashMap<&'n str, Vec<usize>>,
    /// The registries of the hierarchy: the folders of its repositories.
    registries: Vec<&'n Repository>,
}

/// What a reference turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvedReference {
    pub(super) base: Base,
    /// It looks like a node, and is not: what to tell the person who wrote it.
    pub(super) warning: Option<Warning>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) code: RuleCode,
    pub(super) message: String,
    pub(super) hint: String,
}

impl<'n> ReferenceIndex<'n> {
    pub(super) fn new(nodes: Vec<NodeIdentity<'n>>) -> Self {
        let mut by_repository: HashMap<_, Vec<usize>> = HashMap::new();
        let mut by_name = HashMap::new();
        let mut by_last_part: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            by_name.entry(node.name.image()).or_insert(index);
            for repository in &node.repositories {
                let same = by_repository.entry(key(repository)).or_default();
                if same.last() != Some(&index) {
                    same.push(index);
                }
                by_last_part.entry(last_part(repository)).or_default().push(index);
            }
        }
        Self { nodes, by_repository, by_name, by_last_part, registries: Vec::new() }
    }

    /// Where the hierarchy publishes.
    pub(super) fn in_registries(self, registries: Vec<&'n Repository>) -> Self {
        Self { registries, ..self }
    }

    /// What a reference in the Dockerfile of this node means.
    pub(super) fn resolve(&self, reference: &Reference, node: &NodeName) -> ResolvedReference {
        let in_repository = self.by_repository.get(&key(&reference.repository));
        let candidates: Vec<usize> = match in_repository {
            Some(nodes) => nodes.clone(),
            // A bare name is a node's name before it is a repository of Docker Hub; but to wrap
            // `nginx` in a node `nginx` is not to build it from itself.
            None => match self.by_name.get(reference.repository.as_str()) {
                Some(&index) if !self.is(index, node) => vec![index],
                _ => vec![],
            },
        };
        let upstream =
            |warning| ResolvedReference { base: Base::Upstream(reference.clone()), warning };
        let Some(&first) = candidates.first() else {
            return upstream(self.elsewhere(reference, node).or_else(|| self.not_built(reference)));
        };
        if reference.digest.is_some() {
            return upstream(Some(Warning {
                code: RuleCode::PinnedParent,
                message: format!("`{}` is pinned to a digest here", self.nodes[first].name.image()),
                hint:
                    "it will not be rebuilt when that image is; leave the digest out, each build \
                       is pinned anyway"
                        .to_owned(),
            }));
        }
        let tag = reference.tag_or_latest().unwrap_or_else(crate::image::Tag::latest);
        let exact = |&&index: &&usize| {
            self.nodes[index]
                .tags
                .is_some_and(|tags| tags.iter().any(|t| t.as_str() == tag.as_str()))
        };
        // A pattern such as `{date}` would match any tag of an upstream of the same name.
        let pattern = |&&index: &&usize| {
            !self.is(index, node)
                && self.nodes[index].tags.is_none_or(|tags| tags.iter().any(|t| t.matches(&tag)))
        };
        // `FROM os-base` means the node `os-base`, whatever its tags.
        let bare = |&&index: &&usize| {
            reference.tag.is_none()
                && self.nodes[index].name.image() == reference.repository.as_str()
                && !self.is(index, node)
        };
        let candidates = || candidates.iter();
        let found = candidates()
            .find(exact)
            .or_else(|| candidates().find(pattern))
            .or_else(|| candidates().find(bare));
        if let Some(&index) = found {
            ResolvedReference { base: Base::Node(self.nodes[index].name.clone()), warning: None }
        } else {
            let mut tags: Vec<String> = candidates()
                .filter_map(|&index| self.nodes[index].tags)
                .flatten()
                .map(|tag| format!("`{tag}`"))
                .collect();
            let mut seen = HashSet::new();
            tags.retain(|tag| seen.insert(tag.clone()));
            let made = match &tags[..] {
                [only] => format!("the only tag made here is {only}"),
                tags if tags.len() <= SHOWN => {
                    format!("the tags made here are {}", tags.join(", "))
                }
                tags => format!(
                    "the tags made here are {} and {} more",
                    tags[..SHOWN].join(", "),
                    tags.len() - SHOWN
                ),
            };
            upstream(Some(Warning {
                code: RuleCode::UnknownTag,
                message: format!(
                    "no image here makes the tag `{tag}` of `{}`",
                    reference.repository
                ),
                hint: format!("it is taken for an upstream; {made}"),
            }))
        }
    }
}

impl ReferenceIndex<'_> {
    /// Whether this is the image of a node.
    fn is(&self, index: usize, node: &NodeName) -> bool {
        self.nodes[index].name.image() == node.image()
    }

    /// Name and tag are those of another node, host or path are not.
    fn elsewhere(&self, reference: &Reference, node: &NodeName) -> Option<Warning> {
        let repository = reference.repository.as_str();
        // Docker Hub's own images have short names that nodes may have, too.
        let (before, last) = repository.rsplit_once('/')?;
        let path = reference.repository.path();
        if path.split('/').any(|part| part == "library") || reference.digest.is_some() {
            return None;
        }
        let tag = reference.tag_or_latest()?;
        let by_name = self.by_name.get(last).or_else(|| self.by_name.get(path.as_str()));
        // Several repositories of one registry may end in the same name.
        let host = reference.repository.host();
        let is_elsewhere =
            |index: &&usize| self.nodes[**index].repositories.iter().all(|own| own.host() != host);
        let by_last_part = self.by_last_part.get(last).into_iter().flatten().filter(is_elsewhere);
        let mut same = by_name.into_iter().chain(by_last_part);
        let named = same.find(|&&index| {
            let tags = self.nodes[index].tags.unwrap_or_default();
            !self.is(index, node) && tags.iter().any(|one| one.as_str() == tag.as_str())
        })?;
        let named = self.nodes[*named].name.image();
        let made = match named {
            name if name == last || name == path => format!("`{name}:{tag}` is an image here"),
            name => format!("`{last}:{tag}` is made here by `{name}`"),
        };
        Some(Warning {
            code: RuleCode::OtherRegistry,
            message: format!("{made}, and `{before}` is not its registry"),
            hint: format!("it is taken for an upstream; `{named}:{tag}` names the image here"),
        })
    }
}

impl ReferenceIndex<'_> {
    /// Its repository is beside those of the images, and belongs to none of them.
    fn not_built(&self, reference: &Reference) -> Option<Warning> {
        let repository = &reference.repository;
        let folder = |one: &Repository| {
            let path = one.path();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            (one.host().to_owned(), folder.to_owned())
        };
        let its_folder = folder(repository);
        // A registry without a path is a host only with a name behind it.
        let is_beside =
            |own: &&Repository| own.join("x").is_ok_and(|one| folder(&one) == its_folder);
        let is_official = its_folder.0 == "docker.io" && its_folder.1 == "library";
        let is_pinned = reference.digest.is_some();
        if is_official || is_pinned || !self.registries.iter().any(is_beside) {
            return None;
        }
        let near = nearest(last_part(repository), self.by_name.keys().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "add it to hierarchy.yaml; if another hierarchy builds it, write `# rebuild ignore={}` above this line",
                RuleCode::NotBuilt
            ),
        };
        Some(Warning {
            code: RuleCode::NotBuilt,
            message: format!(
                "`{repository}` is in the registry of this hierarchy, but no image of hierarchy.yaml builds it: no run \
                 rebuilds it"
            ),
            hint,
        })
    }
}

fn last_part(repository: &Repository) -> &str {
    repository.as_str().rsplit('/').next().unwrap_or_default()
}

fn key(repository: &Repository) -> (String, String) {
    (repository.host().to_owned(), repository.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name repository tag,tag` a line.
    fn resolve(nodes: &str, reference: &str, from: &str) -> String {
        let owned: Vec<(NodeName, Repository, Vec<TagTemplate>)> = nodes
            .lines()
            .map(|line| {
                let [name, repository, tags] =
                    line.split_whitespace().collect::<Vec<_>>()[..].try_into().unwrap();
                let tags = tags.split(',').map(|tag| tag.parse().unwrap()).collect();
                (NodeName::from(name), repository.parse().unwrap(), tags)
            })
            .collect();
        let index = ReferenceIndex::new(
            owned
                .iter()
                .map(|(name, repository, tags)| NodeIdentity {
                    name,
                    repositories: vec![repository],
                    tags: Some(tags),
                })
                .collect(),
        );
        let registry = "reg.io/base".parse().unwrap();
        let index = index.in_registries(vec![&registry]);
        let resolved = index.resolve(&reference.parse().unwrap(), &from.into());
        let base = match resolved.base {
            Base::Node(name) => format!("node {name}"),
            Base::Upstream(reference) => format!("upstream {reference}"),
            Base::Files(name) => format!("files {name}"),
        };
        match resolved.warning {
            Some(Warning { message, hint, .. }) => format!("{base}\n{message}\n{hint}"),
            None => base,
        }
    }

    #[test]
    fn a_reference_is_a_node_by_repository_and_tag() {
        let nodes = "os reg.io/base/os 12,12-{date}\n\
                     runtime-8 reg.io/net 8.0,8.0-{git}\n\
                     runtime-9 reg.io/net 9.0,latest\n\
                     nginx reg.io/base/nginx latest,{date}\n\
                     debian debian custom,{date}";
        for (reference, expected) in [
            ("reg.io/base/os:12", "node os"),
            ("reg.io/base/os:12-20260101", "node os"),
            ("os", "node os"),
            ("os:12", "node os"),
            ("reg.io/net", "node runtime-9"),
            ("reg.io/net:8.0", "node runtime-8"),
            ("reg.io/net:8.0-abc", "node runtime-8"),
            ("runtime-8", "node runtime-8"),
            ("nginx", "node nginx"),
            ("debian:custom", "node debian"),
            ("docker.io/library/debian:custom", "node debian"),
            ("index.docker.io/library/debian:custom", "node debian"),
            ("alpine:3", "upstream alpine:3"),
            (
                "other.io/base/os:12",
                "upstream other.io/base/os:12\n\
                 `os:12` is an image here, and `other.io/base` is not its registry\n\
                 it is taken for an upstream; `os:12` names the image here",
            ),
            ("other.io/base/os:13", "upstream other.io/base/os:13"),
            (
                "other.io/nginx",
                "upstream other.io/nginx\n\
                 `nginx:latest` is an image here, and `other.io` is not its registry\n\
                 it is taken for an upstream; `nginx:latest` names the image here",
            ),
            (
                "other.io/net:8.0",
                "upstream other.io/net:8.0\n\
                 `net:8.0` is made here by `runtime-8`, and `other.io` is not its registry\n\
                 it is taken for an upstream; `runtime-8:8.0` names the image here",
            ),
            ("docker.io/library/os:12", "upstream docker.io/library/os:12"),
            (
                "reg.io/base/gone:1",
                "upstream reg.io/base/gone:1\n\
                 `reg.io/base/gone` is in the registry of this hierarchy, but no image of hierarchy.yaml builds it: no \
                 run rebuilds it\n\
                 add it to hierarchy.yaml; if another hierarchy builds it, write `# rebuild ignore=RB039` above this \
                 line",
            ),
            (
                "reg.io/base/ngnix",
                "upstream reg.io/base/ngnix\n\
                 `reg.io/base/ngnix` is in the registry of this hierarchy, but no image of hierarchy.yaml builds it: no \
                 run rebuilds it\n\
                 did you mean `nginx`?",
            ),
            ("reg.io/base/team/gone", "upstream reg.io/base/team/gone"),
            ("reg.io/gone", "upstream reg.io/gone"),
            (
                "reg.io/base/os",
                "upstream reg.io/base/os\n\
                 no image here makes the tag `latest` of `reg.io/base/os`\n\
                 it is taken for an upstream; the tags made here are `12`, `12-{date}`",
            ),
            (
                "os:13",
                "upstream os:13\n\
                 no image here makes the tag `13` of `os`\n\
                 it is taken for an upstream; the tags made here are `12`, `12-{date}`",
            ),
        ] {
            assert_eq!(resolve(nodes, reference, "app"), expected, "{reference}");
        }
        let of_no_entry = format!("reg.io/base/gone@{}", crate::image::Digest::of(b""));
        assert_eq!(resolve(nodes, &of_no_entry, "app"), format!("upstream {of_no_entry}"));
        let digest = format!("os@{}", crate::image::Digest::of(b""));
        assert!(resolve(nodes, &digest, "app").starts_with("upstream os@sha256:"));
        // A node that wraps an upstream of its own name.
        assert_eq!(resolve(nodes, "nginx", "nginx"), "upstream nginx");
        assert_eq!(resolve(nodes, "debian:custom", "debian"), "node debian");
        assert!(resolve(nodes, "debian:12", "debian").starts_with("upstream debian:12\n"));
    }
}
