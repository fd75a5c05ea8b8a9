//! Which files a call is about: it says so in its headers (buildkit `session/filesync`).

use http::{HeaderMap, HeaderValue};

/// What the headers of a call ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestedFiles {
    /// `context` or `dockerfile`.
    pub(super) folder: Vec<u8>,
    /// If there are any, the engine will look at nothing else, but for where links among them
    /// lead. Patterns, in the last part of a path.
    pub(super) follow: Vec<Vec<u8>>,
    /// Further patterns of what it will look at.
    pub(super) include: Vec<Vec<u8>>,
}

impl RequestedFiles {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            folder: values(headers, "dir-name").into_iter().next().unwrap_or_default(),
            follow: values(headers, "followpaths"),
            include: values(headers, "include-patterns"),
        }
    }
}

/// The values of a header that may be repeated. Since buildkit v0.12 they are in the encoding of
/// URL queries if another header, `<name>-encoded`, says so; before that they are raw bytes.
fn values(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let encoded = headers.get(format!("{name}-encoded")).is_some_and(|flag| flag == "1");
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    values.map(|value| if encoded { query_decoded(value) } else { value.to_vec() }).collect()
}

/// Go's `url.QueryUnescape`: `+` is a space, `%41` is `A`.
fn query_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits make a byte"));
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_may_be_repeated_raw_or_encoded() {
        for (headers, folder, follow, include) in [
            (&[][..], "", &[][..], &[][..]),
            (&["dir-name: context"], "context", &[], &[]),
            (
                &["dir-name: context", "followpaths: a", "followpaths: b+%41/*.c"],
                "context",
                &["a", "b+%41/*.c"],
                &[],
            ),
            (
                &["followpaths: a%2Bb+c", "followpaths: %c3%BC%", "followpaths-encoded: 1"],
                "",
                &["a+b c", "ü%"],
                &[],
            ),
            (&["followpaths: ü"], "", &["ü"], &[]),
            (
                &["include-patterns: %2a", "followpaths-encoded: 1", "exclude-patterns: x"],
                "",
                &[],
                &["%2a"],
            ),
            (&["include-patterns: +", "include-patterns-encoded: 0"], "", &[], &["+"]),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                let (name, value) = header.split_once(": ").unwrap();
                map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let bytes = |texts: &[&str]| texts.iter().map(|&text| text.into()).collect();
            let expected = RequestedFiles {
                folder: folder.into(),
                follow: bytes(follow),
                include: bytes(include),
            };
            assert_eq!(RequestedFiles::of(&map), expected, "{headers:?}");
        }
    }
}
