//! The jobs that a matrix of a CI file makes.

use serde_json::{Map, Value};

use super::{
    bake::text_of,
    evidence::{Values, turns},
};

/// The rows of a matrix, each with the values above it; one row without a matrix.
pub(super) fn matrix(job: &Value, values: &Values) -> Vec<Values> {
    let strategy = job.get("strategy").or_else(|| job.get("parallel"));
    let Some(matrix) = strategy.and_then(|one| one.get("matrix")).or_else(|| job.get("matrix"))
    else {
        return vec![values.clone()];
    };
    match matrix {
        // GitLab: a list of maps of lists.
        Value::Array(parts) if !parts.is_empty() => {
            parts.iter().flat_map(|part| product(part.as_object(), values)).collect()
        }
        // Azure Pipelines: a map of rows.
        Value::Object(map) if !map.is_empty() && map.values().all(Value::is_object) => {
            let row = |one: &Value| {
                let mut row = values.clone();
                row.extend(fields(one));
                row
            };
            map.values().map(row).collect()
        }
        Value::Object(map) => {
            let mut rows = product(Some(map), values);
            let list = |key: &str| map.get(key).and_then(Value::as_array).into_iter().flatten();
            for exclude in list("exclude").map(fields).filter(|fields| !fields.is_empty()) {
                let has = |row: &Values| exclude.iter().all(|(key, own)| row.get(key) == Some(own));
                rows.retain(|row| !has(row));
            }
            for include in list("include") {
                include_row(fields(include), values, map, &mut rows);
            }
            rows
        }
        _ => vec![values.clone()],
    }
}

/// The values of a map.
fn fields(map: &Value) -> Values {
    let mut all = Values::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        put(key, value, &mut all);
    }
    all
}

fn product(map: Option<&Map<String, Value>>, values: &Values) -> Vec<Values> {
    let mut rows = vec![values.clone()];
    for (key, items) in
        map.into_iter().flatten().filter(|(key, _)| !["include", "exclude"].contains(&key.as_str()))
    {
        let items = match items {
            Value::Array(items) => &items[..],
            // Of GitHub Actions, an expression.
            Value::String(text) if text.contains("${{") => &[],
            one => std::slice::from_ref(one),
        };
        rows = turns(rows, items, |row, item| put(key, item, row));
    }
    rows
}

/// A value of a matrix; those of a map are `key.field`.
fn put(key: &str, item: &Value, row: &mut Values) {
    match item {
        Value::Object(fields) => {
            for (field, value) in fields {
                put(&format!("{key}.{field}"), value, row);
            }
        }
        item => {
            if let Some(text) = text_of(Some(item)) {
                row.insert(key.to_owned(), text);
            }
        }
    }
}

fn include_row(own: Values, values: &Values, map: &Map<String, Value>, rows: &mut Vec<Values>) {
    let has_axes = map.keys().any(|key| key != "include" && key != "exclude");
    // It is for all rows if it says nothing of the axes.
    let fits = |row: &Values| {
        let mut of_axes = own.iter().filter(|(key, _)| map.contains_key(*key));
        of_axes.all(|(key, value)| row.get(key) == Some(value))
    };
    if has_axes && rows.iter().any(fits) {
        rows.iter_mut().filter(|row| fits(row)).for_each(|row| row.extend(own.clone()));
    } else {
        if !has_axes && rows.len() == 1 && rows[0] == *values {
            rows.clear();
        }
        let mut row = values.clone();
        row.extend(own);
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_matrices() {
        for (text, expected) in [
            ("{}", ""),
            (
                "{ matrix: { a: [1, 2], b: [x, y], exclude: [{ a: 1, b: y }, { a: 2, b: x }] } }",
                "a=1 b=x|a=2 b=y",
            ),
            ("{ matrix: { a: [1], exclude: [{ a: 1 }], include: [{ a: 3, c: z }] } }", "a=3 c=z"),
            (
                "{ matrix: { a: [{ n: 1, m: 2 }, { n: 3 }], exclude: [{ a: { n: 3 } }] } }",
                "a.m=2 a.n=1",
            ),
            (
                "{ matrix: { a: [1, 2], include: [{ c: z }, { a: 2, d: y }] } }",
                "a=1 c=z|a=2 c=z d=y",
            ),
            ("{ matrix: { include: [{ a: 1 }, { a: 2 }] } }", "a=1|a=2"),
            ("{ matrix: '${{ fromJSON(x) }}' }", ""),
            ("{ matrix: { a: '${{ fromJSON(x) }}', b: [1] } }", "b=1"),
            ("{ matrix: [{ A: x, B: [1, 2] }, { A: [y] }] }", "A=x B=1|A=x B=2|A=y"),
            ("{ matrix: { one: { a: 1 }, two: { a: 2 } } }", "a=1|a=2"),
            ("{ matrix: [] }", ""),
        ] {
            let source = crate::check::diagnostic::SourceFile::new(std::path::Path::new("x"), text);
            let strategy = crate::hierarchy::value(&source).unwrap();
            let rows = matrix(&serde_json::json!({ "strategy": strategy }), &Values::new());
            let shown = rows.into_iter().map(|row| {
                let pairs = row.iter().map(|(key, value)| format!("{key}={value}"));
                pairs.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.collect::<Vec<_>>().join("|"), expected, "{text}");
        }
    }
}
