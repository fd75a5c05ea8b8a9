//! Platforms: `linux/amd64`, `linux/arm/v7`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An operating system and an architecture, as OCI image indexes name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a platform is `os/architecture` or `os/architecture/variant`, not `{0}`")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = s.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        match parts[..] {
            [os, architecture] if parts.iter().all(word) => {
                Ok(Self { os: os.into(), architecture: architecture.into(), variant: None })
            }
            [os, architecture, variant] if parts.iter().all(word) => Ok(Self {
                os: os.into(),
                architecture: architecture.into(),
                variant: Some(variant.into()),
            }),
            _ => Err(PlatformError(s.to_owned())),
        }
    }
}

impl Platform {
    /// As BuildKit writes it, so that two spellings are one platform: `linux/arm64/v8` is `linux/arm64`, and
    /// `linux/aarch64` too: <https://github.com/containerd/platforms/blob/v1.0.0/database.go>.
    #[must_use]
    pub fn normalized(self) -> Self {
        let Self { os, architecture, variant } = self;
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", Some(_)) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("i386", _) => ("386", None),
            ("armhf", _) | ("arm", None | Some("" | "7")) => ("arm", Some("v7".to_owned())),
            ("armel", _) => ("arm", Some("v6".to_owned())),
            (_, _) => (architecture.as_str(), variant),
        };
        Self { os, architecture: architecture.to_owned(), variant }
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_one_platform() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/s390x", "linux/s390x"),
        ] {
            let platform = text.parse::<Platform>().unwrap().normalized();
            assert_eq!(platform.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for bad in ["linux", "linux/", "/amd64", "a/b/c/d", "linux/am d"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
