//! The JSON Schema of `hierarchy.yaml`, for editors: `hierarchy.schema.json` beside `Cargo.toml` is what
//! comes of it. The fields and their texts are those of `field_table`.
//!
//! **Invariant:** it has exactly the fields that `schema` reads, which a test asks it; and it refuses
//! nothing that `schema` takes but keys without a value.

use serde_json::{Map, Value, json};

use super::{
    build_fields::LIMITS,
    engines::SCHEMES,
    field_table::{FieldRow, FromDefaults, IMAGE, TOP, VariableUse},
};

/// The name of a field within a field, what it means, and what it takes.
type Field = (&'static str, &'static str, Value);

/// The schema, as a file.
pub fn json_schema() -> String {
    let mut schema = fields(TOP.iter());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("hierarchy.yaml of rebuild");
    schema["description"] = json!("A hierarchy of container images: docs/hierarchy.md");
    schema["required"] = json!(["version", "images"]);
    schema["patternProperties"] =
        json!({ "^x-": { "description": "Anything, such as a place for YAML anchors." } });
    schema["$defs"] = json!({
        "image": nullable(fields(IMAGE.iter())),
        "test": test(),
        "gate": gate(),
        "text": { "type": ["string", "number", "boolean"] },
        "duration": { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "examples": ["90s", "1h30m"] },
        "command": { "type": "array", "items": text(), "minItems": 1 },
    });
    serde_json::to_string_pretty(&schema).expect("plain data is always JSON") + "\n"
}

/// A map of the fields of these rows, and no others.
fn fields<'r>(rows: impl Iterator<Item = &'r FieldRow>) -> Value {
    closed(rows.map(|row| {
        let mut value = (row.schema)();
        if row.variables != VariableUse::AsWritten {
            or_variables(&mut value);
        }
        (row.key, about(&row.description(), value))
    }))
}

/// Wherever it takes a value that is not any text, it also takes a text with `${NAME}`.
fn or_variables(schema: &mut Value) {
    let mut is_leaf = true;
    for key in ["properties", "additionalProperties", "items", "oneOf"] {
        let below: Vec<&mut Value> = match (key, schema.get_mut(key)) {
            ("properties", Some(Value::Object(fields))) => fields.values_mut().collect(),
            (_, Some(Value::Array(cases))) => cases.iter_mut().collect(),
            (_, Some(one @ Value::Object(_))) => vec![one],
            _ => continue,
        };
        is_leaf = false;
        below.into_iter().for_each(or_variables);
    }
    if is_leaf && !is_any_text(schema) {
        let mut value = schema.take();
        let described = value.as_object_mut().and_then(|value| value.remove("description"));
        *schema = json!({ "anyOf": [value, { "type": "string", "pattern": "\\$\\{" }] });
        if let Some(description) = described {
            schema["description"] = description;
        }
    }
}

fn is_any_text(schema: &Value) -> bool {
    let is_text = schema["type"] == "string"
        || schema["type"].as_array().is_some_and(|types| types.contains(&json!("string")));
    schema.get("$ref") == text().get("$ref") || is_text && schema.get("pattern").is_none()
}

pub(super) fn defaults() -> Value {
    nullable(fields(IMAGE.iter().filter(|row| row.from_defaults != FromDefaults::NotAllowed)))
}

pub(super) fn images() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[a-z0-9{]([a-z0-9._/{}-]*[a-z0-9}])?$" },
        "additionalProperties": { "$ref": "#/$defs/image" },
    })
}

pub(super) fn runners() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string", "pattern": "^[A-Za-z0-9._/=-]+$" } })
}

pub(super) fn engines() -> Value {
    json!({ "type": "array", "items": { "oneOf": [engine_address(), engine()] } })
}

fn engine_address() -> Value {
    let schemes = SCHEMES.map(|scheme| scheme.replace('+', "\\+"));
    json!({ "type": "string", "pattern": format!("^({}).+", schemes.join("|")), "examples": ["ssh://builder@arm.example.com"] })
}

fn engine() -> Value {
    let mut engine = object(vec![
        (
            "url",
            "Its address as in `DOCKER_HOST`, or `context://NAME` for a docker context.",
            engine_address(),
        ),
        (
            "platforms",
            "The platforms that it builds without emulation. Default: its own.",
            platforms(),
        ),
        (
            "slots",
            "How many images it builds at once. Default: by the number of its processors.",
            json!({ "type": "integer", "minimum": 1 }),
        ),
        (
            "emulate",
            "Whether it also builds for other platforms, by emulation.",
            json!({ "type": "boolean", "default": false }),
        ),
    ]);
    engine["required"] = json!(["url"]);
    engine
}

