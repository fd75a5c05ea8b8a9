//! What to do about a finding: one sentence, and the line to write.

use super::{
    finding::{LayerPlace, RewriteCause, SourceLine, WasteFix, WasteGroup, WasteKind, WritePlace},
    origin::without_flags,
    paths,
};

/// A longer line is not proposed, in characters.
const LONGEST: usize = 400;

/// The fix of a finding in these layers. `runs`: the instructions between them, if all of them are in one
/// Dockerfile: from the one that made the first layer to the one that made the second.
pub(super) fn fix(
    group: &WasteGroup,
    (layer, by): (&LayerPlace, Option<&LayerPlace>),
    between: &[&SourceLine],
) -> WasteFix {
    let source = layer.source.as_ref();
    let is_same_image = by.is_none_or(|by| by.owner == layer.owner);
    let path = format!("/{}", group.path);
    let name = layer.owner.name();
    match group.kind {
        WasteKind::Deleted => {
            let cache = paths::cached_by(&group.path);
            match (cache, Copied::of(source)) {
                (Some(cache), _) => fixed(
                    "delete the cache in the `RUN` that fills it: a later layer cannot",
                    source.and_then(|source| appended(source, cache.append)),
                ),
                (None, Some(copied)) if is_same_image => fixed(
                    "mount it into the `RUN` that needs it, instead of copying and deleting it",
                    source.and_then(|source| at(source, copied.mounted(&path)?)),
                ),
                (None, _) if is_same_image => fixed(
                    "create, use and delete it in one `RUN`: then no layer contains it",
                    joined(between),
                ),
                (None, _) => {
                    fixed(&format!("deleting it frees nothing: `{name}` has to leave it out"), None)
                }
            }
        }
        WasteKind::Replaced if is_same_image => {
            fixed("write the final content where the file is added", joined(between))
        }
        WasteKind::Replaced => {
            fixed(&format!("if all images replace it, `{name}` can leave it out"), None)
        }
        WasteKind::Rewritten(cause) => rewritten(group, cause, layer, between, is_same_image),
        WasteKind::Moved => {
            let target = group.same.as_deref().map(|path| format!("/{path}"));
            let copied = Copied::of(source).filter(|copied| copied.sources.len() == 1);
            let write = match (copied, target) {
                (Some(copied), Some(target)) => {
                    source.and_then(|source| at(source, copied.line(&[], &target)))
                }
                _ => joined(between),
            };
            fixed("add it at its final path", write)
        }
        WasteKind::Cache(program) => {
            let cache = paths::cache_of(program);
            let write =
                cache.and_then(|cache| source.and_then(|source| appended(source, cache.append)));
            fixed(cache.map_or("", |cache| cache.advice), write)
        }
        WasteKind::VersionControl => match (source, Copied::of(source)) {
            (Some(source), Some(_)) => {
                let folder = source.file.parent().unwrap_or(&source.file);
                let write =
                    (WritePlace::Append(folder.join(".dockerignore")), "**/.git".to_owned());
                fixed("keep it out of the build context", Some(write))
            }
            _ => fixed(
                "delete it in the `RUN` that clones, or clone in a stage of its own",
                source.and_then(|source| appended(source, &format!("&& rm -rf {path}"))),
            ),
        },
        WasteKind::Documentation => fixed(
            "delete it in the `RUN` that installs it, unless users read it",
            source.and_then(|source| appended(source, &format!("&& rm -rf {path}"))),
        ),
        WasteKind::BuildTools => fixed(
            "compile in a stage of its own, and `COPY --from` it: the final image needs only the result",
            None,
        ),
        WasteKind::Duplicate => fixed(
            "add the file once, and link to it",
            group.same.as_deref().zip(source).and_then(|(same, source)| {
                let link = format!("ln -sf /{same} {path}");
                match Copied::of(Some(source)) {
                    Some(copied) if copied.sources.len() == 1 => at(source, format!("RUN {link}")),
                    _ => appended(source, &format!("&& {link}")),
                }
            }),
        ),
        WasteKind::Secret => fixed(
            "if it is a secret, replace it, since every user of the image can read it; then keep it out",
            source.filter(|_| group.files == 1).and_then(|source| without_secret(source, &path)),
        ),
    }
}

