//! What the variables of loops and of rules of Makefiles may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    evidence::{Open, Syntax, Values, expand, turns},
    path_words::is_one_of,
};

/// `a b: c`: what `$@` may be in the recipe.
pub(super) fn targets(line: &str, values: &Values, lists: &mut BTreeMap<String, Vec<String>>) {
    let Some((names, rest)) = line.split_once(':') else { return };
    if rest.starts_with('=') || names.contains('=') || names.starts_with(' ') {
        return;
    }
    lists.remove("@");
    lists.remove("*");
    let names = expand(names, values, Syntax::Make);
    let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    let is_known = |name: &String| !name.contains('%') && Open(name.clone()).is_known();
    if !names.is_empty() && names.iter().all(is_known) {
        lists.insert("@".to_owned(), names);
    }
}

/// `for x in a b; do`: what `$x` may be.
pub(super) fn loops(
    line: &str,
    (values, syntax): (&Values, Syntax),
    (folder, dockerfiles): (&Path, &BTreeSet<PathBuf>),
    (lists, files): (&mut BTreeMap<String, Vec<String>>, &mut BTreeSet<String>),
) {
    for part in line.split(';') {
        let Some((name, rest)) =
            part.trim().strip_prefix("for ").and_then(|rest| rest.split_once(" in "))
        else {
            continue;
        };
        let rest = rest.split(';').next().unwrap_or("").trim_end_matches(" do");
        let rest = expand(rest, values, syntax);
        files.remove(name.trim());
        let is_known = Open(rest.clone()).is_known() && !rest.contains(['(', '@']);
        let words = rest.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        let words: Vec<String> =
            words.flat_map(|word| matching(word, folder, dockerfiles)).collect();
        let has_wildcard = rest.contains(['*', '?']);
        if is_known && (!words.is_empty() || has_wildcard && !may_match(&rest, dockerfiles)) {
            lists.insert(name.trim().to_owned(), words);
        } else {
            lists.remove(name.trim());
            if names_files(&rest) {
                files.insert(name.trim().to_owned());
            }
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

/// The values of each turn of the loops that a line is in.
pub(super) fn rows(
    line: &str,
    lists: &BTreeMap<String, Vec<String>>,
    values: &Values,
) -> Vec<Values> {
    let mut rows = vec![values.clone()];
    for (name, words) in lists {
        let is_used = uses(name, line) || values.values().any(|value| uses(name, value));
        if is_used && words.is_empty() {
            return Vec::new();
        }
        if is_used {
            rows = turns(rows, words, |row, word| _ = row.insert(name.clone(), word.clone()));
        }
    }
    for row in &mut rows {
        // A loop over files, or a pattern rule: what it is shows in the path.
        for name in ["@", "*"] {
            if !lists.contains_key(name) {
                row.remove(name);
            }
        }
    }
    rows
}