pub(super) fn notify() -> Value {
    let variable = |example: &str| json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "examples": [example] });
    let channels = vec![
        (
            "command",
            "A command that is started when a run is over, with the JSON report on its stdin: a list of arguments, no shell.",
            command(),
        ),
        (
            "slack",
            "The environment variable with the address of an incoming webhook of Slack.",
            variable("SLACK_WEBHOOK_URL"),
        ),
        (
            "teams",
            "The environment variable with the address of a workflow of Teams that posts webhook requests to a channel.",
            variable("TEAMS_WEBHOOK_URL"),
        ),
        (
            "webhook",
            "The environment variable with an address that gets the JSON report.",
            variable("REPORT_WEBHOOK_URL"),
        ),
        (
            "github_comment",
            "Whether plans and runs in a pull request write a comment there, and update it.",
            json!({ "type": "boolean", "default": false }),
        ),
        (
            "repository_dispatch",
            "Repositories of GitHub whose workflows start when tags have moved.",
            downstream(
                &["repository", "token"],
                vec![
                    (
                        "repository",
                        "The repository: `owner/name`.",
                        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$" }),
                    ),
                    (
                        "event_type",
                        "The type of the event that the workflow listens to.",
                        json!({ "type": "string", "minLength": 1, "default": "rebuild" }),
                    ),
                    (
                        "token",
                        "The environment variable with a token that may write to the repository.",
                        variable("DISPATCH_TOKEN"),
                    ),
                ],
            ),
        ),
        (
            "gitlab_trigger",
            "Projects of GitLab whose pipelines start when tags have moved.",
            downstream(
                &["project", "token"],
                vec![
                    (
                        "project",
                        "The address of the project.",
                        json!({ "type": "string", "pattern": "^https?://[^/]+/.+", "examples": ["https://gitlab.example.com/group/project"] }),
                    ),
                    (
                        "branch",
                        "The branch of the pipeline.",
                        json!({ "type": "string", "minLength": 1, "default": "main" }),
                    ),
                    (
                        "token",
                        "The environment variable with a trigger token of the project.",
                        variable("TRIGGER_TOKEN"),
                    ),
                ],
            ),
        ),
    ];
    json!({ "oneOf": [command(), object(channels)] })
}

/// A list of maps.
fn downstream(required: &[&str], fields: Vec<Field>) -> Value {
    let mut entry = object(fields);
    entry["required"] = json!(required);
    json!({ "type": "array", "items": entry })
}

pub(super) fn refresh() -> Value {
    object(vec![
        (
            "every",
            "The interval of refreshes by a plain `rebuild`, at least one minute.",
            duration(),
        ),
        (
            "packages",
            "The package manager that is asked first: the image is refreshed only if updates are available.",
            json!({ "enum": ["apt", "apk", "dnf"] }),
        ),
    ])
}

pub(super) fn secrets() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9._-]+$" },
        "additionalProperties": { "oneOf": [
            secret("env", "The environment variable of `rebuild` with the value."),
            secret("file", "The file with the value, relative to this one."),
        ] },
    })
}

pub(super) fn ulimits() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "enum": LIMITS },
        "additionalProperties": { "type": ["string", "integer"], "pattern": "^(-1|[0-9]+)(:(-1|[0-9]+))?$", "minimum": -1 },
    })
}

pub(super) fn cache() -> Value {
    object(vec![
        ("from", "The places to read, the first match wins.", text_or_texts()),
        (
            "to",
            "The places to write. `registry` is the tag `rb-cache` of the image's repository.",
            text_or_texts(),
        ),
    ])
}

pub(super) fn attest() -> Value {
    object(vec![
        (
            "provenance",
            "How the image was built: `max` adds build arguments and the Dockerfile.",
            json!({ "enum": ["min", "max", true, false] }),
        ),
        (
            "sbom",
            "The packages in the image, by BuildKit's scanner or by the scanner in this image.",
            json!({ "type": ["boolean", "string"] }),
        ),
    ])
}

pub(super) fn matrix() -> Value {
    json!({
        "type": "object",
        "properties": {
            "include": { "type": "array", "items": texts_by_name(), "description": "Combinations besides: a value for each key." },
            "exclude": { "type": "array", "items": texts_by_name(), "description": "Without the combinations that have all of these values." },
        },
        "additionalProperties": { "type": "array", "items": text(), "minItems": 1 },
    })
}

/// Bytes, with or without a unit.
pub(super) fn size() -> Value {
    json!({ "type": ["string", "integer"], "pattern": format!("^{SIZE}$"), "minimum": 1, "examples": ["256MB"] })
}

const PLATFORM: &str = "^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$";

/// `120MB`, `1.5GiB`, or bytes.
const SIZE: &str = "[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtT]([iI]?[bB])?|[bB])?";

