//! Converts a regular expression of Go's `regexp/syntax`, which docker makes from globs, to the syntax of the
//! `regex` crate.
//!
//! The two differ in classes (those of `regex` nest, and have `&&`, `--` and `~~`), in `\d`, `\s` and `\w`
//! (Go's are ASCII) and in valid escapes. Everything else in docker's expressions means the same in both. An
//! escape without a meaning in a glob, such as `\b`, is an error.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

/// The names in `[[:alpha:]]` that both syntaxes know.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

pub(super) fn translate(go: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = go.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(anchor @ ('A' | 'z')) => out.extend(['\\', anchor]),
                Some(char) => match perl_class(char) {
                    Some(class) => out.push_str(class),
                    None => push(&mut out, escaped(char)?),
                },
                None => return Err("it ends in a `\\`".to_owned()),
            },
            '[' => class(&mut chars, &mut out)?,
            // A literal outside a class.
            ']' => out.push_str("\\]"),
            char => out.push(char),
        }
    }
    Ok(out)
}

/// Parses a class after `[`. (Go's `parser.parseClass`)
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // A first `]` is a member.
    let mut first = true;
    while first || chars.peek() != Some(&']') {
        first = false;
        if let Some(posix) = posix_class(chars)? {
            out.push_str(&posix);
            continue;
        }
        let low = match member(chars)? {
            ClassMember::Class(class) => {
                out.push_str(class);
                continue;
            }
            ClassMember::Char(char) => char,
        };
        push(out, low);
        // In `[a-]` the dash is a member.
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|char| char != ']') {
            chars.next();
            match member(chars)? {
                ClassMember::Char(high) if low <= high => {
                    out.push('-');
                    push(out, high);
                }
                ClassMember::Char(high) => return Err(format!("`{low}-{high}` is no range")),
                ClassMember::Class(_) => {
                    return Err(format!("the range after `{low}-` has no end"));
                }
            }
        }
    }
    chars.next();
    out.push(']');
    Ok(())
}

enum ClassMember {
    Char(char),
    Class(&'static str),
}

fn member(chars: &mut Peekable<Chars<'_>>) -> Result<ClassMember, String> {
    const OPEN: &str = "a `[` needs its `]`";
    match chars.next().ok_or(OPEN)? {
        '\\' => {
            let char = chars.next().ok_or(OPEN)?;
            Ok(match perl_class(char) {
                Some(class) => ClassMember::Class(class),
                None => ClassMember::Char(escaped(char)?),
            })
        }
        char => Ok(ClassMember::Char(char)),
    }
}

/// Takes a `[:name:]` if it is next.
fn posix_class(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, String> {
    // The longest name has six letters. Searching the whole rest for each member would be slow.
    let rest: String = chars.clone().take(64).collect();
    let Some((name, _)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
        return Ok(None);
    };
    if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(format!("`[:{name}:]` is no class of characters"));
    }
    let length = "[:".len() + name.chars().count() + ":]".len();
    chars.nth(length - 1);
    Ok(Some(format!("[:{name}:]")))
}

fn perl_class(char: char) -> Option<&'static str> {
    Some(match char {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\f\\r ]",
        'S' => "[^\\t\\n\\f\\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The character of an escape.
fn escaped(char: char) -> Result<char, String> {
    Ok(match char {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        char if char.is_ascii() && !char.is_ascii_alphanumeric() => char,
        char => return Err(format!("`\\{char}` escapes nothing; write `{char}`")),
    })
}

/// Adds one literal character, inside or outside a class.
fn push(out: &mut String, char: char) {
    _ = write!(out, "\\x{{{:x}}}", u32::from(char));
}
