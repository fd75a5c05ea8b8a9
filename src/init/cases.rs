//! `case … esac` of shell scripts: what variables are in each arm, and behind it.
//!
//! **Invariant:** an assignment of an arm counts only together with the pattern of that arm.

use std::collections::BTreeSet;

use globset::Glob;

use super::{
    evidence::{Open, Values, unknown},
    functions::NumberedLine,
    loops::{Lists, SEPARATOR},
    options,
    variables::{Syntax, expand},
};

/// What begins a line that is a part of a `case`.
const MARK: char = '\u{3}';

/// A part of a `case`, on a line of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CaseMark<'l> {
    /// `case WORD in`
    Begin(&'l str),
    /// `PATTERN)`
    Arm(&'l str),
    /// `;;`
    ArmEnd,
    /// `esac`
    End,
}

impl<'l> CaseMark<'l> {
    pub(super) fn of(line: &'l str) -> Option<Self> {
        let text = line.trim_start().strip_prefix(MARK)?;
        Some(match text.split_once(' ') {
            Some(("case", word)) => Self::Begin(word),
            Some(("arm", pattern)) => Self::Arm(pattern),
            _ if text == "esac" => Self::End,
            _ => Self::ArmEnd,
        })
    }
}

/// The lines with each part of a `case` on a line of its own. As they are, if a `case` does not end.
pub(super) fn apart(lines: Vec<NumberedLine>) -> Vec<NumberedLine> {
    let mut splitter = CaseSplitter::default();
    let mut out = Vec::with_capacity(lines.len());
    for (number, line) in &lines {
        splitter.line(line, |part| out.push((*number, part)));
    }
    if splitter.is_pattern.is_empty() { out } else { lines }
}

/// The text of the lines that are in no `case`.
pub(super) fn outside(lines: &[NumberedLine]) -> String {
    let mut depth = 0usize;
    let mut out = String::new();
    for (_, line) in lines {
        match CaseMark::of(line) {
            Some(CaseMark::Begin(_)) => depth += 1,
            Some(CaseMark::End) => depth = depth.saturating_sub(1),
            None if depth == 0 => out.extend([line, "\n"]),
            _ => {}
        }
    }
    out
}

#[derive(Default)]
struct CaseSplitter {
    /// For each open `case`, whether a pattern comes next.
    is_pattern: Vec<bool>,
}

impl CaseSplitter {
    fn line(&mut self, line: &str, mut put: impl FnMut(String)) {
        let is_comment = line.trim_start().starts_with('#');
        if is_comment || (self.is_pattern.is_empty() && keyword(line, "case").is_none()) {
            return put(line.to_owned());
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut put = |mark: bool, text: &str| {
            if !text.trim().is_empty() {
                let mark = if mark { String::from(MARK) } else { String::new() };
                put(format!("{indent}{mark}{}", text.trim()));
            }
        };
        let mut rest = line;
        while !rest.trim().is_empty() {
            if let Some(true) = self.is_pattern.last() {
                let start = rest.trim_start().trim_start_matches('(');
                if keyword(start, "esac") == Some(0) {
                    self.is_pattern.pop();
                    put(true, "esac");
                    rest = &start["esac".len()..];
                    continue;
                }
                let Some(end) = unquoted(start, |at| start[at..].starts_with(')')) else { return };
                put(true, &format!("arm {}", start[..end].trim()));
                if let Some(last) = self.is_pattern.last_mut() {
                    *last = false;
                }
                rest = &start[end + 1..];
                continue;
            }
            let begin = keyword(rest, "case").and_then(|at| {
                let word = &rest[at + "case".len()..];
                let end = keyword(word, "in")?;
                Some((at, word[..end].trim(), &word[end + "in".len()..]))
            });
            let is_inside = !self.is_pattern.is_empty();
            let end =
                is_inside.then(|| unquoted(rest, |at| rest[at..].starts_with(";;"))).flatten();
            let esac = is_inside.then(|| keyword(rest, "esac")).flatten();
            let first = [begin.map(|(at, ..)| at), end, esac].into_iter().flatten().min();
            let Some(first) = first else {
                put(false, rest);
                return;
            };
            put(false, rest[..first].trim_end().trim_end_matches(';'));
            if let Some((_, word, after)) = begin.filter(|(at, ..)| *at == first) {
                put(true, &format!("case {word}"));
                self.is_pattern.push(true);
                rest = after;
            } else if end == Some(first) {
                put(true, ";;");
                if let Some(last) = self.is_pattern.last_mut() {
                    *last = true;
                }
                rest = rest[first..].trim_start_matches([';', '&']);
            } else {
                put(true, "esac");
                self.is_pattern.pop();
                rest = rest[first + "esac".len()..].trim_start_matches(';');
            }
        }
    }
}

/// Where a word stands that is in no quotes.
fn keyword(text: &str, word: &str) -> Option<usize> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || ";&|(){}".contains(c));
    unquoted(text, |at| {
        text[at..].starts_with(word)
            && is_edge(text[..at].chars().next_back())
            && is_edge(text[at + word.len()..].chars().next())
    })
}

