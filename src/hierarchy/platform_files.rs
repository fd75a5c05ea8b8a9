//! Files of a build context that an image uses for other platforms only: `COPY bin-${TARGETARCH} /bin`.
//!
//! **Invariant:** in doubt a file belongs to every platform. Only a path that a `COPY` or an `ADD` names for another
//! platform, and that no instruction can take for this one, is left out of the context.

use std::collections::{BTreeMap, BTreeSet};

use super::{draft::Draft, files::DockerfileRead, lints::copies::KnownArguments};
use crate::{
    dockerfile::{Instruction, platform_variables},
    image::Platform,
};

/// The platforms that files of a context may be for. The platforms of the image do not matter: the context for one of
/// them stays the same if another is added or removed.
const KNOWN: [&str; 20] = [
    "linux/386",
    "linux/amd64",
    "linux/amd64/v2",
    "linux/amd64/v3",
    "linux/amd64/v4",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/mips",
    "linux/mips64",
    "linux/mips64le",
    "linux/mipsle",
    "linux/ppc64",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
    "windows/arm64",
];

/// For each draft of an image with `platforms`, the paths of its context that only other platforms use.
pub(super) fn of_other_platforms(
    drafts: &[Draft],
    files: &[Option<DockerfileRead>],
    native: &Platform,
) -> Vec<Vec<String>> {
    let known: Vec<Platform> = KNOWN.iter().filter_map(|text| text.parse().ok()).collect();
    let left_out = |(draft, files): (&Draft, &Option<DockerfileRead>)| {
        let files = files.as_ref().filter(|files| draft.has_platforms() && has_variables(files))?;
        let platform = draft.image.platform.as_ref().map_or(native, |it| &it.value);
        let own = TakenPaths::of(draft, files, (platform, native))?;
        let each = known.iter().filter_map(|it| TakenPaths::of(draft, files, (it, native)));
        let others: BTreeSet<String> = each.flat_map(|it| it.exact).collect();
        Some(others.into_iter().filter(|path| !own.touches(path)).collect())
    };
    drafts.iter().zip(files).map(|it| left_out(it).unwrap_or_default()).collect()
}

/// Whether a path of a `COPY` or an `ADD` can depend on the platform.
fn has_variables(files: &DockerfileRead) -> bool {
    let copies = |text: &str| text.starts_with("COPY ") || text.starts_with("ADD ");
    files.scan.instructions.iter().any(|it| copies(&it.text) && it.text.contains('$'))
}

/// What the instructions of a Dockerfile take from the context for one platform.
struct TakenPaths {
    /// Files and folders without a wildcard.
    exact: BTreeSet<String>,
    /// Folders of paths with a wildcard. Empty is the whole context.
    folders: BTreeSet<String>,
}

impl TakenPaths {
    /// `None` if not all of them are known.
    fn of(
        draft: &Draft,
        files: &DockerfileRead,
        (platform, native): (&Platform, &Platform),
    ) -> Option<Self> {
        if draft.image.prepare.is_some() {
            return None;
        }
        let mut values: BTreeMap<String, String> = platform_variables(platform, native);
        values.extend(draft.image.build_args.clone());
        let mut known = KnownArguments::new(&values);
        let mut taken = Self { exact: BTreeSet::new(), folders: BTreeSet::new() };
        for Instruction { text, .. } in &files.scan.instructions {
            let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
            known.take(name, rest);
            match name {
                "COPY" | "ADD" => taken.add(rest, &known)?,
                "RUN" if binds_context(rest) => return None,
                "ONBUILD" => return None,
                _ => {}
            }
        }
        Some(taken)
    }

    fn add(&mut self, rest: &str, known: &KnownArguments<'_>) -> Option<()> {
        if rest.split(' ').any(|word| word.starts_with("--from=")) {
            return Some(());
        }
        let words: Vec<&str> = rest.split(' ').skip_while(|word| word.starts_with("--")).collect();
        let (_, sources) = words.split_last()?;
        if words.iter().any(|word| word.contains(['\\', '"', '\'', '[', '<'])) {
            return None;
        }
        for source in sources {
            let source = known.fill(source)?;
            if source.contains("://") || source.starts_with("git@") {
                continue;
            }
            let (path, is_wild) = match source.find(['*', '?']) {
                Some(at) => (source[..at].rsplit_once('/').map_or("", |(folder, _)| folder), true),
                None => (source.as_str(), false),
            };
            let parts: Vec<&str> =
                path.split('/').filter(|part| !["", "."].contains(part)).collect();
            if parts.contains(&"..") {
                return None;
            }
            let path = parts.join("/");
            // A name with other characters could be a pattern.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
            if is_wild || path.is_empty() || !path.chars().all(is_plain) {
                self.folders.insert(path);
            } else {
                self.exact.insert(path);
            }
        }
        Some(())
    }

