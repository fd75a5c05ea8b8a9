//! What the variables of loops and of rules of Makefiles may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    arrays,
    evidence::{Open, Values, turns},
    path_words::is_one_of,
    variables::{Syntax, expand},
};

/// The values of the variables of loops in each turn. A key may be several variables between spaces.
pub(super) type Lists = BTreeMap<String, Vec<String>>;

/// What is between the values of several variables.
pub(super) const SEPARATOR: char = '\u{1f}';

/// What `%` stands for in a pattern rule of a Makefile.
const STEM: &str = "$(*)";

/// `a b: c`: what `$@` may be in the recipe. Of `x-%: y/%`, `$@` and `$<` have the stem `$*`.
pub(super) fn targets(line: &str, values: &mut Values, lists: &mut Lists) {
    let Some((names, rest)) = line.split_once(':') else { return };
    // `a: X = y` is a variable of a target.
    if rest.contains('=') || names.contains('=') || names.starts_with(' ') {
        return;
    }
    lists.remove("@");
    lists.remove("*");
    values.retain(|name, _| !["@", "<"].contains(&name.as_str()));
    let words = |text: &str| -> Vec<String> {
        expand(text, values, Syntax::Make).split_whitespace().map(str::to_owned).collect()
    };
    let (names, files) = (words(names), words(rest.split(';').next().unwrap_or_default()));
    let is_known = |name: &String| !name.contains('%') && Open(name.clone()).is_known();
    let stem = |pattern: &String| pattern.replacen('%', STEM, 1);
    match &names[..] {
        [] => {}
        [pattern] if pattern.contains('%') => _ = values.insert("@".to_owned(), stem(pattern)),
        names if names.iter().all(is_known) => _ = lists.insert("@".to_owned(), names.to_vec()),
        _ => {}
    }
    if let Some(first) = files.first().filter(|first| Open((*first).clone()).is_known()) {
        values.insert("<".to_owned(), stem(first));
    }
}

/// `for x in a b; do`: what `$x` may be. Several variables are one key, and have as many words each, as in zsh.
pub(super) fn loops(
    line: &str,
    (values, syntax): (&Values, Syntax),
    (folder, dockerfiles): (&Path, &BTreeSet<PathBuf>),
    (lists, files): (&mut Lists, &mut BTreeSet<String>),
) {
    for part in line.split(';') {
        let part = part.trim();
        let Some((names, words)) = part
            .strip_prefix("do ")
            .unwrap_or(part)
            .strip_prefix("for ")
            .and_then(|rest| rest.split_once(" in "))
        else {
            continue;
        };
        let names: Vec<&str> = names.split_whitespace().collect();
        let is_other = |key: &str| !key.split(' ').any(|one| names.contains(&one));
        lists.retain(|key, _| is_other(key));
        files.retain(|name| is_other(name));
        let words = arrays::expanded(words.trim_end_matches(" do"), |name| values.get(name));
        let words = expand(&words, values, syntax);
        let is_known = Open(words.clone()).is_known() && !words.contains(['(', '@']);
        let all = words.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        let all: Vec<String> = all.flat_map(|word| matching(word, folder, dockerfiles)).collect();
        let has_wildcard = words.contains(['*', '?']);
        if is_known && (!all.is_empty() || has_wildcard && !may_match(&words, dockerfiles)) {
            let turns =
                all.chunks(names.len().max(1)).map(|words| words.join(&SEPARATOR.to_string()));
            lists.insert(names.join(" "), turns.collect());
        } else if names_files(&words) {
            files.extend(names.iter().map(|name| (*name).to_owned()));
        }
    }
}

/// Whether the words of a loop are files: those that match a wildcard, or that a command finds.
fn names_files(words: &str) -> bool {
    let mut all = words.split(|c: char| !c.is_alphanumeric());
    words.contains(['*', '?']) || all.any(|word| is_one_of(word, "find ls git fd tree wildcard"))
}