/// A mount instead of a `COPY` of this file alone, or an entry for `.dockerignore`.
fn without_secret(source: &SourceLine, path: &str) -> Option<(WritePlace, String)> {
    let copied = Copied::of(Some(source))?;
    let name = path.rsplit('/').next()?;
    if let [only] = copied.sources[..]
        && only.rsplit('/').next() == Some(name)
    {
        let id = name.trim_start_matches('.');
        return at(source, format!("RUN --mount=type=secret,id={id},target={path} …"));
    }
    let folder = source.file.parent()?;
    Some((WritePlace::Append(folder.join(".dockerignore")), format!("**/{name}")))
}

fn rewritten(
    group: &WasteGroup,
    cause: RewriteCause,
    layer: &LayerPlace,
    between: &[&SourceLine],
    is_same_image: bool,
) -> WasteFix {
    let what = match (cause.mode, cause.owner) {
        (true, false) => "mode",
        (false, true) => "owner",
        (true, true) => "mode and the owner",
        (false, false) => {
            return fixed(
                "write the file once: this layer contains it again, with another time",
                joined(between),
            );
        }
    };
    let source = layer.source.as_ref();
    let copied = Copied::of(source);
    let mut flags = Vec::new();
    if cause.mode
        && let [mode] = group.modes.iter().collect::<Vec<_>>()[..]
    {
        flags.push(format!("--chmod={mode:o}"));
    }
    if cause.owner
        && let [(user, id)] = group.owners.iter().collect::<Vec<_>>()[..]
    {
        flags.push(format!("--chown={user}:{id}"));
    }
    let write = match (source, copied) {
        (Some(source), Some(copied)) if !flags.is_empty() => {
            at(source, copied.line(&flags, copied.destination))
        }
        _ => joined(between),
    };
    if is_same_image {
        fixed(&format!("set the {what} where the files are added"), write)
    } else {
        fixed(&format!("set the {what} in `{}`, which adds the files", layer.owner.name()), write)
    }
}

/// A `COPY` or an `ADD` of files.
struct Copied<'s> {
    name: &'s str,
    flags: Vec<&'s str>,
    sources: Vec<&'s str>,
    destination: &'s str,
}

impl<'s> Copied<'s> {
    fn of(source: Option<&'s SourceLine>) -> Option<Self> {
        let (name, rest) = source?.text.split_once(' ')?;
        if !["COPY", "ADD"].contains(&name) || rest.contains(['[', '<']) {
            return None;
        }
        let (flags, words): (Vec<&str>, Vec<&str>) =
            rest.split(' ').partition(|word| word.starts_with("--"));
        let (&destination, sources) = words.split_last()?;
        (!sources.is_empty()).then(|| Self { name, flags, sources: sources.to_vec(), destination })
    }

    fn line(&self, more: &[String], destination: &str) -> String {
        let flags = self.flags.iter().copied().chain(more.iter().map(String::as_str));
        let words = [self.name].into_iter().chain(flags).chain(self.sources.iter().copied());
        words.chain([destination]).collect::<Vec<_>>().join(" ")
    }

    /// The mount that replaces it, if it copies only this file or folder.
    fn mounted(&self, path: &str) -> Option<String> {
        let [source] = self.sources[..] else { return None };
        let from = self.flags.iter().find_map(|flag| flag.strip_prefix("--from="));
        let from = from.map_or(String::new(), |from| format!(",from={from}"));
        let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or(source);
        let target = match self.destination.strip_suffix('/') {
            Some(folder) => format!("{folder}/{name}"),
            None => self.destination.to_owned(),
        };
        if target.trim_start_matches('/') != path.trim_matches('/') {
            return None;
        }
        Some(format!("RUN --mount=type=bind{from},source={source},target={target} …"))
    }
}

