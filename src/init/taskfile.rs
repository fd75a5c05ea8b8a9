//! Tasks of a Taskfile that other tasks call with variables: one task for each call.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use super::{
    bake::text_of,
    evidence::{Open, Values},
    shell::with_dollars,
    variables::{Syntax, expand},
};

/// Tasks that call each other are followed to this depth.
const DEEPEST: usize = 4;
/// More calls of tasks are not followed.
const MOST_CALLS: usize = 1000;

pub(super) fn is_taskfile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.starts_with("taskfile")
}

/// The file with a list in the place of each task that is called with variables: the task once for each call, below
/// the variables of the call. Loops over lists are written out. <https://taskfile.dev/docs/guide#calling-another-task>
pub(super) fn with_calls(mut value: Value) -> Value {
    in_dollars(&mut value);
    let globals = values(&value, &Values::new());
    let Some(tasks) = value.get_mut("tasks").and_then(Value::as_object_mut) else { return value };
    for task in tasks.values_mut() {
        in_dollars(task);
        unroll(task);
    }
    let mut calls = TaskCalls { tasks, globals, all: BTreeMap::new(), count: 0 };
    for name in tasks.keys() {
        calls.follow(name, &Values::new(), DEEPEST);
    }
    for (name, all) in calls.all {
        let task = tasks[&name].clone();
        let copies = all.into_iter().map(|given| json!({ "vars": given, "call": task }));
        tasks[&name] = copies.collect();
    }
    value
}

/// The calls with variables, by task.
struct TaskCalls<'t> {
    tasks: &'t Map<String, Value>,
    globals: Values,
    all: BTreeMap<String, Vec<Values>>,
    count: usize,
}

impl TaskCalls<'_> {
    /// The calls that a task makes which is called with these values.
    fn follow(&mut self, name: &str, given: &Values, depth: usize) {
        let Some(task) = self.tasks.get(name).filter(|_| depth > 0) else { return };
        let mut known = self.globals.clone();
        known.extend(given.clone());
        let known = values(task, &known);
        let fields = ["deps", "cmds"].into_iter().filter_map(|field| task.get(field)?.as_array());
        for call in fields.flatten() {
            let Some(called) = call.get("task").and_then(Value::as_str) else { continue };
            let own = call.get("vars").and_then(Value::as_object).into_iter().flatten();
            let own = own.filter_map(|(key, value)| {
                let text = expand(&text_of(Some(value))?, &known, Syntax::Shell);
                Open(text.clone()).is_known().then(|| (key.clone(), text))
            });
            let own: Values = own.collect();
            let is_task = self.tasks.contains_key(called);
            let all = self.all.entry(called.to_owned()).or_default();
            self.count += 1;
            if !own.is_empty() && is_task && self.count <= MOST_CALLS && !all.contains(&own) {
                all.push(own.clone());
                self.follow(called, &own, depth - 1);
            }
        }
        self.all.retain(|_, all| !all.is_empty());
    }
}

/// The values of the `vars` of a map, on top of others.
fn values(map: &Value, known: &Values) -> Values {
    let mut all = known.clone();
    for (key, value) in map.get("vars").and_then(Value::as_object).into_iter().flatten() {
        if let Some(text) = text_of(Some(value)) {
            all.insert(key.clone(), expand(&text, &all, Syntax::Shell));
        }
    }
    all
}

/// Templates in `vars` as variables of a shell.
fn in_dollars(map: &mut Value) {
    let vars = map.get_mut("vars").and_then(Value::as_object_mut);
    for value in vars.into_iter().flat_map(Map::values_mut) {
        if let Value::String(text) = value {
            *text = with_defaults(text);
        }
    }
}

/// `{{.NAME | default "x"}}` and `{{default "x" .NAME}}` as `${NAME:-x}`.
fn with_defaults(text: &str) -> String {
    let inside = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
    let parts = inside.and_then(|inside| {
        let inside = inside.trim();
        let (name, default) = if let Some((name, rest)) = inside.split_once('|') {
            (name, rest.trim().strip_prefix("default ")?)
        } else {
            let (default, name) = inside.strip_prefix("default ")?.rsplit_once(' ')?;
            (name, default)
        };
        Some((name.trim().strip_prefix('.')?, default.trim().trim_matches(['"', '\''])))
    });
    match parts {
        Some((name, default)) if !default.contains(['{', '}']) => format!("${{{name}:-{default}}}"),
        _ => with_dollars(text),
    }
}

