//! Parameters of `CircleCI`: each job once for each call of a workflow, with the steps of the commands that it calls.
//! <https://circleci.com/docs/reference/configuration-reference/#parameters>

use serde_json::{Map, Value, json};

use super::{
    bake::{list, text_of},
    evidence::{Open, Values, turns},
    variables::{Syntax, expand},
};

/// Commands that call each other are followed to this depth.
const DEEPEST: usize = 8;

/// `<< parameters.x >>` and `<< pipeline.x >>` as `${parameters.x}`. Here-documents stay.
pub(super) fn with_dollars(text: &str) -> String {
    let mut parts = text.split("<<");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.split_once(">>").map(|(name, rest)| (name.trim(), rest));
        let is_value = |name: &str| {
            ["parameters.", "pipeline.", "matrix."].iter().any(|one| name.starts_with(one))
                && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
        };
        match inside.filter(|(name, _)| is_value(name)) {
            Some((name, rest)) => out.extend(["${", name, "}", rest]),
            None => out.extend(["<<", part]),
        }
    }
    out
}

/// The file with a list in the place of each job: the job below the parameters of each call.
pub(super) fn with_calls(mut value: Value) -> Value {
    in_dollars(&mut value);
    let take = |value: &mut Value, key: &str| match value.get_mut(key).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let pipeline = take(&mut value, "parameters");
    let pipeline = defaults(Some(&pipeline), "pipeline.parameters.", &Values::new());
    let (jobs, commands) = (take(&mut value, "jobs"), take(&mut value, "commands"));
    let (workflows, orbs) = (take(&mut value, "workflows"), take(&mut value, "orbs"));
    let docker = orbs
        .iter()
        .filter(|(_, orb)| orb.as_str().is_some_and(|orb| orb.starts_with("circleci/docker@")));
    let docker = docker.map(|(alias, _)| alias.clone()).collect();
    let config = CircleConfig { commands, docker };
    let listed = workflows.values().filter_map(|one| one.get("jobs")?.as_array()).flatten();
    let calls: Vec<(String, Value)> = listed.filter_map(call).collect();
    let mut all = Map::new();
    for (name, job) in &jobs {
        let own = calls.iter().filter(|(called, _)| called == name);
        let mut rows: Vec<Values> = Vec::new();
        for row in own.flat_map(|(_, given)| rows_of(job, given, &pipeline)) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        if rows.is_empty() {
            rows = rows_of(job, &Value::Null, &pipeline);
        }
        let job = |row: Values| {
            let mut job = job.clone();
            if let Some(steps) = job.get_mut("steps") {
                *steps = config.steps(steps, &row, DEEPEST);
            }
            json!({ "env": row, "job": job })
        };
        all.insert(name.clone(), rows.into_iter().map(job).collect());
    }
    for (name, given) in calls.iter().filter(|(name, _)| !jobs.contains_key(name)) {
        let built = config.docker_build(name, given);
        all.extend(built.map(|built| (name.clone(), json!({ "env": pipeline, "steps": [built] }))));
    }
    if let Value::Object(value) = &mut value {
        value.insert("env".to_owned(), json!(pipeline));
        value.insert("jobs".to_owned(), all.into());
    }
    value
}

fn in_dollars(value: &mut Value) {
    match value {
        Value::String(text) => *text = with_dollars(text),
        Value::Array(all) => all.iter_mut().for_each(in_dollars),
        Value::Object(map) => map.values_mut().for_each(in_dollars),
        _ => {}
    }
}

/// The name of what an item of a list calls, and what it gives.
fn call(item: &Value) -> Option<(String, Value)> {
    match item {
        Value::String(name) => Some((name.clone(), Value::Null)),
        Value::Object(map) if map.len() == 1 => {
            map.iter().next().map(|(name, given)| (name.clone(), given.clone()))
        }
        _ => None,
    }
}

/// The parameters with their defaults on top of other values; one without a default has a value that is not known.
fn defaults(parameters: Option<&Map<String, Value>>, prefix: &str, known: &Values) -> Values {
    let mut values = known.clone();
    for (name, parameter) in parameters.into_iter().flatten() {
        let name = format!("{prefix}{name}");
        let default = text_of(parameter.get("default"));
        let default = default.unwrap_or_else(|| format!("${{{name}}}"));
        // A value of the caller is no default.
        values.remove(&name);
        let default = expand(&default, &values, Syntax::Shell);
        values.insert(name, default);
    }
    values
}

