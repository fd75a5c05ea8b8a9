//! The fields of `hierarchy.yaml`, one row each.
//!
//! A new field is a row here, and the code that reads it: a member and a line in `schema`, or for an option of the
//! build a line in `build_fields`. The JSON schema, the tables of `docs/hierarchy.md` (`UPDATE_DOCS=1`), `--set` and the
//! rules for variables, matrices and `defaults` come from the row. Tests compare what it says with what the program does.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use self::{
    ChangeEffect::{Nothing, Since},
    MatrixKeys::{Later, Never},
    VariableUse::{AsWritten, ForNames},
};
use super::{json_schema, schema::MOST_RETRIES};

pub(super) struct FieldRow {
    pub(super) key: &'static str,
    /// The type, as in `docs/hierarchy.md`.
    takes: &'static str,
    /// As in `docs/hierarchy.md`.
    default: &'static str,
    /// For `docs/hierarchy.md`; without its links, also for the JSON schema.
    meaning: &'static str,
    /// Only for the JSON schema: sentences for which the page has a section or the column of the type.
    detail: &'static str,
    /// Its values in the JSON schema.
    pub(super) schema: fn() -> Value,
    pub(super) shape: FieldShape,
    pub(super) from_defaults: FromDefaults,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests compare it with what the program does")
    )]
    change: ChangeEffect,
    pub(super) matrix: MatrixKeys,
    pub(super) variables: VariableUse,
    /// Whether `build_fields` reads it, by its shape.
    pub(super) is_build_option: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldShape {
    /// `--set` can give it.
    Value,
    List,
    Map,
    MapOfLists,
}

/// What an image has that sets the field, if `defaults` set it, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FromDefaults {
    /// Its own value.
    Replaced,
    /// The entries of both, its own first.
    Merged,
    /// `defaults` cannot have the field.
    NotAllowed,
}

/// What another value changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeEffect {
    /// The fingerprint of the image.
    Fingerprint,
    /// No fingerprint, but the image counts as changed for `--since`.
    Since,
    Nothing,
}

/// What `{key}` of the image's `matrix` is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MatrixKeys {
    /// A part of its texts.
    Filled,
    /// The field has one value that is not a text, and is read when the key has its value: `schema::Image::set`.
    Later,
    /// Nothing.
    Never,
}

/// What `${NAME}` is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum VariableUse {
    /// A variable.
    Expanded,
    /// A variable, which must have a value also for commands that read only names.
    ForNames,
    /// For another program; or a value of ours would have no meaning; or its fields decide.
    AsWritten,
}

const VALUE: FieldRow = FieldRow {
    key: "",
    takes: "",
    default: "none",
    meaning: "",
    detail: "",
    schema: json_schema::text,
    shape: FieldShape::Value,
    from_defaults: FromDefaults::Replaced,
    change: ChangeEffect::Fingerprint,
    matrix: MatrixKeys::Filled,
    variables: VariableUse::Expanded,
    is_build_option: false,
};
const LIST: FieldRow =
    FieldRow { default: "`[]`", schema: json_schema::texts, shape: FieldShape::List, ..VALUE };
const MAP: FieldRow = FieldRow {
    default: "`{}`",
    schema: json_schema::texts_by_name,
    shape: FieldShape::Map,
    from_defaults: FromDefaults::Merged,
    ..VALUE
};
const OPTION: FieldRow = FieldRow { is_build_option: true, ..VALUE };
const OPTIONS: FieldRow = FieldRow { is_build_option: true, ..MAP };

