//! Options of a build: what its `RUN` instructions see, beside the files and the arguments.
//!
//! Its row in `field_table` is all that reading, `defaults` and matrices need. A new option is a row, a line in
//! [`BuildFields::settings`], and one in [`BuildSettings::named`] if it is part of the fingerprint.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr, str::FromStr};

use super::{
    Attestations, CacheKind, CachePlace, CachePlaces, NamedContext, attestations,
    field_table::{FieldShape, IMAGE},
    fields::{Fields, Located, Problems},
    units,
    yaml::{ValueKind, Yaml},
};
use crate::image::Reference;

/// The text of a Dockerfile, beside `dockerfile`, which names its file.
pub(super) const INLINE: &str = "dockerfile_inline";
/// The lists of `cache`.
const CACHE_LISTS: [(&str, &str); 2] = [("from", "cache.from"), ("to", "cache.to")];

/// The limits that Docker knows (github.com/docker/go-units, `ulimit.go`).
pub(super) const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// The engine fills in the address of its own machine.
pub const HOST_GATEWAY: &str = "host-gateway";

/// The options of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildSettings {
    pub network: BuildNetwork,
    /// Lines for `/etc/hosts`: the address of each name, or `host-gateway`.
    pub add_hosts: BTreeMap<String, String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// By their name without `RLIMIT_`, in small letters.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Stages that are built without the layer cache.
    pub no_cache_filter: Vec<String>,
    /// What the Dockerfile takes instead of images of those names.
    pub contexts: BTreeMap<String, NamedContext>,
    pub cache: CachePlaces,
    /// Texts by name in the manifest of the image.
    pub annotations: BTreeMap<String, String>,
    pub attest: Attestations,
}

/// The network of `RUN` instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuildNetwork {
    #[default]
    Default,
    None,
    /// That of the engine's machine.
    Host,
}

/// A resource limit; -1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}

impl BuildSettings {
    /// What of it is part of the fingerprint, by the names that `why` uses. Empty without any option.
    ///
    /// `no_cache_filter` and `cache` are left out: they say how an image is built, and not what is in it.
    pub fn named(&self) -> BTreeMap<String, String> {
        let Self {
            network,
            add_hosts,
            shm_size,
            ulimits,
            no_cache_filter: _,
            contexts,
            cache: _,
            annotations: _,
            attest: _,
        } = self;
        let contexts = contexts.iter();
        let mut named: BTreeMap<String, String> =
            contexts.map(|(name, source)| (format!("contexts.{name}"), source.kind())).collect();
        if *network != BuildNetwork::Default {
            named.insert("network".to_owned(), network.as_str().to_owned());
        }
        named.extend(shm_size.map(|size| ("shm_size".to_owned(), size.to_string())));
        let hosts = add_hosts.iter().map(|(name, at)| (format!("add_hosts.{name}"), at.clone()));
        named.extend(hosts);
        let limits = ulimits.iter();
        named.extend(limits.map(|(name, limit)| (format!("ulimits.{name}"), limit.to_string())));
        named.extend(self.beside());
        named
    }

    /// What these options add to an image in a registry beside its files and its configuration.
    pub fn beside(&self) -> BTreeMap<String, String> {
        let annotations = self.annotations.iter();
        let annotations =
            annotations.map(|(name, text)| (format!("annotations.{name}"), text.clone()));
        let attest = self.attest.options().into_iter();
        annotations.chain(attest.map(|(name, text)| (name.to_owned(), text))).collect()
    }
}

impl BuildNetwork {
    /// As the hierarchy file and Docker spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

impl FromStr for BuildNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Default, Self::None, Self::Host];
        let found = all.into_iter().find(|network| network.as_str() == text);
        found.ok_or_else(|| format!("`network` must be `default`, `none` or `host`, not `{text}`"))
    }
}

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a limit, such as `1024`, `1024:2048` (soft and hard) or `-1` (unlimited)"
            )
        };
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= -1);
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let (soft, hard) = (number(soft).ok_or_else(wrong)?, number(hard).ok_or_else(wrong)?);
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(format!("the soft limit of `{text}` is larger than the hard limit"));
        }
        Ok(Self { soft, hard })
    }
}

