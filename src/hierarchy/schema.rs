//! `hierarchy.yaml`, field for field. Nothing here is checked beyond the shape of each value.
//!
//! A new field is a row of `field_table`, a member of [`Image`], a line in [`Image::fill`] and one in [`Image::over`].

use std::{collections::BTreeMap, num::NonZeroUsize, ops::Range, path::Path, time::Duration};

use super::{
    EngineEntry, GitAddress,
    budget::BudgetFields,
    build_fields::{BuildFields, BuildSettings, INLINE},
    channels::Notify,
    engines,
    field_table::{IMAGE, MatrixKeys},
    fields::{Fields, Located, Problems, item},
    gates::Gate,
    load::LoadOptions,
    matrix::{Combination, Matrix, Room},
    mirror::Mirror,
    node::{Check, Flatten, OnFailure, Refresh, Test},
    runners::{self, Runners},
    secrets::{self, SecretFields, Ssh},
    units, variables,
    yaml::{ValueKind, Yaml},
};
use crate::{
    check::rules::RuleCode,
    hierarchy::calendar::Schedule,
    image::{Platform, Repository, packages::Manager},
};

/// What nobody can mean; and an epoch is told in seconds.
const SHORTEST_REFRESH: Duration = Duration::from_secs(60);
/// A test that says nothing of its timeout gets this.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const MOST_RETRIES: u8 = 5;

#[derive(Debug)]
pub(super) struct File {
    pub(super) registry: Option<Located<Repository>>,
    pub(super) mirror: Option<Mirror>,
    pub(super) runners: Runners,
    /// Who hears of a run that is over.
    pub(super) notify: Option<Notify>,
    pub(super) notify_span: Option<Range<usize>>,
    /// The engines of the pool, and where they stand.
    pub(super) engines: Vec<EngineEntry>,
    pub(super) engines_span: Option<Range<usize>>,
    /// The file of values that `env_file` names.
    pub(super) variables: Option<Located<String>>,
    /// In the order of the file, `defaults` merged in.
    pub(super) images: Vec<(Located<String>, Image)>,
}

/// An entry under `images`, or `defaults`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Image {
    pub(super) context: Option<Located<String>>,
    pub(super) dockerfile: Option<Located<String>>,
    pub(super) prepare: Option<Vec<String>>,
    pub(super) tags: Option<Located<Vec<Located<String>>>>,
    pub(super) test: Option<Vec<Test>>,
    pub(super) gates: Option<Vec<Gate>>,
    pub(super) sign: Option<Vec<String>>,
    /// What the image itself says.
    pub(super) flatten: Option<Located<Flatten>>,
    /// What `defaults` say, for images without a `flatten` of their own.
    pub(super) default_flatten: Option<Flatten>,
    /// With `max_size`.
    pub(super) budget: BudgetFields,
    pub(super) build: BuildFields,
    /// What `build` says, a matrix filled in.
    pub(super) settings: BuildSettings,
    pub(super) build_args: BTreeMap<String, String>,
    /// Those of the build args that look like secrets, and those that nevertheless may.
    pub(super) suspects: Vec<Located<String>>,
    pub(super) allow_build_args: Option<Vec<String>>,
    pub(super) secrets: SecretFields,
    pub(super) ssh: Option<Ssh>,
    pub(super) target: Option<Located<String>>,
    pub(super) platform: Option<Located<Platform>>,
    /// Several platforms, of which those of `optional_platforms` may fail.
    pub(super) platforms: Option<PlatformList>,
    pub(super) optional_platforms: Option<PlatformList>,
    /// Of a draft for one of several platforms: whether it is one of `optional_platforms`.
    pub(super) is_optional_platform: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) parents: Option<Located<Vec<Located<String>>>>,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) repository: Option<Located<String>>,
    /// Prefixes of more registries.
    pub(super) publish: Option<Located<Vec<Located<String>>>>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u8>,
    pub(super) keep: Option<NonZeroUsize>,
    pub(super) file_labels: Option<bool>,
    pub(super) refresh: Option<Refresh>,
    pub(super) schedule: Option<Schedule>,
    pub(super) volatile: Option<Vec<String>>,
    pub(super) matrix: Option<Matrix>,
    /// Fields that a matrix has to fill in before they can be read.
    pub(super) later: Vec<(&'static str, Located<String>)>,
    pub(super) places: Places,
    /// Whether something in it could not be read, so that what is missing may not be missing.
    pub(super) is_broken: bool,
}

