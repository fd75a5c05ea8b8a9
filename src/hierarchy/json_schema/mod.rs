//! The JSON Schema of `hierarchy.yaml`, for editors: `hierarchy.schema.json` beside `Cargo.toml` is what
//! comes of it.
//!
//! **Invariant:** it has exactly the fields that `schema` reads, which a test asks it; and it refuses
//! nothing that `schema` takes but keys without a value.

use serde_json::{Map, Value, json};

use super::{build_fields::LIMITS, schema::MOST_RETRIES};

/// A field's name, what it means, and what it takes.
type Field = (&'static str, &'static str, Value);

/// The schema, as a file.
pub fn json_schema() -> String {
    let mut defaults = image();
    defaults.retain(|(name, ..)| *name != "matrix");
    let file = vec![
        ("version", "The version of this format.", json!({ "const": 1 })),
        (
            "registry",
            "Host and path that images are published below: `os-base` becomes `<registry>/os-base`. Without it, images live in the engine only.",
            text(),
        ),
        (
            "mirror",
            "Host and path that upstream images are copied below before they are used: `debian` becomes `<mirror>/docker.io/library/debian`.",
            text(),
        ),
        (
            "runners",
            "The runner label of each platform in pipelines of `rebuild export`: `linux/arm64: ubuntu-24.04-arm`. `default` is that of all other images.",
            json!({ "type": "object", "additionalProperties": { "type": "string", "pattern": "^[A-Za-z0-9._/=-]+$" } }),
        ),
        (
            "notify",
            "Who hears of a run that is over: a command as a list, or a map of channels.",
            json!({ "oneOf": [command(), object(notify())] }),
        ),
        (
            "engines",
            "The engines that build, instead of the one that `DOCKER_HOST` or the docker context names: addresses, or maps with more.",
            json!({ "type": "array", "items": { "oneOf": [engine_address(), engine()] } }),
        ),
        (
            "emulate",
            "Whether every engine of `engines` also builds for platforms that are not its own, by emulation.",
            json!({ "type": "boolean", "default": false }),
        ),
        (
            "env_file",
            "A file with lines of `NAME=value`, relative to this one: values for `${NAME}` that the environment does not have.",
            text(),
        ),
        (
            "defaults",
            "Fields that each image has if it does not give them itself. `build_args`, `labels` and `secrets` are merged.",
            nullable(object(defaults)),
        ),
        (
            "images",
            "The images, by name. `{}` is an image with nothing but defaults. Which is built from which is read from the Dockerfiles.",
            json!({
                "type": "object",
                "propertyNames": { "pattern": "^[a-z0-9{]([a-z0-9._/{}-]*[a-z0-9}])?$" },
                "additionalProperties": { "$ref": "#/$defs/image" },
            }),
        ),
    ];
    let mut schema = object(file);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("hierarchy.yaml of rebuild");
    schema["description"] = json!("A hierarchy of container images: docs/hierarchy.md");
    schema["required"] = json!(["version", "images"]);
    schema["patternProperties"] =
        json!({ "^x-": { "description": "Anything, such as a place for YAML anchors." } });
    schema["$defs"] = json!({
        "image": nullable(object(image())),
        "test": test(),
        "gate": gate(),
        "text": { "type": ["string", "number", "boolean"] },
        "duration": { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "examples": ["90s", "1h30m"] },
        "command": { "type": "array", "items": text(), "minItems": 1 },
    });
    for field in VARIABLE_FIELDS {
        for image in ["/properties/defaults/properties", "/$defs/image/properties"] {
            or_variable(schema.pointer_mut(&format!("{image}/{field}")).expect("a field"));
        }
    }
    serde_json::to_string_pretty(&schema).expect("plain data is always JSON") + "\n"
}

/// The fields whose values are not any text, and may be a variable.
const VARIABLE_FIELDS: [&str; 20] = [
    "add_hosts/additionalProperties",
    "budget/properties/growth",
    "budget/properties/layers",
    "budget/properties/on_excess",
    "budget/properties/own",
    "budget/properties/size",
    "budget/properties/waste",
    "file_labels",
    "flatten",
    "keep",
    "max_size",
    "network",
    "on_failure",
    "platform",
    "refresh/properties/every",
    "retries",
    "shm_size",
    "ssh",
    "timeout",
    "ulimits/additionalProperties",
];

/// Also takes a text with `${NAME}`.
fn or_variable(field: &mut Value) {
    let mut value = std::mem::take(field);
    let about = value.as_object_mut().and_then(|value| value.remove("description"));
    *field = json!({ "anyOf": [value, { "type": "string", "pattern": "\\$\\{" }] });
    if let Some(about) = about {
        field["description"] = about;
    }
}

