//! One entry of the file that stands for many nodes: `ruby-{ruby}` with `matrix: { ruby: […] }`.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use super::{
    fields::{Located, Problems, item},
    gates::Gate,
    node::{Check, Test},
    schema::{Image, not_a_pattern},
    secrets::{SecretFields, SecretSource},
    yaml::{ValueKind, Yaml},
};
use crate::check::{diagnostic::Diagnostic, nearest, rules::RuleCode};

/// More nodes than this from one entry are a slip, and would take the machine's memory.
const MAX_NODES: usize = 100_000;
const MAX_KEYS: usize = 64;
/// Different sets of keys in `exclude`. Each combination is compared with each set.
const MAX_SETS: usize = 64;
/// What a tag template fills in by itself; a key of the same name would hide it.
const RESERVED: [&str; 4] = ["date", "git", "fingerprint", "name"];

/// All combinations of the values, without those excluded, with those included.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    /// In the order of the file, so that nodes are as well.
    pub(super) combinations: Vec<Combination>,
    /// What excludes nothing.
    useless: Vec<Range<usize>>,
}

/// A value for each key.
pub(super) type Combination = Vec<(String, String)>;

/// The memory left for the texts of all images of a file, in bytes. Matrices and `defaults` multiply a text of the file.
pub(super) struct Room(Cell<usize>);

impl Room {
    const WHOLE: usize = 128 * 1024 * 1024;
    /// Of each text, beside its characters.
    const TEXT: usize = 48;
    const IMAGE: usize = 512;

    pub(super) fn new() -> Self {
        Self(Cell::new(Self::WHOLE))
    }

    fn take(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }

    /// Whether nothing is left, which is a problem.
    pub(super) fn is_full(&self, span: &Range<usize>, problems: &mut Problems) -> bool {
        let is_full = self.0.get() == 0;
        if is_full {
            let whole = Self::WHOLE / (1024 * 1024);
            let message = format!("the images of this file have more than {whole} MiB of text");
            let hint = "a matrix and `defaults` repeat a text for each image";
            problems.push_with_hint(span, message, hint);
        }
        is_full
    }
}

impl Matrix {
    pub(super) fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        let ValueKind::Map(entries) = &yaml.kind else {
            problems.expected("matrix", "a map", yaml);
            return None;
        };
        let before = problems.found.len();
        let mut axes: Vec<(String, Vec<String>)> = Vec::new();
        let (mut include, mut exclude) = (None, None);
        for (key, value) in entries {
            match key.name.as_str() {
                "include" => include = Some(value),
                "exclude" => exclude = Some(value),
                name if RESERVED.contains(&name) => problems.push(
                    &key.span,
                    format!("`{name}` cannot be a key of a matrix: tags have a `{{{name}}}` of their own"),
                ),
                name => {
                    let values = problems.texts(&format!("matrix.{name}"), value);
                    let mut seen = HashSet::new();
                    for value in values.iter().flat_map(|list| &list.value) {
                        if !seen.insert(&value.value) {
                            let message = format!("`matrix.{name}` lists `{}` more than once", value.value);
                            problems.push_with_hint(&value.span, message, "remove one of them");
                        }
                    }
                    let values: Vec<String> =
                        values.map_or(vec![], |list| list.value.into_iter().map(|v| v.value).collect());
                    if values.is_empty() && problems.found.len() == before {
                        problems.push(&value.span, format!("`matrix.{name}` has no values"));
                    }
                    axes.push((name.to_owned(), values));
                }
            }
        }
        let keys: Vec<&str> = axes.iter().map(|(key, _)| key.as_str()).collect();
        if keys.len() > MAX_KEYS {
            problems.push(&yaml.span, format!("a matrix has at most {MAX_KEYS} keys"));
            return None;
        }
        let exclude = rows("exclude", exclude, &keys, problems);
        let include = rows("include", include, &keys, problems);
        for row in &include {
            if row.value.len() < keys.len() {
                let all: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                let message =
                    format!("what a matrix includes needs a value for {}", all.join(", "));
                problems.push(&row.span, message);
            }
        }
        let count = axes.iter().try_fold(1usize, |n, (_, values)| n.checked_mul(values.len()));
        if count.is_none_or(|count| count > MAX_NODES) {
            problems.push(&yaml.span, format!("this matrix makes more than {MAX_NODES} images"));
        }
        let excluded = Excluded::of(&exclude, &keys);
        if excluded.0.len() > MAX_SETS {
            let message = format!("`exclude` has rows for more than {MAX_SETS} sets of keys");
            problems.push(&yaml.span, message);
        }
        let room = Room::new();
        for (key, values) in &axes {
            let text: usize = values.iter().map(|value| key.len() + value.len() + Room::TEXT).sum();
            let times = count.unwrap_or_default() / values.len().max(1);
            room.take(text.saturating_mul(times));
        }
        _ = room.is_full(&yaml.span, problems);
        if problems.found.len() > before {
            return None;
        }
        let mut combinations = if axes.is_empty() { vec![] } else { product(&axes) };
        let useless = useless(&exclude, &combinations, &keys).map(|row| row.span.clone()).collect();
        combinations.retain(|one| !excluded.has(one));
        let mut seen: HashSet<Combination> = combinations.iter().cloned().collect();
        for row in include {
            let ordered: Combination = keys
                .iter()
                .filter_map(|key| row.value.iter().find(|(k, _)| k == key).cloned())
                .collect();
            if seen.insert(ordered.clone()) {
                combinations.push(ordered);
            }
        }
        if combinations.is_empty() {
            problems.push(&yaml.span, "this matrix makes no image at all");
        }
        Some(Self { combinations, useless })
    }
}