pub(super) fn budget() -> Value {
    let number = |pattern: String, example: &str| json!({ "type": ["string", "integer"], "pattern": pattern, "minimum": 1, "examples": [example] });
    let size = |example| number(format!("^({SIZE}|none)$"), example);
    object(vec![
        ("size", "The largest size: the unpacked bytes of all layers.", size("500MB")),
        ("own", "The most bytes that it adds to its base, unpacked.", size("50MB")),
        (
            "layers",
            "The largest number of layers.",
            number("^([1-9][0-9]*|none)$".to_owned(), "30"),
        ),
        (
            "waste",
            "The most bytes that its own layers waste, unpacked.",
            json!({ "type": ["string", "integer"], "pattern": format!("^({SIZE}|none)$"), "minimum": 0, "examples": ["5MB"] }),
        ),
        (
            "growth",
            "How much larger than the published image it may be: a percentage or bytes.",
            number(format!("^([0-9]+(\\.[0-9]{{1,2}})?\\s*%|{SIZE}|none)$"), "5%"),
        ),
        (
            "on_excess",
            "The effect of a larger image: `fail`, as a failed test, or `warn`.",
            json!({ "enum": ["warn", "fail"], "default": "fail" }),
        ),
    ])
}

pub(super) fn schedule() -> Value {
    let cron = json!({ "type": "string", "examples": ["0 3 * * *", "@weekly"] });
    let mut map = object(vec![
        ("cron", "A cron expression of five fields.", cron.clone()),
        (
            "timezone",
            "A time zone by its IANA name. Default: UTC.",
            json!({ "type": "string", "examples": ["Europe/Berlin"] }),
        ),
        (
            "jitter",
            "Delays each image's tick by a fixed time between 0 and this, different for each image.",
            duration(),
        ),
    ]);
    map["required"] = json!(["cron"]);
    json!({ "oneOf": [cron, map] })
}

fn test() -> Value {
    let mut test = object(vec![
        (
            "run",
            "Run in a container of the image instead of its own command; passes with exit code 0.",
            command(),
        ),
        (
            "healthy",
            "The image is started as it is, and becomes healthy by its own HEALTHCHECK within this time.",
            duration(),
        ),
        (
            "stdout",
            "A regular expression that matches somewhere in what the command prints.",
            text(),
        ),
        ("timeout", "For `run`. Default: `1m`.", duration()),
        (
            "network",
            "Whether the container can reach a network.",
            json!({ "type": "boolean", "default": false }),
        ),
        (
            "read_only",
            "Whether the container can write nothing but `/tmp`, which is empty and has 64 MiB.",
            json!({ "type": "boolean", "default": false }),
        ),
        (
            "isolated",
            "For `run`. Whether the test has its own container in any case. By default, tests share a container that no test has changed.",
            json!({ "type": "boolean", "default": false }),
        ),
        (
            "inherit",
            "Whether images built from this one run it, too.",
            json!({ "type": "boolean", "default": true }),
        ),
    ]);
    test["oneOf"] = json!([
        { "required": ["run"] },
        { "required": ["healthy"], "properties": { "stdout": false, "timeout": false, "isolated": false } },
    ]);
    test
}

fn gate() -> Value {
    let mut gate = object(vec![
        (
            "run",
            "A command that passes with exit code 0: a list of arguments, no shell.",
            command(),
        ),
        (
            "archive",
            "Whether `REBUILD_ARCHIVE` names an OCI archive of the image.",
            json!({ "type": "boolean", "default": false }),
        ),
        ("timeout", "The longest time. Default: `10m`.", duration()),
        (
            "inherit",
            "Whether images built from this one pass it, too.",
            json!({ "type": "boolean", "default": false }),
        ),
    ]);
    gate["required"] = json!(["run"]);
    gate
}

/// A map of these fields, and no others.
fn object(fields: Vec<Field>) -> Value {
    closed(fields.into_iter().map(|(name, text, value)| (name, about(text, value))))
}

fn closed(fields: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let properties: Map<String, Value> =
        fields.map(|(name, value)| (name.to_owned(), value)).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// `{ name: … }`, and whether a build needs it.
fn secret(name: &'static str, about: &'static str) -> Value {
    let required = json!({ "type": "boolean", "default": true });
    let mut object = object(vec![
        (name, about, text()),
        ("required", "Whether a run without a value fails, or builds without it.", required),
    ]);
    object["required"] = json!([name]);
    object
}

/// `os-base:` with nothing behind it is a map without any entry.
fn nullable(mut object: Value) -> Value {
    object["type"] = json!(["object", "null"]);
    object
}

pub(super) fn platform() -> Value {
    json!({ "type": "string", "pattern": PLATFORM, "examples": ["linux/amd64", "linux/arm64"] })
}

pub(super) fn platforms() -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": PLATFORM }, "examples": [["linux/amd64", "linux/arm64"]] })
}

pub(super) fn text() -> Value {
    json!({ "$ref": "#/$defs/text" })
}

pub(super) fn duration() -> Value {
    json!({ "$ref": "#/$defs/duration" })
}

pub(super) fn command() -> Value {
    json!({ "$ref": "#/$defs/command" })
}

pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

/// The same with a description.
fn about(description: &str, mut schema: Value) -> Value {
    schema["description"] = json!(description);
    schema
}

fn text_or_texts() -> Value {
    json!({ "oneOf": [text(), texts()] })
}

pub(super) fn texts_by_name() -> Value {
    json!({ "type": "object", "additionalProperties": text() })
}

#[cfg(test)]
mod tests;
