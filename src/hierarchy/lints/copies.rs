//! What a Dockerfile takes from outside its images: files of the context, and secrets.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use super::{Problems, line, read};
use crate::{
    check::{
        diagnostic::{Diagnostic, names},
        nearest,
        rules::RuleCode,
    },
    dockerfile::Instruction,
    hierarchy::{
        Base, BaseUse, Node, NodeName, draft::Draft, files::DockerfileRead, load::HierarchySurvey,
    },
};

/// The place of a problem, what is missing there, and the image whose `ONBUILD` copies it.
type MissingInput = (PathBuf, usize, RuleCode, String, Option<NodeName>);

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    // The images of a matrix have one Dockerfile.
    let mut missing: BTreeMap<MissingInput, Vec<(&Draft, &DockerfileRead)>> = BTreeMap::new();
    let by_name: HashMap<&NodeName, &DockerfileRead> =
        read(survey).map(|(draft, files)| (&draft.name, files)).collect();
    for ((draft, files), uses) in survey.drafts.iter().zip(&survey.files).zip(&survey.uses) {
        let Some(files) = files else { continue };
        let instructions = &files.scan.instructions;
        let place =
            |line, code, what, base| (files.dockerfile.path.clone(), line, code, what, base);
        if draft.image.prepare.is_none() {
            let copied =
                copied(instructions, (draft.image.target.is_some(), &draft.image.build_args));
            for (line, path) in
                copied.into_iter().filter(|(_, path)| !is_there(&files.context, path))
            {
                let place = place(line, RuleCode::MissingSource, path, None);
                missing.entry(place).or_default().push((draft, files));
            }
            for (line, base, path) in copied_by_bases(&by_name, uses) {
                if !is_there(&files.context, &path) {
                    let place = place(line, RuleCode::MissingSource, path, Some(base));
                    missing.entry(place).or_default().push((draft, files));
                }
            }
        }
        for one in instructions {
            let (name, rest) = one.text.split_once(' ').unwrap_or((&one.text, ""));
            let declared = &draft.image.secrets.sources;
            for id in secrets(name, rest).filter(|id| !declared.contains_key(id)) {
                let place = place(one.line, RuleCode::UndeclaredSecret, id, None);
                missing.entry(place).or_default().push((draft, files));
            }
        }
    }
    let problem = |((_, number, code, what, base), images): (
        MissingInput,
        Vec<(&Draft, &DockerfileRead)>,
    )| {
        let all: Vec<&str> = images.iter().map(|(draft, _)| draft.name.as_str()).collect();
        let (all, have) = (names(&all, SHOWN), if all.len() == 1 { "has" } else { "have" });
        let files = images[0].1;
        let (message, hint) = if code == RuleCode::MissingSource {
            let by =
                base.map_or(String::new(), |base| format!(", and `ONBUILD` of `{base}` copies it"));
            let message = format!("`{what}` is not in the context of {all}{by}");
            (
                message,
                match near(&files.context, &what) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "paths are relative to the build context, not to the Dockerfile".to_owned()
                    }
                },
            )
        } else {
            let hint = format!(
                "name its source in hierarchy.yaml: `secrets: {{ {what}: {{ env: NAME }} }}`"
            );
            (format!("{all} {have} no secret `{what}`"), hint)
        };
        let span = line(&files.dockerfile, number);
        Diagnostic::of(code, message).at(&files.dockerfile, span, "").hint(hint)
    };
    missing.into_iter().map(problem).collect()
}

/// How many images a message names; it counts the others.
const SHOWN: usize = 3;

impl Node {
    /// The lines and paths of what its Dockerfile copies from the context, as far as they are known. Of a path with
    /// wildcards, the folder before them.
    pub fn copied_paths(&self) -> Vec<(usize, String)> {
        copied(&self.dockerfile.instructions, (self.target.is_some(), &self.build_args))
    }
}

fn copied(
    instructions: &[Instruction],
    (has_target, build_args): (bool, &BTreeMap<String, String>),
) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let mut values = KnownArguments::new(build_args);
    for (one, is_built) in instructions.iter().zip(built(instructions, has_target)) {
        let (name, rest) = one.text.split_once(' ').unwrap_or((&one.text, ""));
        values.take(name, rest);
        if is_built {
            let paths_of_line = match name {
                "COPY" | "ADD" => sources(rest, &values),
                "RUN" => bound(rest).filter_map(|path| values.fill(&path)).collect(),
                _ => Vec::new(),
            };
            paths.extend(paths_of_line.into_iter().map(|path| (one.line, path)));
        }
    }
    paths
}