/// A list with the place of each platform.
pub(super) type PlatformList = Located<Vec<Located<Platform>>>;

/// Where the parts of an image stand whose values do not say it.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) prepare: Range<usize>,
    pub(super) gates: Range<usize>,
    pub(super) sign: Range<usize>,
    /// One for each test.
    pub(super) tests: Vec<Range<usize>>,
    pub(super) build_args: BTreeMap<String, Range<usize>>,
    pub(super) secrets: BTreeMap<String, Range<usize>>,
}

/// Two images are the same wherever they stand.
impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl File {
    /// As much of it as can be read, its variables expanded. `path` is that of the file.
    pub(super) fn expanded(
        yaml: &mut Yaml,
        path: &Path,
        options: &LoadOptions,
        problems: &mut Problems,
    ) -> Option<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        variables::expand(yaml, folder, options, problems);
        Self::read(yaml, problems)
    }

    fn read(yaml: &Yaml, problems: &mut Problems) -> Option<Self> {
        if matches!(yaml.kind, ValueKind::Null) {
            problems.push_with_hint(&yaml.span, "the file is empty", "begin with `version: 1`");
            problems.last_is(RuleCode::MissingField);
            return None;
        }
        let mut fields = problems.map("the file", "`hierarchy.yaml`", yaml)?;
        // As in compose files: a place for anchors.
        fields.ignore(|key| key.starts_with("x-"));
        match fields.take("version") {
            None => {
                problems.push_with_hint(
                    &yaml.span,
                    "`version` is missing",
                    "begin the file with `version: 1`",
                );
                problems.last_is(RuleCode::MissingField);
            }
            Some(version) if version.scalar().as_deref() != Some("1") => {
                problems.expected("version", "1", version);
            }
            Some(_) => {}
        }
        let registry = fields
            .take("registry")
            .and_then(|yaml| problems.parsed("registry", yaml, str::parse::<Repository>));
        let mirror = fields
            .take("mirror")
            .and_then(|yaml| problems.parsed("mirror", yaml, Mirror::parse))
            .map(|mirror| mirror.value);
        let runners = fields.take("runners").map(|yaml| runners::read(yaml, problems));
        let runners = runners.unwrap_or_default();
        let notify = fields.take("notify");
        let notify_span = notify.map(|yaml| yaml.span.clone());
        let notify = notify.and_then(|yaml| Notify::read(yaml, problems));
        let emulate = fields.take("emulate").and_then(|yaml| problems.switch("emulate", yaml));
        let list = fields.take("engines");
        let engines_span = list.map(|yaml| yaml.span.clone());
        let mut engines = list.map_or_else(Vec::new, |yaml| engines::read(yaml, problems));
        for engine in &mut engines {
            engine.emulate |= emulate.unwrap_or(false);
        }
        let variables = fields.take("env_file").and_then(|yaml| problems.text("env_file", yaml));
        let defaults = fields.take("defaults").map(|yaml| {
            let image = Image::read("`defaults`", "defaults", yaml, problems);
            if image.matrix.is_some() {
                problems.push(&yaml.span, "`matrix` has no place in `defaults`");
                problems.last_is(RuleCode::WrongMatrix);
            }
            Image { matrix: None, ..image }
        });
        let defaults = defaults.unwrap_or_default();
        let mut images = Vec::new();
        match fields.take("images") {
            None => {
                problems.push_with_hint(
                    &yaml.span,
                    "`images` is missing",
                    "name each image under `images:`",
                );
                problems.last_is(RuleCode::MissingField);
            }
            Some(Yaml { kind: ValueKind::Map(entries), .. }) => {
                let room = Room::new();
                for (key, value) in entries {
                    // Each entry gets a copy.
                    defaults.filled(&Combination::new(), &room);
                    if room.is_full(&key.span, problems) {
                        break;
                    }
                    let image = Image::read("an image", &key.name, value, problems);
                    let name = Located { value: key.name.clone(), span: key.span.clone() };
                    let image = image.over(&defaults);
                    let allowed = image.allow_build_args.as_deref().unwrap_or_default();
                    let before = problems.found.len();
                    secrets::refuse(&image.suspects, allowed, problems);
                    problems.recode(before, RuleCode::SecretArgument);
                    images.push((name, image));
                }
            }
            Some(other) => problems.expected("images", "a map", other),
        }
        fields.finish(problems);
        Some(Self {
            registry,
            mirror,
            runners,
            notify,
            notify_span,
            engines,
            engines_span,
            variables,
            images,
        })
    }
}