/// The first place outside of quotes that is like this.
fn unquoted(text: &str, is_it: impl Fn(usize) -> bool) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, _) if is_it(at) => return Some(at),
            _ => {}
        }
        None
    })
}

/// What a script knows in a line.
pub(super) struct KnownHere<'s> {
    pub(super) values: &'s mut Values,
    pub(super) lists: &'s mut Lists,
    pub(super) assigned: &'s mut BTreeSet<String>,
    /// The keys of lists of which each run has one turn.
    pub(super) alternatives: &'s mut BTreeSet<String>,
}

/// The `case`s that a line is in.
#[derive(Default)]
pub(super) struct OpenCases(Vec<OpenCase>);

struct OpenCase {
    /// The variable that is compared.
    variable: Option<String>,
    /// What it may be; none if that is not known.
    subjects: Option<Vec<String>>,
    /// Subjects that no arm matched so far.
    rest: Vec<String>,
    /// It reads the options of a command line: each run takes several arms, and without options none.
    is_parser: bool,
    /// What the arguments of a call give, if they are known.
    given: Option<Values>,
    before: (Values, Lists, BTreeSet<String>),
    /// The subjects of each arm that was read, and what it assigns. An arm for any value has none.
    arms: Vec<(Vec<String>, Values)>,
    /// Those of the arm that is being read; none between arms, and in one that no subject matches.
    current: Option<Vec<String>>,
}

impl OpenCases {
    /// Takes a line that is a part of a `case`, or in an arm that is not run; `rest` begins with it.
    pub(super) fn take(&mut self, rest: &[NumberedLine], mut known: KnownHere<'_>) -> bool {
        let line = rest.first().map_or("", |(_, line)| line.as_str());
        let is_skipped = |case: &OpenCase| case.current.is_none();
        match CaseMark::of(line) {
            None => return self.0.iter().any(is_skipped),
            Some(CaseMark::Begin(word)) => self.0.push(OpenCase::new(word, rest, &known)),
            Some(CaseMark::Arm(pattern)) => {
                let is_outer_skipped = self.0.iter().rev().skip(1).any(is_skipped);
                if let Some(case) = self.0.last_mut().filter(|_| !is_outer_skipped) {
                    case.begin_arm(pattern, &mut known);
                }
            }
            Some(CaseMark::ArmEnd) => {
                if let Some(case) = self.0.last_mut() {
                    case.end_arm(&mut known);
                }
            }
            Some(CaseMark::End) => {
                if let Some(mut case) = self.0.pop() {
                    case.end_arm(&mut known);
                    case.end(&mut known);
                }
            }
        }
        true
    }
}

impl OpenCase {
    fn new(word: &str, lines: &[NumberedLine], known: &KnownHere<'_>) -> Self {
        let word = word.trim_matches(['"', '\'']);
        let variable = variable(word);
        let column = variable.as_deref().and_then(|name| column(known.lists, name));
        let value = || {
            let value = expand(word, known.values, Syntax::Shell);
            Open(value.clone()).is_known().then(|| vec![value])
        };
        let subjects = column.or_else(value);
        let before = (known.values.clone(), known.lists.clone(), known.assigned.clone());
        let is_parser = is_parser(lines);
        let rest = subjects.clone().unwrap_or_default();
        let is_call = is_parser && variable.as_deref() == Some("1") && subjects.is_some();
        let given = is_call.then(|| options::given(lines, known.values));
        let (arms, current) = (Vec::new(), None);
        Self { variable, subjects, rest, is_parser, given, before, arms, current }
    }

    fn restore(&self, known: &mut KnownHere<'_>) {
        let (values, lists, assigned) = &self.before;
        known.values.clone_from(values);
        known.lists.clone_from(lists);
        known.assigned.clone_from(assigned);
    }

