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
    let (quotable, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(&mut request.labels).into_iter().partition(is_quotable);
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

/// Between single quotes nothing has a meaning but the quote and the escape character, of which
/// there are two.
fn is_quotable((key, value): &(String, String)) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let safe = |c: char| !c.is_control() && !"'\\`".contains(c);
    !key.is_empty() && key.chars().all(plain) && value.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_quoted_goes_into_one_line() {
        for (labels, target, line, left) in [
            (
                &[("a", "1"), ("b.c", "{\"x\":\"$y z\"}")][..],
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
}
