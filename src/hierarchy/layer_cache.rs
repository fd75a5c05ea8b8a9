//! `cache`: where BuildKit reads the layer cache of other machines, and where it writes its own.

use std::{collections::BTreeMap, str::FromStr};

use crate::image::{Reference, Repository};

/// The tag of an image's repository with its layer cache.
const TAG: &str = "rb-cache";

/// The places of a layer cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePlaces {
    pub from: Vec<CachePlace>,
    pub to: Vec<CachePlace>,
}

/// One place, as `docker buildx build --cache-from` and `--cache-to` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlace {
    pub kind: CacheKind,
    /// BuildKit's own: `ref`, `mode`, `compression`, …
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// A tag in a registry.
    Registry,
    /// The image itself.
    Inline,
}

impl CacheKind {
    /// As BuildKit spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Inline => "inline",
        }
    }
}

impl CachePlace {
    /// The image in a registry; without `ref`, the tag `rb-cache` of the image's own repository.
    pub fn reference(&self, own: &Repository) -> Option<String> {
        let default = || format!("{own}:{TAG}");
        (self.kind == CacheKind::Registry)
            .then(|| self.attributes.get("ref").cloned().unwrap_or_else(default))
    }
}

/// `registry`, `inline`, `type=registry,ref=example.com/app:cache,mode=max`, or only a reference.
impl FromStr for CachePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, attributes) = match text {
            "registry" | "inline" => (text.to_owned(), BTreeMap::new()),
            _ if !text.contains('=') => {
                ("registry".to_owned(), [("ref".to_owned(), text.to_owned())].into())
            }
            _ => {
                let pair = |part: &str| {
                    let (name, value) = part.split_once('=')?;
                    Some((name.trim().to_owned(), value.trim().to_owned()))
                };
                let pairs: Option<BTreeMap<_, _>> = text.split(',').map(pair).collect();
                let wrong = || format!("`{text}` is not a list of `name=value`");
                let mut pairs = pairs.ok_or_else(wrong)?;
                (pairs.remove("type").unwrap_or_else(|| "registry".to_owned()), pairs)
            }
        };
        if let Some(reference) = attributes.get("ref") {
            reference.parse::<Reference>().map_err(|error| error.to_string())?;
        }
        let kind = match kind.as_str() {
            "registry" => CacheKind::Registry,
            "inline" => CacheKind::Inline,
            _ => {
                return Err(format!(
                    "a cache of the type `{kind}` is not supported; use `registry` or `inline`"
                ));
            }
        };
        Ok(Self { kind, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_with_buildx() {
        let own: Repository = "example.com/app".parse().unwrap();
        let shown = |text: &str| {
            let place: CachePlace = text.parse()?;
            let reference = place.reference(&own).unwrap_or_default();
            let mode = place.attributes.get("mode").cloned().unwrap_or_default();
            Ok::<_, String>(format!("{} {reference} {mode}", place.kind.as_str()))
        };
        for (text, expected) in [
            ("registry", Ok("registry example.com/app:rb-cache ")),
            ("inline", Ok("inline  ")),
            ("example.com/other:cache", Ok("registry example.com/other:cache ")),
            ("type=registry,ref=a.example/b:c,mode=max", Ok("registry a.example/b:c max")),
            ("mode=max", Ok("registry example.com/app:rb-cache max")),
            (
                "type=local,dest=/tmp/x",
                Err("a cache of the type `local` is not supported; use `registry` or `inline`"),
            ),
            ("type=registry,max", Err("`type=registry,max` is not a list of `name=value`")),
        ] {
            assert_eq!(shown(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert!(shown("ref=A").is_err());
    }
}