    fn begin_arm(&mut self, pattern: &str, known: &mut KnownHere<'_>) {
        self.restore(known);
        // The assignments of this arm count, not those above.
        known.assigned.clear();
        let patterns = pattern.split('|').map(|one| one.trim().trim_matches(['"', '\'']));
        let patterns: Vec<&str> = patterns.collect();
        let is_literal = |one: &&str| !one.contains(['*', '?', '[', '$', '\\', '`']);
        let own: Vec<String> = match &self.subjects {
            Some(_) => {
                let matches = |subject: &String| patterns.iter().any(|one| is_match(one, subject));
                let (own, rest) = std::mem::take(&mut self.rest).into_iter().partition(matches);
                self.rest = rest;
                own
            }
            None if patterns.iter().all(is_literal) => {
                patterns.iter().map(|one| (*one).to_owned()).collect()
            }
            None => Vec::new(),
        };
        if self.given.is_some() || (self.subjects.is_some() && own.is_empty()) {
            self.current = None;
            return;
        }
        if let Some(name) = self.variable.as_ref().filter(|_| !own.is_empty() && !self.is_parser) {
            keep_only(known.lists, name, &own);
            if self.subjects.is_none() {
                known.alternatives.insert(name.clone());
            }
        }
        self.current = Some(own);
    }

    fn end_arm(&mut self, known: &mut KnownHere<'_>) {
        let Some(own) = self.current.take() else { return };
        let (before, ..) = &self.before;
        let new = known.values.iter().filter(|(name, value)| before.get(*name) != Some(value));
        let new = new.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.arms.push((own, new));
        self.restore(known);
    }

    /// Puts what the arms assign behind the `case`: the variables have the values of one arm together.
    fn end(self, known: &mut KnownHere<'_>) {
        self.restore(known);
        known.values.extend(self.given.clone().unwrap_or_default());
        let names: BTreeSet<&String> = self.arms.iter().flat_map(|(_, new)| new.keys()).collect();
        if self.is_parser || names.is_empty() {
            return;
        }
        if self.arms.len() == 1 && self.subjects.as_ref().is_some_and(|all| all.len() == 1) {
            let new = self.arms.into_iter().flat_map(|(_, new)| new);
            known.values.extend(new);
            return;
        }
        let value = |name: &String, new: &Values| {
            let value = new.get(name).or_else(|| self.before.0.get(name));
            value.cloned().unwrap_or_else(|| unknown(name))
        };
        let none = Values::new();
        let of = |subject: &String| {
            let arm = self.arms.iter().find(|(own, _)| own.contains(subject));
            arm.map_or(&none, |(_, new)| new)
        };
        // Other variables of the same loop stay beside the one that is compared.
        let loops = self.variable.as_deref().and_then(|name| {
            known.lists.iter().find(|(key, _)| key.split(' ').any(|one| one == name))
        });
        let (key, rows) = match (&self.variable, loops) {
            (Some(variable), Some((key, rows))) => {
                let at = key.split(' ').position(|one| one == variable).unwrap_or_default();
                let subject = |row: &String| row.split(SEPARATOR).nth(at).map(str::to_owned);
                let rows = rows.iter().filter_map(|row| Some((row.clone(), of(&subject(row)?))));
                (Some(key.clone()), rows.collect::<Vec<_>>())
            }
            (Some(variable), None) => {
                let row = |(own, new)| {
                    let own: &Vec<String> = own;
                    let any = [unknown(variable)];
                    let own = if own.is_empty() { any.to_vec() } else { own.clone() };
                    own.into_iter().map(move |subject| (subject, new)).collect::<Vec<_>>()
                };
                let arms = self.arms.iter().filter(|(own, new)| !own.is_empty() || !new.is_empty());
                let rows = arms.flat_map(|(own, new)| row((own, new)));
                (Some(variable.clone()), rows.collect())
            }
            (None, _) => {
                let arms = self.arms.iter().filter(|(_, new)| !new.is_empty());
                (None, arms.map(|(_, new)| (String::new(), new)).collect())
            }
        };
        let rows = rows.into_iter().map(|(subject, new)| {
            let start = key.iter().map(|_| subject.clone());
            let values = names.iter().map(|name| value(name, new));
            start.chain(values).collect::<Vec<_>>().join(&SEPARATOR.to_string())
        });
        let rows: Vec<String> = rows.collect();
        let all = key.iter().map(String::as_str).chain(names.iter().map(|name| name.as_str()));
        let all: Vec<&str> = all.flat_map(|names| names.split(' ')).collect();
        known.lists.retain(|key, _| !key.split(' ').any(|one| all.contains(&one)));
        if self.subjects.is_none() {
            known.alternatives.insert(all.join(" "));
        }
        known.lists.insert(all.join(" "), rows);
    }
}