/// As Docker spells it.
impl Display for Ulimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.soft, self.hard)
    }
}

/// The options as an entry of the file gives them. A matrix fills them in before they are checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BuildFields {
    texts: BTreeMap<&'static str, Located<String>>,
    maps: BTreeMap<&'static str, BTreeMap<String, Located<String>>>,
    lists: BTreeMap<&'static str, Vec<Located<String>>>,
}

impl BuildFields {
    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Self {
        let mut read = Self::default();
        for row in IMAGE.iter().filter(|row| row.is_build_option) {
            let name = row.key;
            let Some(yaml) = fields.take(name) else { continue };
            match row.shape {
                FieldShape::Value => {
                    read.texts.extend(problems.text(name, yaml).map(|text| (name, text)));
                }
                FieldShape::Map => {
                    read.maps.extend(map(name, yaml, problems).map(|map| (name, map)));
                }
                FieldShape::List => {
                    let list = problems.texts(name, yaml);
                    read.lists.extend(list.map(|list| (name, list.value)));
                }
                FieldShape::MapOfLists => read.read_cache(yaml, problems),
            }
        }
        read
    }

    fn read_cache(&mut self, yaml: &Yaml, problems: &mut Problems) {
        let ValueKind::Map(entries) = &yaml.kind else {
            problems.expected("cache", "a map with `from` and `to`", yaml);
            return;
        };
        for (key, value) in entries {
            let Some((_, name)) = CACHE_LISTS.into_iter().find(|(known, _)| *known == key.name)
            else {
                problems.push(
                    &key.span,
                    format!("`cache` has no field `{}`; it has `from` and `to`", key.name),
                );
                continue;
            };
            let list = match &value.kind {
                ValueKind::List(_) => problems.texts(name, value).map(|list| list.value),
                _ => problems.text(name, value).map(|text| vec![text]),
            };
            self.lists.extend(list.map(|list| (name, list)));
        }
    }

