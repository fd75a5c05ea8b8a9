//! Recipes of justfiles: one with parameters is a function, and a dependency with arguments is a call of it.

use std::path::Path;

use super::{
    functions::{Functions, NumberedLine},
    shell::words,
};

/// First words of lines that begin no recipe.
const SETTINGS: [&str; 6] = ["set", "export", "unexport", "alias", "import", "mod"];

pub(super) fn is_justfile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.contains("justfile")
}

/// Takes the recipes with parameters out of the lines, and puts calls in the place of the other recipes' first lines.
pub(super) fn take(lines: &mut Vec<NumberedLine>, functions: &mut Functions) {
    let mut all = std::mem::take(lines).into_iter().peekable();
    while let Some((number, line)) = all.next() {
        let Some(Recipe { name, parameters, calls }) = Recipe::of(&line) else {
            lines.push((number, line));
            continue;
        };
        let calls = calls.into_iter().map(|call| (number, call));
        if parameters.is_empty() {
            lines.extend(calls);
            continue;
        }
        let mut body: Vec<NumberedLine> =
            std::iter::once((number, parameters.join(" "))).chain(calls).collect();
        let is_body = |line: &str| line.trim().is_empty() || line.starts_with([' ', '\t']);
        while let Some(line) = all.next_if(|(_, line)| is_body(line)) {
            body.push(line);
        }
        functions.insert(&name, body);
    }
}

/// The first line of a recipe: <https://just.systems/man/en/recipe-parameters.html>.
struct Recipe {
    name: String,
    /// Assignments of the arguments, or of the defaults.
    parameters: Vec<String>,
    /// Calls of dependencies with arguments.
    calls: Vec<String>,
}

impl Recipe {
    fn of(line: &str) -> Option<Self> {
        if line.starts_with([' ', '\t', '#', '[']) {
            return None;
        }
        let at = colon(line).filter(|at| !line[at + 1..].starts_with('='))?;
        let mut head = words(&line[..at]).into_iter();
        let name = head.next()?.trim_start_matches('@');
        if !is_name(name) || SETTINGS.contains(&name) {
            return None;
        }
        let parameters: Option<Vec<String>> =
            head.enumerate().map(|(at, word)| parameter(at + 1, word)).collect();
        let calls = words(&line[at + 1..]).into_iter().filter_map(call).collect();
        Some(Self { name: name.to_owned(), parameters: parameters?, calls })
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
}

/// Where the parameters end.
fn colon(line: &str) -> Option<usize> {
    let mut quote = None;
    line.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, ':') => return Some(at),
            _ => {}
        }
        None
    })
}

/// `name`, `$name`, `name="default"` and `*names`, as an assignment.
fn parameter(number: usize, word: &str) -> Option<String> {
    let is_several = word.starts_with(['*', '+']);
    let (name, default) = word.split_once('=').map_or((word, None), |(name, it)| (name, Some(it)));
    let name = name.trim_start_matches(['*', '+', '$']);
    let assigned = match default {
        _ if is_several => "$@".to_owned(),
        None => format!("${{{number}}}"),
        Some(default) => {
            format!("${{{number}:-{}}}", expression(default).trim_matches(['"', '\'']))
        }
    };
    is_name(name).then(|| format!("{name}={assigned}"))
}

/// A text in quotes, or the value of a variable.
fn expression(word: &str) -> String {
    let is_text = word.len() > 1 && word.starts_with(['"', '\'']) && word.ends_with(['"', '\'']);
    if is_text { word.to_owned() } else { format!("${{{word}}}") }
}

/// `(recipe "a" b)`.
fn call(dependency: &str) -> Option<String> {
    let inside = dependency.strip_prefix('(')?.strip_suffix(')')?;
    let mut all = words(inside).into_iter();
    let name = all.next().filter(|name| is_name(name))?;
    Some(std::iter::once(name.to_owned()).chain(all.map(expression)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_functions() {
        let text = "v := '2:3'\nset shell := ['sh']\nimage name tag=\"6\" *rest:\n    docker {{name}}\n\n@f: (image \"f\") other\n    true\n# x: y\ng n=v: f (image n v+\"7\" '8')\n  just image a b\nk $p='':";
        let mut lines: Vec<NumberedLine> = text.lines().map(str::to_owned).enumerate().collect();
        let mut functions = Functions::default();
        take(&mut lines, &mut functions);
        let rest: Vec<String> = lines.iter().map(|(at, line)| format!("{at} {line}")).collect();
        let expected =
            ["0 v := '2:3'", "1 set shell := ['sh']", "5 image \"f\"", "6     true", "7 # x: y"];
        assert_eq!(rest, expected);
        let mut body = |name| {
            let body = functions.call(name, &["x".to_owned()]).unwrap();
            body.iter().map(|(at, line)| format!("{at} {line}")).collect::<Vec<_>>()
        };
        let image = ["2 name=${1} tag=${2:-6} rest=$@", "3     docker {{name}}", "4 "];
        assert_eq!(body("image"), image);
        let g = ["8 n=${1:-${v}}", "8 image ${n} ${v+\"7\"} '8'", "9   just image a b"];
        assert_eq!(body("g"), g);
        assert_eq!(body("k"), ["10 p=${1:-}"]);
    }

    #[test]
    fn fuzz_recipes() {
        const WORDS: [&str; 9] = ["a b: ", "(a ", ")", "\"", "'", "=", ":=", "*", "\n  "];
        crate::testing::fuzz::each(&[b"a b=\"c\": (d e)\n  f\n"], &WORDS, |text| {
            let text = String::from_utf8_lossy(text);
            let mut lines = text.lines().map(str::to_owned).enumerate().collect();
            take(&mut lines, &mut Functions::default());
        });
    }
}
