//! What to do about a finding: one sentence, and the line to write.

use super::{
    finding::{LayerPlace, RewriteCause, SourceLine, WasteFix, WasteGroup, WasteKind, WritePlace},
    origin::without_flags,
    paths,
};

/// A longer line is not proposed, in characters.
const LONGEST: usize = 400;

/// The fix of a finding in these layers. A path that a shell, `.dockerignore` or `COPY` would read differently is in no
/// line to write.
pub(super) fn fix(
    group: &WasteGroup,
    layers: (&LayerPlace, Option<&LayerPlace>),
    between: &[&SourceLine],
) -> WasteFix {
    let is_plain = |path: &str| {
        path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+@%:,=-".contains(&byte))
    };
    let is_plain = is_plain(&group.path) && group.same.as_deref().is_none_or(is_plain);
    let fix = proposed(group, layers, between);
    WasteFix { write: fix.write.filter(|_| is_plain), ..fix }
}

/// `between`: the instructions between them, if all of them are in one
/// Dockerfile: from the one that made the first layer to the one that made the second.
fn proposed(
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
            match (cache, Copied::whole(source, group)) {
                // Instructions between may need it.
                (Some(_), _) if is_same_image => fixed(
                    "delete the cache in the `RUN` that fills it: deleting it in a later layer frees nothing",
                    joined(between),
                ),
                (None, Some(copied)) if is_same_image => fixed(
                    "mount it into the `RUN` that needs it, instead of copying and deleting it",
                    source.and_then(|source| at(source, copied.mounted(&path)?)),
                ),
                _ if is_same_image => fixed(
                    "create, use and delete it in one `RUN`: then no layer contains it",
                    joined(between),
                ),
                _ => fixed(
                    &format!("leave it out of `{name}`: deleting it here frees nothing"),
                    None,
                ),
            }
        }
        WasteKind::Replaced if is_same_image => {
            fixed("add the file once, with its final content", joined(between))
        }
        WasteKind::Replaced => fixed(
            &format!("leave it out of `{name}`, if every image based on it replaces it"),
            None,
        ),
        WasteKind::Rewritten(cause) => rewritten(group, cause, layer, between, is_same_image),
        WasteKind::Moved => {
            let target = group.same.as_deref().map(|path| format!("/{path}"));
            let copied = Copied::whole(source, group).filter(|_| group.files == 1);
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
            // A later `RUN` needs what this one only fetches.
            let is_complete = |source: &&SourceLine| {
                let has = |word| source.text.contains(word);
                program != "apt" || !has("update") || has("install") || has("upgrade")
            };
            let write = cache.and_then(|cache| appended(source.filter(is_complete)?, cache.append));
            fixed(cache.map_or("", |cache| cache.advice), write)
        }
        WasteKind::VersionControl => match (source, Copied::of(source)) {
            (Some(source), Some(copied)) if copied.is_from_context() => {
                let folder = source.file.parent().unwrap_or(&source.file);
                let name = group.path.trim_end_matches('/').rsplit('/').next();
                let write = name.map(|name| {
                    (WritePlace::Append(folder.join(".dockerignore")), format!("**/{name}"))
                });
                fixed("keep it out of the build context", write)
            }
            (_, Some(_)) => fixed("delete it in the stage that it is copied from", None),
            _ => fixed(
                "delete it in the `RUN` that clones, or clone in a stage of its own",
                source.and_then(|source| appended(source, &format!("&& rm -rf {path}"))),
            ),
        },
        WasteKind::Documentation => fixed(
            "delete it in the `RUN` that installs it, unless users read it",
            source.and_then(|source| {
                // The licenses stay.
                let command = if group.path.contains("share/doc/") && path.ends_with('/') {
                    format!("&& find {path} -type f ! -name copyright -delete")
                } else {
                    format!("&& rm -rf {path}")
                };
                appended(source, &command)
            }),
        ),
        WasteKind::BuildTools => {
            fixed("compile in another stage, and copy only the result with `COPY --from`", None)
        }
        WasteKind::Duplicate => fixed(
            "add the file once, and link to it",
            group.same.as_deref().zip(source).and_then(|(same, source)| {
                let link = format!("ln -sf /{same} {path}");
                match Copied::whole(Some(source), group) {
                    Some(_) if group.files == 1 => at(source, format!("RUN {link}")),
                    _ => appended(source, &format!("&& {link}")),
                }
            }),
        ),
        WasteKind::Secret => fixed(
            "if it is a secret, revoke it: every user of the image can read it. Then keep it out of the image",
            source.filter(|_| group.files == 1).and_then(|source| without_secret(source, &path)),
        ),
    }
}