impl Image {
    pub(super) fn read(of: &'static str, name: &str, yaml: &Yaml, problems: &mut Problems) -> Self {
        let before = problems.found.len();
        let mut image = Self::default();
        if let Some(mut fields) = problems.map(of, &format!("`{name}`"), yaml) {
            image.fill(&mut fields, problems);
            fields.finish(problems);
        }
        let is_incomplete = problems.incomplete.contains(&yaml.span.start);
        image.is_broken = is_incomplete || problems.found.len() > before;
        image
    }

    /// The fields that it reads.
    #[cfg(test)]
    pub(super) fn known(problems: &mut Problems) -> std::collections::BTreeSet<String> {
        let empty = Yaml { kind: ValueKind::Map(Vec::new()), span: 0..0 };
        let mut fields = problems.map("an image", "", &empty).expect("it is a map");
        Self::default().fill(&mut fields, problems);
        fields.known.into_iter().map(str::to_owned).collect()
    }

    fn fill(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) {
        let text = |fields: &mut Fields<'_>, problems: &mut Problems, name| {
            fields.take(name).and_then(|yaml| problems.text(name, yaml))
        };
        self.context = text(fields, problems, "context");
        self.dockerfile = text(fields, problems, "dockerfile");
        self.prepare = fields.take("prepare").and_then(|yaml| {
            self.places.prepare = yaml.span.clone();
            command("prepare", yaml, problems)
        });
        self.tags = fields.take("tags").and_then(|yaml| problems.texts("tags", yaml));
        self.test = fields.take("test").and_then(|yaml| {
            let items = problems.list("test", yaml)?;
            let tests = items.iter().filter_map(|item| Some((test(item, problems)?, item)));
            let placed: Vec<(Test, Range<usize>)> =
                tests.map(|(test, item)| (test, item.span.clone())).collect();
            self.places.tests = placed.iter().map(|(_, span)| span.clone()).collect();
            Some(placed.into_iter().map(|(test, _)| test).collect())
        });
        self.gates = fields.take("gate").and_then(|yaml| {
            self.places.gates = yaml.span.clone();
            let items = problems.list("gate", yaml)?;
            Some(items.iter().filter_map(|item| Gate::read(item, problems)).collect())
        });
        self.sign = fields.take("sign").and_then(|yaml| {
            self.places.sign = yaml.span.clone();
            command("sign", yaml, problems)
        });
        let build_args = fields.take("build_args");
        self.build_args = variables("build_args", build_args, problems);
        self.places.build_args = keys(build_args);
        self.suspects = secrets::suspects(build_args);
        self.allow_build_args = fields.take("allow_build_args").and_then(|yaml| {
            let names = problems.texts("allow_build_args", yaml)?;
            Some(names.value.into_iter().map(|name| name.value).collect())
        });
        let before = problems.found.len();
        let secrets = fields.take("secrets");
        self.places.secrets = keys(secrets);
        self.secrets = secrets::read(secrets, problems);
        problems.recode(before, RuleCode::WrongSecret);
        self.ssh = fields.take("ssh").and_then(|yaml| secrets::ssh(yaml, problems));
        self.target = text(fields, problems, "target");
        let labels = fields.take("labels");
        self.labels = variables("labels", labels, problems);
        for (name, span) in keys(labels) {
            if name.starts_with("rebuild.") {
                let message = format!("the label `{name}` begins with `rebuild.`");
                let hint = "`rebuild` writes these labels itself; choose another name";
                problems.push_with_hint(&span, message, hint);
            }
        }
        self.parents = fields.take("parents").and_then(|yaml| problems.texts("parents", yaml));
        self.repository = text(fields, problems, "repository");
        self.publish = fields.take("publish").and_then(|yaml| problems.texts("publish", yaml));
        self.file_labels =
            fields.take("file_labels").and_then(|yaml| problems.switch("file_labels", yaml));
        self.refresh = fields.take("refresh").and_then(|yaml| refresh(yaml, problems));
        self.schedule = fields.take("schedule").and_then(|yaml| schedule(yaml, problems));
        self.volatile = fields.take("volatile").and_then(|yaml| volatile(yaml, problems));
        self.budget = fields
            .take("budget")
            .and_then(|yaml| BudgetFields::read(yaml, problems))
            .unwrap_or_default();
        self.build = BuildFields::read(fields, problems);
        if let (Some(_), Some(inline)) = (&self.dockerfile, self.build.text(INLINE)) {
            let hint = "remove one of them";
            problems.push_with_hint(
                &inline.span,
                "the image has `dockerfile` and `dockerfile_inline`",
                hint,
            );
        }
        for row in IMAGE.iter().filter(|row| row.matrix == MatrixKeys::Later) {
            let field = row.key;
            let Some(yaml) = fields.take(field) else { continue };
            match yaml.scalar().filter(|text| text.contains('{')) {
                Some(value) => self.later.push((field, Located { value, span: yaml.span.clone() })),
                None => self.set(field, yaml, problems),
            }
        }
        self.read_platforms(fields, problems);
        let before = problems.found.len();
        self.matrix = fields.take("matrix").and_then(|yaml| Matrix::read(yaml, problems));
        problems.recode(before, RuleCode::WrongMatrix);
    }

    /// Gives one of the fields with [`MatrixKeys::Later`] its value.
    pub(super) fn set(&mut self, field: &'static str, yaml: &Yaml, problems: &mut Problems) {
        fn read<T, E: std::fmt::Display>(
            (field, yaml, problems): (&str, &Yaml, &mut Problems),
            parse: impl FnOnce(&str) -> Result<T, E>,
        ) -> Option<T> {
            problems.parsed(field, yaml, parse).map(|read| read.value)
        }
        if field == "max_size" {
            let max = read((field, yaml, &mut *problems), units::size);
            return self.budget.set_max_size(max, &yaml.span, problems);
        }
        let of = (field, yaml, &mut *problems);
        match field {
            "flatten" => self.flatten = problems.parsed(field, yaml, str::parse::<Flatten>),
            "on_failure" => self.on_failure = read(of, on_failure),
            "timeout" => self.timeout = read(of, units::duration),
            "retries" => self.retries = read(of, retries),
            "keep" => self.keep = read(of, keep),
            _ => self.platform = problems.parsed(field, yaml, str::parse::<Platform>),
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        let is_set = match field {
            "flatten" => self.flatten.is_some(),
            "max_size" => self.budget.has_size(),
            "on_failure" => self.on_failure.is_some(),
            "timeout" => self.timeout.is_some(),
            "retries" => self.retries.is_some(),
            "keep" => self.keep.is_some(),
            _ => self.platform.is_some(),
        };
        is_set || self.later.iter().any(|(later, _)| *later == field)
    }

    /// The git repository that is its context, if it is one.
    pub(super) fn git_context(&self) -> Result<Option<GitAddress>, String> {
        self.context.as_ref().map_or(Ok(None), |given| GitAddress::read(&given.value))
    }

    /// Which layers become one. `own` in `defaults` is for the images that have a parent.
    pub(super) fn flatten(&self, has_parent: bool) -> Flatten {
        let default = self.default_flatten.filter(|it| has_parent || *it != Flatten::Own);
        self.flatten.as_ref().map(|it| it.value).or(default).unwrap_or_default()
    }

    /// This image's fields before those of `defaults`. Maps are merged.
    pub(super) fn over(self, defaults: &Self) -> Self {
        let places = Places {
            prepare: (if self.prepare.is_some() { &self } else { defaults }).places.prepare.clone(),
            gates: (if self.gates.is_some() { &self } else { defaults }).places.gates.clone(),
            sign: (if self.sign.is_some() { &self } else { defaults }).places.sign.clone(),
            tests: (if self.test.is_some() { &self } else { defaults }).places.tests.clone(),
            build_args: merged(self.places.build_args.clone(), &defaults.places.build_args),
            secrets: merged(self.places.secrets.clone(), &defaults.places.secrets),
        };
        let absent = |(field, _): &&(&'static str, Located<String>)| {
            !(self.has(field) || *field == "platform" && self.platforms.is_some())
        };
        let inherited: Vec<_> = defaults.later.iter().filter(absent).cloned().collect();
        let later = self.later.iter().cloned().chain(inherited).collect();
        let has_size = self.has("max_size");
        let (platform, platforms, optional_platforms) = self.platforms_over(defaults);
        let (mut build, mut dockerfile) = (defaults.build.clone(), defaults.dockerfile.clone());
        // Each takes the place of the other.
        if self.dockerfile.is_some() {
            build.clear(INLINE);
        }
        if self.build.text(INLINE).is_some() {
            dockerfile = None;
        }
        let mut suspects = self.suspects;
        // One that the image gives itself is told where it gives it.
        let inherited = |one: &&Located<String>| !self.build_args.contains_key(&one.value);
        suspects.extend(defaults.suspects.iter().filter(inherited).cloned());
        Self {
            places,
            later,
            context: self.context.or_else(|| defaults.context.clone()),
            dockerfile: self.dockerfile.or(dockerfile),
            prepare: self.prepare.or_else(|| defaults.prepare.clone()),
            tags: self.tags.or_else(|| defaults.tags.clone()),
            test: self.test.or_else(|| defaults.test.clone()),
            gates: self.gates.or_else(|| defaults.gates.clone()),
            sign: self.sign.or_else(|| defaults.sign.clone()),
            default_flatten: defaults.flatten.as_ref().map(|flatten| flatten.value),
            flatten: self.flatten,
            budget: self.budget.over(&defaults.budget, has_size),
            build: self.build.over(&build),
            settings: BuildSettings::default(),
            build_args: merged(self.build_args, &defaults.build_args),
            suspects,
            allow_build_args: self.allow_build_args.or_else(|| defaults.allow_build_args.clone()),
            secrets: self.secrets.over(&defaults.secrets),
            ssh: self.ssh.or(defaults.ssh),
            target: self.target.or_else(|| defaults.target.clone()),
            platform,
            platforms,
            optional_platforms,
            is_optional_platform: false,
            labels: merged(self.labels, &defaults.labels),
            parents: self.parents.or_else(|| defaults.parents.clone()),
            on_failure: self.on_failure.or(defaults.on_failure),
            repository: self.repository.or_else(|| defaults.repository.clone()),
            publish: self.publish.or_else(|| defaults.publish.clone()),
            timeout: self.timeout.or(defaults.timeout),
            retries: self.retries.or(defaults.retries),
            keep: self.keep.or(defaults.keep),
            file_labels: self.file_labels.or(defaults.file_labels),
            refresh: self.refresh.or_else(|| defaults.refresh.clone()),
            schedule: self.schedule.or_else(|| defaults.schedule.clone()),
            volatile: self.volatile.or_else(|| defaults.volatile.clone()),
            matrix: self.matrix,
            is_broken: self.is_broken || defaults.is_broken,
        }
    }
}

