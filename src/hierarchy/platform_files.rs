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

/// For each draft, the paths of its context that only other platforms of its image use.
pub(super) fn of_other_platforms(
    drafts: &[Draft],
    files: &[Option<DockerfileRead>],
    native: &Platform,
) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); drafts.len()];
    let mut from = 0;
    while from < drafts.len() {
        let image = drafts[from].name.image();
        let is_other = |draft: &Draft| draft.name.image() != image;
        let to = drafts[from..].iter().position(is_other).map_or(drafts.len(), |n| from + n);
        if to - from > 1 {
            let taken: Vec<Option<TakenPaths>> = (from..to)
                .map(|n| TakenPaths::of(&drafts[n], files[n].as_ref()?, native))
                .collect();
            for (n, own) in taken.iter().enumerate() {
                let Some(own) = own else { continue };
                let others: BTreeSet<&String> =
                    taken.iter().flatten().flat_map(|it| &it.exact).collect();
                let others = others.into_iter().filter(|path| !own.touches(path));
                found[from + n] = others.cloned().collect();
            }
        }
        from = to;
    }
    found
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
    fn of(draft: &Draft, files: &DockerfileRead, native: &Platform) -> Option<Self> {
        if draft.image.prepare.is_some() {
            return None;
        }
        let platform = draft.image.platform.as_ref().map_or(native, |it| &it.value);
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

    /// The paths left out for arm64.
    fn left_out(dockerfile: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("app")).unwrap();
        fs::write(folder.path().join("app/Dockerfile"), dockerfile.replace("; ", "\n")).unwrap();
        let file = folder.path().join("hierarchy.yaml");
        fs::write(
            &file,
            "version: 1\nregistry: r.example/x\nimages:\n  app: { platforms: [linux/amd64, linux/arm64] }\n",
        )
        .unwrap();
        let hierarchy = Hierarchy::load(&file, &LoadOptions::default()).unwrap().hierarchy;
        hierarchy.get(&"app (linux/arm64)".into()).unwrap().other_platforms_files.join(" ")
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
            assert_eq!(left_out(dockerfile), expected, "{dockerfile}");
        }
    }
}
