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
    fn reads_what_it_writes() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for bad in ["linux", "linux/", "/amd64", "a/b/c/d", "linux/am d"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