/// What the shell makes of a word: of one with wildcards, the folders of Dockerfiles and the Dockerfiles that match it,
/// in the script's folder or in one above it.
fn matching(word: &str, folder: &Path, dockerfiles: &BTreeSet<PathBuf>) -> Vec<String> {
    if !word.contains(['*', '?']) {
        return vec![word.to_owned()];
    }
    let (pattern, end) = match word.strip_suffix('/') {
        Some(pattern) => (pattern, "/"),
        None => (word, ""),
    };
    let pattern = pattern.trim_start_matches("./");
    let Some(glob) = glob(pattern) else { return Vec::new() };
    let matches_below = |base: &Path| -> BTreeSet<String> {
        let below = dockerfiles.iter().filter_map(|path| path.strip_prefix(base).ok());
        let all = below.flat_map(|path| path.ancestors().skip(usize::from(!end.is_empty())));
        let shown = all.filter(|path| glob.is_match(path)).map(|path| path.display().to_string());
        shown.filter(|path| !path.starts_with('.') && !path.contains("/.")).collect()
    };
    let found = folder.ancestors().map(matches_below).find(|found| !found.is_empty());
    found.unwrap_or_default().into_iter().map(|path| path + end).collect()
}

/// Whether one of the words matches in any folder: the script may run in one that is not known.
fn may_match(words: &str, dockerfiles: &BTreeSet<PathBuf>) -> bool {
    words.split_whitespace().any(|word| {
        let word = word.trim_matches(['"', '\'']).trim_start_matches("./").trim_end_matches('/');
        let Some(glob) = glob(&format!("**/{word}")) else { return true };
        dockerfiles.iter().any(|path| path.ancestors().any(|part| glob.is_match(part)))
    })
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.ok().map(|glob| glob.compile_matcher())
}

/// Whether a text takes the value of a variable.
pub(super) fn uses(name: &str, text: &str) -> bool {
    ["", "{", "(", "(notdir ", "(basename ", "(basename \""]
        .iter()
        .any(|open| text.contains(&format!("${open}{name}")))
}

/// Forgets what the arms of a `case` assign to a variable. That of a loop has its values until the loop ends.
pub(super) fn forget(name: &str, lists: &mut Lists) {
    let position = |key: &str| key.split(' ').position(|one| one == name);
    let key = lists.keys().find(|key| position(key).is_some_and(|at| at > 0)).cloned();
    let Some((at, key)) = key.and_then(|key| Some((position(&key)?, key))) else { return };
    let without = |text: &str, between: char| {
        let parts = text.split(between).enumerate().filter(|(own, _)| *own != at);
        parts.map(|(_, part)| part).collect::<Vec<_>>().join(&between.to_string())
    };
    let rows = lists.remove(&key).unwrap_or_default();
    let rows = rows.iter().map(|row| without(row, SEPARATOR)).collect();
    lists.insert(without(&key, ' '), rows);
}

/// Whether a line takes a value of one of the variables of a key.
pub(super) fn takes(line: &str, key: &str, values: &Values) -> bool {
    key.split(' ').any(|name| uses(name, line) || values.values().any(|value| uses(name, value)))
}

/// The values of each turn of the loops that a line is in.
pub(super) fn rows(line: &str, lists: &Lists, values: &Values) -> Vec<Values> {
    let mut rows = vec![values.clone()];
    for (key, words) in lists {
        let names: Vec<&str> = key.split(' ').collect();
        let is_used = takes(line, key, values);
        if is_used && words.is_empty() {
            return Vec::new();
        }
        if is_used {
            rows = turns(rows, words, |row, word| match &names[..] {
                [name] => _ = row.insert((*name).to_owned(), word.clone()),
                names => {
                    let pairs = names.iter().zip(word.split(SEPARATOR));
                    row.extend(pairs.map(|(name, word)| ((*name).to_owned(), word.to_owned())));
                }
            });
        }
    }
    for row in &mut rows {
        // A loop over files, or a pattern rule: what it is shows in the path.
        let is_pattern = |value: &String| value.contains(STEM);
        row.retain(|name, value| {
            !["@", "*"].contains(&&**name) || lists.contains_key(name) || is_pattern(value)
        });
    }
    rows
}
