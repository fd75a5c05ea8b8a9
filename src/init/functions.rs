//! Functions of shell scripts, and what is like them: a build in one is a build for each call.

use std::collections::{BTreeMap, BTreeSet};

/// More calls of functions are not followed.
const MOST_CALLS: usize = 1000;

/// A line and its number, counted from 0.
pub(super) type NumberedLine = (usize, String);

/// The bodies of the functions of a script, by name.
#[derive(Debug, Default)]
pub(super) struct Functions {
    bodies: BTreeMap<String, Vec<NumberedLine>>,
    called: BTreeSet<String>,
    calls: usize,
}

impl Functions {
    /// Takes the bodies out of the lines. A function ends at the first `}` that is indented as much as its name.
    pub(super) fn take(&mut self, lines: &mut Vec<NumberedLine>) {
        let (mut rest, mut all) = (Vec::new(), std::mem::take(lines).into_iter().peekable());
        while let Some((number, line)) = all.next() {
            let Some((name, after)) = definition(&line) else {
                rest.push((number, line));
                continue;
            };
            let indent = line.len() - line.trim_start().len();
            let mut body = Vec::new();
            if let Some(inside) = after.strip_suffix('}') {
                body.push((number, inside.trim().to_owned()));
            } else {
                if after.is_empty() || after == "{" {
                    _ = all.next_if(|(_, next)| next.trim() == "{");
                } else {
                    body.push((number, after.to_owned()));
                }
                for (number, line) in all.by_ref() {
                    let is_end = line.trim_start().starts_with('}')
                        && line.len() - line.trim_start().len() <= indent;
                    if is_end {
                        break;
                    }
                    body.push((number, line));
                }
            }
            self.insert(name, body);
        }
        *lines = rest;
    }

    pub(super) fn insert(&mut self, name: &str, body: Vec<NumberedLine>) {
        self.bodies.entry(name.to_owned()).or_insert(body);
    }

    /// The body of a function that is called; empty if it lacks arguments, or after many calls.
    pub(super) fn call(&mut self, name: &str, arguments: &[String]) -> Option<Vec<NumberedLine>> {
        let body = self.bodies.get(name)?;
        self.called.insert(name.to_owned());
        let takes_one = |(_, line): &NumberedLine| line.contains("$1") || line.contains("${1}");
        let lacks_it = arguments.is_empty() && body.iter().any(takes_one);
        self.calls += 1;
        Some(if lacks_it || self.calls > MOST_CALLS { Vec::new() } else { body.clone() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.bodies.contains_key(name)
    }

    /// The bodies of those that nothing called.
    pub(super) fn others(&self) -> Vec<Vec<NumberedLine>> {
        let others = self.bodies.iter().filter(|(name, _)| !self.called.contains(*name));
        others.map(|(_, body)| body.clone()).collect()
    }
}

/// The name of the function that a line begins, and what is behind its bracket.
fn definition(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, rest) = if let Some(rest) = line.strip_prefix("function ") {
        let end = rest.find(['(', ' ', '{']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        (name, rest.trim_start().strip_prefix("()").unwrap_or(rest))
    } else {
        let (name, rest) = line.split_once("()")?;
        (name.trim_end(), rest)
    };
    let is_name = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let rest = rest.trim();
    let is_one =
        !name.is_empty() && name.chars().all(is_name) && (rest.is_empty() || rest.starts_with('{'));
    is_one.then(|| (name, rest.trim_start_matches('{').trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_taken_out() {
        let text = "a\nb() {\n  c\n  if d; then { e; } fi\n}\nfunction f { g; }\nh ()\n{\n  i\n}\nx=$(y)\nj(){ k";
        let mut lines: Vec<NumberedLine> = text.lines().map(str::to_owned).enumerate().collect();
        let mut functions = Functions::default();
        functions.take(&mut lines);
        assert_eq!(lines, [(0, "a".to_owned()), (10, "x=$(y)".to_owned())]);
        let mut body = |name| {
            let body = functions.call(name, &[]).unwrap();
            body.iter()
                .map(|(number, line)| format!("{number} {}", line.trim()))
                .collect::<Vec<_>>()
        };
        assert_eq!(body("b"), ["2 c", "3 if d; then { e; } fi"]);
        assert_eq!(body("f"), ["5 g;"]);
        assert_eq!(body("h"), ["8 i"]);
        assert!(functions.call("x", &[]).is_none());
        assert_eq!(functions.others(), [[(11, "k".to_owned())]]);
    }
}