/// The fields at the top of the file.
pub(super) const TOP: &[FieldRow] = &[
    FieldRow {
        key: "version",
        takes: "number",
        default: "required",
        meaning: "the version of this format: `1`",
        schema: || json!({ "const": 1 }),
        change: Nothing,
        variables: AsWritten,
        ..VALUE
    },
    FieldRow {
        key: "registry",
        takes: "host and path, no tag",
        meaning: "where `rebuild` publishes: `os-base` becomes `<registry>/os-base`. Without it, images stay in the engine, under their bare names",
        change: Since,
        ..VALUE
    },
    FieldRow {
        key: "mirror",
        takes: "host and path, no tag",
        meaning: "where `rebuild` copies upstream images before it uses them, such as `debian` to `<mirror>/docker.io/library/debian`: [mirror](mirror.md)",
        change: Nothing,
        ..VALUE
    },
    FieldRow {
        key: "runners",
        takes: "map of platforms, or `default`, and labels",
        default: "the runner of the CI system",
        meaning: "which runners build for which platform in a pipeline: [scale](scale.md)",
        detail: "For example `linux/arm64: ubuntu-24.04-arm`. `default` is the runner of all other images.",
        schema: json_schema::runners,
        change: Nothing,
        ..MAP
    },
    FieldRow {
        key: "notify",
        takes: "list of strings, or map",
        meaning: "a command that `rebuild` starts at the end of a run, with the [JSON report](ci.md#the-json-report) on its stdin: [how](ci.md#reports). Or a map with `command`, `slack`, `teams`, `webhook`, `github_comment`, `repository_dispatch`, `gitlab_trigger`: [notify](notify.md)",
        schema: json_schema::notify,
        change: Nothing,
        variables: AsWritten,
        ..VALUE
    },
    FieldRow {
        key: "engines",
        takes: "list of addresses or maps",
        default: "none",
        meaning: "the engines that build, instead of the one that `DOCKER_HOST` or the docker context names: [several engines](engines.md#several-engines)",
        schema: json_schema::engines,
        change: Nothing,
        ..LIST
    },
    FieldRow {
        key: "emulate",
        takes: "boolean",
        default: "`false`",
        meaning: "whether every engine of `engines` also builds for other platforms, by emulation",
        schema: || json!({ "type": "boolean", "default": false }),
        change: Nothing,
        ..VALUE
    },
    FieldRow {
        key: "env_file",
        takes: "file",
        meaning: "a file with lines of `NAME=value`, for [variables](#variables) that the environment does not have",
        detail: "Relative to this file.",
        change: Nothing,
        variables: AsWritten,
        ..VALUE
    },
    FieldRow {
        key: "defaults",
        takes: "[fields of an image](#an-image), except `matrix`",
        meaning: "values for images that do not set the field",
        detail: "Maps such as `build_args` are merged.",
        schema: json_schema::defaults,
        variables: AsWritten,
        ..MAP
    },
    FieldRow {
        key: "images",
        takes: "map from name to image",
        default: "required",
        meaning: "the images, in any order. `{}` is an image with defaults only",
        detail: "Their Dockerfiles define which image is built from which.",
        schema: json_schema::images,
        variables: AsWritten,
        ..MAP
    },
];

