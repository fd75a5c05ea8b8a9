//! Times as programs read them: RFC 3339, in UTC, in whole seconds.

use jiff::Timestamp;
use serde::Serializer;

/// The time without its fraction of a second.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// For `serialize_with`, of a time or of one that may be missing.
pub fn whole<T: Copy + Into<Option<Timestamp>>, S: Serializer>(
    at: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    match (*at).into() {
        Some(at) => to.collect_str(&whole_seconds(at)),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_fraction() {
        #[derive(serde::Serialize)]
        struct Times {
            #[serde(serialize_with = "whole")]
            at: Timestamp,
            #[serde(serialize_with = "whole")]
            ended: Option<Timestamp>,
        }
        let at: Timestamp = "2026-11-23T12:00:00.123456789Z".parse().unwrap();
        let text = serde_json::to_string(&Times { at, ended: None }).unwrap();
        assert_eq!(text, r#"{"at":"2026-11-23T12:00:00Z","ended":null}"#);
        let text = serde_json::to_string(&Times { at, ended: Some(at) }).unwrap();
        assert!(text.ends_with(r#""ended":"2026-11-23T12:00:00Z"}"#), "{text}");
    }
}
