//! Expressions of GitHub Actions, `${{ … }}`:
//! <https://docs.github.com/actions/reference/workflows-and-actions/expressions>.
//!
//! **Invariant:** an expression has a value only if every condition in it that decides has one.

use super::evidence::{Open, unknown};

/// Brackets in brackets are read to this depth.
const DEEPEST: usize = 16;

/// Signs of an expression that is more than a name with a default.
const SIGNS: [&str; 8] = ["&&", "==", "!=", "!", "<", ">", "(", "["];

/// The value of an expression with operators or calls; `None` if it is a name, or a name with a default. What has no
/// value is a variable with the expression as its name.
pub(super) fn value(text: &str, look: impl FnMut(&str) -> Option<String>) -> Option<String> {
    if !SIGNS.iter().any(|sign| text.contains(sign)) {
        return None;
    }
    let mut parser = ExpressionParser { rest: text, look, depth: DEEPEST };
    let term = parser.or().filter(|_| parser.rest.trim().is_empty());
    Some(match term {
        Some(Term::Text(text)) => text,
        Some(Term::Falsy(text)) => text.to_owned(),
        _ => unknown(&format!("{{{{ {} }}}}", text.trim())),
    })
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// Parts of it may be unknown.
    Text(String),
    /// `false`, `null`, zero, and the empty text, as they are written.
    Falsy(&'static str),
    /// A name without a value.
    Unset(String),
    Unknown,
}

impl Term {
    fn is_true(&self) -> Option<bool> {
        match self {
            // A variable and other text are not empty together.
            Self::Text(text) if !Open(text.clone()).texts().is_empty() => Some(true),
            Self::Falsy(_) => Some(false),
            Self::Text(_) | Self::Unset(_) | Self::Unknown => None,
        }
    }

    fn of_bool(is_it: bool) -> Self {
        if is_it { Self::Text("true".to_owned()) } else { Self::Falsy("false") }
    }

    /// The text, if all of it is known.
    fn known(&self) -> Option<&str> {
        match self {
            Self::Text(text) if Open(text.clone()).is_known() => Some(text),
            Self::Falsy(text) => Some(text),
            _ => None,
        }
    }
}

struct ExpressionParser<'t, L> {
    rest: &'t str,
    look: L,
    depth: usize,
}

impl<L: FnMut(&str) -> Option<String>> ExpressionParser<'_, L> {
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn or(&mut self) -> Option<Term> {
        let mut left = self.and()?;
        while self.take("||") {
            let right = self.and()?;
            left = match left.is_true() {
                Some(true) => left,
                Some(false) => right,
                // An input that is not given is empty.
                None if matches!(left, Term::Unset(_)) => right,
                None => Term::Unknown,
            };
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Term> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            let right = self.comparison()?;
            left = match left.is_true() {
                Some(true) => right,
                Some(false) => left,
                None => Term::Unknown,
            };
        }
        Some(left)
    }

    fn comparison(&mut self) -> Option<Term> {
        let left = self.unary()?;
        for (sign, is_equal) in [("==", true), ("!=", false)] {
            if self.take(sign) {
                let right = self.unary()?;
                let same = left.known().zip(right.known()).map(|(a, b)| a.eq_ignore_ascii_case(b));
                return Some(same.map_or(Term::Unknown, |same| Term::of_bool(same == is_equal)));
            }
        }
        if ["<=", ">=", "<", ">"].into_iter().any(|sign| self.take(sign)) {
            self.unary()?;
            return Some(Term::Unknown);
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Term> {
        let is_inequality = self.rest.trim_start().starts_with("!=");
        if !is_inequality && self.take("!") {
            let term = self.deeper(Self::unary)?;
            return Some(term.is_true().map_or(Term::Unknown, |is_it| Term::of_bool(!is_it)));
        }
        if self.take("(") {
            let term = self.deeper(Self::or)?;
            return self.take(")").then_some(term);
        }
        if self.take("'") {
            return self.text();
        }
        self.rest = self.rest.trim_start();
        let is_name = |c: char| c.is_alphanumeric() || "_-.*".contains(c);
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() {
            return None;
        }
        if self.take("(") {
            return self.call(name);
        }
        // `matrix['x']` is `matrix.x`.
        let mut name = name.to_owned();
        while self.take("[") {
            let key = self.deeper(Self::or)?;
            name = format!("{name}.{}", key.known()?);
            self.take("]").then_some(())?;
        }
        Some(match name.as_str() {
            "false" => Term::Falsy("false"),
            "null" => Term::Falsy(""),
            "true" => Term::of_bool(true),
            number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                if number == "0" { Term::Falsy("0") } else { Term::Text(name) }
            }
            _ => match (self.look)(&name) {
                // Inputs and values of a matrix may be of another type than text.
                Some(value) if value == "false" && is_typed(&name) => Term::Falsy("false"),
                Some(value) if value.is_empty() => Term::Falsy(""),
                Some(value) => Term::Text(value),
                None => Term::Unset(name),
            },
        })
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Option<Term>) -> Option<Term> {
        self.depth = self.depth.checked_sub(1)?;
        let term = read(self);
        self.depth += 1;
        term
    }

    /// The rest of a text in quotes.
    fn text(&mut self) -> Option<Term> {
        let mut text = String::new();
        loop {
            let (part, rest) = self.rest.split_once('\'')?;
            text.push_str(part);
            self.rest = rest;
            // Two quotes are one in the text.
            match rest.strip_prefix('\'') {
                Some(after) => self.rest = after,
                None => break,
            }
            text.push('\'');
        }
        Some(if text.is_empty() { Term::Falsy("") } else { Term::Text(text) })
    }

    fn call(&mut self, name: &str) -> Option<Term> {
        let mut arguments = Vec::new();
        if !self.take(")") {
            loop {
                arguments.push(self.deeper(Self::or)?);
                if self.take(")") {
                    break;
                }
                self.take(",").then_some(())?;
            }
        }
        let known: Option<Vec<&str>> = arguments.iter().map(Term::known).collect();
        let known = known.as_deref();
        let lower = |text: &str| text.to_lowercase();
        Some(match (name.to_lowercase().as_str(), known) {
            ("format", _) => formatted(&arguments),
            ("contains", Some([text, part])) => Term::of_bool(lower(text).contains(&lower(part))),
            ("startswith", Some([text, part])) => {
                Term::of_bool(lower(text).starts_with(&lower(part)))
            }
            ("endswith", Some([text, part])) => Term::of_bool(lower(text).ends_with(&lower(part))),
            _ => Term::Unknown,
        })
    }
}