    /// These options before those of `defaults`.
    pub(super) fn over(mut self, defaults: &Self) -> Self {
        for (name, text) in &defaults.texts {
            self.texts.entry(name).or_insert_with(|| text.clone());
        }
        for (name, map) in &defaults.maps {
            let own = self.maps.entry(name).or_default();
            for (key, value) in map {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        for (name, list) in &defaults.lists {
            self.lists.entry(name).or_insert_with(|| list.clone());
        }
        self
    }

    /// With each text replaced by another.
    pub(super) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        let mut filled = self.clone();
        // `${NAME}` is a variable of the Dockerfile.
        let inline = |text: &str| text.split("${").map(&fill).collect::<Vec<_>>().join("${");
        for (name, text) in &mut filled.texts {
            text.value = if *name == INLINE { inline(&text.value) } else { fill(&text.value) };
        }
        let maps = filled.maps.values_mut().flat_map(BTreeMap::values_mut);
        for text in maps.chain(filled.lists.values_mut().flatten()) {
            text.value = fill(&text.value);
        }
        filled
    }

    /// An option of one value, as it is written.
    pub(super) fn text(&self, name: &str) -> Option<&Located<String>> {
        self.texts.get(name)
    }

    /// The named contexts as they are written.
    pub(super) fn contexts(&self) -> impl Iterator<Item = (&String, &Located<String>)> {
        self.maps.get("contexts").into_iter().flatten()
    }

    pub(super) fn list(&self, name: &str) -> &[Located<String>] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    /// As if an option were not given.
    pub(super) fn clear(&mut self, name: &str) {
        self.texts.remove(name);
        self.lists.remove(name);
    }

    /// The options, and the problems of those that are wrong.
    pub(super) fn settings(&self, problems: &mut Problems) -> BuildSettings {
        BuildSettings {
            network: self.parsed("network", problems, str::parse).unwrap_or_default(),
            add_hosts: self.each("add_hosts", problems, |name, text| {
                match text.parse::<IpAddr>() {
                    _ if name.is_empty() || name.contains([' ', '=', ':', ',']) => {
                        Err(format!("`{name}` is not the name of a host"))
                    }
                    Err(_) if text != HOST_GATEWAY => Err(format!(
                        "`add_hosts.{name}` must be an IP address or `{HOST_GATEWAY}`, not `{text}`"
                    )),
                    _ => Ok(text.to_owned()),
                }
            }),
            shm_size: self.parsed("shm_size", problems, units::size),
            ulimits: self.each("ulimits", problems, |name, text| {
                if LIMITS.contains(&name) {
                    return text.parse();
                }
                Err(format!("there is no limit `{name}`; limits are {}", LIMITS.join(", ")))
            }),
            contexts: self.each("contexts", problems, |name, text| {
                name.parse::<Reference>().map_err(|error| error.to_string())?;
                text.parse()
            }),
            no_cache_filter: self
                .list("no_cache_filter")
                .iter()
                .map(|one| one.value.clone())
                .collect(),
            cache: CachePlaces {
                from: self.places("cache.from", problems),
                to: self.places("cache.to", problems),
            },
            annotations: self.each("annotations", problems, |name, text| {
                if name.is_empty() || name.contains(char::is_whitespace) {
                    return Err(format!("`{name}` is not the name of an annotation"));
                }
                Ok(text.to_owned())
            }),
            attest: self.attestations(problems),
        }
    }

    fn places(&self, name: &str, problems: &mut Problems) -> Vec<CachePlace> {
        let parse = |text: &Located<String>| {
            let place = text.value.parse::<CachePlace>().and_then(|place| {
                if name == "cache.from" && place.kind == CacheKind::Inline {
                    return Err("an inline cache is in the image: name it, as in `from: [registry.example.com/app:latest]`".to_owned());
                }
                Ok(place)
            });
            place.map_err(|error| problems.push(&text.span, error)).ok()
        };
        self.list(name).iter().filter_map(parse).collect()
    }

    fn attestations(&self, problems: &mut Problems) -> Attestations {
        let mut attest = Attestations::default();
        for (name, text) in self.maps.get("attest").into_iter().flatten() {
            let read = match name.as_str() {
                "provenance" => attestations::provenance(&text.value)
                    .map(|provenance| attest.provenance = provenance),
                "sbom" => attestations::sbom(&text.value).map(|sbom| attest.sbom = sbom),
                _ => Err(format!("`attest` has no field `{name}`; it has `provenance` and `sbom`")),
            };
            if let Err(error) = read {
                problems.push(&text.span, error);
            }
        }
        attest
    }

    fn parsed<T, E: Display>(
        &self,
        name: &str,
        problems: &mut Problems,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.texts.get(name)?;
        parse(&text.value).map_err(|error| problems.push(&text.span, error.to_string())).ok()
    }

    fn each<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        parse: impl Fn(&str, &str) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let all = self.maps.get(name).into_iter().flatten();
        let good = all.filter_map(|(key, text)| match parse(key, &text.value) {
            Ok(value) => Some((key.clone(), value)),
            Err(error) => {
                problems.push(&text.span, error);
                None
            }
        });
        good.collect()
    }
}

