//! Variables of scripts, Makefiles and CI files, and the expressions that they are in.

use super::{
    arrays, copies,
    evidence::{CLOSE, OPEN, Open, PathPart, Values, unknown},
    expressions,
};

/// How variables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Shell,
    Make,
}

/// Fills in what has a value. Values may contain variables themselves.
pub(super) fn expand(text: &str, values: &Values, syntax: Syntax) -> String {
    expand_to(text, values, syntax, &mut Expansion { open: Vec::new(), left: LONGEST })
}

/// The state of one call of [`expand`].
struct Expansion {
    /// The variables whose values are being read, and an empty name for each default and command.
    open: Vec<String>,
    /// How many bytes of values may still be read: values that use each other several times grow with each level.
    left: usize,
}

impl Expansion {
    /// Whether the value of a variable may be read. A variable that uses itself has none.
    fn enter(&mut self, name: &str, text: &str) -> bool {
        let is_in_itself = !name.is_empty() && self.open.iter().any(|one| one == name);
        let left = self.left.checked_sub(1 + text.len());
        let Some(left) = left.filter(|_| self.open.len() < DEEPEST && !is_in_itself) else {
            return false;
        };
        self.left = left;
        self.open.push(name.to_owned());
        true
    }

    fn leave(&mut self) {
        self.open.pop();
    }
}

fn expand_to(text: &str, values: &Values, syntax: Syntax, state: &mut Expansion) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '`']) {
        out.push_str(&rest[..at]);
        let is_command = rest[at..].starts_with('`');
        rest = &rest[at + 1..];
        if is_command {
            let (command, after) = rest.split_once('`').unwrap_or((rest, ""));
            let copy = copied(command, values, syntax, state);
            out.push_str(&copy.unwrap_or_else(|| unknown(command)));
            rest = after;
            continue;
        }
        if syntax == Syntax::Make
            && let Some(after) = rest.strip_prefix('$')
        {
            rest = after;
            if !rest.starts_with(|c: char| c.is_alphanumeric() || "_{(".contains(c)) {
                continue;
            }
        }
        let (name, after) = match rest.chars().next() {
            Some('{') if rest.starts_with("{{") => match rest.find("}}") {
                Some(end) => (rest[2..end].trim(), &rest[end + 2..]),
                None => break,
            },
            Some(open @ ('{' | '(')) => match closing(rest, open) {
                Some(end) => (&rest[1..end], &rest[end + 1..]),
                None => break,
            },
            Some(c) if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                rest.split_at(end.unwrap_or(rest.len()))
            }
            Some(c) if "@*<^#?!".contains(c) => rest.split_at(1),
            _ => {
                out.push('$');
                continue;
            }
        };
        let is_expression = rest.starts_with("{{");
        rest = after;
        let text = is_expression.then(|| expression(name, values, syntax, state)).flatten();
        out.push_str(&text.unwrap_or_else(|| value(name, values, syntax, state)));
    }
    out.push_str(rest);
    out
}

/// The value of `${{ … }}`, if it is more than a name.
fn expression(
    text: &str,
    values: &Values,
    syntax: Syntax,
    state: &mut Expansion,
) -> Option<String> {
    expressions::value(text, |name| {
        let found = value(name, values, syntax, state);
        let is_own = |unknown: &str| name.ends_with(unknown);
        let has_none =
            found.strip_prefix(OPEN).and_then(|it| it.strip_suffix(CLOSE)).is_some_and(is_own);
        (!has_none).then_some(found)
    })
}