/// The rows that exclude nothing.
fn useless<'r>(
    rows: &'r [Located<Combination>],
    combinations: &[Combination],
    keys: &[&str],
) -> impl Iterator<Item = &'r Located<Combination>> {
    let values: HashMap<&str, HashSet<&str>> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| (*key, combinations.iter().map(|one| one[n].1.as_str()).collect()))
        .collect();
    // All combinations exist, so a row matches if each of its values does.
    rows.iter().filter(move |row| {
        row.value.iter().any(|(key, value)| !values[key.as_str()].contains(value.as_str()))
    })
}

/// The rows of `exclude`, by the keys that they name: a look-up does not depend on their number.
struct Excluded<'r>(HashMap<Vec<usize>, HashSet<Vec<&'r str>>>);

impl<'r> Excluded<'r> {
    fn of(rows: &'r [Located<Combination>], keys: &[&str]) -> Self {
        let mut by_keys: HashMap<Vec<usize>, HashSet<Vec<&str>>> = HashMap::new();
        for row in rows {
            let find = |key: &&str| row.value.iter().find(|(name, _)| name == key);
            let (places, values) = keys
                .iter()
                .enumerate()
                .filter_map(|(place, key)| Some((place, find(key)?.1.as_str())))
                .unzip();
            by_keys.entry(places).or_default().insert(values);
        }
        Self(by_keys)
    }

    fn has(&self, one: &Combination) -> bool {
        self.0.iter().any(|(places, rows)| {
            let values: Vec<&str> = places.iter().map(|&place| one[place].1.as_str()).collect();
            rows.contains(&values)
        })
    }
}

/// The first key turns slowest.
fn product(axes: &[(String, Vec<String>)]) -> Vec<Combination> {
    axes.iter().fold(vec![Vec::new()], |combinations, (key, values)| {
        combinations
            .iter()
            .flat_map(|combination| {
                values.iter().map(|value| {
                    let mut longer: Combination = combination.clone();
                    longer.push((key.clone(), value.clone()));
                    longer
                })
            })
            .collect()
    })
}

/// The maps under `include` or `exclude`.
fn rows(
    field: &'static str,
    yaml: Option<&Yaml>,
    keys: &[&str],
    problems: &mut Problems,
) -> Vec<Located<Combination>> {
    let Some(items) = yaml.and_then(|yaml| problems.list(field, yaml)) else { return Vec::new() };
    let mut rows = Vec::new();
    for row in items {
        let ValueKind::Map(entries) = &row.kind else {
            problems.mismatch(&item(field), "a map", row);
            continue;
        };
        let mut values = Vec::new();
        for (key, value) in entries {
            if !keys.contains(&key.name.as_str()) {
                let message = format!("the matrix has no key `{}`", key.name);
                match nearest(&key.name, keys.iter().copied()) {
                    Some(near) => {
                        let hint = format!("did you mean `{near}`?");
                        problems.push_with_hint(&key.span, message, hint);
                    }
                    None => problems.push(&key.span, message),
                }
            } else if let Some(value) = problems.text(&key.name, value) {
                values.push((key.name.clone(), value.value));
            }
        }
        rows.push(Located { value: values, span: row.span.clone() });
    }
    rows
}

