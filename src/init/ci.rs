//! Builds of CI files: GitHub Actions, GitLab CI, Cloud Build, `CircleCI`, and others in YAML.
//!
//! Every such file is a tree with commands in it. Above a command stand the variables and the matrix
//! that it is run with, whatever the service calls them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    actions::{self, MetadataImages},
    bake::{list, text_of},
    bind::bind,
    build_command::{BuildCommand, command},
    circleci,
    evidence::{EvidenceRule, FoundBuilds, Open, Values, tidy, unknown},
    gitlab,
    job_matrix::matrix,
    path_words::is_one_of,
    remote,
    shell::{Script, with_dollars},
    step_outputs, taskfile,
    variables::{Syntax, expand},
};
use crate::{check::diagnostic::SourceFile, hierarchy};

/// Fields with commands in them.
const COMMANDS: &str =
    "run script before_script after_script command commands cmd cmds bash sh install";
/// Fields with variables in them.
const VARIABLES: [&str; 5] = ["env", "variables", "environment", "substitutions", "vars"];

/// A CI file, as data.
pub(super) struct Workflow {
    pub(super) path: PathBuf,
    text: String,
    value: Value,
    /// Variables that the service sets.
    predefined: Values,
}

impl Workflow {
    /// `root` is the folder that the path is in.
    pub(super) fn parse(root: &Path, path: &Path, text: String) -> Option<Self> {
        // Variables of a Taskfile are those of Go templates.
        let is_task = text.contains("{{.") && text.lines().any(|line| line.starts_with("tasks:"));
        let text = if is_task { with_dollars(&text) } else { text };
        let value = hierarchy::value(&SourceFile::new(path, text.clone())).ok()?;
        let is_gitlab = path.to_string_lossy().contains(".gitlab-ci");
        let is_circle = path.starts_with(".circleci");
        let text = if is_circle { circleci::with_dollars(&text) } else { text };
        let value = match value {
            value if is_gitlab => gitlab::jobs(root, value),
            value if is_circle => circleci::with_calls(value),
            value if taskfile::is_taskfile(path) => taskfile::with_calls(value),
            value => value,
        };
        let remote = remote::address(root);
        let predefined = match remote.as_deref() {
            remote if is_gitlab => gitlab::predefined(remote),
            remote if is_circle || path.starts_with(".github") => remote::of_github(remote),
            _ => Values::new(),
        };
        Some(Self { path: path.to_owned(), text, value, predefined })
    }

    /// The last parts of the paths of the workflows and actions that this one calls, with what it gives them.
    pub(super) fn calls(&self) -> Vec<(PathBuf, Values)> {
        let mut calls = Vec::new();
        let global = variables(self.value.as_object(), &Values::new());
        let jobs = self.value.get("jobs").and_then(Value::as_object);
        for job in jobs.into_iter().flat_map(Map::values) {
            let rows = matrix(job, &variables(job.as_object(), &global));
            let steps = job.get("steps").and_then(Value::as_array).into_iter().flatten();
            for call in std::iter::once(job).chain(steps) {
                let Some(uses) = call.get("uses").and_then(Value::as_str) else { continue };
                let path = uses.split('@').next().unwrap_or(uses).trim_end_matches('/');
                let name = Path::new(path).file_name().unwrap_or_default();
                let files = match path.strip_prefix("./") {
                    // An action of this repository is a folder.
                    Some(_) if !path.ends_with("ml") => ["action.yml", "action.yaml"]
                        .map(|file| Path::new(name).join(file))
                        .to_vec(),
                    _ => vec![PathBuf::from(name)],
                };
                let given = rows.iter().map(|row| given(call, row)).collect::<Vec<_>>();
                calls.extend(
                    files
                        .iter()
                        .flat_map(|file| given.iter().map(|given| (file.clone(), given.clone()))),
                );
            }
        }
        calls
    }

    /// The defaults of its inputs.
    fn inputs(&self) -> Values {
        let on = self.value.get("on").or_else(|| self.value.get("true"));
        let call = on.and_then(|on| on.get("workflow_call")).and_then(|call| call.get("inputs"));
        let fields = call.or_else(|| self.value.get("inputs")).and_then(Value::as_object);
        let default =
            |(key, value): (&String, &Value)| Some((key.clone(), text_of(value.get("default"))?));
        fields.into_iter().flatten().filter_map(default).collect()
    }