fn merged<T: Clone>(
    mut own: BTreeMap<String, T>,
    defaults: &BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    for (key, value) in defaults {
        own.entry(key.clone()).or_insert_with(|| value.clone());
    }
    own
}

/// Where each key of a map stands.
fn keys(yaml: Option<&Yaml>) -> BTreeMap<String, Range<usize>> {
    match yaml.map(|yaml| &yaml.kind) {
        Some(ValueKind::Map(entries)) => {
            entries.iter().map(|(key, _)| (key.name.clone(), key.span.clone())).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// A program and its arguments.
pub(super) fn command(field: &str, yaml: &Yaml, problems: &mut Problems) -> Option<Vec<String>> {
    if let ValueKind::Text(line) = &yaml.kind {
        problems.push_with_hint(
            &yaml.span,
            format!("`{field}` must be a list, not the text `{line}`"),
            format!("commands are argv lists: `[sh, -c, \"{}\"]`", line.replace('"', "\\\"")),
        );
        return None;
    }
    let items = problems.list(field, yaml)?;
    let argv: Vec<String> = items
        .iter()
        .filter_map(|word| {
            let text = word.scalar();
            if text.is_none() {
                problems.mismatch(&item(field), "a text", word);
            }
            text
        })
        .collect();
    if argv.len() < items.len() {
        return None;
    }
    if argv.first().is_none_or(String::is_empty) {
        problems.push(&yaml.span, format!("`{field}` names no program"));
        return None;
    }
    Some(argv)
}

fn test(yaml: &Yaml, problems: &mut Problems) -> Option<Test> {
    let mut fields = problems.map("a test", &item("test"), yaml)?;
    let run = fields.take("run").map(|yaml| (yaml, command("run", yaml, problems)));
    let healthy = fields
        .take("healthy")
        .map(|yaml| (yaml, problems.parsed("healthy", yaml, units::duration)));
    let stdout = fields.take("stdout").and_then(|yaml| {
        problems.parsed("stdout", yaml, |text| {
            match regex::Regex::new(text) {
                // Keys of a matrix are filled in later, and then it is checked again.
                Err(error) if !has_keys(text) => Err(not_a_pattern(text, &error)),
                _ => Ok(text.to_owned()),
            }
        })
    });
    let timeout =
        fields.take("timeout").and_then(|yaml| problems.parsed("timeout", yaml, units::duration));
    let network = fields.take("network").and_then(|yaml| problems.switch("network", yaml));
    let read_only = fields.take("read_only").and_then(|yaml| problems.switch("read_only", yaml));
    let isolated = fields
        .take("isolated")
        .and_then(|yaml| Some((yaml.span.clone(), problems.switch("isolated", yaml)?)));
    let inherit = fields.take("inherit").and_then(|yaml| problems.switch("inherit", yaml));
    fields.finish(problems);
    let (network, read_only) = (network.unwrap_or(false), read_only.unwrap_or(false));
    let inherit = inherit.unwrap_or(true);
    match (run, healthy) {
        (Some((_, argv)), None) => {
            let check = Check::Run { argv: argv?, stdout: stdout.map(|stdout| stdout.value) };
            let timeout = timeout.map_or(TEST_TIMEOUT, |timeout| timeout.value);
            let isolated = isolated.is_some_and(|(_, isolated)| isolated);
            Some(Test { check, timeout, network, read_only, isolated, inherit })
        }
        (None, Some((_, limit))) => {
            for (field, span) in [
                ("stdout", stdout.map(|stdout| stdout.span)),
                ("timeout", timeout.map(|timeout| timeout.span)),
                ("isolated", isolated.map(|(span, _)| span)),
            ] {
                if let Some(span) = span {
                    let message = format!("`{field}` has no place beside `healthy`");
                    problems.push(&span, message);
                    problems.last_is(RuleCode::WrongTest);
                }
            }
            let timeout = limit?.value;
            let check = Check::Healthy;
            Some(Test { check, timeout, network, read_only, isolated: false, inherit })
        }
        (Some(_), Some((healthy, _))) => {
            problems.push_with_hint(
                &healthy.span,
                "a test is either `run` or `healthy`",
                "make two tests of it",
            );
            problems.last_is(RuleCode::WrongTest);
            None
        }
        (None, None) => {
            problems.push_with_hint(
                &yaml.span,
                "a test needs `run` or `healthy`",
                "write `run: [program, argument]`, or `healthy: 30s`",
            );
            problems.last_is(RuleCode::WrongTest);
            None
        }
    }
}

/// The last line of the message; the others draw the pattern with a caret.
/// Whether something in braces may be the key of a matrix.
fn has_keys(pattern: &str) -> bool {
    let mut inside = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    inside.any(|(key, _)| key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

pub(super) fn not_a_pattern(text: &str, error: &regex::Error) -> String {
    format!("`{text}` is not a regular expression: {}", reason(error))
}

fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Names with values that are all text in the end.
fn variables(
    field: &str,
    yaml: Option<&Yaml>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let Some(yaml) = yaml else { return BTreeMap::new() };
    let ValueKind::Map(entries) = &yaml.kind else {
        problems.expected(field, "a map", yaml);
        return BTreeMap::new();
    };
    let mut variables = BTreeMap::new();
    for (key, value) in entries {
        if let Some(text) = value.scalar() {
            drop(variables.insert(key.name.clone(), text));
        } else {
            let hint = "write `\"\"` for an empty text";
            let message = format!("`{field}.{}` must be a text, not {}", key.name, value.what());
            let span: &Range<usize> =
                if matches!(value.kind, ValueKind::Null) { &key.span } else { &value.span };
            match value.kind {
                ValueKind::Null => problems.push_with_hint(span, message, hint),
                _ => problems.push(span, message),
            }
        }
    }
    variables
}

/// When its packages are taken in anew.
fn refresh(yaml: &Yaml, problems: &mut Problems) -> Option<Refresh> {
    let mut fields = problems.map("`refresh`", "`refresh`", yaml)?;
    let every = fields.take("every").and_then(|yaml| {
        problems.parsed("every", yaml, |text| {
            let is_zero =
                text.starts_with('0') && !text.contains(|c: char| ('1'..='9').contains(&c));
            match units::duration(text) {
                Err(error) if !is_zero => Err(error),
                Ok(every) if every >= SHORTEST_REFRESH => Ok(every),
                _ => Err(format!("`every: {text}` is too often: a minute is the shortest")),
            }
        })
    });
    let packages = fields
        .take("packages")
        .and_then(|yaml| problems.parsed("packages", yaml, str::parse::<Manager>));
    fields.finish(problems);
    let (every, packages) = (every.map(|every| every.value), packages.map(|it| it.value));
    Some(Refresh { every, packages })
}

/// A cron expression alone, or with its time zone and jitter.
fn schedule(yaml: &Yaml, problems: &mut Problems) -> Option<Schedule> {
    if yaml.scalar().is_some() {
        let parse = |text: &str| Schedule::new(text, None, Duration::ZERO);
        return problems.parsed("schedule", yaml, parse).map(|schedule| schedule.value);
    }
    let mut fields = problems.map("`schedule`", "`schedule`", yaml)?;
    let cron = fields.take("cron");
    let zone = fields.take("timezone").map(|yaml| (yaml, problems.text("timezone", yaml)));
    let jitter =
        fields.take("jitter").and_then(|it| problems.parsed("jitter", it, units::duration));
    fields.finish(problems);
    let Some(cron) = cron else {
        let hint = "write `cron: \"0 3 * * *\"`";
        problems.push_with_hint(&yaml.span, "`schedule` has no `cron`", hint);
        return None;
    };
    let jitter = jitter.map_or(Duration::ZERO, |jitter| jitter.value);
    // Each problem at its own place.
    let parsed = problems.parsed("cron", cron, |text| Schedule::new(text, None, jitter));
    let (parsed, cron) = (parsed?.value, cron.scalar()?);
    let Some((yaml, zone)) = zone else { return Some(parsed) };
    match Schedule::new(&cron, Some(&zone?.value), jitter) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            problems.push_with_hint(
                &yaml.span,
                error.to_string(),
                "write it as in `Europe/Berlin`",
            );
            None
        }
    }
}

/// Patterns of paths in the image, as in a `.dockerignore`.
fn volatile(yaml: &Yaml, problems: &mut Problems) -> Option<Vec<String>> {
    let patterns = problems.texts("volatile", yaml)?;
    Some(patterns.value.into_iter().map(|pattern| pattern.value).collect())
}

/// More would hide an image that is broken, and cost its build each time.
fn retries(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(number) if number <= MOST_RETRIES => Ok(number),
        _ => Err(format!("`retries` must be a number from 0 to {MOST_RETRIES}, not `{text}`")),
    }
}

fn keep(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| format!("`keep` must be a number of images, at least 1, not `{text}`"))
}

fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text {
        "block" => Ok(OnFailure::Block),
        "hold" => Ok(OnFailure::Hold),
        "optional" => Ok(OnFailure::Optional),
        _ => Err(format!("`on_failure` must be `block`, `hold` or `optional`, not `{text}`")),
    }
}