/// `for: [a, b]` of commands and calls: one for each item, as `ITEM`.
fn unroll(task: &mut Value) {
    for field in ["deps", "cmds"] {
        let Some(all) = task.get_mut(field).and_then(Value::as_array_mut) else { continue };
        let each = std::mem::take(all).into_iter().flat_map(|mut one| {
            let items = one.get("for").and_then(Value::as_array).cloned();
            in_dollars(&mut one);
            let Some(items) = items.filter(|_| one.is_object()) else { return vec![one] };
            items.iter().map(|item| turn(&one, item)).collect()
        });
        *all = each.collect();
    }
}

/// A command or a call, for one item of its loop.
fn turn(one: &Value, item: &Value) -> Value {
    let mut one = one.clone();
    one["for"] = Value::Null;
    let item = text_of(Some(item)).unwrap_or_default();
    if one.get("task").is_none() {
        one["vars"] = json!({ "ITEM": item });
        return one;
    }
    let vars = one.get_mut("vars").and_then(Value::as_object_mut);
    for value in vars.into_iter().flat_map(Map::values_mut) {
        if let Value::String(text) = value {
            *text = text.replace("${ITEM}", &item);
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(text: &str) -> Value {
        with_calls(serde_json::from_str(text).unwrap())["tasks"].take()
    }

    #[test]
    fn tasks_are_copied_for_each_call() {
        let text = r#"{"vars":{"V":"3"},"tasks":{
            "e":{"cmds":[{"task":"image","vars":{"NAME":"e","TAG":"5"}},{"task":"other"}]},
            "f":{"deps":[{"for":["f","g"],"task":"image","vars":{"NAME":"{{.ITEM}}","TAG":"{{.V}}"}}]},
            "image":{"vars":{"TAG":"{{.TAG | default \"9\"}}"},"cmds":["docker {{.NAME}}",{"task":"other","vars":{"X":"{{.NAME}}","Y":"{{.Z}}"}}]},
            "other":{"cmds":[{"for":["a"],"cmd":"{{.ITEM}}"}]}}}"#;
        let tasks = called(text);
        let all = tasks["image"].as_array().unwrap();
        let given: Vec<String> = all.iter().map(|one| one["vars"].to_string()).collect();
        assert_eq!(
            given,
            [r#"{"NAME":"e","TAG":"5"}"#, r#"{"NAME":"f","TAG":"3"}"#, r#"{"NAME":"g","TAG":"3"}"#]
        );
        assert_eq!(all[0]["call"]["vars"]["TAG"], "${TAG:-9}");
        let others = tasks["other"].as_array().unwrap();
        let given: Vec<String> = others.iter().map(|one| one["vars"].to_string()).collect();
        assert_eq!(given, [r#"{"X":"e"}"#, r#"{"X":"f"}"#, r#"{"X":"g"}"#]);
        assert_eq!(others[0]["call"]["cmds"][0]["vars"]["ITEM"], "a");
    }

    #[test]
    fn tasks_that_call_each_other_end() {
        let text = r#"{"tasks":{"a":{"cmds":[{"task":"b","vars":{"N":"{{.N}}x"}},{"task":"b","vars":{"N":"x"}}]},"b":{"cmds":[{"task":"a","vars":{"N":"{{.N}}y"}}]}}}"#;
        assert_eq!(called(text)["a"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn templates_with_defaults() {
        for (text, expected) in [
            ("{{.A}}-{{.B}}", "${A}-${B}"),
            ("{{ .A | default \"x\" }}", "${A:-x}"),
            ("{{default 'x' .A}}", "${A:-x}"),
            ("{{.A | upper}}", "{{.A | upper}}"),
        ] {
            assert_eq!(with_defaults(text), expected, "{text}");
        }
    }
}