    /// Its builds; `called` is what other workflows give it.
    pub(super) fn read(
        &self,
        called: &[Values],
        dockerfiles: &BTreeSet<PathBuf>,
        found: &mut FoundBuilds,
    ) {
        let none = [Values::new()];
        for row in if called.is_empty() { &none } else { called } {
            let mut values = self.predefined.clone();
            values.extend(self.inputs());
            values.extend(row.clone());
            let mut walk = WorkflowWalk {
                workflow: self,
                dockerfiles,
                found,
                metadata: MetadataImages::new(),
                outputs: Values::new(),
            };
            walk.value(&self.value, &values, None);
        }
    }

    /// The line of a text, and which of the text's own lines that is: the first with a build. The first line of the
    /// file if it cannot be found.
    fn line(&self, text: &str) -> (usize, usize) {
        let mut lines = text.lines().map(str::trim).enumerate();
        let (number, first) = lines.find(|(_, line)| line.contains("build")).unwrap_or((0, text));
        // Quotes may be written in another way in the file.
        let begin = first.split(['"', '\\']).next().unwrap_or(first);
        let at = [first, begin].into_iter().filter(|one| !one.is_empty());
        let at = at.into_iter().find_map(|one| self.text.find(one));
        at.map_or((1, 0), |at| (self.text[..at].matches('\n').count() + 1, number))
    }

    /// The lines of the list item that a place is in.
    fn item_around(&self, at: usize) -> &str {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let is_item = |line: &str| line.trim_start().starts_with("- ");
        let starts = self.text[..at].match_indices('\n').map(|(end, _)| end + 1);
        let mut starts = std::iter::once(0).chain(starts);
        let line_at = |start: usize| self.text[start..].lines().next().unwrap_or_default();
        let start = starts.rfind(|start| is_item(line_at(*start))).unwrap_or(at);
        let (own, mut end) = (indent(line_at(start)), start);
        for (number, line) in self.text[start..].split_inclusive('\n').enumerate() {
            if number > 0 && is_item(line) && indent(line) <= own {
                break;
            }
            end += line.len();
        }
        &self.text[start..end]
    }

    /// The line of a step that uses an action: of several with the same one, the first with all these inputs.
    fn line_of_step(&self, uses: &str, inputs: Option<&Map<String, Value>>) -> usize {
        let places = self.text.match_indices(uses).map(|(at, _)| at);
        let place = places.clone().find(|at| {
            let step = self.item_around(*at);
            let texts = inputs
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key, value.as_str()?.lines().next()?.trim())));
            texts.into_iter().all(|(key, text)| step.lines().any(|line| is_input(line, key, text)))
        });
        let at = place.or_else(|| places.clone().next());
        at.map_or(1, |at| self.text[..at].matches('\n').count() + 1)
    }
}

/// Whether a line has this input, or is the first line of its text.
fn is_input(line: &str, key: &str, text: &str) -> bool {
    let written = line.split_once(&format!("{key}:")).map(|(_, value)| value.trim_start());
    let value = written.map(|value| value.trim_start_matches(['"', '\'']));
    let rest = value.and_then(|value| value.strip_prefix(text));
    line.trim() == text
        || rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || "-_./:".contains(c))
        })
}

/// The inputs of a call. One whose value is not known has no default.
fn given(call: &Value, row: &Values) -> Values {
    let with = call.get("with").and_then(Value::as_object).into_iter().flatten();
    let texts = with.filter_map(|(key, value)| Some((key, text_of(Some(value))?)));
    texts.map(|(key, text)| (key.clone(), expand(&text, row, Syntax::Shell))).collect()
}

struct WorkflowWalk<'a> {
    workflow: &'a Workflow,
    dockerfiles: &'a BTreeSet<PathBuf>,
    found: &'a mut FoundBuilds,
    metadata: MetadataImages,
    /// What the steps of this job gave to later ones.
    outputs: Values,
}

