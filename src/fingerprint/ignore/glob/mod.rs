//! Docker's globs: docker validates them like Go's `filepath.Match`, and then matches with a regular
//! expression made from the glob.
//!
//! So `**` and classes have the meaning of the expression, not that of a shell: `[a*]` is a class of `a`,
//! `[`, `^` and `/`, repeated, and then a `]`. To match in every case, this module first makes the expression
//! by docker's rules, and then converts it to the syntax of `regex`.

mod expression;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};

/// The size of a compiled pattern in bytes; a pattern with a hundred wildcards needs a tenth of it.
const LARGEST: usize = 1024 * 1024;

/// How docker matches a pattern.
pub(super) enum Compiled {
    /// The path is the pattern.
    Exact,
    /// The pattern ends in `**`, its only wildcard.
    Prefix,
    /// The pattern starts with `**`, its only wildcard.
    Suffix,
    Wild(Regex),
}

/// The text as Go's `regexp` reads it: each byte that is not UTF-8 is one U+FFFD.
pub(super) fn runes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// The syntax of Go's `filepath.Match` (`path/filepath/match.go`: `scanChunk`, `matchChunk`).
pub(super) fn check(pattern: &[u8]) -> Result<(), String> {
    let mut rest = pattern;
    while !rest.is_empty() {
        let stars = rest.iter().take_while(|byte| **byte == b'*').count();
        let (chunk, after) = split_chunk(&rest[stars..]);
        check_chunk(chunk)?;
        rest = after;
    }
    Ok(())
}

/// Splits before the next star outside brackets.
fn split_chunk(pattern: &[u8]) -> (&[u8], &[u8]) {
    let mut in_class = false;
    let mut i = 0;
    while i < pattern.len() {
        match pattern[i] {
            b'\\' => i += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        i += 1;
    }
    pattern.split_at(i.min(pattern.len()))
}

fn check_chunk(mut chunk: &[u8]) -> Result<(), String> {
    while let [first, rest @ ..] = chunk {
        chunk = match first {
            b'[' => check_class(rest)?,
            b'\\' => rest.get(1..).ok_or("it ends in a `\\`")?,
            _ => rest,
        };
    }
    Ok(())
}

/// Returns the rest after the class.
fn check_class(class: &[u8]) -> Result<&[u8], String> {
    let mut rest = class.strip_prefix(b"^").unwrap_or(class);
    let mut ranges = 0;
    loop {
        match rest {
            [b']', after @ ..] if ranges > 0 => return Ok(after),
            _ => rest = check_class_char(rest)?,
        }
        if let [b'-', high @ ..] = rest {
            rest = check_class_char(high)?;
        }
        ranges += 1;
    }
}

fn check_class_char(class: &[u8]) -> Result<&[u8], String> {
    const OPEN: &str = "a `[` needs its `]`";
    let class = match class {
        [] => return Err(OPEN.to_owned()),
        [byte @ (b'-' | b']'), ..] => {
            return Err(format!("a `{}` needs a `\\` before it here", char::from(*byte)));
        }
        [b'\\', escaped @ ..] => escaped,
        class => class,
    };
    let width = class.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    let width = match width {
        Some(first) => first.len_utf8(),
        None if class.is_empty() => return Err(OPEN.to_owned()),
        None => return Err("what stands in brackets must be UTF-8".to_owned()),
    };
    if class.len() == width { Err(OPEN.to_owned()) } else { Ok(&class[width..]) }
}

/// Docker's `Pattern.compile`.
pub(super) fn compile(pattern: &[u8]) -> Result<Compiled, String> {
    #[derive(PartialEq)]
    enum Type {
        Exact,
        Prefix,
        Suffix,
        Wild,
    }
    let text = runes(pattern);
    // Docker reads the pattern with Go's text/scanner, which skips a byte order mark.
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(&text).chars().peekable();
    let mut kind = Type::Exact;
    let mut expression = String::from("^");
    let mut first = true;
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                _ = chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    expression.push_str("(.*/)?");
                    kind = Type::Wild;
                } else if kind == Type::Exact {
                    kind = Type::Prefix;
                } else {
                    expression.push_str(".*");
                    kind = Type::Wild;
                }
                if first {
                    kind = Type::Suffix;
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                kind = Type::Wild;
            }
            '?' => {
                expression.push_str("[^/]");
                kind = Type::Wild;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => expression.extend(['\\', char]),
            '\\' => {
                expression.push('\\');
                if let Some(escaped) = chars.next() {
                    expression.push(escaped);
                    kind = Type::Wild;
                }
            }
            '[' | ']' => {
                expression.push(char);
                kind = Type::Wild;
            }
            _ => expression.push(char),
        }
        first = false;
    }
    Ok(match kind {
        Type::Exact => Compiled::Exact,
        Type::Prefix => Compiled::Prefix,
        Type::Suffix => Compiled::Suffix,
        Type::Wild => {
            expression.push('$');
            Compiled::Wild(regex(expression::translate(&expression)?)?)
        }
    })
}

/// Compiling takes 100 µs, and most contexts of a hierarchy have the same patterns.
fn regex(expression: String) -> Result<Regex, String> {
    const MOST: usize = 1000;
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let compiled = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = compiled().get(&expression) {
        return Ok(regex.clone());
    }
    let regex =
        RegexBuilder::new(&expression).size_limit(LARGEST).build().map_err(
            |error| match error {
                regex::Error::CompiledTooBig(_) => "it is too long".to_owned(),
                error => error.to_string(),
            },
        )?;
    let mut compiled = compiled();
    if compiled.len() < MOST {
        compiled.insert(expression, regex.clone());
    }
    Ok(regex)
}
