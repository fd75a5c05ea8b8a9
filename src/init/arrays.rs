//! Lists that scripts have in their text: arrays, what is added to a variable, and the lines of a here-document that a
//! loop reads.

use super::{path_words::is_one_of, shell::words};

/// Lines of an array or of a loop that are read together.
const MOST_LINES: usize = 500;

/// The text with each array on the line on which it begins. The lines have their numbers.
pub(super) fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        let begins = lines[at].split(" #").next().unwrap_or_default().trim_end();
        let rest = &lines[at + 1..];
        let is_open = begins.rsplit_once("=(").is_some_and(|(_, inside)| !inside.contains(')'));
        let end = || rest.iter().take(MOST_LINES).position(|line| line.contains(')'));
        if let Some(end) = is_open.then(end).flatten() {
            let inside =
                rest[..=end].iter().map(|line| line.split(" #").next().unwrap_or_default());
            let inside =
                inside.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            out.push(std::iter::once(begins).chain(inside).collect::<Vec<_>>().join(" "));
            out.extend((0..=end).map(|_| String::new()));
            at += end + 2;
        } else {
            out.push(lines[at].to_owned());
            at += 1;
        }
    }
    out.join("\n")
}

/// The elements of `(a b)` and `([k]=a [l]=b)`, with their keys.
fn elements(array: &str) -> Option<Vec<(String, String)>> {
    let inside = array.trim().strip_prefix('(')?.strip_suffix(')')?;
    let plain = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    let element = |(at, word): (usize, &str)| {
        let keyed = word.strip_prefix('[').and_then(|word| word.split_once("]="));
        match keyed {
            Some((key, value)) => (plain(key), plain(value)),
            None => (at.to_string(), plain(word)),
        }
    };
    Some(words(inside).into_iter().enumerate().map(element).collect())
}

/// One element of an array.
pub(super) fn element(array: &str, key: &str) -> Option<String> {
    let found = elements(array)?.into_iter().find(|(own, _)| own == key.trim_matches(['"', '\'']));
    found.map(|(_, value)| value)
}

/// What `${A[@]}` and `${!A[@]}` in the words of a loop stand for. `value` is that of a variable.
pub(super) fn expanded<'v>(words: &str, value: impl Fn(&str) -> Option<&'v String>) -> String {
    let mut out = String::new();
    let mut rest = words;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find('}').map_or(from.len(), |end| end + 1);
        let written = from[..end].trim_start_matches("${").trim_end_matches('}');
        let named = written.strip_suffix("[@]").or_else(|| written.strip_suffix("[*]"));
        let all = named.and_then(|name| {
            let (name, is_key) = name.strip_prefix('!').map_or((name, false), |key| (key, true));
            let all = elements(value(name)?)?.into_iter();
            Some(all.map(|(key, value)| if is_key { key } else { value }).collect::<Vec<_>>())
        });
        // Words of the loop are split at spaces.
        match all.filter(|all| all.iter().all(|one| !one.contains(char::is_whitespace))) {
            Some(all) => out.push_str(&all.join(" ")),
            None => out.push_str(&from[..end]),
        }
        rest = &from[end..];
    }
    out + rest
}

/// The text with `while read x` as `for x in`: the words are the lines of the here-document, or what a command prints.
/// Several variables stand for as many words each, as in zsh. The lines have their numbers.
pub(super) fn read_loops(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for at in 0..lines.len() {
        let Some(read) = ReadLoop::of(&lines[at]) else { continue };
        let Some(end) = end_of_loop(&lines[at..]).map(|end| at + end) else { continue };
        let source = lines[end].rsplit_once("done").map_or("", |(_, rest)| rest.trim()).to_owned();
        let words = if let Some(command) = &read.command {
            Some(format!("$({command})"))
        } else if let Some(command) = source.strip_prefix("< <(") {
            Some(format!("$({command}"))
        } else {
            document(&source, &lines[end + 1..]).and_then(|(body, count)| {
                let words = read.words(&body);
                lines[end + 1..=end + 1 + count].fill(String::new());
                words
            })
        };
        if let Some(words) = words {
            lines[at] = format!("for {} in {words}; do {}", read.names.join(" "), read.rest);
        }
    }
    lines.join("\n")
}