/// What the `ONBUILD` instructions of an image's bases copy: the line of the `FROM`, the base, and the path.
fn copied_by_bases<'s>(
    by_name: &'s HashMap<&NodeName, &DockerfileRead>,
    uses: &'s [BaseUse],
) -> impl Iterator<Item = (usize, NodeName, String)> + 's {
    let bases = uses.iter().filter(|used| used.is_final && used.on_build.is_none());
    bases.flat_map(|used| {
        let Base::Node(name) = &used.base else { return Vec::new() };
        let all = by_name.get(name).map_or(&[][..], |files| &files.scan.instructions);
        let last = all.iter().rposition(|one| one.text.starts_with("FROM ")).unwrap_or(0);
        let build_args = BTreeMap::new();
        let none = KnownArguments::new(&build_args);
        let copies = all[last.min(all.len())..].iter().filter_map(|one| {
            let text = one.text.strip_prefix("ONBUILD ")?;
            text.strip_prefix("COPY ").or_else(|| text.strip_prefix("ADD "))
        });
        let paths = copies.flat_map(|rest| sources(rest, &none));
        paths.map(|path| (used.line, name.clone(), path)).collect()
    })
}

/// The values of `ARG` that are known without the images.
pub(in crate::hierarchy) struct KnownArguments<'a> {
    build_args: &'a BTreeMap<String, String>,
    global: BTreeMap<String, String>,
    /// None before the first `FROM`.
    stage: Option<BTreeMap<String, String>>,
}

impl<'a> KnownArguments<'a> {
    pub(in crate::hierarchy) fn new(build_args: &'a BTreeMap<String, String>) -> Self {
        Self { build_args, global: BTreeMap::new(), stage: None }
    }
}