/// Where a bracket that begins the text ends.
pub(super) fn closing(text: &str, open: char) -> Option<usize> {
    let close = if open == '{' { '}' } else { ')' };
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// More levels of variables in values are not followed.
const DEEPEST: usize = 8;
/// More bytes of values are not read for one text.
const LONGEST: usize = 64 * 1024;
/// The folder of the repository in GitHub Actions, GitLab CI, Azure Pipelines, Jenkins, `CircleCI`, Travis CI,
/// Bitbucket and Buildkite.
const WORKSPACES: [&str; 8] = [
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "BUILD_SOURCESDIRECTORY",
    "WORKSPACE",
    "CIRCLE_WORKING_DIRECTORY",
    "TRAVIS_BUILD_DIR",
    "BITBUCKET_CLONE_DIR",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
];

/// `$(basename "$X")`, `$(notdir $@)`: the last part of a path. `$(dirname "$X")`: its folder.
fn part_of_path(
    written: &str,
    values: &Values,
    syntax: Syntax,
    state: &mut Expansion,
) -> Option<String> {
    let (command, argument) = written.trim().split_once(' ')?;
    // `basename "$X" .Dockerfile`
    let (argument, suffix) = match argument.rsplit_once(' ') {
        Some((argument, suffix)) if command == "basename" && suffix.starts_with('.') => {
            (argument, suffix)
        }
        _ => (argument, ""),
    };
    let part = match command {
        "basename" | "notdir" => PathPart::Base,
        "dirname" => PathPart::Dir,
        _ => return None,
    };
    // The folder of the script itself is where it runs.
    let is_script = ["$0", "BASH_SOURCE", "%x"].iter().any(|one| argument.contains(one));
    if is_script || !state.enter("", argument) {
        return None;
    }
    let text = expand_to(argument.trim().trim_matches(['"', '\'']), values, syntax, state);
    state.leave();
    if Open(text.clone()).is_known() {
        let whole = part.of(&text);
        return Some(whole.strip_suffix(suffix).unwrap_or(&whole).to_owned());
    }
    let open = part.of_open(&text).filter(|_| suffix.is_empty());
    open.or_else(|| {
        let is_end = |c: char| !(c.is_alphanumeric() || "_@*.".contains(c));
        let name = argument.trim_matches(is_end);
        matches!(part, PathPart::Base).then(|| unknown(&format!("base:{name}")))
    })
}

/// The variable that stands for the content of a file, if a command prints it.
fn copied(command: &str, values: &Values, syntax: Syntax, state: &mut Expansion) -> Option<String> {
    // `$(<D)` of a Makefile is a variable.
    let is_command = syntax == Syntax::Shell || command.trim_start().contains(' ');
    if !is_command {
        return None;
    }
    copies::variable(command, |path| {
        if !state.enter("", path) {
            return String::new();
        }
        let path = expand_to(path, values, syntax, state);
        state.leave();
        path
    })
}

/// The folder of `cd "$(dirname "$0")/.." && pwd`.
fn entered(
    written: &str,
    values: &Values,
    syntax: Syntax,
    state: &mut Expansion,
) -> Option<String> {
    let (path, print) = written.trim().strip_prefix("cd ")?.rsplit_once("&&")?;
    let path = path.split('>').next()?.trim();
    let path = path.strip_prefix("-- ").unwrap_or(path).trim().trim_matches(['"', '\'']);
    if !print.trim().starts_with("pwd") || path.contains("&&") || !state.enter("", path) {
        return None;
    }
    let path = expand_to(path, values, syntax, state);
    state.leave();
    Open(path.clone()).is_known().then_some(path)
}

fn value(written: &str, values: &Values, syntax: Syntax, state: &mut Expansion) -> String {
    let part = part_of_path(written, values, syntax, state);
    let part = part.or_else(|| copied(written, values, syntax, state));
    if let Some(known) = part.or_else(|| entered(written, values, syntax, state)) {
        return known;
    }
    let mut look = |name: &str| {
        let text = values.get(name)?;
        if !state.enter(name, text) {
            return None;
        }
        let text = if syntax == Syntax::Shell { arrays::items(text) } else { text };
        let text = expand_to(text, values, syntax, state);
        state.leave();
        Some(text)
    };
    let written = written.trim();
    if let Some((array, key)) = written.strip_suffix(']').and_then(|it| it.split_once('['))
        && !matches!(key, "@" | "*")
        && let Some(text) = values.get(array)
    {
        if !state.enter("", key) {
            return unknown(written);
        }
        let key = expand_to(key, values, syntax, state);
        state.leave();
        return arrays::element(text, &key).unwrap_or_else(|| unknown(written));
    }
    // All items of an array of bash.
    let plain = written.replace("[@]", "").replace("[*]", "");
    let written = plain.as_str();
    // `$(or $(X),y)`: the first that is set.
    if let Some(choices) = written.strip_prefix("or ") {
        let mut known = choices.split(',').filter_map(|one| {
            if !state.enter("", one) {
                return None;
            }
            let text = expand_to(one.trim(), values, syntax, state);
            state.leave();
            (Open(text.clone()).is_known() && !text.is_empty()).then_some(text)
        });
        return known.next().unwrap_or_else(|| unknown(written));
    }
    if let Some(name) = written.strip_suffix("##*/").or_else(|| (written == "@F").then_some("@")) {
        return last_part(name, look(name));
    }
    // `$(<D)`: the folder of the first prerequisite.
    if let Some(name) = ["@D", "<D"].iter().find_map(|it| (*it == written).then_some(&it[..1]))
        && let Some(text) = look(name)
    {
        return PathPart::Dir.of(&text);
    }
    let is_here = ["pwd", "PWD", "CURDIR", "github.workspace", "dirname", "git rev-parse --show"];
    if is_here.iter().any(|one| written.starts_with(one)) || WORKSPACES.contains(&written) {
        return ".".to_owned();
    }
    if let Some(rest) = written.strip_prefix("shell ").or(Some(written))
        && rest.contains(char::is_whitespace)
        && !rest.contains("||")
        && !written.contains(":-")
    {
        return unknown(written);
    }
    if ["&&", "==", "!=", "format(", "fromJ"].iter().any(|one| written.contains(one)) {
        return unknown(written);
    }
    // `${{ inputs.x || 'y' }}`, `${X:-y}`, `${X%/}`.
    let (name, default) = if let Some((name, default)) = written.split_once("||") {
        (name.trim(), Some(default.trim().trim_matches('\'')))
    } else {
        let end = written.find([':', '-', '=', '+', '?', '%', '#', '/', ',', '^']);
        let end = end.filter(|_| !written.contains('.') || written.contains(":-"));
        let (name, rest) = written.split_at(end.unwrap_or(written.len()));
        // What is cut out of a value is another value.
        if rest.starts_with(['%', '#', '/', '^', ',']) && !["%/", ",,"].contains(&rest) {
            return unknown(written);
        }
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        (name, rest.strip_prefix(['-', '=']))
    };
    let plain = ["matrix.", "env.", "inputs.", "vars.", "parameters."];
    let plain = plain.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let found = look(name).or_else(|| look(plain)).map(|value| match written {
        _ if written.ends_with("%/") => value.trim_end_matches('/').to_owned(),
        _ if written.ends_with(",,") && Open(value.clone()).is_known() => value.to_lowercase(),
        _ => value,
    });
    match (found, default) {
        (Some(value), _) if !value.is_empty() => value,
        (_, Some(default)) if state.enter("", default) => {
            let text = expand_to(default, values, syntax, state);
            state.leave();
            text
        }
        (Some(value), None) => value,
        (_, Some(_)) | (None, None) => unknown(plain),
    }
}

fn last_part(name: &str, value: Option<String>) -> String {
    let value = value.filter(|value| Open(value.clone()).is_known());
    value.map_or_else(|| unknown(&format!("base:{name}")), |value| PathPart::Base.of(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_scripts_and_makefiles() {
        let values: Values = [
            ("A", "x"),
            ("B", "$A-y"),
            ("LOOP", "$LOOP"),
            ("D", "a/b/"),
            ("U", "X"),
            ("V.W", "no"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (text, expected) in [
            ("$A:${B}", "x:x-y"),
            ("${{ matrix.A }}", "x"),
            ("${{ inputs.Q || 'z' }}", "z"),
            ("${C:-$A}", "x"),
            ("${A:-z}", "x"),
            ("$(basename \"$D\")", "b"),
            ("$(basename q/x.Dockerfile .Dockerfile)", "x"),
            ("${D##*/}", "b"),
            ("${U,,}", "x"),
            ("${A[@]+${A[@]}} ${B[*]}", "x x-y"),
            ("$PWD/x", "./x"),
            ("$(cd \"$(dirname \"${BASH_SOURCE[0]}\")/..\" && pwd)/x", "./../x"),
            ("$(cd -- $(dirname $0) >/dev/null 2>&1 && pwd -P)", "."),
            ("${CI_PROJECT_DIR}/x", "./x"),
            ("v`git describe`", "v\u{1}git describe\u{2}"),
        ] {
            assert_eq!(expand(text, &values, Syntax::Shell), expected, "{text}");
        }
        for (text, expected) in [
            ("$(A)$$A", "xx"),
            ("$(or $(C), $(B))", "x-y"),
            ("$(notdir $@)", "\u{1}base:@\u{2}"),
            ("$(C)", "\u{1}C\u{2}"),
        ] {
            assert_eq!(expand(text, &values, Syntax::Make), expected, "{text}");
        }
        assert!(!Open(expand("$LOOP", &values, Syntax::Shell)).is_known());
    }

    #[test]
    fn values_that_use_each_other_many_times_end() {
        let names = ["A", "B", "C", "D", "E", "F", "G", "H", "I"];
        let uses = |pair: &[&str]| (pair[0].to_owned(), format!("${}", pair[1]).repeat(100));
        let values: Values = names.windows(2).map(uses).collect();
        let text = expand("$A", &values, Syntax::Shell);
        assert!(!Open(text.clone()).is_known() && text.len() < 4 * LONGEST);
    }
}
