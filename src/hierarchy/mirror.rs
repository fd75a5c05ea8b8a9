//! `mirror:`: where copies of upstreams are.

use crate::image::{Reference, Repository, Tag};

/// The prefix of the repositories with copies of upstreams. The copy of an upstream has the name of its registry and
/// its path, so that the mirror alone says where a copy came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub prefix: Repository,
}

impl Mirror {
    /// A prefix with a host and a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let prefix: Repository =
            text.parse().map_err(|error: crate::image::ReferenceError| error.to_string())?;
        let host = format!("{}/", prefix.host());
        if !prefix.as_str().starts_with(&host) {
            return Err(format!(
                "`mirror` must be the host of a registry and a path, such as \
                 `registry.example.com/mirror`, not `{text}`"
            ));
        }
        Ok(Self { prefix })
    }

    /// The repository with the copy of an upstream's images: `PREFIX/docker.io/library/debian`. `None` for a
    /// repository of the mirror itself, and for a name that would be too long.
    pub fn repository_of(&self, upstream: &Repository) -> Option<Repository> {
        if self.contains(upstream) {
            return None;
        }
        // `_` is in no host's name, and `:` in no path.
        let host = upstream.host().to_ascii_lowercase().replace(':', "_").replace(['[', ']'], "");
        self.prefix.join(&format!("{host}/{}", upstream.path())).ok()
    }

    /// Whether a repository is one of the mirror.
    pub fn contains(&self, repository: &Repository) -> bool {
        let below = |path: &str| {
            path.strip_prefix(&self.prefix.path()).is_some_and(|rest| rest.starts_with('/'))
        };
        repository.host() == self.prefix.host() && below(&repository.path())
    }

    /// The tag of the copy: that of the upstream. An upstream with a digest gets a tag of its own, so that no
    /// registry removes it as untagged.
    pub fn tag_of(reference: &Reference) -> Tag {
        match (&reference.digest, reference.tag_or_latest()) {
            (None, Some(tag)) => tag,
            (digest, _) => {
                let hex = digest.as_ref().map_or("", |digest| &digest.hex()[..32]);
                format!("rb-from-{hex}").parse().expect("letters and digits make a tag")
            }
        }
    }

    /// Where an upstream's images may be, the first choice first: its copy, and its own repository.
    pub fn places(mirror: Option<&Self>, upstream: &Repository) -> Vec<Repository> {
        let copy = mirror.and_then(|mirror| mirror.repository_of(upstream));
        copy.into_iter().chain([upstream.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_whole_name_of_its_upstream() {
        let mirror = Mirror::parse("r.example.com/team/mirror").unwrap();
        for (upstream, expected) in [
            ("debian", Some("docker.io/library/debian")),
            ("index.docker.io/library/debian", Some("docker.io/library/debian")),
            ("ghcr.io/a/b/c", Some("ghcr.io/a/b/c")),
            ("127.0.0.1:5000/x", Some("127.0.0.1_5000/x")),
            ("LOCALHOST:5000/x", Some("localhost_5000/x")),
            ("[::1]:5000/x", None),
            ("r.example.com/other/x", Some("r.example.com/other/x")),
            ("r.example.com/team/mirrored", Some("r.example.com/team/mirrored")),
            ("r.example.com/team/mirror/docker.io/library/debian", None),
        ] {
            let found = mirror.repository_of(&upstream.parse().unwrap());
            let expected = expected.map(|path| format!("r.example.com/team/mirror/{path}"));
            assert_eq!(found.map(String::from), expected, "{upstream}");
        }
        for bad in ["mirror", "registry.example.com", "https://r.io/x", "r.io/X"] {
            assert!(Mirror::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_has_a_tag() {
        let digest = crate::image::Digest::of(b"x");
        let short = &digest.hex()[..32];
        for (reference, expected) in [
            ("debian".to_owned(), "latest".to_owned()),
            ("debian:12".to_owned(), "12".to_owned()),
            (format!("debian@{digest}"), format!("rb-from-{short}")),
            (format!("debian:12@{digest}"), format!("rb-from-{short}")),
        ] {
            assert_eq!(Mirror::tag_of(&reference.parse().unwrap()).as_str(), expected);
        }
    }
}