impl KnownArguments<'_> {
    pub(in crate::hierarchy) fn take(&mut self, name: &str, rest: &str) {
        match (name, &mut self.stage) {
            ("FROM", stage) => *stage = Some(BTreeMap::new()),
            ("ARG", stage) => {
                for word in rest.split(' ') {
                    let (key, default) = word
                        .split_once('=')
                        .map_or((word, None), |(key, value)| (key, Some(value.to_owned())));
                    let inherited = || self.global.get(key).cloned().filter(|_| stage.is_some());
                    let value = self.build_args.get(key).cloned().or(default).or_else(inherited);
                    let value = value.filter(|value| !value.contains(['$', '\\', '"', '\'']));
                    let values = stage.as_mut().unwrap_or(&mut self.global);
                    match value {
                        Some(value) => drop(values.insert(key.to_owned(), value)),
                        None => drop(values.remove(key)),
                    }
                }
            }
            // It wins over an `ARG` of its name.
            ("ENV", Some(stage)) => {
                for word in rest.split(' ') {
                    stage.remove(word.split('=').next().unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    /// None if it is not known.
    pub(in crate::hierarchy) fn fill(&self, text: &str) -> Option<String> {
        let mut pieces = text.split('$');
        let mut filled = pieces.next()?.to_owned();
        for piece in pieces {
            let (name, after) = if let Some(rest) = piece.strip_prefix('{') {
                rest.split_once('}')?
            } else {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                piece.split_at(piece.find(|c| !is_name(c)).unwrap_or(piece.len()))
            };
            filled += self.stage.as_ref()?.get(name)?;
            filled += after;
        }
        Some(filled)
    }
}

/// Whether the builder comes to each instruction: it leaves out stages that the last one does not need.
fn built(instructions: &[Instruction], has_target: bool) -> Vec<bool> {
    let stage_of = |text: &str| {
        text.strip_prefix("FROM ").map(|rest| {
            let mut words = rest.split(' ').skip_while(|word| !word.eq_ignore_ascii_case("as"));
            words.nth(1).unwrap_or_default().to_ascii_lowercase()
        })
    };
    let last = instructions.iter().rposition(|one| stage_of(&one.text).is_some()).unwrap_or(0);
    let mut is_built = true;
    let mut number = 0;
    let each = instructions.iter().enumerate().map(|(n, one)| {
        if let Some(name) = stage_of(&one.text) {
            let is_named = instructions[n + 1..].iter().any(|later| {
                let mut words = later.text.split([' ', '=', ',']).map(str::to_ascii_lowercase);
                let is_name =
                    |word: String| word == name && !name.is_empty() || word == number.to_string();
                words.any(is_name)
            });
            is_built = has_target || n == last || is_named;
            number += 1;
        }
        is_built
    });
    each.collect()
}

/// The paths that a `COPY` or an `ADD` takes from the context, as far as they can be known.
fn sources(rest: &str, values: &KnownArguments<'_>) -> Vec<String> {
    let after_flags = rest.split(' ').skip_while(|word| word.starts_with("--"));
    let text = after_flags.collect::<Vec<_>>().join(" ");
    let comes_from_an_image = rest.split(' ').any(|word| word.starts_with("--from="));
    let mut words: Vec<String> = if comes_from_an_image {
        Vec::new()
    } else if text.starts_with('[') {
        serde_json::from_str(&text).unwrap_or_default()
    } else if text.contains(['\\', '"', '\'', '[', '<']) {
        Vec::new()
    } else {
        text.split(' ').map(str::to_owned).collect()
    };
    words.pop();
    let is_elsewhere = |word: &str| word.contains("://") || word.starts_with("git@");
    let known = words.iter().filter_map(|word| values.fill(word));
    let inside = known.filter(|word| !is_elsewhere(word) && !word.contains('['));
    // The builder copies nothing if no path matches, but the folder must exist.
    let folder = |word: String| match word.find(['*', '?']) {
        Some(at) => word[..at].rsplit_once('/').map(|(folder, _)| folder.to_owned()),
        None => Some(word),
    };
    inside.filter_map(folder).collect()
}

/// The path that exists and is nearest to one that does not: `src/main.c` to `Src/main.c`.
fn near(context: &Path, path: &str) -> Option<String> {
    let mut found = PathBuf::new();
    for part in path.split('/').filter(|part| !["", ".", ".."].contains(part)) {
        let exact = found.join(part);
        if context.join(&exact).symlink_metadata().is_ok() {
            found = exact;
            continue;
        }
        let entries = fs::read_dir(context.join(&found)).ok()?.flatten();
        let names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.push(nearest(part, names.iter().map(String::as_str))?);
    }
    (!found.as_os_str().is_empty()).then(|| found.display().to_string())
}

/// A path of an instruction, relative to the context. It cannot leave the context: `..` of the context is the context.
pub fn path_in_context(path: &str) -> PathBuf {
    let mut inside = PathBuf::new();
    for part in path.split('/').filter(|part| !["", "."].contains(part)) {
        if part == ".." {
            inside.pop();
        } else {
            inside.push(part);
        }
    }
    inside
}

fn is_there(context: &Path, path: &str) -> bool {
    context.join(path_in_context(path)).symlink_metadata().is_ok()
}

/// The mounts of a `RUN`, without those that have escaped characters or spaces in quotes.
fn mounts(rest: &str) -> impl Iterator<Item = MountFlag> {
    let flags = rest.split(' ').take_while(|word| word.starts_with("--"));
    let values = flags.filter_map(|flag| flag.strip_prefix("--mount="));
    let is_plain = |text: &&str| {
        !text.contains('\\')
            && ['"', '\''].iter().all(|quote| text.matches(*quote).count() % 2 == 0)
    };
    values.filter(is_plain).map(|text| MountFlag(text.replace(['"', '\''], "")))
}

/// `type=secret,id=npm`: <https://docs.docker.com/reference/dockerfile/#run---mount>. Keys and types may have any case.
struct MountFlag(String);

impl MountFlag {
    fn field(&self, keys: &[&str]) -> Option<&str> {
        let mut fields = self.0.split(',').filter_map(|field| field.split_once('='));
        let is_one = |key: &str| keys.iter().any(|one| key.eq_ignore_ascii_case(one));
        fields.find(|(key, _)| is_one(key)).map(|(_, value)| value)
    }

    fn is_of(&self, kind: &str) -> bool {
        self.field(&["type"]).unwrap_or("bind").eq_ignore_ascii_case(kind)
    }
}

/// The paths of the context that a `RUN` mounts.
fn bound(rest: &str) -> impl Iterator<Item = String> {
    let binds =
        mounts(rest).filter(|mount| mount.is_of("bind") && mount.field(&["from"]).is_none());
    binds.filter_map(|mount| mount.field(&["source", "src"]).map(str::to_owned))
}

/// The IDs of secrets that a `RUN` mounts, without those that it says it can do without.
fn secrets(name: &str, rest: &str) -> impl Iterator<Item = String> {
    /// Go, strconv.ParseBool.
    const FALSE: [&str; 6] = ["0", "f", "F", "false", "FALSE", "False"];
    let is_run = name == "RUN";
    mounts(rest).filter(move |_| is_run).filter_map(|mount| {
        let is_needed = !mount.field(&["required"]).is_some_and(|value| FALSE.contains(&value));
        // Without an ID it is the last part of where it is mounted.
        let target = || mount.field(&["target", "dst", "destination"])?.rsplit('/').next();
        let id = mount.field(&["id"]).or_else(target);
        let id = id.filter(|_| mount.is_of("secret") && is_needed && !mount.0.contains('$'));
        id.map(str::to_owned)
    })
}
