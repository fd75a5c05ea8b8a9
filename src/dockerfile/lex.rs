//! Words of a Dockerfile: quotes, escapes and variables, as `BuildKit`'s `shell.Lex` reads them.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use super::pattern;

/// Deeper nesting of `${a:-${b:-…}}` is refused rather than followed down the stack.
const MAX_DEPTH: usize = 64;
/// In bytes. Each `ARG` may double the one before: 30 short lines make a gigabyte.
pub(super) const LONGEST: usize = 64 * 1024;

pub(super) type Variables = BTreeMap<String, String>;

/// How to read a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lex {
    pub(super) escape: char,
    /// Keep the quotes.
    pub(super) raw_quotes: bool,
    /// Keep the escape characters.
    pub(super) raw_escapes: bool,
    /// Leave variables that are not set as they are written.
    pub(super) skip_unset: bool,
}

impl Lex {
    pub(super) fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, skip_unset: false }
    }

    /// The word with its variables replaced, quotes and escapes gone.
    pub(super) fn expand(self, word: &str, variables: &Variables) -> Result<String, String> {
        Ok(self.run(word, variables)?.0)
    }

    /// The word with its variables replaced and then split at its unquoted white space.
    pub(super) fn words(self, text: &str) -> Result<Vec<String>, String> {
        Ok(self.run(text, &Variables::new())?.1.finish())
    }

    fn run(self, text: &str, variables: &Variables) -> Result<(String, Words), String> {
        let mut reader = Reader { lex: self, chars: text.chars().peekable(), variables, depth: 0 };
        reader.until(None, self.raw_escapes)
    }
}

/// Words as they grow.
#[derive(Debug, Default)]
struct Words {
    word: String,
    done: Vec<String>,
}

impl Words {
    /// White space ends a word.
    fn add(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

/// Adds a text that may come from a variable.
fn add(result: &mut String, text: &str) -> Result<(), String> {
    if result.len().saturating_add(text.len()) > LONGEST && !text.is_empty() {
        return Err(pattern::too_long());
    }
    result.push_str(text);
    Ok(())
}

struct Reader<'t> {
    lex: Lex,
    chars: Peekable<Chars<'t>>,
    variables: &'t Variables,
    depth: usize,
}

impl Reader<'_> {
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Words), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the variables are nested too deeply".to_owned());
        }
        let (mut result, mut words) = (String::new(), Words::default());
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                self.depth -= 1;
                return Ok((result, words));
            }
            match c {
                '\'' | '"' => {
                    let quoted = if c == '"' { self.double(raw_escapes)? } else { self.single()? };
                    words.word.push_str(&quoted);
                    add(&mut result, &quoted)?;
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.add(c));
                    add(&mut result, &value)?;
                }
                _ if c == self.lex.escape => {
                    self.chars.next();
                    if raw_escapes {
                        words.word.push(c);
                        result.push(c);
                    }
                    let Some(next) = self.chars.next() else { break };
                    words.word.push(next);
                    result.push(next);
                }
                _ => {
                    self.chars.next();
                    words.add(c);
                    result.push(c);
                }
            }
        }
        self.depth -= 1;
        match stop {
            Some(stop) => Err(format!("`{stop}` is missing")),
            None => Ok((result, words)),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let mut result = String::new();
        self.quote(&mut result);
        loop {
            match self.chars.peek() {
                None => return Err("the closing `'` is missing".to_owned()),
                Some('\'') => {
                    self.quote(&mut result);
                    return Ok(result);
                }
                Some(_) => result.extend(self.chars.next()),
            }
        }
    }

    fn double(&mut self, raw_escapes: bool) -> Result<String, String> {
        let mut result = String::new();
        self.quote(&mut result);
        loop {
            match self.chars.peek() {
                None => return Err("the closing `\"` is missing".to_owned()),
                Some('"') => {
                    self.quote(&mut result);
                    return Ok(result);
                }
                Some('$') => add(&mut result, &self.dollar()?)?,
                Some(&c) if c == self.lex.escape => {
                    self.chars.next();
                    if raw_escapes {
                        result.push(c);
                    }
                    match self.chars.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.lex.escape => {
                            self.chars.next();
                            result.push(next);
                        }
                        Some(_) => result.push(c),
                    }
                }
                Some(_) => result.extend(self.chars.next()),
            }
        }
    }

    /// Passes a quote, keeping it if quotes are kept.
    fn quote(&mut self, result: &mut String) {
        let quote = self.chars.next();
        if self.lex.raw_quotes {
            result.extend(quote);
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() == Some(&'{') {
            self.chars.next();
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.variables.get(&name) {
            None if self.lex.skip_unset => Ok(format!("${name}")),
            value => Ok(value.cloned().unwrap_or_default()),
        }
    }

    fn braces(&mut self) -> Result<String, String> {
        const UNCLOSED: &str = "a `${` is not closed with `}`";
        match self.chars.peek() {
            None => return Err(UNCLOSED.to_owned()),
            Some('{' | '}' | ':') => return Err("a `${…}` has no name".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.variables.get(&name).cloned();
        let unset_stays = self.lex.skip_unset && value.is_none();
        let operator = self.chars.next().ok_or(UNCLOSED)?;
        let (colon, operator) = match operator {
            ':' => (":", self.chars.next().ok_or(UNCLOSED)?),
            _ => ("", operator),
        };
        match (colon, operator) {
            ("", '}') => {
                return Ok(if unset_stays {
                    format!("${{{name}}}")
                } else {
                    value.unwrap_or_default()
                });
            }
            ("", '/') => return self.replace(&name, value),
            (_, '+' | '-' | '?' | '#' | '%') => {}
            _ => return Err(format!("`{colon}{operator}` means nothing in `${{{name}…}}`")),
        }
        let (word, _) = self.until(Some('}'), matches!(operator, '#' | '%')).map_err(|error| {
            if self.chars.peek().is_none() { UNCLOSED.to_owned() } else { error }
        })?;
        if unset_stays {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let given = value.as_deref().filter(|value| colon.is_empty() || !value.is_empty());
        match operator {
            '-' => Ok(given.map_or(word, str::to_owned)),
            '+' => Ok(given.map(|_| word).unwrap_or_default()),
            '?' => given.map(str::to_owned).ok_or_else(|| match word.as_str() {
                "" => format!("`{name}` is not set"),
                _ => format!("`{name}` is not set: {word}"),
            }),
            _ => pattern::trim(operator, &word, &value.unwrap_or_default()),
        }
    }

    /// `${name/pattern/replacement}`, with a second `/` first: everywhere.
    fn replace(&mut self, name: &str, value: Option<String>) -> Result<String, String> {
        let everywhere = self.chars.next_if_eq(&'/').is_some();
        let (find, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        match value {
            None if self.lex.skip_unset => Ok(format!("${{{name}/{find}/{replacement}}}")),
            value => pattern::replace(&find, &replacement, &value.unwrap_or_default(), everywhere),
        }
    }

    /// Letters, digits and `_`; or digits alone; or one special parameter.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(digit);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}
