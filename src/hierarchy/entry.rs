//! The entries of a hierarchy file by themselves, to compare those of two versions of it.

use std::{collections::BTreeMap, path::Path};

use super::{
    LoadOptions, NodeName, OnFailure, TagTemplate,
    draft::{self, Draft},
    fields::{Located, Problems},
    load::BUILD_TIMEOUT,
    schema::{File, Image},
    yaml,
};
use crate::{check::diagnostic::SourceFile, image::Repository};

/// What the file says of one image, `defaults` and matrix applied. Two are equal if the file means
/// the same by them, however it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    image: Image,
    repository: Option<Repository>,
    destinations: Vec<Repository>,
    tags: Vec<TagTemplate>,
}

/// Every entry that is good by itself; `None` if the text is no hierarchy file at all. Dockerfiles
/// and contexts are not looked at: those of the text's time may be gone.
pub fn entries(
    path: &Path,
    text: &[u8],
    options: &LoadOptions,
) -> Option<BTreeMap<NodeName, Entry>> {
    let source = SourceFile::new(path, std::str::from_utf8(text).ok()?.to_owned());
    let (mut tree, _) = yaml::parse(&source).ok()?;
    let mut problems = Problems::new(&source);
    let file = File::expanded(&mut tree, path, options, &mut problems)?;
    let drafts = draft::drafts(file, options, &mut problems);
    let good = drafts.into_iter().filter(|draft| !draft.image.is_broken);
    Some(good.map(|draft| (draft.name.clone(), Entry::new(draft))).collect())
}

impl Entry {
    fn new(draft: Draft) -> Self {
        let Draft { mut image, repository, destinations, tags, .. } = draft;
        let dockerfile = || Located { value: "Dockerfile".to_owned(), span: 0..0 };
        image.dockerfile.get_or_insert_with(dockerfile);
        image.test.get_or_insert_default();
        image.gates.get_or_insert_default();
        image.on_failure.get_or_insert(OnFailure::Block);
        image.timeout.get_or_insert(BUILD_TIMEOUT);
        image.retries.get_or_insert(0);
        let flatten = image.flatten(true);
        (image.flatten, image.default_flatten) = (None, Some(flatten));
        // It changes no image.
        image.keep = None;
        image.sign = None;
        image.file_labels = None;
        // Said already by the other fields, or only a check of what the Dockerfile says.
        image.tags = None;
        image.repository = None;
        image.publish = None;
        image.parents = None;
        image.matrix = None;
        // Each is an entry of its own, with its `platform`.
        (image.platforms, image.optional_platforms) = (None, None);
        image.is_optional_platform = false;
        image.allow_build_args = None;
        image.ssh.get_or_insert_default();
        image.budget = image.budget.normal();
        // It says how an image is built, and not what is in it.
        image.build.clear("no_cache_filter");
        image.settings.no_cache_filter.clear();
        Self { image, repository, destinations, tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The images whose entries differ.
    fn changed(then: &str, now: &str) -> String {
        let read = |text: &str| {
            let text = format!("version: 1\n{text}");
            entries(Path::new("/h.yaml"), text.as_bytes(), &LoadOptions::default()).unwrap()
        };
        let (then, now) = (read(then), read(now));
        let changed = now.iter().filter(|(name, entry)| then.get(*name) != Some(entry));
        changed.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn entries_are_compared_by_what_they_mean() {
        for (then, now, expected) in [
            ("images: {a: {}, b: {}}", "images:\n  b:\n  # moved\n  a: {}", ""),
            ("images: {a: {}}", "images: {a: {}, b: {}}", "b"),
            ("images: {a: {}, b: {}}", "images: {a: {}}", ""),
            (
                "images: {a: {}}",
                "images: {a: {tags: [latest], timeout: 60m, retries: 0, dockerfile: Dockerfile, on_failure: block}}",
                "",
            ),
            ("images: {a: {}}", "images: {a: {parents: [x]}}", ""),
            ("images: {a: {}, b: {}}", "images: {a: {target: x}, b: {}}", "a"),
            ("images: {a: {}, b: {}}", "images: {a: {build_args: {X: 1}}, b: {}}", "a"),
            ("images: {a: {build_args: {X: 1}}}", "images: {a: {build_args: {X: '1'}}}", ""),
            ("images: {a: {}}", "images: {a: {tags: [x]}}", "a"),
            ("images: {a: {}}", "images: {a: {test: [{run: [x]}]}}", "a"),
            (
                "images: {a: {}, b: {tags: [x]}}",
                "defaults: {tags: [x]}\nimages: {a: {}, b: {}}",
                "a",
            ),
            ("images: {a: {}, b: {}}", "defaults: {labels: {x: y}}\nimages: {a: {}, b: {}}", "a b"),
            ("images: {a: {}}", "registry: r.io/x\nimages: {a: {}}", "a"),
            (
                "images: {'r-{v}': {matrix: {v: [1, 2]}, build_args: {V: '{v}'}}}",
                "images: {'r-{v}': {matrix: {v: [2, 3]}, build_args: {V: '{v}'}}}",
                "r-3",
            ),
            (
                "images: {r-1: {build_args: {V: '1'}}}",
                "images: {'r-{v}': {matrix: {v: [1]}, build_args: {V: '{v}'}}}",
                "",
            ),
            (
                "images: {a: {max_size: 7}}",
                "images: {a: {budget: {size: 7, own: none, on_excess: fail}}}",
                "",
            ),
            ("images: {a: {max_size: 7}}", "images: {a: {max_size: 8}}", "a"),
            ("images: {a: {nonsense: 1}, b: {}}", "images: {a: {}, b: {}}", "a"),
        ] {
            assert_eq!(changed(then, now), expected, "{then} to {now}");
        }
        for text in ["", "images: [", "a: b: c"] {
            assert!(
                entries(Path::new("/h"), text.as_bytes(), &LoadOptions::default()).is_none(),
                "{text}"
            );
        }
    }
}