/// `while IFS=: read -r a b; do`.
struct ReadLoop {
    names: Vec<String>,
    /// The character between the fields of a line; none for white space.
    separator: Option<char>,
    /// What stands before `|`.
    command: Option<String>,
    /// What stands behind `do`.
    rest: String,
}

impl ReadLoop {
    fn of(line: &str) -> Option<Self> {
        let (before, inside) = line.split_once("while ")?;
        let (head, rest) =
            inside.split_once(" do").or_else(|| inside.split_once(";do")).unwrap_or((inside, ""));
        let head = head.trim_end().trim_end_matches(';');
        let mut words = words(head).into_iter();
        let mut separator = None;
        let mut word = words.next()?;
        if let Some(value) = word.strip_prefix("IFS=") {
            separator = value.trim_matches(['"', '\'']).chars().next().filter(|c| *c != '$');
            word = words.next()?;
        }
        let names = words.filter(|word| !word.starts_with('-')).map(str::to_owned);
        let names: Vec<String> =
            (word == "read").then(|| names.collect()).filter(|names: &Vec<_>| !names.is_empty())?;
        let command = before.trim().strip_suffix('|').map(|command| command.trim().to_owned());
        (command.is_some() || before.trim().is_empty()).then(|| Self {
            names,
            separator,
            command,
            rest: rest.trim().to_owned(),
        })
    }

    /// The fields of all lines, if each line has one for each variable.
    fn words(&self, body: &[String]) -> Option<String> {
        let fields = |line: &String| -> Vec<String> {
            match self.separator {
                Some(separator) => line.split(separator).map(|one| one.trim().to_owned()).collect(),
                None => line.split_whitespace().map(str::to_owned).collect(),
            }
        };
        let lines = body
            .iter()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        let rows: Vec<Vec<String>> = lines.map(fields).collect();
        let is_word = |field: &String| !field.is_empty() && !field.contains(char::is_whitespace);
        let is_whole = |row: &Vec<String>| row.len() == self.names.len() && row.iter().all(is_word);
        rows.iter().all(is_whole).then(|| rows.concat().join(" "))
    }
}

/// The line of the `done` of the loop that the first line begins.
fn end_of_loop(lines: &[String]) -> Option<usize> {
    let mut depth = 0usize;
    for (at, line) in lines.iter().enumerate().take(MOST_LINES) {
        for word in line.split([' ', '\t', ';']) {
            match word {
                "while" | "until" | "for" | "select" => depth += 1,
                "done" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The lines of the here-document of `<<WORD`, and how many they are.
fn document(source: &str, lines: &[String]) -> Option<(Vec<String>, usize)> {
    let word = source.strip_prefix("<<")?.trim_start_matches('-').trim();
    let word = word.split([' ', ';', '|']).next()?.trim_matches(['"', '\'', '\\']);
    let is_end = |line: &String| !word.is_empty() && line.trim() == word;
    let count = lines.iter().take(MOST_LINES).position(is_end)?;
    Some((lines[..count].to_vec(), count))
}

/// The words of `(a b)`; any other value as it is.
pub(super) fn items(value: &str) -> &str {
    let inside = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
    inside.map_or(value, str::trim)
}

/// The line with `"${NAME[@]}"` as `${NAME[@]}`: its items are words of their own, also in quotes.
pub(super) fn unquoted(line: &str) -> String {
    let mut parts = line.split("[@]}\"").peekable();
    let mut out = String::new();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            out.push_str(part);
            break;
        }
        match part.rsplit_once("\"${").filter(|(_, name)| is_name(name)) {
            Some((before, name)) => out.extend([before, "${", name, "[@]}"]),
            None => out.extend([part, "[@]}\""]),
        }
    }
    out
}

/// What a line adds to the value of a variable: `A+=x`, `A+=(x)`, `A="$A x"`.
pub(super) fn added(line: &str) -> Option<(&str, String)> {
    let [assignment] = words(line)[..] else { return None };
    let (name, value) = assignment.split_once('=')?;
    let inside = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote).and_then(|value| value.strip_suffix(*quote)));
    let value = inside.unwrap_or(value);
    if let Some(name) = name.strip_suffix('+').filter(|name| is_name(name)) {
        let is_array = items(value) != value;
        let more = if is_array { format!(" {}", items(value)) } else { value.to_owned() };
        return Some((name, more));
    }
    let more = items(value);
    let own = [format!("${{{name}[@]}}"), format!("${{{name}}}"), format!("${name}")];
    let more = own.iter().find_map(|own| more.strip_prefix(own.as_str()))?;
    let is_whole = !more.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (is_name(name) && is_whole && !more.contains(&own[2])).then(|| (name, more.to_owned()))
}