fn fixed(advice: &str, write: Option<(WritePlace, String)>) -> WasteFix {
    WasteFix { advice: advice.to_owned(), write }
}

fn at(source: &SourceLine, line: String) -> Option<(WritePlace, String)> {
    let is_short = line.chars().count() <= LONGEST;
    is_short.then(|| (WritePlace::Instead(source.file.clone(), source.line), line))
}

/// The same `RUN` with another command; `None` if it is not a plain command line.
fn appended(source: &SourceLine, command: &str) -> Option<(WritePlace, String)> {
    plain_command(&source.text)?;
    let text = &source.text;
    let Some(paths) = command.strip_prefix("&& rm -rf ") else {
        return at(source, format!("{text} {command}"));
    };
    // It may delete a part already.
    let paths: Vec<&str> =
        paths.split(' ').filter(|path| text.split(' ').all(|word| word != *path)).collect();
    let last = text.rsplit("&&").next().unwrap_or_default().trim_start();
    let is_longer_list = last.starts_with("rm -rf ") && !last.contains(['|', ';', '>', '#']);
    let rm = if is_longer_list { "" } else { "&& rm -rf " };
    if paths.is_empty() { None } else { at(source, format!("{text} {rm}{}", paths.join(" "))) }
}

/// One `RUN` of several in a row.
fn joined(between: &[&SourceLine]) -> Option<(WritePlace, String)> {
    let (first, rest) = between.split_first()?;
    plain_command(&first.text)?;
    let mut line = first.text.clone();
    for one in rest {
        line.push_str(" && ");
        line.push_str(plain_command(&one.text)?);
    }
    if rest.is_empty() { None } else { at(first, line) }
}