/// The name of `$NAME`, `${NAME}` and `${NAME:-default}`.
fn variable(word: &str) -> Option<String> {
    let inside = word.strip_prefix('$')?;
    let name = match inside.strip_prefix('{') {
        Some(inside) => inside.strip_suffix('}')?.split(":-").next()?,
        None => inside,
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then(|| name.to_owned())
}

/// The values of a variable of a loop.
fn column(lists: &Lists, name: &str) -> Option<Vec<String>> {
    lists.iter().find_map(|(key, rows)| {
        let at = key.split(' ').position(|one| one == name)?;
        let single = key.split(' ').count() == 1;
        let value = |row: &String| {
            if single { Some(row.clone()) } else { row.split(SEPARATOR).nth(at).map(str::to_owned) }
        };
        rows.iter().map(value).collect()
    })
}

/// Leaves the rows in which a variable has one of these values; without a list of it, it has these.
fn keep_only(lists: &mut Lists, name: &str, values: &[String]) {
    let key = lists.keys().find(|key| key.split(' ').any(|one| one == name)).cloned();
    let Some(key) = key else {
        lists.insert(name.to_owned(), values.to_vec());
        return;
    };
    let at = key.split(' ').position(|one| one == name).unwrap_or_default();
    if let Some(rows) = lists.get_mut(&key) {
        rows.retain(|row| {
            row.split(SEPARATOR).nth(at).is_some_and(|own| values.iter().any(|one| one == own))
        });
    }
}

pub(super) fn is_match(pattern: &str, subject: &str) -> bool {
    pattern == subject
        || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(subject))
}

/// Whether a `case` that the lines begin reads options.
fn is_parser(lines: &[NumberedLine]) -> bool {
    let mut depth = 0usize;
    for (_, line) in lines {
        match CaseMark::of(line) {
            Some(CaseMark::Begin(_)) => depth += 1,
            Some(CaseMark::End) if depth <= 1 => return false,
            Some(CaseMark::End) => depth -= 1,
            Some(CaseMark::Arm(pattern)) if depth == 1 => {
                let mut patterns = pattern.split('|');
                if patterns.any(|one| one.trim().trim_matches(['"', '\'']).starts_with('-')) {
                    return true;
                }
            }
            None if line.contains("OPTARG") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_case_are_lines() {
        let text = "a\n  case \"$1\" in\n    # x)\n    web|\"api\") b; c ;;\n    *)\n      d\n  esac; e\ncase $x in (q) case y in z) f;; esac;; esac\necho \"case a in b\"";
        let lines = text.lines().map(str::to_owned).enumerate().collect();
        let shown = apart(lines)
            .into_iter()
            .map(|(at, line)| format!("{at} {}", line.trim_start().replace(MARK, "@")));
        let expected = [
            "0 a",
            "1 @case \"$1\"",
            "2 # x)",
            "3 @arm web|\"api\"",
            "3 b; c",
            "3 @;;",
            "4 @arm *",
            "5 d",
            "6 @esac",
            "6 e",
            "7 @case $x",
            "7 @arm q",
            "7 @case y",
            "7 @arm z",
            "7 f",
            "7 @;;",
            "7 @esac",
            "7 @;;",
            "7 @esac",
            "8 echo \"case a in b\"",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        let open = vec![(0, "case $1 in".to_owned()), (1, "x) y".to_owned())];
        assert_eq!(apart(open.clone()), open);
    }

    #[test]
    fn fuzz_cases() {
        const WORDS: [&str; 11] =
            ["case ", " in", "esac", ";;", ")", "(", "|", "\"", "$1", "\n", "-x"];
        crate::testing::fuzz::each(&[b"case $1 in\na) b;;\nesac"], &WORDS, |text| {
            let text = String::from_utf8_lossy(text);
            let lines = apart(text.lines().map(str::to_owned).enumerate().collect());
            _ = outside(&lines);
            let (mut values, mut lists) = (Values::new(), Lists::new());
            let (mut assigned, mut alternatives) = (BTreeSet::new(), BTreeSet::new());
            let mut cases = OpenCases::default();
            for at in 0..lines.len() {
                let known = KnownHere {
                    values: &mut values,
                    lists: &mut lists,
                    assigned: &mut assigned,
                    alternatives: &mut alternatives,
                };
                cases.take(&lines[at..], known);
            }
        });
    }
}
