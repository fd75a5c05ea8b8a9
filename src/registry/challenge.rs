//! Parses `WWW-Authenticate` (RFC 9110 §11.6.1, distribution's `token.md`).

use url::Url;

/// The authentication that a 401 requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The best challenge of the headers; a token is better than a password in each request.
    pub(super) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut offered: Vec<Self> = headers.into_iter().flat_map(parse).collect();
        let bearer = offered.iter().position(|one| matches!(one, Self::Bearer { .. }));
        match bearer {
            Some(index) => Some(offered.swap_remove(index)),
            None => offered.pop(),
        }
    }
}

/// One header may contain several challenges: `Basic realm="a", Bearer realm="b",service="c"`.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=').filter(|_| !word.is_empty()) {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else if word.is_empty() {
            let mut chars = after.chars();
            chars.next();
            rest = chars.as_str();
        } else {
            found.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
    }
    found.into_iter().filter_map(|(scheme, parameters)| known(&scheme, &parameters)).collect()
}

fn known(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let named = |name: &str| {
        parameters.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: named("realm")?.parse().ok()?,
            service: named("service"),
            scope: named("scope"),
        }),
        _ => None,
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// An unescaped quoted string, or a bare word; and the rest.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn reads_what_registries_send() {
        for (headers, expected) in [
            (vec![r#"Basic realm="Registry Realm""#], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#],
                Some(bearer("https://a/t", Some("s"), Some("repository:x:pull,push"))),
            ),
            (
                vec![r#"bearer  realm = "https://a/t" , service=s"#],
                Some(bearer("https://a/t", Some("s"), None)),
            ),
            (
                vec![r#"Basic realm="a, b", Bearer realm="https://a/t""#],
                Some(bearer("https://a/t", None, None)),
            ),
            (
                vec!["Basic", r#"Bearer realm="https://a/t""#],
                Some(bearer("https://a/t", None, None)),
            ),
            (
                vec![r#"Bearer realm="https://a/t?q=\"x\"",error="invalid_token""#],
                Some(bearer("https://a/t?q=%22x%22", None, None)),
            ),
            (vec![r#"Bearer realm="not an address""#], None),
            (vec!["Bearer"], None),
            (vec!["Negotiate abc=="], None),
            (vec![r#"Bearer realm="https://a/t"#], Some(bearer("https://a/t", None, None))),
            (vec!["", ",,,", "\u{1}=é"], None),
        ] {
            assert_eq!(Challenge::choose(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_loops_or_panics(header in ".{0,80}") {
            _ = Challenge::choose([header.as_str()]);
        }
    }
}