/// Counts the conditions that a line begins and ends.
pub(super) fn count(line: &str, (begin, end): (&str, &str), conditions: &mut usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let all: Vec<&str> = line.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return };
    if is_one_of(first, begin) && !is_one_of(last, end) {
        *conditions += 1;
    } else if is_one_of(first, end) {
        *conditions = conditions.saturating_sub(1);
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_their_elements() {
        let text = "A=(\n  a # one\n  # no\n  b\n)\ndeclare -A V=( [x]=1 [y]=\"2\" )\nf() {\n}";
        let shown = "A=( a b )\n\n\n\n\ndeclare -A V=( [x]=1 [y]=\"2\" )\nf() {\n}";
        assert_eq!(on_one_line(text), shown);
        let (a, v) = ("(a 'b')".to_owned(), "( [x]=1 [y]=\"2\" )".to_owned());
        let value = |name: &str| match name {
            "A" => Some(&a),
            "V" => Some(&v),
            _ => None,
        };
        assert_eq!(
            expanded("\"${A[@]}\" c ${!V[@]} ${V[*]} $D ${E[@]}", value),
            "\"a b\" c x y 1 2 $D ${E[@]}"
        );
        assert_eq!(element(&v, "y").as_deref(), Some("2"));
        assert_eq!(element(&a, "1").as_deref(), Some("b"));
        assert_eq!(element("a b", "0"), None);
    }

    #[test]
    fn loops_that_read_lines() {
        for (text, expected) in [
            (
                "while read -r n t; do\n  b $n\ndone <<L\nj 5\n\nk 6\nL\nx",
                "for n t in j 5 k 6; do \n  b $n\ndone <<L\n\n\n\n\nx",
            ),
            (
                "while IFS=: read n t\ndo\ndone <<-'L'\n  j:5\n  L",
                "for n t in j 5; do \ndo\ndone <<-'L'\n\n",
            ),
            ("find . | while read -r f; do b; done", "for f in $(find .); do b; done"),
            (
                "while read f; do\n  for i in a; do x; done\ndone < <(ls)",
                "for f in $(ls); do \n  for i in a; do x; done\ndone < <(ls)",
            ),
            // Lines with more fields, and files.
            ("while read n; do\ndone <<L\nj 5\nL", "while read n; do\ndone <<L\n\n"),
            ("while read n; do\ndone < list", "while read n; do\ndone < list"),
        ] {
            assert_eq!(read_loops(text), expected, "{text}");
        }
    }

    #[test]
    fn only_whole_lines_add_to_a_variable() {
        for (line, expected) in [
            ("A+=\" x\"", Some(("A", " x"))),
            ("A+=(x \"y z\")", Some(("A", " x \"y z\""))),
            ("A=\"$A x\"", Some(("A", " x"))),
            ("A=\"${A} x\"", Some(("A", " x"))),
            ("A=(\"${A[@]}\" x)", None),
            ("A=(${A[@]} x)", Some(("A", " x"))),
            ("A=\"$AB x\"", None),
            ("A=\"$A $A\"", None),
            ("x && A+=y", None),
            ("A=b", None),
        ] {
            let added = added(line);
            let added = added.as_ref().map(|(name, more)| (*name, more.as_str()));
            assert_eq!(added, expected, "{line}");
        }
        assert_eq!(unquoted("a \"${A[@]}\" \"b[@]}\""), "a ${A[@]} \"b[@]}\"");
    }

    #[test]
    fn fuzz_arrays() {
        const WORDS: [&str; 12] = [
            "while read ",
            "done",
            " <<L",
            "\nL\n",
            "=(",
            ")",
            "${A[@]}",
            "${",
            "}",
            "IFS=: ",
            "; do",
            "| ",
        ];
        crate::testing::fuzz::each(
            &[b"while read a b; do x; done <<L\n1 2\nL\n"],
            &WORDS,
            |text| {
                let text = String::from_utf8_lossy(text);
                let lines = |text: &str| text.lines().count();
                assert!(lines(&read_loops(&on_one_line(&text))) <= lines(&text));
                _ = expanded(&text, |_| None);
            },
        );
    }
}