/// The fields of an image, and of `defaults`.
pub(super) const IMAGE: &[FieldRow] = &[
    FieldRow {
        key: "context",
        takes: "folder, or [git repository](#contexts)",
        default: "`images/<name>` if it exists, else `<name>`",
        meaning: "the build context. `.dockerignore` works as with `docker build`",
        detail: "A git repository is `https://host/name.git#ref:folder`.",
        ..VALUE
    },
    FieldRow {
        key: "dockerfile",
        takes: "file, relative to the context",
        default: "`Dockerfile`",
        meaning: "the Dockerfile",
        detail: "Relative to the context.",
        ..VALUE
    },
    FieldRow {
        key: "dockerfile_inline",
        takes: "text",
        meaning: "the text of the Dockerfile, instead of `dockerfile`",
        variables: AsWritten,
        ..OPTION
    },
    FieldRow {
        key: "contexts",
        takes: "map from name to folder, `docker-image://…` or git repository",
        meaning: "what a name in `FROM` or `--from=` means: [below](#contexts)",
        detail: "A folder, `docker-image://…`, or a git repository.",
        ..OPTIONS
    },
    FieldRow {
        key: "prepare",
        takes: "list of strings",
        default: "none",
        meaning: "a command that adds files to the context before each build: [below](#prepare)",
        detail: "A list of arguments, no shell.",
        schema: json_schema::command,
        variables: AsWritten,
        ..LIST
    },
    FieldRow {
        key: "target",
        takes: "stage name",
        default: "the last stage",
        meaning: "the stage that becomes the image",
        ..VALUE
    },
    FieldRow {
        key: "platform",
        takes: "`os/architecture[/variant]`",
        default: "the engine's platform",
        meaning: "the platform of the image, for example `linux/arm64`",
        schema: json_schema::platform,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "platforms",
        takes: "list of platforms",
        default: "none",
        meaning: "the platforms that the image is built for, instead of `platform`. Its tags point at one index: [several platforms](platforms.md)",
        schema: json_schema::platforms,
        matrix: Never,
        ..LIST
    },
    FieldRow {
        key: "optional_platforms",
        takes: "list of platforms",
        meaning: "platforms that may fail without an effect on the others",
        schema: json_schema::platforms,
        matrix: Never,
        ..LIST
    },
    FieldRow {
        key: "build_args",
        takes: "map of strings",
        meaning: "values for the Dockerfile's `ARG`s. The image's history contains them, so names that look like a secret are [refused](#secrets). `rebuild` adds the `proxies` of docker's `config.json` as `docker build` does; they enter neither the fingerprint nor the history",
        ..MAP
    },
    FieldRow {
        key: "allow_build_args",
        takes: "list of names",
        meaning: "build args whose names look like secrets but are not",
        change: Nothing,
        ..LIST
    },
    FieldRow {
        key: "secrets",
        takes: "map from ID to `{ env: NAME }` or `{ file: PATH }`, with `required: false` if builds work without it",
        meaning: "values that builds can read and images do not contain: [below](#secrets)",
        detail: "`RUN --mount=type=secret,id=…` reads them by ID.",
        schema: json_schema::secrets,
        ..MAP
    },
    FieldRow {
        key: "ssh",
        takes: "`true`, `false`",
        default: "`false`",
        meaning: "whether builds may use the SSH agent of `SSH_AUTH_SOCK`: [below](#secrets)",
        schema: || json!({ "enum": [true, false, "default"] }),
        matrix: Never,
        ..VALUE
    },
    FieldRow {
        key: "network",
        takes: "`default`, `none`, `host`",
        default: "`default`",
        meaning: "the network of `RUN` instructions: [below](#build-options)",
        detail: "`default` is the engine's own, `host` that of the engine's machine.",
        schema: || json!({ "enum": ["default", "none", "host"], "default": "default" }),
        ..OPTION
    },
    FieldRow {
        key: "add_hosts",
        takes: "map from name to IP address or `host-gateway`",
        meaning: "lines for `/etc/hosts` during the build",
        detail: "An IP address or `host-gateway` by name.",
        ..OPTIONS
    },
    FieldRow {
        key: "shm_size",
        takes: "size",
        default: "the engine's, usually 64 MiB",
        meaning: "the size of `/dev/shm` during the build",
        schema: json_schema::size,
        ..OPTION
    },
    FieldRow {
        key: "ulimits",
        takes: "map from name to `soft` or `\"soft:hard\"`",
        default: "the engine's",
        meaning: "resource limits during the build, such as `nofile: 4096`. `-1` is unlimited",
        detail: "`1024:2048` is a soft and a hard limit.",
        schema: json_schema::ulimits,
        ..OPTIONS
    },
    FieldRow {
        key: "no_cache_filter",
        takes: "list of stage names",
        meaning: "stages that are built without the layer cache: [below](#build-options)",
        change: Nothing,
        is_build_option: true,
        ..LIST
    },
    FieldRow {
        key: "cache",
        takes: "map of `from` and `to`",
        meaning: "the layer cache of other machines: [below](#layer-cache)",
        detail: "BuildKit reads it from the places of `from`, and writes its own to those of `to`: `registry`, `inline`, or as with `docker buildx build --cache-from`.",
        schema: json_schema::cache,
        shape: FieldShape::MapOfLists,
        change: Since,
        ..OPTIONS
    },
    FieldRow {
        key: "annotations",
        takes: "map of strings",
        meaning: "texts in the image's manifest, and in its index if it has one: [below](#attestations-and-annotations)",
        ..OPTIONS
    },
    FieldRow {
        key: "attest",
        takes: "map of `provenance` and `sbom`",
        meaning: "what BuildKit or `rebuild` says of the image, beside it in the registry: [below](#attestations-and-annotations)",
        schema: json_schema::attest,
        ..OPTIONS
    },
    FieldRow {
        key: "labels",
        takes: "map of strings",
        meaning: "labels added to the image. Names that begin with `rebuild.` are reserved",
        ..MAP
    },
    FieldRow {
        key: "repository",
        takes: "host, path, no tag",
        default: "`<registry>/<name>`",
        meaning: "where `rebuild` publishes this image. Several images may share a repository, with different tags. `rebuild-runs` is reserved for [records](recovery.md)",
        change: Since,
        variables: ForNames,
        ..VALUE
    },
    FieldRow {
        key: "publish",
        takes: "list of hosts with paths, no tag",
        meaning: "more registries: the image is also published at `<prefix>/<name>`, with the same tags: [below](#publish)",
        change: Since,
        variables: ForNames,
        ..LIST
    },
    FieldRow {
        key: "tags",
        takes: "list of [tags](#tags)",
        default: "`[latest]`",
        meaning: "the tags that users pull; at least one. They move only to tested images",
        detail: "A tag may contain `{date}`, `{git}` (twelve digits of the commit), `{fingerprint}`, `{name}`, `{version:PACKAGE}`, `{label:NAME}`, `{file:/PATH}`.",
        schema: || json!({ "type": "array", "items": json_schema::text(), "minItems": 1 }),
        change: Since,
        variables: ForNames,
        ..LIST
    },
    FieldRow {
        key: "parents",
        takes: "list of image names",
        default: "read from the Dockerfile",
        meaning: "the images that this image is built from, as documentation. Differing from the Dockerfile is an error",
        change: Nothing,
        ..LIST
    },
    FieldRow {
        key: "test",
        takes: "list of [tests](#tests)",
        meaning: "tests that must pass before a tag moves",
        detail: "Images built from this one run them as well.",
        schema: || json!({ "type": "array", "items": { "$ref": "#/$defs/test" } }),
        variables: AsWritten,
        ..LIST
    },
    FieldRow {
        key: "gate",
        takes: "list of [gates](#gates)",
        meaning: "commands on this machine that must pass before the image is stored, such as scanners",
        schema: || json!({ "type": "array", "items": { "$ref": "#/$defs/gate" } }),
        variables: AsWritten,
        ..LIST
    },
    FieldRow {
        key: "sign",
        takes: "list of strings",
        default: "none",
        meaning: "a command on this machine that signs the image before its tags move: [below](#sign)",
        detail: "`{image}` is its repository with its digest.",
        schema: json_schema::command,
        change: Nothing,
        variables: AsWritten,
        ..LIST
    },
    FieldRow {
        key: "on_failure",
        takes: "`block`, `hold`, `optional`",
        default: "`block`",
        meaning: "the effect of a failed build or test on the run: [below](#on_failure)",
        detail: "`block` promotes nothing of the run; with `hold`, the image and its descendants keep their tags; with `optional` too, and the run succeeds.",
        schema: || json!({ "enum": ["block", "hold", "optional"], "default": "block" }),
        change: Since,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "timeout",
        takes: "duration",
        default: "`1h`",
        meaning: "the longest time for one build",
        schema: json_schema::duration,
        change: Since,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "retries",
        takes: "number from 0 to 5",
        default: "`0`",
        meaning: "how many times a failed build or test is retried: [below](#retries)",
        schema: || json!({ "type": "integer", "minimum": 0, "maximum": MOST_RETRIES, "default": 0 }),
        change: Since,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "keep",
        takes: "number, at least 1",
        default: "`3`",
        meaning: "without a registry, how many images of this entry the engine keeps: [how](how-it-decides.md#what-the-engine-keeps)",
        schema: || json!({ "type": "integer", "minimum": 1, "default": 3 }),
        change: Nothing,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "file_labels",
        takes: "`true`, `false`",
        default: "`true`",
        meaning: "whether labels of the image name its files and settings: [why](security.md#labels)",
        schema: || json!({ "type": "boolean", "default": true }),
        change: Nothing,
        matrix: Never,
        ..VALUE
    },
    FieldRow {
        key: "budget",
        takes: "map",
        meaning: "limits for size, layers and growth: [below](#budget)",
        detail: "They are checked after the tests. `none` turns a limit of `defaults` off.",
        schema: json_schema::budget,
        matrix: Never,
        ..MAP
    },
    FieldRow {
        key: "max_size",
        takes: "size",
        meaning: "the short form of `budget: { size: … }`",
        schema: json_schema::size,
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "flatten",
        takes: "`true`, `false`, `own`",
        default: "`false`",
        meaning: "whether the layers of the image become one after its build: `true` for all, `own` for those above its parent's: [when it helps](diet.md#flatten). In `defaults`, `own` applies to images with a parent in this file",
        schema: || json!({ "enum": [true, false, "own"], "default": false }),
        matrix: Later,
        ..VALUE
    },
    FieldRow {
        key: "refresh",
        takes: "map",
        meaning: "when to rebuild the image without the layer cache, to pick up package updates: [below](#refresh)",
        schema: json_schema::refresh,
        from_defaults: FromDefaults::Replaced,
        change: Since,
        matrix: Never,
        ..MAP
    },
    FieldRow {
        key: "schedule",
        takes: "cron expression, or a map of `cron`, `timezone` and `jitter`",
        meaning: "when `rebuild --refresh --due` or `rebuild watch --schedule` refreshes the image: [how](watch.md#schedules)",
        schema: json_schema::schedule,
        change: Since,
        matrix: Never,
        ..VALUE
    },
    FieldRow {
        key: "volatile",
        takes: "list of patterns",
        meaning: "paths that the comparison after a refresh ignores: [below](#refresh)",
        detail: "Patterns as in a `.dockerignore`.",
        ..LIST
    },
    FieldRow {
        key: "matrix",
        takes: "map from name to list of strings",
        default: "none",
        meaning: "one image for each combination of the values: [below](#matrix)",
        detail: "The name and every text may contain a name of the matrix in braces.",
        schema: json_schema::matrix,
        shape: FieldShape::MapOfLists,
        from_defaults: FromDefaults::NotAllowed,
        change: Nothing,
        variables: ForNames,
        ..MAP
    },
];

