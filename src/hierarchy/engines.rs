//! `engines:`: the engines of a pool.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use super::{
    fields::{Problems, item},
    yaml::{ValueKind, Yaml},
};
use crate::image::Platform;

/// An engine of a pool, as the file or `--engine` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEntry {
    /// As `DOCKER_HOST` would name it, a docker context as `context://NAME`, or a `buildkitd`.
    pub url: String,
    /// The platforms that it builds without emulation; the engine's own if none is given.
    pub platforms: Vec<Platform>,
    /// How many images it builds at once; by its processors if not given.
    pub slots: Option<NonZeroUsize>,
    /// Whether it also builds for other platforms, by emulation.
    pub emulate: bool,
}

/// The forms of an address.
pub(super) const SCHEMES: [&str; 7] = [
    "unix://",
    "tcp://",
    "ssh://",
    "npipe://",
    "context://",
    "buildkitd+unix://",
    "buildkitd+tcp://",
];

impl FromStr for EngineEntry {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if !SCHEMES.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            return Err(format!(
                "`{url}` is not the address of an engine: it begins with one of {}",
                SCHEMES.join(", ")
            ));
        }
        Ok(Self { url: url.to_owned(), platforms: Vec::new(), slots: None, emulate: false })
    }
}

impl EngineEntry {
    /// Whether it is a `buildkitd`, which has no Docker API.
    pub fn is_buildkitd(&self) -> bool {
        self.url.starts_with("buildkitd+")
    }
}

impl fmt::Display for EngineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// The list of the file: addresses, or maps with more.
pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Vec<EngineEntry> {
    let items = problems.list("engines", yaml).unwrap_or_default();
    let mut engines: Vec<EngineEntry> = Vec::new();
    for item in items {
        let Some(engine) = engine(item, problems) else { continue };
        if engines.iter().any(|other| other.url == engine.url) {
            problems.push(&item.span, format!("the engine `{engine}` is given twice"));
            continue;
        }
        engines.push(engine);
    }
    engines
}

fn engine(yaml: &Yaml, problems: &mut Problems) -> Option<EngineEntry> {
    let parse = str::parse::<EngineEntry>;
    if !matches!(yaml.kind, ValueKind::Map(_)) {
        return problems.parsed_item("engines", yaml, parse).map(|engine| engine.value);
    }
    let mut fields = problems.map("an engine", &item("engines"), yaml)?;
    let url = fields.take("url").map(|yaml| problems.parsed("url", yaml, parse));
    let platforms = fields.take("platforms").and_then(|yaml| {
        let items = problems.list("platforms", yaml)?;
        let parse = |text: &str| text.parse::<Platform>().map(Platform::normalized);
        let parsed = items.iter().filter_map(|one| problems.parsed_item("platforms", one, parse));
        Some(parsed.map(|platform| platform.value).collect())
    });
    let slots = fields.take("slots").and_then(|yaml| {
        let parse = |text: &str| {
            text.parse::<NonZeroUsize>().map_err(|_| {
                format!("`slots` must be a number of images, at least 1, not `{text}`")
            })
        };
        problems.parsed("slots", yaml, parse)
    });
    let emulate = fields.take("emulate").and_then(|yaml| problems.switch("emulate", yaml));
    fields.finish(problems);
    let Some(url) = url else {
        problems.push_with_hint(
            &yaml.span,
            "an engine needs `url`",
            "write `url: ssh://user@host`",
        );
        return None;
    };
    Some(EngineEntry {
        platforms: platforms.unwrap_or_default(),
        slots: slots.map(|slots| slots.value),
        emulate: emulate.unwrap_or(false),
        ..url?.value
    })
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::{Hierarchy, LoadOptions};

    fn load(engines: &str) -> Result<Hierarchy, String> {
        let text = format!("version: 1\nregistry: r.example/x\n{engines}\nimages: {{ a: {{}} }}\n");
        let options = LoadOptions { names_only: true, ..LoadOptions::default() };
        let loaded = Hierarchy::load_text("/h.yaml".into(), text, &options);
        loaded.map(|loaded| loaded.hierarchy).map_err(|error| error.to_string())
    }

    #[test]
    fn engines_are_addresses_or_maps() {
        let hierarchy = load(
            "emulate: true\nengines: [unix:///run/a.sock, { url: ssh://b, slots: 3, platforms: [linux/arm64/v8] }]",
        )
        .unwrap();
        let [first, second] = &hierarchy.engines[..] else { panic!("two engines") };
        assert_eq!((first.url.as_str(), first.emulate), ("unix:///run/a.sock", true));
        assert_eq!(second.slots.map(std::num::NonZeroUsize::get), Some(3));
        assert_eq!(second.platforms[0].to_string(), "linux/arm64");
        for (engines, expected) in [
            ("engines: [/run/a.sock]", "`/run/a.sock` is not the address of an engine"),
            ("engines: [unix:///a, unix:///a]", "given twice"),
            ("engines: [{ slots: 1 }]", "an engine needs `url`"),
            ("engines: [{ url: ssh://b, slots: 0 }]", "`slots` must be a number"),
            ("engines: {}", "`engines` must be a list"),
        ] {
            let error = load(engines).unwrap_err();
            assert!(error.contains(expected), "{engines}: {error}");
        }
    }
}