/// The values of the parameters of a job or a command in each call.
fn rows_of(called: &Value, given: &Value, known: &Values) -> Vec<Values> {
    let parameters = called.get("parameters").and_then(Value::as_object);
    let mut row = defaults(parameters, "parameters.", known);
    let names = || parameters.into_iter().flatten().map(|(name, _)| name);
    for name in names() {
        if let Some(text) = text_of(given.get(name)) {
            row.insert(format!("parameters.{name}"), expand(&text, known, Syntax::Shell));
        }
    }
    let matrix = given.get("matrix");
    let axes = matrix.and_then(|matrix| matrix.get("parameters"));
    let mut rows = vec![row];
    for name in names() {
        let items = list(axes.and_then(|axes| axes.get(name)));
        rows = turns(rows, &items, |row, item| {
            let value = expand(item, known, Syntax::Shell);
            row.insert(format!("parameters.{name}"), value);
        });
    }
    let excluded = matrix.and_then(|matrix| matrix.get("exclude")?.as_array());
    for exclude in excluded.into_iter().flatten().filter_map(Value::as_object) {
        let has = |row: &Values| {
            exclude.iter().all(|(name, value)| {
                row.get(&format!("parameters.{name}")).cloned() == text_of(Some(value))
            })
        };
        rows.retain(|row| !has(row));
    }
    rows
}

struct CircleConfig {
    commands: Map<String, Value>,
    /// What the orb `circleci/docker` is called.
    docker: Vec<String>,
}

impl CircleConfig {
    /// The steps, with those of commands in the place of their calls.
    fn steps(&self, steps: &Value, known: &Values, depth: usize) -> Value {
        let Some(steps) = steps.as_array().filter(|_| depth > 0) else { return Value::Null };
        let step = |step: &Value| {
            let Some((name, given)) = call(step) else { return step.clone() };
            if let Some(command) = self.commands.get(&name) {
                let row = rows_of(command, &given, known).pop().unwrap_or_default();
                let steps = command.get("steps").unwrap_or(&Value::Null);
                return json!({ "env": row, "steps": self.steps(steps, &row, depth - 1) });
            }
            if let "when" | "unless" = name.as_str() {
                let is_run = is_true(given.get("condition"), known);
                let is_skipped = is_run == Some(name == "unless");
                let steps = given.get("steps").filter(|_| !is_skipped).unwrap_or(&Value::Null);
                return json!({ "steps": self.steps(steps, known, depth - 1) });
            }
            self.docker_build(&name, &given).unwrap_or_else(|| step.clone())
        };
        steps.iter().map(step).collect()
    }

    /// A build by the orb: <https://circleci.com/developer/orbs/orb/circleci/docker>.
    fn docker_build(&self, name: &str, given: &Value) -> Option<Value> {
        let (orb, command) = name.split_once('/')?;
        if !self.docker.iter().any(|alias| alias == orb) || !["build", "publish"].contains(&command)
        {
            return None;
        }
        let field =
            |name: &str, usual: &str| text_of(given.get(name)).unwrap_or_else(|| usual.to_owned());
        let (path, file) = (field("path", "."), field("dockerfile", "Dockerfile"));
        let image = format!("{}/{}", field("registry", "docker.io"), text_of(given.get("image"))?);
        let tags = field("tag", "$CIRCLE_SHA1");
        let tags = tags.split(',').map(|tag| format!("-t {image}:{}", tag.trim()));
        let tags = tags.collect::<Vec<_>>().join(" ");
        let context = field("docker-context", ".");
        Some(json!({ "run": format!("docker build {tags} -f {path}/{file} {context}") }))
    }
}

/// The result of a condition: <https://circleci.com/docs/reference/configuration-reference/#logic-statements>.
fn is_true(condition: Option<&Value>, known: &Values) -> Option<bool> {
    let text = |value: &Value| {
        let text = expand(&text_of(Some(value))?, known, Syntax::Shell);
        Open(text.clone()).is_known().then_some(text)
    };
    match condition? {
        Value::Object(map) => {
            let items: Option<Vec<String>> =
                map.get("equal")?.as_array()?.iter().map(text).collect();
            let items = items?;
            Some(items.iter().all(|one| *one == items[0]))
        }
        one => text(one).map(|text| !["", "false", "0"].contains(&text.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_documents_are_no_parameters() {
        for (text, expected) in [
            (
                "a << parameters.b-c >>:<<pipeline.number>>",
                "a ${parameters.b-c}:${pipeline.number}",
            ),
            ("cat <<EOF >>f", "cat <<EOF >>f"),
            ("cat << x >> << parameters.y", "cat << x >> << parameters.y"),
        ] {
            assert_eq!(with_dollars(text), expected);
        }
    }

    #[test]
    fn fuzz_circleci() {
        const WORDS: [&str; 8] = [
            "jobs: ",
            "commands: ",
            "{ a: ",
            "steps: [a",
            "parameters: ",
            "<< parameters.a >>",
            "workflows: { w: { jobs: [",
            "}",
        ];
        let start = b"jobs: { a: { steps: [a] } }\ncommands: { a: { steps: [a] } }";
        crate::testing::fuzz::each(&[start], &WORDS, |text| {
            let source = crate::check::diagnostic::SourceFile::new(
                std::path::Path::new("x"),
                String::from_utf8_lossy(text).into_owned(),
            );
            _ = crate::hierarchy::value(&source).map(with_calls);
        });
    }
}