impl FieldRow {
    /// For the JSON schema.
    pub(super) fn description(&self) -> String {
        let text = plain(self.meaning);
        let mut description: String = text.chars().take(1).flat_map(char::to_uppercase).collect();
        description.extend(text.chars().skip(1).chain(". ".chars()).chain(self.detail.chars()));
        if !["none", "required", "`[]`", "`{}`"].contains(&self.default) {
            description = format!("{} Default: {}.", description.trim_end(), self.default);
        }
        description.trim_end().to_owned()
    }

    /// The type in words.
    pub(super) fn takes(&self) -> String {
        plain(self.takes)
    }
}

/// Without links: a whole `: [below](#tags)`, or the target of `[tags](#tags)`.
fn plain(markdown: &str) -> String {
    static LINK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(: )?\[([^\]]+)\]\([^)]+\)").expect("a regular expression"));
    let text = LINK.replace_all(markdown, |link: &Captures<'_>| match link.get(1) {
        Some(_) => String::new(),
        None => link[2].to_owned(),
    });
    text.into_owned()
}

/// The row of a field of an image.
pub(super) fn of_image(key: &str) -> Option<&'static FieldRow> {
    IMAGE.iter().find(|row| row.key == key)
}

/// What has a field of this name, if it was written beside these fields: one of them, an image, or the file.
pub(super) fn place_of(key: &str, beside: &[&str]) -> Option<String> {
    let is_file = beside.contains(&"images");
    if is_file && of_image(key).is_some() {
        return Some("images: write it under `defaults` or an entry of `images`".to_owned());
    }
    if TOP.iter().any(|row| row.key == key) {
        return Some("the file: write it at the top, beside `images`".to_owned());
    }
    let is_near = |row: &&FieldRow| is_file || beside.contains(&row.key);
    let rows = IMAGE.iter().filter(|row| is_near(row) && of_image(key).is_none());
    let mut rows = rows.filter(|row| has_property(&(row.schema)(), key));
    let of = if is_file { " of an image" } else { "" };
    rows.next().map(|row| format!("`{}`{of}", row.key))
}

/// Whether a JSON schema or a part of it has the property.
fn has_property(schema: &Value, key: &str) -> bool {
    match schema {
        Value::Object(map) => {
            map.get("properties").is_some_and(|properties| properties.get(key).is_some())
                || map.values().any(|part| has_property(part, key))
        }
        Value::Array(parts) => parts.iter().any(|part| has_property(part, key)),
        _ => false,
    }
}

/// The keys of these fields of an image, as a list in a sentence.
pub(super) fn list(is_meant: impl Fn(&FieldRow) -> bool) -> String {
    let keys = IMAGE.iter().filter(|row| is_meant(row)).map(|row| format!("`{}`", row.key));
    keys.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests;
