//! Reads fields of events. What is missing or of another type is left out.

use serde_json::Value;

pub(super) fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(str::to_owned)
}

/// A text that is empty if it is missing.
pub(super) fn words(value: &Value, field: &str) -> String {
    text(value, field).unwrap_or_default()
}

/// Seconds that are neither negative nor infinite.
pub(super) fn seconds(value: &Value, field: &str) -> Option<f64> {
    value.get(field)?.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

pub(super) fn bytes(value: &Value, field: &str) -> Option<u64> {
    value.get(field)?.as_u64()
}

pub(super) fn number(value: &Value, field: &str) -> Option<usize> {
    usize::try_from(value.get(field)?.as_u64()?).ok()
}

pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn texts(value: &Value, field: &str) -> Vec<String> {
    list(value, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