impl WorkflowWalk<'_> {
    /// `folder` is where commands run unless a map below says another one.
    fn value(&mut self, value: &Value, values: &Values, folder: Option<&str>) {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.value(item, values, folder);
                }
            }
            Value::Object(map) => {
                let mut above = values.clone();
                above.extend(self.outputs.clone());
                let values = variables(Some(map), &above);
                // Of a workflow or a job, for the steps in it.
                let outer = map
                    .get("defaults")
                    .and_then(|one| one.get("run")?.get("working-directory"))
                    .or_else(|| map.get("working_directory"))
                    .and_then(Value::as_str)
                    .or(folder);
                let own = map.get("working-directory").or_else(|| map.get("dir"));
                let working = own.and_then(Value::as_str).or(outer);
                for row in matrix(value, &values) {
                    if map.contains_key("steps") {
                        self.outputs.clear();
                    }
                    let folder = working.map(|one| expand(one, &row, Syntax::Shell));
                    let folder =
                        folder.filter(|one| Open(one.clone()).is_known() && !one.starts_with('~'));
                    let folder = folder.map_or_else(|| folder_of(working, self), |one| tidy(&one));
                    // An action runs in the folder of the repository.
                    let is_action = map.contains_key("uses");
                    self.give(map, &row);
                    self.step(map, &row, if is_action { Path::new("") } else { &folder });
                    for (key, item) in map {
                        if is_one_of(key, COMMANDS) && !item.is_object() {
                            self.commands(item, &row, &folder);
                        }
                        // A matrix has no commands, and is walked once for each of its rows.
                        let is_matrix = ["strategy", "parallel"].contains(&key.as_str());
                        if (item.is_object() || item.is_array()) && !is_matrix {
                            self.value(item, &row, outer);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Keeps what a step gives to later ones.
    fn give(&mut self, map: &Map<String, Value>, values: &Values) {
        let id = map.get("id").and_then(Value::as_str);
        if let Some(id) = id {
            let own = format!("steps.{id}.");
            self.outputs.retain(|name, _| !name.starts_with(&own));
        }
        if let Some(text) = map.get("run").and_then(Value::as_str) {
            self.outputs.extend(step_outputs::given(id, text, values));
        }
    }

    fn commands(&mut self, item: &Value, values: &Values, folder: &Path) {
        let text = list(Some(item)).join("\n");
        let (line, number) = self.workflow.line(&text);
        let script = Script {
            rule: EvidenceRule::Ci,
            path: &self.workflow.path,
            text: &text,
            first_line: line.saturating_sub(number),
            folder,
            values,
        };
        script.read(self.dockerfiles, self.found);
    }

    /// Steps that build without a shell.
    fn step(&mut self, map: &Map<String, Value>, values: &Values, folder: &Path) {
        let with = map.get("with").and_then(Value::as_object);
        let uses = map.get("uses").and_then(Value::as_str).unwrap_or_default();
        let field = |name: &str| {
            let text = text_of(with?.get(name))?;
            Some(Open(expand(&text, values, Syntax::Shell)))
        };
        if uses.starts_with("docker/metadata-action") {
            let images = actions::metadata_images(field);
            if let (Some(id), Some(images)) = (map.get("id").and_then(Value::as_str), images) {
                self.metadata.insert(format!("steps.{id}.outputs.tags"), images);
            }
        } else if uses.contains("build-push-action") {
            let command = actions::build(field, &self.metadata);
            let line = self.workflow.line_of_step(uses, with);
            let place = format!("{}:{line}", self.workflow.path.display());
            bind(EvidenceRule::Ci, &place, folder, &command, self.dockerfiles, self.found);
        }
        if map.get("task").and_then(Value::as_str).is_some_and(|task| task.starts_with("Docker@")) {
            self.docker_task(map, values, folder);
        }
        // Cloud Build: `name: gcr.io/cloud-builders/docker`, `args: [build, -t, X, .]`.
        let builder = map.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = builder.rsplit('/').next().unwrap_or("").split([':', '@']).next().unwrap_or("");
        if !["docker", "executor", "buildah"].contains(&name) {
            return;
        }
        // GitLab's `image` has a name, too.
        let Some(args) = map.get("args") else { return };
        let args = list(Some(args)).into_iter().map(|arg| expand(&arg, values, Syntax::Shell));
        let engine = if name == "executor" { "/kaniko/executor" } else { name };
        let words: Vec<String> = [engine.to_owned()].into_iter().chain(args).collect();
        if let Some(command) = command(&words, values) {
            let place = self.place(builder);
            bind(EvidenceRule::Ci, &place, folder, &command, self.dockerfiles, self.found);
        }
    }

    /// `Docker@2` of Azure Pipelines:
    /// <https://learn.microsoft.com/azure/devops/pipelines/tasks/reference/docker-v2>.
    fn docker_task(&mut self, map: &Map<String, Value>, values: &Values, folder: &Path) {
        let inputs = map.get("inputs").and_then(Value::as_object);
        let input = |name: &str| {
            let mut all = inputs?.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            Some(expand(&text_of(all.next().map(|(_, value)| value))?, values, Syntax::Shell))
        };
        let command = input("command").unwrap_or_else(|| "buildAndPush".to_owned());
        let Some(repository) = input("repository") else { return };
        if !["build", "buildandpush"].contains(&command.to_ascii_lowercase().as_str()) {
            return;
        }
        let has_host = repository.split('/').next().is_some_and(|first| first.contains(['.', ':']));
        // The registry is that of a connection, which no file names.
        let repository = match input("containerRegistry") {
            Some(_) if !has_host => format!("{}/{repository}", unknown("containerRegistry")),
            _ => repository,
        };
        let tags = input("tags").unwrap_or_else(|| unknown("Build.BuildId"));
        let dockerfile = input("Dockerfile").filter(|path| !path.contains('*'));
        let beside = dockerfile.as_deref().and_then(|path| path.rsplit_once('/')).map(|it| it.0);
        let context = input("buildContext").filter(|path| !path.contains('*'));
        let command = BuildCommand {
            context: context.or(beside.map(str::to_owned)).map(Open),
            dockerfile: dockerfile.clone().map(Open),
            tags: Open(tags)
                .items()
                .into_iter()
                .map(|tag| Open(format!("{repository}:{}", tag.0)))
                .collect(),
            is_local: command.eq_ignore_ascii_case("build"),
            ..BuildCommand::default()
        };
        let text =
            ["repository", "Dockerfile"].into_iter().find_map(|name| text_of(inputs?.get(name)));
        let place = self.place(&text.unwrap_or_default());
        bind(EvidenceRule::Ci, &place, folder, &command, self.dockerfiles, self.found);
    }

    fn place(&self, text: &str) -> String {
        format!("{}:{}", self.workflow.path.display(), self.workflow.line(text).0)
    }
}

/// Where commands run: in the folder of the repository, or of the file if that is not a hidden one.
fn folder_of(working: Option<&str>, walk: &WorkflowWalk<'_>) -> PathBuf {
    let own = walk.workflow.path.parent().unwrap_or(Path::new(""));
    let is_hidden = own.iter().any(|part| part.to_string_lossy().starts_with('.'));
    if working.is_some() || is_hidden { PathBuf::new() } else { own.to_owned() }
}

/// The values that stand above, and those of this map. A value that needs one from below, such as that of a matrix,
/// stays as it is written.
fn variables(map: Option<&Map<String, Value>>, values: &Values) -> Values {
    let mut values = values.clone();
    for field in VARIABLES {
        match map.and_then(|map| map.get(field)) {
            Some(Value::Object(own)) => {
                for (key, value) in own {
                    let text = text_of(Some(value)).or_else(|| text_of(value.get("value")));
                    let Some(text) = text else { continue };
                    let above = expand(&text, &values, Syntax::Shell);
                    values.insert(key.clone(), text);
                    // The jobs of GitLab and Azure Pipelines fill in `variables`, with values of their own.
                    let is_late = field == "variables" && is_known(key, &values);
                    if !is_late && Open(above.clone()).is_known() {
                        values.insert(key.clone(), above);
                    }
                }
            }
            Some(Value::Array(all)) => {
                for one in all {
                    let name = one.get("name").and_then(Value::as_str);
                    if let (Some(name), Some(value)) = (name, text_of(one.get("value"))) {
                        values.insert(name.to_owned(), value);
                    }
                }
            }
            _ => {}
        }
    }
    values
}

fn is_known(name: &str, values: &Values) -> bool {
    Open(expand(&format!("${{{name}}}"), values, Syntax::Shell)).is_known()
}

#[cfg(test)]
mod tests {
    use super::{super::evidence::Evidence, *};

    fn read(path: &str, text: &str, called: &[Values]) -> Vec<String> {
        let files = ["base/Dockerfile", "web/Dockerfile"].map(PathBuf::from).into();
        let mut found = FoundBuilds::default();
        let workflow = Workflow::parse(Path::new(""), Path::new(path), text.to_owned()).unwrap();
        workflow.read(called, &files, &mut found);
        found.known.iter().map(Evidence::shown).collect()
    }

    #[test]
    fn builds_of_ci_files() {
        let github = ".github/workflows/build.yml";
        for (path, text, expected) in [
            (
                github,
                "env: { ORG: acme }
jobs:
  b:
    strategy: { matrix: { image: [base, web], v: [1, 2] } }
    steps:
      - uses: docker/build-push-action@v6
        with:
          context: ${{ matrix.image }}
          tags: |
            ${{ env.ORG }}/${{ matrix.image }}:${{ matrix.v }}
          build-args: V=${{ matrix.v }}
",
                "base/Dockerfile acme/base:1 V=1|base/Dockerfile acme/base:2 V=2|\
                 web/Dockerfile acme/web:1 V=1|web/Dockerfile acme/web:2 V=2",
            ),
            (
                github,
                "jobs:
  b:
    strategy: { matrix: { include: [{ dir: base, name: b }, { dir: web, name: w }] } }
    steps:
      - { id: meta, uses: docker/metadata-action@v5, with: { images: 'ghcr.io/acme/${{ matrix.name }}' } }
      - uses: docker/build-push-action@v6
        with: { context: '${{ matrix.dir }}', tags: '${{ steps.meta.outputs.tags }}' }
",
                "base/Dockerfile ghcr.io/acme/b:?|web/Dockerfile ghcr.io/acme/w:?",
            ),
            (
                "azure-pipelines.yml",
                "steps:
- task: Docker@2
  inputs: { command: build, repository: acme.azurecr.io/ml/base, Dockerfile: base/Dockerfile, tags: 'v1' }
- task: Docker@2
  inputs: { containerRegistry: prod, repository: ml/web, dockerfile: web/Dockerfile, buildContext: '**', tags: \"$(Build.BuildId)\\nlatest\" }
- task: Docker@2
  inputs: { command: login, containerRegistry: prod }
",
                "base/Dockerfile acme.azurecr.io/ml/base:v1|web/Dockerfile ml/web:?,ml/web:latest",
            ),
            (
                ".gitlab-ci.yml",
                "a: { script: [docker build -t r.io/x/$CI_JOB_NAME:1 base] }
'b c': { extends: a, parallel: { matrix: [{ D: [web] }] }, script: ['docker build -t r.io/x/$D:$CI_JOB_NAME $D'] }
web: { script: [cd $CI_JOB_NAME_SLUG, 'docker build -t r.io/x/w:1 .'] }
",
                "base/Dockerfile r.io/x/a:1|web/Dockerfile r.io/x/web:?|web/Dockerfile r.io/x/w:1",
            ),
            (
                ".gitlab-ci.yml",
                "variables: { R: reg.io/acme }
web:
  parallel: { matrix: [{ D: [base, web] }] }
  script: [cd $D, docker build -t $R/$D:1 .]
",
                "base/Dockerfile reg.io/acme/base:1|web/Dockerfile reg.io/acme/web:1",
            ),
            (
                "web/cloudbuild.yaml",
                "steps: [{ name: 'gcr.io/tools/docker', args: [build, '--tag=gcr.io/$PROJECT_ID/web', .] }]",
                "web/Dockerfile web:latest",
            ),
            (
                github,
                "defaults: { run: { working-directory: web } }
jobs:
  a: { steps: [{ run: docker build -t acme/web:1 . }] }
  b: { steps: [{ run: docker build -t acme/base:1 ., working-directory: base }] }
  c: { steps: [{ uses: docker/build-push-action@v6, with: { context: '{{defaultContext}}:base', tags: acme/c } }] }
",
                "web/Dockerfile acme/web:1|base/Dockerfile acme/base:1|base/Dockerfile acme/c:latest",
            ),
            (
                "Taskfile.yml",
                "vars: { R: acme }\ntasks: { a: { dir: web, cmds: ['docker build -t {{.R}}/web:1 .'] }, b: { cmds: [{ cmd: docker build -t x/base base }] } }",
                "web/Dockerfile acme/web:1|base/Dockerfile x/base:latest",
            ),
            (
                "Taskfile.yml",
                "tasks: { all: { cmds: [{ task: image, vars: { N: base, T: 5 } }, { for: [web], task: image, vars: { N: '{{.ITEM}}' } }] },
  image: { vars: { T: '{{.T | default \"6\"}}' }, cmds: ['docker build -t acme/{{.N}}:{{.T}} {{.N}}'] } }",
                "base/Dockerfile acme/base:5|web/Dockerfile acme/web:6",
            ),
        ] {
            assert_eq!(read(path, text, &[]).join("|"), expected, "{text}");
        }
    }

    #[test]
    fn builds_of_circleci() {
        for (text, expected) in [
            (
                "jobs: { b: { steps: [{ run: 'docker build -t acme/web:<< pipeline.parameters.v >> web' }] } }",
                "web/Dockerfile acme/web:?",
            ),
            (
                "parameters: { r: { default: acme } }
commands:
  image:
    parameters: { name: {}, tag: { default: '1' }, push: { default: false } }
    steps:
      - run: docker build -t << pipeline.parameters.r >>/<< parameters.name >>:<< parameters.tag >> << parameters.name >>
      - when: { condition: << parameters.push >>, steps: [{ run: docker build -t acme/pushed base }] }
  two: { parameters: { name: {} }, steps: [{ image: { name: << parameters.name >>, tag: 2 } }] }
jobs:
  a: { steps: [checkout, { image: { name: base } }] }
  b: { parameters: { dir: {}, name: { default: no } }, steps: [{ two: { name: << parameters.dir >> } }] }
workflows:
  w: { jobs: [a, { b: { matrix: { parameters: { dir: [base, web, x] }, exclude: [{ dir: x }] } } }] }
",
                "base/Dockerfile acme/base:1|base/Dockerfile acme/base:2|web/Dockerfile acme/web:2",
            ),
            (
                "orbs: { d: circleci/docker@3.0.0 }
jobs: { b: { steps: [{ d/build: { image: acme/web, tag: 'x,y', path: web, docker-context: web } }] } }
workflows: { w: { jobs: [{ d/publish: { image: acme/base, path: base } }] } }
",
                "web/Dockerfile docker.io/acme/web:x,docker.io/acme/web:y|base/Dockerfile docker.io/acme/base:?",
            ),
            (
                "jobs: { b: { steps: [checkout, { run: { command: \"docker build -t acme/web:2 web\" } }] } }",
                "web/Dockerfile acme/web:2",
            ),
        ] {
            assert_eq!(read(".circleci/config.yml", text, &[]).join("|"), expected, "{text}");
        }
    }

    #[test]
    fn values_that_need_those_of_a_matrix_or_a_job_are_filled_in_later() {
        for (path, text, expected) in [
            (
                ".gitlab-ci.yml",
                "variables: { R: reg.io/acme, I: $R/$N, O: '--build-arg Z=$Z --build-arg C' }
.build: { script: [docker build $O -t $I:$T web], variables: { N: no, T: $Z } }
web:
  extends: .build
  parallel: { matrix: [{ Z: [eu, us] }] }
  variables: { N: web, C: $Z-$LOOP, LOOP: $LOOP }
",
                "web/Dockerfile reg.io/acme/web:eu Z=eu|web/Dockerfile reg.io/acme/web:us Z=us",
            ),
            (
                ".github/workflows/build.yml",
                "jobs:
  b:
    env: { T: '${{ matrix.z }}', O: '--build-arg Z=${{ matrix.z }}' }
    strategy: { matrix: { z: [eu, us] } }
    steps: [{ run: docker build $O -t acme/web:$T web }]
",
                "web/Dockerfile acme/web:eu Z=eu|web/Dockerfile acme/web:us Z=us",
            ),
            (
                "Taskfile.yml",
                "vars: { R: 'acme/{{.N}}', N: web }\ntasks: { a: { dir: '{{.N}}', cmds: ['docker build -t {{.R}}:1 .'] } }",
                "web/Dockerfile acme/web:1",
            ),
        ] {
            assert_eq!(read(path, text, &[]).join("|"), expected, "{text}");
        }
    }

    #[test]
    fn each_step_has_its_own_line() {
        let text = "jobs:
  a:
    steps:
      - uses: docker/build-push-action@v6
        with: { context: base, tags: acme/base:1 }
      - uses: docker/build-push-action@v6
        with:
          context: web
          tags: |
            acme/web:1
            acme/web:2
      - with: { context: base, tags: acme/other:1 }
        uses: docker/build-push-action@v6
";
        let files = ["base/Dockerfile", "web/Dockerfile"].map(PathBuf::from).into();
        let mut found = FoundBuilds::default();
        let workflow =
            Workflow::parse(Path::new(""), Path::new("ci.yml"), text.to_owned()).unwrap();
        workflow.read(&[], &files, &mut found);
        let places: Vec<&str> = found.known.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["ci.yml:4", "ci.yml:6", "ci.yml:13"]);
    }

    #[test]
    fn each_command_has_its_own_line() {
        let places = |path: &str, text: &str| {
            let files = ["base/Dockerfile", "web/Dockerfile"].map(PathBuf::from).into();
            let mut found = FoundBuilds::default();
            let workflow = Workflow::parse(Path::new(""), Path::new(path), text.to_owned());
            workflow.unwrap().read(&[], &files, &mut found);
            found.known.into_iter().map(|one| one.place).collect::<Vec<_>>()
        };
        let text = "tasks:
  a:
    cmds:
      - echo {{.N}}
      - docker build -t {{.R}}/base:1 base
      - docker build -t \"{{.R}}/web:1\" web
";
        assert_eq!(places("Taskfile.yml", text), ["Taskfile.yml:5", "Taskfile.yml:6"]);
        let text = "jobs:
  a:
    steps:
      - run: |
          cd .
          docker build -t \"acme/base:1\" base
      - run: docker build -t \"acme/web:1\" web
";
        assert_eq!(places("ci.yml", text), ["ci.yml:6", "ci.yml:7"]);
        let text = "jobs: { b: { steps: [
  checkout,
  { run: docker build -t acme/web:<< pipeline.number >> web }] } }";
        assert_eq!(places(".circleci/config.yml", text), [".circleci/config.yml:3"]);
    }

    #[test]
    fn actions_of_the_repository_get_what_a_step_gives() {
        let caller = "jobs: { a: { env: { N: w }, steps: [{ uses: ./.github/actions/build, with: { d: web, n: 'acme/${{ env.N }}' } }, { uses: actions/checkout@v5 }] } }";
        let caller = Workflow::parse(Path::new(""), Path::new("a.yml"), caller.to_owned()).unwrap();
        let mut calls = caller.calls().into_iter();
        let (path, given) = calls.next().unwrap();
        assert_eq!(path, Path::new("build/action.yml"));
        let text = "inputs: { d: { default: . }, n: {} }
runs: { steps: [{ run: 'docker build -t ${{ inputs.n }}:1 ${{ inputs.d }}' }] }";
        let found = read(".github/actions/build/action.yml", text, &[given]);
        assert_eq!(found, ["web/Dockerfile acme/w:1"]);
    }

    #[test]
    fn called_workflows_get_what_the_caller_gives() {
        let caller = "jobs: { a: { uses: ./.github/workflows/b.yml, strategy: { matrix: { d: [base, web] } }, with: { dir: '${{ matrix.d }}' } } }";
        let caller =
            Workflow::parse(Path::new(""), Path::new(".github/workflows/a.yml"), caller.to_owned())
                .unwrap();
        let calls = caller.calls();
        assert!(calls.iter().all(|(path, _)| path == Path::new("b.yml")));
        let given: Vec<Values> = calls.into_iter().map(|(_, values)| values).collect();
        let text = "on: { workflow_call: { inputs: { dir: { type: string }, tag: { default: 3 } } } }
jobs: { b: { steps: [{ run: 'docker build -t acme/${{ inputs.dir }}:${{ inputs.tag }} ${{ inputs.dir }}' }] } }";
        assert_eq!(
            read(".github/workflows/b.yml", text, &given),
            ["base/Dockerfile acme/base:3", "web/Dockerfile acme/web:3"]
        );
    }
}