fn engine_address() -> Value {
    json!({ "type": "string", "pattern": "^(unix|tcp|ssh|npipe|context)://.+", "examples": ["ssh://builder@arm.example.com"] })
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

fn notify() -> Vec<Field> {
    let variable = |example: &str| json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "examples": [example] });
    vec![
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
    ]
}

/// A list of maps.
fn downstream(required: &[&str], fields: Vec<Field>) -> Value {
    let mut entry = object(fields);
    entry["required"] = json!(required);
    json!({ "type": "array", "items": entry })
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn image() -> Vec<Field> {
    let refresh = vec![
        (
            "every",
            "So long after its packages were last taken in, a plain `rebuild` refreshes the image; a minute at least.",
            duration(),
        ),
        (
            "packages",
            "Ask this package manager first, and refresh only if there is something newer.",
            json!({ "enum": ["apt", "apk", "dnf"] }),
        ),
    ];
    vec![
        (
            "context",
            "The build context: a folder, or a git repository as `https://host/name.git#ref:folder`. Default: `images/<name>` if there is one, else `<name>`.",
            text(),
        ),
        ("dockerfile", "Relative to the context. Default: `Dockerfile`.", text()),
        ("dockerfile_inline", "The text of the Dockerfile, instead of a file.", text()),
        (
            "contexts",
            "What `FROM NAME` and `--from=NAME` of the Dockerfile mean, by name: a folder, `docker-image://…`, or a git repository.",
            texts_by_name(),
        ),
        (
            "prepare",
            "A command that completes a copy of the context before each build: a list of arguments, no shell.",
            command(),
        ),
        (
            "tags",
            "What people pull; default `[latest]`. A tag may hold `{date}`, `{git}`, `{fingerprint}`, `{name}`, `{version:PACKAGE}`, `{label:NAME}`, `{file:/PATH}`. They move only to tested images.",
            json!({ "type": "array", "items": text(), "minItems": 1 }),
        ),
        (
            "test",
            "What must hold before a tag moves. Images built from this one run it as well.",
            json!({ "type": "array", "items": { "$ref": "#/$defs/test" } }),
        ),
        (
            "gate",
            "Commands on this machine that must succeed before the image is stored: scanners, policies.",
            json!({ "type": "array", "items": { "$ref": "#/$defs/gate" } }),
        ),
        (
            "sign",
            "A command on this machine that signs the image before its tags move; `{image}` is its repository with its digest.",
            command(),
        ),
        (
            "max_size",
            "The short form of `budget.size`: a larger image fails.",
            json!({ "type": ["string", "integer"], "pattern": format!("^{SIZE}$"), "minimum": 1 }),
        ),
        (
            "budget",
            "The limits of the image, checked after its tests. `none` turns a limit of `defaults` off.",
            budget(),
        ),
        (
            "flatten",
            "Which layers become one after the build: `true` for all, `own` for those above the parent's.",
            json!({ "enum": [true, false, "own"], "default": false }),
        ),
        (
            "build_args",
            "Values for the Dockerfile's `ARG`s. They can be read from the image: no place for secrets.",
            texts_by_name(),
        ),
        (
            "allow_build_args",
            "Build args that look like a secret by their name, and are none.",
            texts(),
        ),
        (
            "secrets",
            "What `RUN --mount=type=secret,id=…` gets, by ID. The values are not in this file.",
            json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9._-]+$" },
                "additionalProperties": { "oneOf": [
                    secret("env", "The environment variable of `rebuild` with the value."),
                    secret("file", "The file with the value, relative to this one."),
                ] },
            }),
        ),
        (
            "ssh",
            "Whether builds may use the SSH agent of the user.",
            json!({ "enum": [true, false, "default"] }),
        ),
        ("target", "The stage that becomes the image. Default: the last one.", text()),
        (
            "network",
            "The network of `RUN` instructions: the engine's own, none, or that of the engine's machine.",
            json!({ "enum": ["default", "none", "host"], "default": "default" }),
        ),
        (
            "add_hosts",
            "Lines for `/etc/hosts` during the build: an IP address or `host-gateway` by name.",
            texts_by_name(),
        ),
        (
            "shm_size",
            "The size of `/dev/shm` during the build.",
            json!({ "type": ["string", "integer"], "pattern": format!("^{SIZE}$"), "minimum": 1, "examples": ["256MB"] }),
        ),
        (
            "ulimits",
            "Resource limits during the build: `1024`, `1024:2048` (soft and hard) or `-1` (unlimited) by name.",
            json!({
                "type": "object",
                "propertyNames": { "enum": LIMITS },
                "additionalProperties": { "type": ["string", "integer"], "pattern": "^(-1|[0-9]+)(:(-1|[0-9]+))?$", "minimum": -1 },
            }),
        ),
        ("no_cache_filter", "Stages that are built without the layer cache.", texts()),
        (
            "cache",
            "Where BuildKit reads the layer cache of other machines (`from`), and where it writes its own (`to`): `registry`, `inline`, or as with `docker buildx build --cache-from`.",
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "from": about("The places to read, the first match wins.", text_or_texts()),
                    "to": about("The places to write. `registry` is the tag `rb-cache` of the image's repository.", text_or_texts()),
                },
            }),
        ),
        ("annotations", "Texts by name in the manifest of the image.", texts_by_name()),
        (
            "attest",
            "What BuildKit says of the image beside it in the registry: `provenance`, and `sbom` with the packages.",
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "provenance": about("How the image was built: `max` adds build arguments and the Dockerfile.", json!({ "enum": ["min", "max", true, false] })),
                    "sbom": about("The packages in the image, by BuildKit's scanner or by the scanner in this image.", json!({ "type": ["boolean", "string"] })),
                },
            }),
        ),
        (
            "platform",
            "What it is built for; the engine's own if not given.",
            json!({ "type": "string", "pattern": PLATFORM, "examples": ["linux/amd64", "linux/arm64"] }),
        ),
        (
            "platforms",
            "The platforms it is built for, instead of `platform`. The tags point at an index of all of them.",
            platforms(),
        ),
        (
            "optional_platforms",
            "Platforms whose failure does not hold the others back.",
            platforms(),
        ),
        ("labels", "Labels that the image gets.", texts_by_name()),
        (
            "parents",
            "Images it is built from. They are read from the Dockerfile; if given here, it must agree.",
            texts(),
        ),
        (
            "on_failure",
            "If its build or test fails: `block` promotes nothing of the run; `hold` keeps it and its descendants back; `optional` does too, and the run succeeds.",
            json!({ "enum": ["block", "hold", "optional"], "default": "block" }),
        ),
        (
            "repository",
            "Where it is published, if not at `<registry>/<name>`. Several images may share one, under different tags.",
            text(),
        ),
        (
            "publish",
            "Prefixes of more registries: the image is also published at `<prefix>/<name>`, with the same tags.",
            texts(),
        ),
        ("timeout", "For one build. Default: `1h`.", duration()),
        (
            "retries",
            "How often a build or a test that failed is tried again.",
            json!({ "type": "integer", "minimum": 0, "maximum": MOST_RETRIES, "default": 0 }),
        ),
        (
            "keep",
            "How many of its images the engine keeps without a registry, the newest first.",
            json!({ "type": "integer", "minimum": 1, "default": 3 }),
        ),
        (
            "file_labels",
            "Whether labels of the image name the files and settings that it was built from.",
            json!({ "type": "boolean", "default": true }),
        ),
        (
            "refresh",
            "When it is built without the layer cache, to take in package updates.",
            object(refresh),
        ),
        ("schedule", "At which moments `rebuild --refresh --due` refreshes it.", schedule()),
        (
            "volatile",
            "Patterns of paths in the image, as in a `.dockerignore`, that a refresh may change and the image still counts as the same.",
            texts(),
        ),
        (
            "matrix",
            "One image for each combination of these values; the name and every text may hold a key in braces.",
            json!({
                "type": "object",
                "properties": {
                    "include": { "type": "array", "items": texts_by_name(), "description": "Combinations besides: a value for each key." },
                    "exclude": { "type": "array", "items": texts_by_name(), "description": "Without the combinations that have all of these values." },
                },
                "additionalProperties": { "type": "array", "items": text(), "minItems": 1 },
            }),
        ),
    ]
}

const PLATFORM: &str = "^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$";

/// `120MB`, `1.5GiB`, or bytes.
const SIZE: &str = "[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtT]([iI]?[bB])?|[bB])?";

fn budget() -> Value {
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

fn schedule() -> Value {
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
    let described = |(name, about, mut value): Field| {
        value["description"] = json!(about);
        (name.to_owned(), value)
    };
    let properties: Map<String, Value> = fields.into_iter().map(described).collect();
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

fn platforms() -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": PLATFORM }, "examples": [["linux/amd64", "linux/arm64"]] })
}

fn text() -> Value {
    json!({ "$ref": "#/$defs/text" })
}

fn duration() -> Value {
    json!({ "$ref": "#/$defs/duration" })
}

fn command() -> Value {
    json!({ "$ref": "#/$defs/command" })
}

fn texts() -> Value {
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

fn texts_by_name() -> Value {
    json!({ "type": "object", "additionalProperties": text() })
}

#[cfg(test)]
mod tests;
