//! All labels in one instruction, for the classic builder: it makes a step of each label that it
//! is given beside the Dockerfile, and a step takes it up to a second.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::engine::BuildRequest;

/// The Dockerfile with a `LABEL` line at its end, and the request without the labels in it.
///
/// With a `target`, the end of the file may not be the end of the image: then all stay.
pub(super) fn in_one_step(mut request: BuildRequest) -> (String, BuildRequest) {
    let mut text = request.dockerfile.clone();
    if request.target.is_some() {
        return (text, request);
    }
    let is_backtick_safe = !escapes_with_backtick(&text);
    let (quotable, others): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut request.labels)
        .into_iter()
        .partition(|label| is_quotable(label, is_backtick_safe));
    request.labels = others;
    if !quotable.is_empty() {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("LABEL");
        for (key, value) in quotable {
            _ = write!(text, " {key}='{value}'");
        }
        text.push('\n');
    }
    (text, request)
}

/// Whether a line says so. Only at the beginning of the file it means it, but a label more that is
/// sent beside the Dockerfile costs nothing but time.
fn escapes_with_backtick(dockerfile: &str) -> bool {
    let is_directive = |line: &str| {
        let plain: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        plain.eq_ignore_ascii_case("#escape=`")
    };
    dockerfile.lines().any(is_directive)
}

/// Between single quotes nothing has a meaning but the quote and the escape character, which is the
/// backslash or, if the Dockerfile says so, the backtick.
fn is_quotable((key, value): &(String, String), is_backtick_safe: bool) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let safe = |c: char| !c.is_control() && !"'\\".contains(c) && (c != '`' || is_backtick_safe);
    !key.is_empty() && key.chars().all(plain) && value.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_quoted_goes_into_one_line() {
        for (labels, target, line, left) in [
            (&[("a", "`x` is new")][..], None, "LABEL a='`x` is new'\n", 0),
            (
                &[("a", "1"), ("b.c", "{\"x\":\"$y z\"}")],
                None,
                "LABEL a='1' b.c='{\"x\":\"$y z\"}'\n",
                0,
            ),
            (&[("a", "it's"), ("b", "2")], None, "LABEL b='2'\n", 1),
            (&[("a", "C:\\x"), ("a b", "2"), ("c", "1\n2")], None, "", 3),
            (&[("a", "1")], Some("build"), "", 1),
        ] {
            let request = BuildRequest {
                dockerfile: "FROM scratch".to_owned(),
                labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                target: target.map(str::to_owned),
                ..super::super::fault_tests::request(std::path::Path::new("/"))
            };
            let (text, request) = in_one_step(request);
            let expected = if line.is_empty() {
                "FROM scratch".to_owned()
            } else {
                format!("FROM scratch\n{line}")
            };
            assert_eq!((text, request.labels.len()), (expected, left), "{labels:?}");
        }
    }

    #[test]
    fn a_backtick_may_be_the_escape_character() {
        for (dockerfile, expected) in [
            ("FROM scratch\n", true),
            ("# escape=`\nFROM scratch\n", false),
            ("# syntax=x\n#  Escape = `\r\nFROM scratch\n", false),
            ("# escape=\\\nFROM scratch\nRUN `x`\n", true),
        ] {
            assert_eq!(!escapes_with_backtick(dockerfile), expected, "{dockerfile}");
        }
    }
}