fn plain_command(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("RUN ")?;
    let command = without_flags(rest);
    (!command.starts_with('[') && !command.contains("<<")).then_some(command)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{image::Digest, waste::finding::WasteOwner};

    fn source(line: usize, text: &str) -> SourceLine {
        SourceLine { file: "/app/Dockerfile".into(), line, text: text.to_owned() }
    }

    fn place(owner: &str, source: Option<SourceLine>) -> LayerPlace {
        LayerPlace {
            owner: WasteOwner::Node(owner.to_owned()),
            number: 1,
            digest: Digest::of(b""),
            source,
            history: None,
        }
    }

    /// The fix of a file that the first instruction adds, and the last one hides.
    fn told(kind: WasteKind, path: &str, lines: &[&str], base: &str) -> String {
        let sources: Vec<SourceLine> =
            lines.iter().enumerate().map(|(n, text)| source(n + 2, text)).collect();
        let group = WasteGroup {
            kind,
            layer: 0,
            by: Some(1),
            path: path.to_owned(),
            files: 1,
            bytes: 1,
            same: Some("first".to_owned()),
            modes: BTreeSet::from([0o755]),
            owners: BTreeSet::from([(1000, 1001)]),
        };
        let layer = place(base, sources.first().cloned());
        let by = place("app", sources.last().cloned());
        let between: Vec<&SourceLine> =
            if base == "app" { sources.iter().collect() } else { vec![] };
        let WasteFix { advice, write } = fix(&group, (&layer, Some(&by)), &between);
        let write = write.map_or(String::new(), |(place, line)| match place {
            WritePlace::Instead(_, number) => format!("\n{number}: {line}"),
            WritePlace::Append(file) => format!("\n{}: {line}", file.display()),
        });
        advice + &write
    }

    #[test]
    fn each_kind_has_a_line_to_write() {
        let mode = WasteKind::Rewritten(RewriteCause { mode: true, owner: false });
        let both = WasteKind::Rewritten(RewriteCause { mode: true, owner: true });
        for (kind, path, lines, expected) in [
            (
                mode,
                "opt/big",
                &["COPY big /opt/", "RUN chmod 755 /opt/big"][..],
                "2: COPY --chmod=755 big /opt/",
            ),
            (
                both,
                "opt/big",
                &["COPY --from=x a b /opt/", "RUN y"],
                "2: COPY --from=x --chmod=755 --chown=1000:1001 a b /opt/",
            ),
            (mode, "x", &["RUN curl x", "RUN chmod 755 x"], "2: RUN curl x && chmod 755 x"),
            (
                WasteKind::Deleted,
                "x",
                &["RUN --mount=type=ssh a", "RUN b", "RUN c"],
                "2: RUN --mount=type=ssh a && b && c",
            ),
            (
                WasteKind::Deleted,
                "tmp/x.tar",
                &["COPY x.tar /tmp/", "RUN tar x /tmp/x.tar", "RUN rm /tmp/x.tar"],
                "2: RUN --mount=type=bind,source=x.tar,target=/tmp/x.tar …",
            ),
            (
                WasteKind::Deleted,
                "var/lib/apt/lists/a",
                &["RUN apt-get update", "RUN rm -rf /var/lib/apt/lists"],
                "2: RUN apt-get update && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
            ),
            (
                WasteKind::Moved,
                "opt/x",
                &["COPY x /opt/", "RUN mv /opt/x /first"],
                "2: COPY x /first",
            ),
            (
                WasteKind::Cache("apk"),
                "var/cache/apk/x",
                &["RUN apk add x"],
                "2: RUN apk add x && rm -rf /var/cache/apk/*",
            ),
            (
                WasteKind::Cache("apt"),
                "var/cache/apt/",
                &["RUN apt-get update && rm -rf /var/lib/apt/lists/*"],
                "2: RUN apt-get update && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
            ),
            (
                WasteKind::Cache("apt"),
                "var/cache/apt/",
                &["RUN rm -rf /var/lib/apt/lists/* || true"],
                "2: RUN rm -rf /var/lib/apt/lists/* || true && rm -rf /var/cache/apt/*",
            ),
            (
                WasteKind::VersionControl,
                "app/.git/",
                &["COPY . /app"],
                "/app/.dockerignore: **/.git",
            ),
            (
                WasteKind::VersionControl,
                "app/.git/",
                &["RUN git clone x"],
                "2: RUN git clone x && rm -rf /app/.git/",
            ),
            (WasteKind::Duplicate, "b", &["COPY a /b"], "2: RUN ln -sf /first /b"),
            (WasteKind::Secret, "app/.env", &["COPY . /app/"], "/app/.dockerignore: **/.env"),
            (
                WasteKind::Secret,
                "app/.npmrc",
                &["COPY .npmrc /app/"],
                "2: RUN --mount=type=secret,id=npmrc,target=/app/.npmrc …",
            ),
        ] {
            let told = told(kind, path, lines, "app");
            assert_eq!(told.split_once('\n').map(|(_, line)| line), Some(expected), "{told}");
        }
    }

    #[test]
    fn a_base_has_to_be_changed_in_the_base() {
        let lines = &["RUN a", "RUN b"];
        assert_eq!(
            told(WasteKind::Deleted, "x", lines, "base"),
            "deleting it frees nothing: `base` has to leave it out"
        );
        let owner = WasteKind::Rewritten(RewriteCause { mode: false, owner: true });
        assert_eq!(
            told(owner, "x", &["COPY x /", "RUN chown"], "base"),
            "set the owner in `base`, which adds the files\n2: COPY --chown=1000:1001 x /"
        );
        // What is not a plain command line is not changed.
        assert!(!told(WasteKind::Cache("apk"), "x", &["RUN [\"apk\"]"], "app").contains('\n'));
        assert!(!told(WasteKind::Deleted, "x", &["RUN <<E", "RUN b"], "app").contains('\n'));
    }
}
