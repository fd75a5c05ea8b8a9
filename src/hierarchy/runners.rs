//! `runners:`: which runners of a CI system build for which platform.

use std::collections::BTreeMap;

use super::{
    fields::Problems,
    yaml::{ValueKind, Yaml},
};
use crate::image::Platform;

/// The key of the runner for images without `platform`, and for platforms without a runner.
const DEFAULT: &str = "default";

/// The label of each platform; that of `None` is the default.
pub type Runners = BTreeMap<Option<Platform>, String>;

/// A label is written into files that CI systems interpret.
pub fn check_label(text: &str) -> Result<(), &'static str> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-/=".contains(c);
    if text.is_empty() || !text.chars().all(is_safe) {
        return Err("the label of a runner has letters, digits and `._-/=` only");
    }
    Ok(())
}

pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Runners {
    let ValueKind::Map(entries) = &yaml.kind else {
        problems.expected("runners", "a map of platforms and labels", yaml);
        return Runners::new();
    };
    let mut runners = Runners::new();
    for (key, value) in entries {
        let platform = match key.name.as_str() {
            DEFAULT => None,
            name => match name.parse::<Platform>() {
                Ok(platform) => Some(platform),
                Err(error) => {
                    problems.push(
                        &key.span,
                        format!("in `runners`: {error}, and it is not `{DEFAULT}`"),
                    );
                    continue;
                }
            },
        };
        let label = value.scalar().unwrap_or_default();
        match check_label(&label) {
            Ok(()) => drop(runners.insert(platform, label)),
            Err(why) => problems.push(&value.span, format!("in `runners`: {why}")),
        }
    }
    runners
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::{Hierarchy, LoadOptions};

    #[test]
    fn each_platform_has_a_label() {
        let load = |runners: &str| {
            let text = format!("version: 1\nrunners: {runners}\nimages: {{ a: {{}} }}\n");
            let options = LoadOptions { names_only: true, ..LoadOptions::default() };
            Hierarchy::load_text("/h.yaml".into(), text, &options)
        };
        let loaded = load("{ default: big, linux/arm64: ubuntu-24.04-arm }").unwrap();
        let runners = loaded.hierarchy.runners;
        assert_eq!(runners[&None], "big");
        assert_eq!(runners[&Some("linux/arm64".parse().unwrap())], "ubuntu-24.04-arm");
        for (runners, expected) in [
            ("[a]", "`runners` must be a map of platforms and labels"),
            ("{ arm: x }", "in `runners`"),
            ("{ linux/arm64: \"x }} y\" }", "the label of a runner has letters"),
            ("{ linux/arm64: \"\" }", "the label of a runner has letters"),
        ] {
            let error = load(runners).unwrap_err();
            assert!(
                error.problems.iter().any(|it| it.message.contains(expected)),
                "{runners}: {error}"
            );
        }
    }
}