/// A mount instead of a `COPY` of this file alone, or an entry for `.dockerignore`.
fn without_secret(source: &SourceLine, path: &str) -> Option<(WritePlace, String)> {
    let copied = Copied::of(Some(source)).filter(Copied::is_from_context)?;
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
                "write the file once: the later layer changes only its time or an attribute, and contains it again",
                joined(between),
            );
        }
    };
    let source = layer.source.as_ref();
    // A mode is that of files and folders alike.
    let copied = Copied::whole(source, group).filter(|_| !cause.mode || group.files == 1);
    let is_copied = Copied::of(source).is_some();
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
        _ if is_copied => None,
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

    /// One that adds only what the finding is about.
    fn whole(source: Option<&'s SourceLine>, group: &WasteGroup) -> Option<Self> {
        Self::of(source).filter(|copied| group.is_whole && copied.sources.len() == 1)
    }

    fn is_from_context(&self) -> bool {
        !self.flags.iter().any(|flag| flag.starts_with("--from="))
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
    if !paths.split(' ').all(|path| path.starts_with('/')) {
        return at(source, format!("{text} {command}"));
    }
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
    for (n, one) in rest.iter().enumerate() {
        // An `ENV` or a `USER` between them changes what a command does.
        if one.ordinal != first.ordinal + n + 1 {
            return None;
        }
        line.push_str(" && ");
        line.push_str(plain_command(&one.text)?);
    }
    if rest.is_empty() { None } else { at(first, line) }
}

fn plain_command(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("RUN ")?;
    let command = without_flags(rest);
    let is_plain = !command.starts_with('[') && !command.contains("<<") && !command.contains('#');
    is_plain.then_some(command)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{image::Digest, waste::finding::WasteOwner};

    fn source(line: usize, text: &str) -> SourceLine {
        SourceLine { file: "/app/Dockerfile".into(), line, text: text.to_owned(), ordinal: line }
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
            listed: Vec::new(),
            is_whole: true,
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
                &["COPY --from=x a /opt/", "RUN y"],
                "2: COPY --from=x --chmod=755 --chown=1000:1001 a /opt/",
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
                "2: RUN apt-get update && rm -rf /var/lib/apt/lists",
            ),
            (
                WasteKind::Deleted,
                "var/lib/apt/lists/a",
                &["RUN apt-get update", "RUN apt-get install x", "RUN rm -rf /var/lib/apt/lists/*"],
                "2: RUN apt-get update && apt-get install x && rm -rf /var/lib/apt/lists/*",
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
                "var/lib/apt/lists/",
                &["RUN make lists"],
                "2: RUN make lists && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
            ),
            (
                WasteKind::Cache("apt"),
                "var/cache/apt/",
                &["RUN apt-get install x && rm -rf /var/lib/apt/lists/*"],
                "2: RUN apt-get install x && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
            ),
            (
                WasteKind::Cache("apt"),
                "var/cache/apt/",
                &["RUN apt-get install x; rm -rf /var/lib/apt/lists/* || true"],
                "2: RUN apt-get install x; rm -rf /var/lib/apt/lists/* || true && rm -rf /var/cache/apt/*",
            ),
            (
                WasteKind::Documentation,
                "usr/share/doc/",
                &["RUN make install"],
                "2: RUN make install && find /usr/share/doc/ -type f ! -name copyright -delete",
            ),
            (
                WasteKind::VersionControl,
                "app/.svn/",
                &["COPY . /app"],
                "/app/.dockerignore: **/.svn",
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
    fn a_line_that_would_do_something_else_is_not_proposed() {
        let mode = WasteKind::Rewritten(RewriteCause { mode: true, owner: false });
        for (kind, path, lines) in [
            (WasteKind::VersionControl, "opt /x y/.git/", &["RUN git clone x"][..]),
            (WasteKind::Documentation, "usr/share/doc/a b;reboot/q", &["RUN make install"]),
            (WasteKind::Secret, "app/a b.key", &["COPY . /app/"]),
            (WasteKind::VersionControl, "app/.git/", &["COPY --from=build /out /app"]),
            (WasteKind::Cache("apt"), "var/lib/apt/lists/", &["RUN apt-get update"]),
            (WasteKind::Deleted, "x", &["RUN make # not rm", "RUN rm /x"]),
            (WasteKind::Moved, "srv/x", &["COPY a b /srv/", "RUN mv /srv/x /srv/y"]),
            (mode, "app/run.sh", &["COPY a b /app/", "RUN chmod 600 /app/run.sh"]),
        ] {
            let told = told(kind, path, lines, "app");
            assert!(!told.contains('\n'), "{told}");
        }
        // An instruction between them, such as `USER`.
        let lines = [source(2, "RUN make"), source(4, "RUN rm x")];
        assert_eq!(joined(&[&lines[0], &lines[1]]), None);
    }

    #[test]
    fn a_base_has_to_be_changed_in_the_base() {
        let lines = &["RUN a", "RUN b"];
        assert_eq!(
            told(WasteKind::Deleted, "x", lines, "base"),
            "leave it out of `base`: deleting it here frees nothing"
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