/// The text with `{key}` replaced by the values. Cut short where there is no room.
pub(super) fn fill(text: &str, combination: &Combination, room: &Room) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{')
        && filled.len() <= room.0.get()
    {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let value = rest.find('}').and_then(|close| {
            let (_, value) = combination.iter().find(|(key, _)| *key == rest[1..close])?;
            Some((value, close))
        });
        if let Some((value, close)) = value {
            filled.push_str(value);
            rest = &rest[close + 1..];
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    room.take(filled.len() + Room::TEXT);
    filled
}

impl SecretSource {
    fn filled(&self, combination: &Combination, room: &Room) -> Self {
        match self {
            Self::Env(name) => Self::Env(fill(name, combination, room)),
            // It came from the file, which is UTF-8.
            Self::File(path) => Self::File(fill(&path.to_string_lossy(), combination, room).into()),
        }
    }
}

impl Test {
    /// In the pattern of its output a value stands for itself.
    fn filled(&self, combination: &Combination, room: &Room) -> Self {
        let literal = || combination.iter().map(|(key, value)| (key.clone(), regex::escape(value)));
        let check = match &self.check {
            Check::Run { argv, stdout } => Check::Run {
                argv: argv.iter().map(|word| fill(word, combination, room)).collect(),
                stdout: stdout.as_ref().map(|text| fill(text, &literal().collect(), room)),
            },
            Check::Healthy => Check::Healthy,
        };
        Self { check, ..self.clone() }
    }
}

impl Image {
    /// The nodes that this entry stands for, by name.
    pub(super) fn nodes(
        mut self,
        entry: &Located<String>,
        (room, problems): (&Room, &mut Problems),
    ) -> Vec<(String, Self)> {
        let later = std::mem::take(&mut self.later);
        // Taken out, or each node would copy every combination.
        let Some(matrix) = self.matrix.take() else {
            self.set_all(&later, (&Combination::new(), room), problems);
            self.check_patterns(problems);
            self.check_build(problems);
            return vec![(entry.value.clone(), self)];
        };
        for span in &matrix.useless {
            let problem = Diagnostic::of(
                RuleCode::UselessExclude,
                "this matches no combination of the matrix",
            );
            problems.found.push(problem.at(&problems.source, span.clone(), ""));
        }
        let mut nodes: Vec<(String, Self)> = Vec::new();
        for one in &matrix.combinations {
            let mut image = self.filled(one, room);
            image.set_all(&later, (one, room), problems);
            image.check_build(problems);
            nodes.push((fill(&entry.value, one, room), image));
            room.take(Room::IMAGE);
            if room.is_full(&entry.span, problems) {
                return Vec::new();
            }
        }
        // Each key has a value, so one node tells for all.
        let is_broken = nodes.first_mut().is_some_and(|(_, image)| {
            image.check_patterns(problems);
            image.is_broken
        });
        for (_, image) in &mut nodes {
            image.is_broken |= is_broken;
        }
        nodes
    }

    /// A pattern with braces was taken for one with keys of the matrix.
    fn check_patterns(&mut self, problems: &mut Problems) {
        let tests = self.test.iter().flatten().zip(&self.places.tests);
        let broken: Vec<_> = tests
            .filter_map(|(test, span)| {
                let Check::Run { stdout: Some(text), .. } = &test.check else { return None };
                let error = regex::Regex::new(text).err()?;
                Some((span.clone(), not_a_pattern(text, &error)))
            })
            .collect();
        for (span, message) in broken {
            let hint = "`{…}` is a key of the image's `matrix`, or a count such as `{3}`; write `\\{` for a brace";
            problems.push_with_hint(&span, message, hint);
            problems.last_is(RuleCode::WrongTest);
            self.is_broken = true;
        }
    }

    pub(super) fn check_build(&mut self, problems: &mut Problems) {
        let before = problems.found.len();
        self.settings = self.build.settings(problems);
        self.is_broken |= problems.found.len() > before;
    }

    pub(super) fn set_all(
        &mut self,
        later: &[(&'static str, Located<String>)],
        (combination, room): (&Combination, &Room),
        problems: &mut Problems,
    ) {
        let before = problems.found.len();
        for (field, text) in later {
            let kind = ValueKind::Text(fill(&text.value, combination, room));
            self.set(field, &Yaml { kind, span: text.span.clone() }, problems);
        }
        self.is_broken |= problems.found.len() > before;
    }

    /// With the values of a combination.
    pub(super) fn filled(&self, combination: &Combination, room: &Room) -> Self {
        let text = |at: &Located<String>| Located {
            value: fill(&at.value, combination, room),
            span: at.span.clone(),
        };
        let list = |list: &Located<Vec<Located<String>>>| Located {
            value: list.value.iter().map(text).collect(),
            span: list.span.clone(),
        };
        let map = |map: &BTreeMap<String, String>| {
            let fill = |(key, value): (&String, &String)| {
                room.take(key.len());
                (key.clone(), fill(value, combination, room))
            };
            map.iter().map(fill).collect()
        };
        let words =
            |words: &Vec<String>| words.iter().map(|word| fill(word, combination, room)).collect();
        Self {
            prepare: self.prepare.as_ref().map(words),
            sign: self.sign.as_ref().map(words),
            test: self
                .test
                .as_ref()
                .map(|tests| tests.iter().map(|test| test.filled(combination, room)).collect()),
            gates: self.gates.as_ref().map(|gates| {
                let filled = |gate: &Gate| Gate { run: words(&gate.run), ..gate.clone() };
                gates.iter().map(filled).collect()
            }),
            volatile: self.volatile.as_ref().map(words),
            allow_build_args: self.allow_build_args.as_ref().map(words),
            context: self.context.as_ref().map(text),
            dockerfile: self.dockerfile.as_ref().map(text),
            tags: self.tags.as_ref().map(list),
            build_args: map(&self.build_args),
            secrets: SecretFields {
                sources: self
                    .secrets
                    .sources
                    .iter()
                    .map(|(id, source)| (id.clone(), source.filled(combination, room)))
                    .collect(),
                optional: self.secrets.optional.clone(),
            },
            target: self.target.as_ref().map(text),
            repository: self.repository.as_ref().map(text),
            publish: self.publish.as_ref().map(list),
            labels: map(&self.labels),
            build: self.build.filled(|text| fill(text, combination, room)),
            parents: self.parents.as_ref().map(list),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::hierarchy::{Hierarchy, LoadOptions};

    /// Each file has less than 2 MiB, and would take gigabytes or minutes.
    #[test]
    fn texts_that_are_multiplied_have_a_limit() {
        let numbers = |to: usize| {
            let all: Vec<String> = (0..to).map(|n| n.to_string()).collect();
            all.join(", ")
        };
        let (hundred, long) = (numbers(100), "x".repeat(200_000));
        let entry = |matrix: &str, rest: &str| {
            format!("images:\n  \"n{{a}}-{{b}}\": {{ matrix: {{ {matrix} }}{rest} }}\n")
        };
        let square = format!("a: [{hundred}], b: [{hundred}]");
        let labels: Vec<String> = (0..2000).map(|n| format!("l{n}: v")).collect();
        let keys: Vec<String> = (0..1000).map(|n| format!("k{n}: [x]")).collect();
        let sets = (1..1000_u32).map(|set| {
            let keys = (0..10).filter(|bit| set >> bit & 1 == 1).map(|bit| format!("k{bit}: 0"));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let ten: Vec<String> = (0..10).map(|n| format!("k{n}: [0, 1, 2]")).collect();
        let entries: Vec<String> = (0..9000).map(|n| format!("  n{n}: {{}}\n")).collect();
        // Each of both has room alone.
        let matrices = ["x", "y"].map(|name| {
            let label = "x".repeat(8000);
            format!(
                "  \"{name}{{a}}-{{b}}\": {{ matrix: {{ {square} }}, labels: {{ x: {label} }} }}\n"
            )
        });
        for (text, refused) in [
            (entry(&square, &format!(", labels: {{ x: {long} }}")), "more than 128 MiB"),
            (
                entry(&square, &format!(", labels: {{ {} }}", labels.join(", "))),
                "more than 128 MiB",
            ),
            (entry(&format!("{square}, c: [{long}]"), ""), "more than 128 MiB"),
            (
                entry(
                    &format!("a: [{long}], b: [1]"),
                    &format!(", labels: {{ x: \"{}\" }}", "{a}".repeat(1000)),
                ),
                "more than 128 MiB",
            ),
            (entry(&format!("{square}, {}", keys.join(", ")), ""), "at most 64 keys"),
            (entry(&format!("{}, exclude: [{sets}]", ten.join(", ")), ""), "more than 64 sets"),
            (
                format!("defaults: {{ labels: {{ x: {long} }} }}\nimages:\n{}", entries.concat()),
                "more than 128 MiB",
            ),
            (format!("images:\n{}", matrices.concat()), "more than 128 MiB"),
        ] {
            let began = Instant::now();
            let options = LoadOptions { names_only: true, ..LoadOptions::default() };
            let text = format!("version: 1\n{text}");
            let error = Hierarchy::load_text("/h.yaml".into(), text, &options).unwrap_err();
            assert!(error.problems[0].message.contains(refused), "{refused}: {error}");
            assert!(began.elapsed() < Duration::from_secs(60), "{refused}: {:?}", began.elapsed());
        }
    }
}