/// `format('{0}:{1}', a, b)`.
fn formatted(arguments: &[Term]) -> Term {
    let Some((Term::Text(pattern), values)) = arguments.split_first() else {
        return Term::Unknown;
    };
    let mut text = pattern.clone();
    for (number, value) in values.iter().enumerate() {
        let value = match value {
            Term::Text(text) => text.clone(),
            Term::Falsy(text) => (*text).to_owned(),
            Term::Unset(name) => unknown(name),
            Term::Unknown => return Term::Unknown,
        };
        text = text.replace(&format!("{{{number}}}"), &value);
    }
    if text.contains("{{") { Term::Unknown } else { Term::Text(text) }
}

fn is_typed(name: &str) -> bool {
    ["inputs.", "matrix."].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let look = |name: &str| match name {
            "inputs.image" => Some("acme/web".to_owned()),
            "inputs.push" => Some("false".to_owned()),
            "matrix.latest" => Some("true".to_owned()),
            "inputs.none" => Some(String::new()),
            _ => None,
        };
        value(text, look).map(|text| Open(text).shown())
    }

    #[test]
    fn expressions_have_values_if_their_conditions_have() {
        for (text, expected) in [
            ("inputs.image || 'x'", None),
            ("matrix.latest && format('{0}:latest', inputs.image) || ''", Some("acme/web:latest")),
            ("inputs.push && format('{0}:latest', inputs.image) || ''", Some("")),
            ("inputs.image == 'ACME/web' && 'a' || 'b'", Some("a")),
            ("(inputs.image != 'acme/web') && 'a' || 'b'", Some("b")),
            ("!inputs.push && 'it''s' || 'b'", Some("it's")),
            ("startsWith(inputs['image'], 'acme/') && 'a' || 'b'", Some("a")),
            ("format('{0}:{1}', inputs.image, github.sha)", Some("acme/web:$github.sha")),
            ("inputs.none && 'a' || inputs.other || 'b'", Some("b")),
            (
                "github.ref == 'refs/heads/main' && format('{0}:latest', inputs.image) || ''",
                Some(
                    "${{ github.ref == 'refs/heads/main' && format('{0}:latest', inputs.image) || '' }}",
                ),
            ),
            ("github.x && 'a'", Some("${{ github.x && 'a' }}")),
            ("fromJSON(inputs.image)[0]", Some("${{ fromJSON(inputs.image)[0] }}")),
            ("format('{0}' , ", Some("${{ format('{0}' , }}")),
            ("format('{{x}}', 'a')", Some("${{ format('{{x}}', 'a') }}")),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn fuzz_expressions() {
        const WORDS: [&str; 12] =
            ["&&", "||", "!", "(", ")", "'", "format(", "[", "]", ", ", "==", "inputs.image"];
        crate::testing::fuzz::each(&[b"a && format('{0}', b['c']) || ''"], &WORDS, |text| {
            _ = shown(&String::from_utf8_lossy(text));
        });
    }
}
