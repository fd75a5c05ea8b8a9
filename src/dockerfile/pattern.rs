//! `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`.

use regex::{NoExpand, Regex};

use super::lex::LONGEST;

/// Cuts what matches off the start (`#`) or the end (`%`); the operator doubled: as much as can be.
pub(super) fn trim(operator: char, word: &str, value: &str) -> Result<String, String> {
    let (longest, word) = match word.strip_prefix(operator) {
        Some(word) => (true, word),
        None => (false, word),
    };
    let (star, rest) = if longest { (".*", ".*?") } else { (".*?", ".*") };
    let expression = match operator {
        '#' => format!("(?s)^(?:{})(?<kept>.*)$", regular(word, star)?),
        // The lazier the part that is kept, the longer the one that is cut off.
        _ => format!("(?s)^(?<kept>{rest})(?:{})$", regular(word, star)?),
    };
    let kept = compile(&expression)?.captures(value).map(|found| found["kept"].to_owned());
    Ok(kept.unwrap_or_else(|| value.to_owned()))
}

pub(super) fn replace(
    pattern: &str,
    replacement: &str,
    value: &str,
    everywhere: bool,
) -> Result<String, String> {
    let expression = compile(&format!("(?s){}", regular(pattern, ".*")?))?;
    let limit = usize::from(!everywhere);
    let longer = expression.find_iter(value).count().saturating_mul(replacement.len());
    if longer.saturating_add(value.len()) > LONGEST {
        return Err(too_long());
    }
    Ok(expression.replacen(value, limit, NoExpand(replacement)).into_owned())
}

/// `*` and `?` as a regular expression; brackets are only themselves.
fn regular(pattern: &str, star: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(star),
            '?' => out.push('.'),
            '\\' => match chars.next() {
                // `}` and `/` are escaped for the sake of `${…}`, not for the pattern's.
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => out.push_str(&escape(c)),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(format!("`\\{other}` means nothing in the pattern `{pattern}`"));
                }
            },
            _ => out.push_str(&escape(c)),
        }
    }
    Ok(out)
}

fn escape(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

pub(super) fn too_long() -> String {
    format!("a value is longer than {} KiB", LONGEST / 1024)
}

fn compile(expression: &str) -> Result<Regex, String> {
    Regex::new(expression).map_err(|_| "the pattern is too long".to_owned())
}
