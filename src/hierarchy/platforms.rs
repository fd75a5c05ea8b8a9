//! `platforms` and `optional_platforms`: an image of the file becomes one node for each platform.
//!
//! **Invariant:** an image with one platform is a node with the image's own name, as if it had `platform`.

use std::{collections::BTreeSet, ops::Range};

use super::{
    NodeName,
    draft::Draft,
    fields::{Fields, Located, Problems},
    schema::{Image, PlatformList},
    yaml::Yaml,
};
use crate::image::Platform;

/// One platform of an image.
struct BuiltFor {
    platform: Located<Platform>,
    is_optional: bool,
}

impl Image {
    /// Reads both lists.
    pub(super) fn read_platforms(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        for (field, list) in [
            ("platforms", &mut self.platforms),
            ("optional_platforms", &mut self.optional_platforms),
        ] {
            *list = fields.take(field).and_then(|yaml| platforms(field, yaml, problems));
        }
        if let Some(several) = self.platforms.as_ref().filter(|_| self.has("platform")) {
            let message = "the image has `platform` and `platforms`";
            problems.push_with_hint(&several.span, message, "remove one of them");
        }
    }

    /// The platforms of this image, or else of `defaults`: `platform` and `platforms` replace each other.
    pub(super) fn platforms_over(
        &self,
        defaults: &Self,
    ) -> (Option<Located<Platform>>, Option<PlatformList>, Option<PlatformList>) {
        let has_one = self.has("platform");
        let one = defaults.platform.as_ref().filter(|_| self.platforms.is_none());
        let several = defaults.platforms.as_ref().filter(|_| !has_one);
        let optional = defaults.optional_platforms.as_ref().filter(|_| !has_one);
        (
            self.platform.as_ref().or(one).cloned(),
            self.platforms.as_ref().or(several).cloned(),
            self.optional_platforms.as_ref().or(optional).cloned(),
        )
    }

    /// In the order of the file, the optional ones last if `platforms` does not have them.
    fn built_for(&self) -> Vec<BuiltFor> {
        let of = |list: &Option<PlatformList>| list.as_ref().map_or(vec![], |it| it.value.clone());
        let optional = of(&self.optional_platforms);
        let mut seen = BTreeSet::new();
        let all = of(&self.platforms).into_iter().chain(optional.clone());
        let once = all.filter(|one| seen.insert(one.value.clone()));
        let built_for = once.map(|platform| {
            let is_optional = optional.contains(&platform);
            BuiltFor { platform, is_optional }
        });
        built_for.collect()
    }
}

impl Draft {
    /// One draft for each platform.
    pub(super) fn for_platforms(mut self, problems: &mut Problems) -> Vec<Self> {
        let mut built_for = self.image.built_for();
        if let Some(optional) = &self.image.optional_platforms
            && built_for.iter().all(|one| one.is_optional)
            && !optional.value.is_empty()
        {
            let message = format!("every platform of `{}` is optional", self.name);
            let hint = "name the platforms that it always has in `platforms`";
            problems.push_with_hint(&optional.span, message, hint);
            self.image.is_broken = true;
        }
        if built_for.len() < 2 {
            self.image.platform = built_for.pop().map(|only| only.platform).or(self.image.platform);
            return vec![self];
        }
        let of_platform = |BuiltFor { platform, is_optional }| {
            let mut draft = self.clone();
            draft.name = NodeName::of_platform(self.name.as_str(), &platform.value);
            draft.image.is_optional_platform = is_optional;
            draft.image.platform = Some(platform);
            draft
        };
        built_for.into_iter().map(of_platform).collect()
    }

    /// Whether its platforms are in a list, even if it is one.
    pub(super) fn has_platforms(&self) -> bool {
        self.image.platforms.is_some() || self.image.optional_platforms.is_some()
    }

    /// Where its platform is written; else where its entry is.
    pub(super) fn platform_span(&self) -> Range<usize> {
        self.image.platform.as_ref().map_or(&self.span, |platform| &platform.span).clone()
    }
}

fn platforms(field: &str, yaml: &Yaml, problems: &mut Problems) -> Option<PlatformList> {
    let items = problems.list(field, yaml)?;
    if items.is_empty() && field == "platforms" {
        problems.push(&yaml.span, "`platforms` is empty: an image needs one at least");
        return None;
    }
    let mut found: Vec<Located<Platform>> = Vec::new();
    for item in items {
        let parse = |text: &str| text.parse::<Platform>().map(Platform::normalized);
        let Some(platform) = problems.parsed_item(field, item, parse) else { continue };
        if found.contains(&platform) {
            let message = format!("the platform `{}` is given twice", platform.value);
            problems.push(&platform.span, message);
            continue;
        }
        found.push(platform);
    }
    Some(Located { value: found, span: yaml.span.clone() })
}
