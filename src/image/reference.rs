//! Image references, by the grammar of `github.com/distribution/reference`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Digest, DigestError};

/// Docker Hub, whose name may be left out.
const DEFAULT_HOST: &str = "docker.io";
/// The other names of Docker Hub. Docker replaces the first of them; its API is at the second.
const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Docker Hub's official images, whose namespace may be left out.
const DEFAULT_NAMESPACE: &str = "library";

/// A name without tag or digest: `debian`, `registry.example.com:5000/base/app`.
///
/// Kept as written; [`host`](Self::host) and [`path`](Self::path) fill in what docker fills in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);

/// A tag: at most 128 of `[A-Za-z0-9_.-]`, the first not `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// A repository and a tag: what `docker pull` takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tagged {
    pub repository: Repository,
    pub tag: Tag,
}

/// What a `FROM` line may name: a repository, perhaps with a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("`{0}` is not an image name{hint}", hint = name_hint(.0))]
    Repository(String),
    #[error("`{0}` is not an image name: repository names are lower case")]
    UpperCase(String),
    #[error("the tag is empty")]
    EmptyTag,
    #[error(
        "`{0}` is not a tag: a tag is at most 128 letters, digits, `_`, `.` and `-`, and starts \
         with a letter, a digit or `_`"
    )]
    Tag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// The address in a browser and the address of a registry are not names of images.
fn name_hint(name: &str) -> String {
    if let Some((scheme @ ("http" | "https" | "docker" | "oci"), _)) = name.split_once("://") {
        return format!(": leave `{scheme}://` out");
    }
    if let Some((host, port)) = name.trim_end_matches('/').rsplit_once(':')
        && (host == "localhost" || host.contains('.'))
        && !host.contains('/')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let is_port = port.parse::<u16>().is_ok();
        return if is_port {
            format!(": add a path, such as `{host}:{port}/demo`")
        } else {
            String::new()
        };
    }
    if name.strip_suffix('/').is_some_and(|rest| rest.parse::<Repository>().is_ok()) {
        return ": leave the last `/` out".to_owned();
    }
    tag_hint(name).unwrap_or_default()
}

/// A reference with a tag or a digest is not a repository.
fn tag_hint(name: &str) -> Option<String> {
    let reference: Reference = name.to_ascii_lowercase().parse().ok()?;
    let repository = reference.repository.as_str();
    let rest = &name[repository.len()..];
    let what = match (reference.tag, reference.digest) {
        (Some(_), None) => "the tag",
        (None, Some(_)) => "the digest",
        _ => "the tag and the digest",
    };
    // An upper-case host is valid.
    let is_lower = name[..repository.len()].parse::<Repository>().is_ok();
    let case = if is_lower { "" } else { "repository names are lower case, and " };
    (!rest.is_empty()).then(|| format!(": {case}leave {what} `{rest}` out"))
}

impl Repository {
    /// The registry's host and port; `docker.io` for every name of Docker Hub and where none is
    /// written.
    pub fn host(&self) -> &str {
        self.split().0.filter(|host| !HUB_ALIASES.contains(host)).unwrap_or(DEFAULT_HOST)
    }

    /// The name within the registry, `library/debian` for `debian`.
    pub fn path(&self) -> String {
        let (_, path) = self.split();
        if self.host() == DEFAULT_HOST && !path.contains('/') {
            return format!("{DEFAULT_NAMESPACE}/{path}");
        }
        path.to_owned()
    }

    /// Whether two spellings name the same repository, as `debian` and `docker.io/library/debian`.
    pub fn is_same(&self, other: &Self) -> bool {
        self == other || (self.host() == other.host() && self.path() == other.path())
    }

    /// The same with another path component at the end.
    pub fn join(&self, component: &str) -> Result<Self, ReferenceError> {
        format!("{self}/{component}").parse()
    }