    /// Whether it takes something of a path, or something that contains it.
    fn touches(&self, path: &str) -> bool {
        let is_in = |path: &str, folder: &str| {
            folder.is_empty()
                || path
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut own = self.exact.iter().chain(&self.folders);
        own.any(|own| is_in(path, own) || is_in(own, path))
    }
}

/// Whether a `RUN` mounts the context.
fn binds_context(rest: &str) -> bool {
    let mounts = rest.split(' ').take_while(|word| word.starts_with("--"));
    let mut mounts = mounts.filter_map(|flag| flag.strip_prefix("--mount="));
    mounts.any(|mount| {
        let has = |key: &str| mount.split(',').any(|field| field.starts_with(key));
        (has("type=bind") || !has("type=")) && !has("from=")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::hierarchy::{Hierarchy, LoadOptions};

    /// The paths left out for a node.
    fn left_out(dockerfile: &str, (platforms, node): (&str, &str)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("app")).unwrap();
        fs::write(folder.path().join("app/Dockerfile"), dockerfile.replace("; ", "\n")).unwrap();
        let file = folder.path().join("hierarchy.yaml");
        let text =
            format!("version: 1\nregistry: r.example/x\nimages:\n  app: {{ {platforms} }}\n");
        fs::write(&file, text).unwrap();
        let hierarchy = Hierarchy::load(&file, &LoadOptions::default()).unwrap().hierarchy;
        hierarchy.get(&node.into()).unwrap().other_platforms_files.clone()
    }

    const BOTH: &str = "platforms: [linux/amd64, linux/arm64]";

    /// A platform that is added or removed does not rebuild the others.
    #[test]
    fn the_other_platforms_of_the_image_change_nothing() {
        let dockerfile = "FROM scratch; ARG TARGETARCH; COPY bin-$TARGETARCH /bin";
        let both = left_out(dockerfile, (BOTH, "app (linux/arm64)"));
        assert!(both.contains(&"bin-amd64".to_owned()) && both.contains(&"bin-s390x".to_owned()));
        for (platforms, node) in [
            ("platforms: [linux/arm64]", "app"),
            ("platforms: [linux/arm64], optional_platforms: [linux/s390x]", "app (linux/arm64)"),
        ] {
            assert_eq!(left_out(dockerfile, (platforms, node)), both, "{platforms}");
        }
        // Their fingerprints are older than `platforms`.
        for platforms in ["platform: linux/arm64", ""] {
            assert!(left_out(dockerfile, (platforms, "app")).is_empty(), "{platforms}");
        }
    }

    #[test]
    fn only_files_that_another_platform_alone_can_use_are_left_out() {
        for (dockerfile, expected) in [
            ("FROM scratch; ARG TARGETARCH; COPY bin-${TARGETARCH} /bin", "bin-amd64"),
            ("FROM scratch; ARG TARGETARCH; COPY ./$TARGETARCH/ /; COPY page /", "amd64"),
            ("FROM scratch; ARG TARGETARCH; COPY a/$TARGETARCH/b /; COPY a/x /", "a/amd64/b"),
            // It is not declared, so the builder does not fill it in.
            ("FROM scratch; COPY bin-${TARGETARCH} /bin", ""),
            ("FROM scratch; ARG TARGETARCH; COPY bin-$TARGETARCH /bin; COPY . /all", ""),
            ("FROM scratch; ARG TARGETARCH; COPY bin-$TARGETARCH /bin; COPY bin-* /all", ""),
            ("FROM scratch; ARG TARGETARCH; COPY a/$TARGETARCH /bin; COPY a /all", ""),
            ("FROM scratch; ARG TARGETARCH; COPY $TARGETARCH /bin; COPY $X /all", ""),
            ("FROM scratch; ARG TARGETARCH; COPY $TARGETARCH /bin; ADD [\"a\", \"/b\"]", ""),
            ("FROM scratch; ARG TARGETARCH; COPY $TARGETARCH /b; RUN --mount=target=/x y", ""),
            ("FROM scratch; ARG TARGETARCH; COPY $TARGETARCH /b; ONBUILD COPY . /", ""),
            (
                "FROM scratch; ARG TARGETARCH; COPY $TARGETARCH /b; RUN --mount=type=cache,target=/x y",
                "amd64",
            ),
        ] {
            let mut found = left_out(dockerfile, (BOTH, "app (linux/arm64)"));
            found.retain(|path| path.contains("amd64"));
            assert_eq!(found.join(" "), expected, "{dockerfile}");
        }
    }
}