fn map(
    field: &str,
    yaml: &Yaml,
    problems: &mut Problems,
) -> Option<BTreeMap<String, Located<String>>> {
    let ValueKind::Map(entries) = &yaml.kind else {
        problems.expected(field, "a map", yaml);
        return None;
    };
    let entries = entries.iter().filter_map(|(key, value)| {
        Some((key.name.clone(), problems.text(&format!("{field}.{}", key.name), value)?))
    });
    Some(entries.collect())
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::{Hierarchy, LoadOptions, Node};

    fn load(images: &str) -> Result<Vec<Node>, Vec<String>> {
        let options = LoadOptions { names_only: true, ..LoadOptions::default() };
        let text = format!("version: 1\n{images}\n");
        let loaded = Hierarchy::load_text("/h.yaml".into(), text, &options);
        let problems = |error: crate::hierarchy::LoadError| {
            let line = |one: &crate::check::diagnostic::Diagnostic| {
                let (_, line, column) = one.position().unwrap();
                format!("{line}:{column}: {}", one.message)
            };
            error.problems.iter().map(line).collect::<Vec<_>>()
        };
        let loaded = loaded.map_err(problems)?;
        Ok(loaded.hierarchy.in_build_order().cloned().collect())
    }

    #[test]
    fn wrong_options_are_reported_at_their_place_with_what_is_allowed() {
        for (option, expected) in [
            ("network: bridge", "`network` must be `default`, `none` or `host`, not `bridge`"),
            ("network: [none]", "`network` must be a text, not a list"),
            ("add_hosts: [a]", "`add_hosts` must be a map, not a list"),
            (
                "add_hosts: { db: here }",
                "`add_hosts.db` must be an IP address or `host-gateway`, not `here`",
            ),
            ("add_hosts: { 'a b': 1.2.3.4 }", "`a b` is not the name of a host"),
            ("shm_size: big", "`big` is not a size, such as `120MB`, `1.5GiB` or `4096`"),
            (
                "ulimits: { files: 1 }",
                "there is no limit `files`; limits are core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack",
            ),
            (
                "ulimits: { nofile: many }",
                "`many` is not a limit, such as `1024`, `1024:2048` (soft and hard) or `-1` (unlimited)",
            ),
            (
                "ulimits: { nofile: -2 }",
                "`-2` is not a limit, such as `1024`, `1024:2048` (soft and hard) or `-1` (unlimited)",
            ),
            (
                "ulimits: { nofile: \"5:4\" }",
                "the soft limit of `5:4` is larger than the hard limit",
            ),
            (
                "ulimits: { nofile: \"-1:4\" }",
                "the soft limit of `-1:4` is larger than the hard limit",
            ),
            ("no_cache_filter: a", "`no_cache_filter` must be a list, not the text `a`"),
        ] {
            let found = load(&format!("images:\n  a:\n    {option}")).unwrap_err();
            let [problem] = &found[..] else { panic!("{option}: {found:?}") };
            let (place, message) = problem.split_once(": ").unwrap();
            assert_eq!(message, expected, "{option}");
            assert!(place.starts_with("4:"), "{option}: {place}");
        }
    }

    #[test]
    fn options_are_inherited_merged_and_filled_in() {
        let nodes = load(
            "defaults: { network: none, shm_size: 1MB, add_hosts: { a: 1.1.1.1, b: 1.1.1.1 }, ulimits: { core: 0 } }\n\
             images:\n  \
               own: { network: default, add_hosts: { b: \"::1\" }, ulimits: { nofile: \"1:-1\" } }\n  \
               m-{n}: { matrix: { n: [\"2\"] }, shm_size: \"{n}MB\", add_hosts: { a: \"1.1.1.{n}\" } }",
        );
        let shown: Vec<String> = nodes
            .unwrap()
            .iter()
            .map(|node| format!("{} {:?}", node.name, node.settings.named()))
            .collect();
        assert_eq!(
            shown,
            [
                r#"own {"add_hosts.a": "1.1.1.1", "add_hosts.b": "::1", "shm_size": "1000000", "ulimits.core": "0:0", "ulimits.nofile": "1:-1"}"#,
                r#"m-2 {"add_hosts.a": "1.1.1.2", "add_hosts.b": "1.1.1.1", "network": "none", "shm_size": "2000000", "ulimits.core": "0:0"}"#,
            ]
        );
    }
}