    pub fn tagged(&self, tag: Tag) -> Tagged {
        Tagged { repository: self.clone(), tag }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component is a host if it looks like one: a dot, a port, or `localhost`.
    fn split(&self) -> (Option<&str>, &str) {
        match self.0.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (Some(first), rest)
            }
            _ => (None, &self.0),
        }
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let candidate = Self(s.to_owned());
        let (host, path) = candidate.split();
        if host.is_none_or(is_host) && path.split('/').all(is_path_component) && s.len() <= 255 {
            return Ok(candidate);
        }
        if path.to_ascii_lowercase().split('/').all(is_path_component) && host.is_none_or(is_host) {
            return Err(ReferenceError::UpperCase(s.to_owned()));
        }
        Err(ReferenceError::Repository(s.to_owned()))
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let name_is_good = match bracketed {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    name_is_good && port.is_none_or(digits)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = |b: Option<&u8>| b.is_some_and(alphanumeric);
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    bytes.split(alphanumeric).filter(|separator| !separator.is_empty()).all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

impl Tag {
    /// The tag that a name without one means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = s.bytes();
        let good = s.len() <= 128
            && bytes.next().is_some_and(word)
            && bytes.all(|b| word(b) || b == b'.' || b == b'-');
        if good {
            Ok(Self(s.to_owned()))
        } else if s.is_empty() {
            Err(ReferenceError::EmptyTag)
        } else {
            Err(ReferenceError::Tag(s.to_owned()))
        }
    }
}

impl Reference {
    /// The tag, `latest` if neither tag nor digest is written.
    pub fn tag_or_latest(&self) -> Option<Tag> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(Tag::latest()),
        }
    }

    /// Whether it is a base image of Microsoft that only an engine on Windows can run:
    /// <https://learn.microsoft.com/en-us/virtualization/windowscontainers/manage-containers/container-base-images>.
    pub fn is_for_windows(&self) -> bool {
        let Some(path) = self.repository.as_str().strip_prefix("mcr.microsoft.com/") else {
            return false;
        };
        let names_windows = |tag: &Tag| {
            ["nanoserver", "windowsservercore"].iter().any(|word| tag.as_str().contains(word))
        };
        path == "windows"
            || path.starts_with("windows/")
            || self.tag.as_ref().is_some_and(names_windows)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (name, digest) = match s.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (s, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            // `localhost:5000/app`: the colon belongs to the port.
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.parse()?)),
            _ => (name, None),
        };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Text in, text out, checked on the way in.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ReferenceError;

            fn try_from(s: String) -> Result<Self, Self::Error> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}
as_text!(Repository, Tag, Reference);

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_path_are_what_docker_takes_them_for() {
        for (text, host, path) in [
            ("debian", "docker.io", "library/debian"),
            ("docker.io/debian", "docker.io", "library/debian"),
            ("index.docker.io/debian", "docker.io", "library/debian"),
            ("index.docker.io/team/app", "docker.io", "team/app"),
            ("registry-1.docker.io/library/debian", "docker.io", "library/debian"),
            ("team/app", "docker.io", "team/app"),
            ("ghcr.io/team/app", "ghcr.io", "team/app"),
            ("localhost/app", "localhost", "app"),
            ("127.0.0.1:5000/demo/app", "127.0.0.1:5000", "demo/app"),
            ("[::1]:5000/app", "[::1]:5000", "app"),
        ] {
            let repository: Repository = text.parse().unwrap();
            assert_eq!((repository.host(), repository.path().as_str()), (host, path), "{text}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let digest = Digest::of(b"");
        for text in [
            "debian",
            "debian:bookworm-slim",
            "localhost:5000/app",
            "localhost:5000/app:1.0",
            "a/b__c/d-e.f:X_1",
            &format!("debian:12@{digest}"),
            &format!("debian@{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        for bad in [
            "",
            ":1",
            "debian:",
            "Debian",
            "a//b",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a:b:c",
            "a@sha256:1",
            "debian:-x",
            "${BASE}",
            "a b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert_eq!(
            "https://r.io/x".parse::<Reference>().unwrap_err().to_string(),
            "`https://r.io/x` is not an image name: leave `https://` out"
        );
        assert_eq!(
            "127.0.0.1:5931".parse::<Repository>().unwrap_err().to_string(),
            "`127.0.0.1:5931` is not an image name: add a path, such as `127.0.0.1:5931/demo`"
        );
        assert_eq!(
            "team/App".parse::<Reference>().unwrap_err().to_string(),
            "`team/App` is not an image name: repository names are lower case"
        );
        let digest = Digest::of(b"");
        for (text, hint) in [
            ("127.0.0.1:5877/nuc:latest", ": leave the tag `:latest` out".to_owned()),
            ("team/app:V1", ": leave the tag `:V1` out".to_owned()),
            (
                "127.0.0.1:5877/Nuc:1",
                ": repository names are lower case, and leave the tag `:1` out".to_owned(),
            ),
            (&format!("app@{digest}"), format!(": leave the digest `@{digest}` out")),
            (&format!("a:1@{digest}"), format!(": leave the tag and the digest `:1@{digest}` out")),
            ("127.0.0.1:5877/base/", ": leave the last `/` out".to_owned()),
            ("127.0.0.1:99999", String::new()),
            ("a b", String::new()),
        ] {
            let told = text.parse::<Repository>().unwrap_err().to_string();
            assert_eq!(told, format!("`{text}` is not an image name{hint}"));
        }
    }

    #[test]
    fn the_same_repository_has_several_spellings() {
        let of = |s: &str| s.parse::<Repository>().unwrap();
        for spelling in ["library/debian", "docker.io/debian", "index.docker.io/library/debian"] {
            assert!(of("debian").is_same(&of(spelling)), "{spelling}");
        }
        assert!(!of("debian").is_same(&of("ghcr.io/library/debian")));
    }
}
