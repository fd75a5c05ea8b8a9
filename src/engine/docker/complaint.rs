//! The sentence in what an engine says went wrong.
//!
//! Docker answers `{"message": …}`. Podman also answers as it does in the middle of a stream, `{"errorDetail":
//! {"message": …}, "error": …}`, and what it passes on may be such a text once more.

use serde_json::{Deserializer, Value};

/// Where the sentence is, the best place first.
const PLACES: [&str; 4] = ["/errorDetail/message", "/message", "/error", "/cause"];

/// The sentence inside of the JSON, however deep; what is not JSON is the sentence.
pub(super) fn sentence(text: &str) -> String {
    // Several documents in a row are the end of a stream.
    let documents = Deserializer::from_str(text).into_iter::<Value>().map_while(Result::ok);
    let inside = documents.filter(Value::is_object).find_map(|document| {
        let found = PLACES.iter().filter_map(|place| document.pointer(place)?.as_str());
        found.map(str::trim).find(|found| !found.is_empty()).map(sentence)
    });
    inside.unwrap_or_else(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_json_comes_to_a_sentence() {
        for (text, expected) in [
            ("", ""),
            ("broken\n", "broken"),
            ("7", "7"),
            (r#"{"message":"No such image: x"}"#, "No such image: x"),
            (r#"{"cause":"not known","message":"no such image","response":404}"#, "no such image"),
            (r#"{"errorDetail":{"message":"worse"},"error":"bad"}"#, "worse"),
            (r#"{"message":"{\"errorDetail\":{\"message\":\"inner\\n\"}}"}"#, "inner"),
            ("{\"error\":\"first\"}\n{\"error\":\"second\"}\n", "first"),
            (r#"{"stream":"x"}{"error":"late"}"#, "late"),
            (r#"{"message":""}"#, r#"{"message":""}"#),
            (r#"{"message":"cut"#, r#"{"message":"cut"#),
        ] {
            assert_eq!(sentence(text), expected, "{text}");
        }
    }
}
