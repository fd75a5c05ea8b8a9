//! `rebuild export`: a plan as the pipeline of a CI system.

use std::{fs, path::Path};

use super::{
    connections::{self, Connections},
    durations,
    error::CommandError,
    output,
    plan::{ONLY_ASKS, make},
    plan_file,
    plan_source::{self, PlanOfPipeline},
    project::{load, request, start},
};
use crate::{
    check::diagnostic::names,
    commands::cli::{CiSystemArg, Common, ExportArgs},
    exit::Exit,
    export::{CiSystem, ExportOptions, Pipeline, preview},
    hierarchy::Hierarchy,
    host::{git, owner},
    image::Repository,
    plan::{DigestSource, PlanFile},
    publish::store::PipelineRecords,
    registry::is_loopback,
    report::count,
};

/// Where a workflow of GitHub is if the command line does not say it.
const WORKFLOW: &str = ".github/workflows/rebuild.yaml";

pub(super) async fn export(common: &Common, arguments: &ExportArgs) -> Result<Exit, CommandError> {
    let source = match &arguments.plan {
        Some(source) => plan_source::read(common, source, &connections::registries()?).await?,
        None => planned(common, arguments).await?,
    };
    let PlanOfPipeline { file, hierarchy, records } = source;
    let options = options(arguments, &hierarchy)?;
    refuse_overrides(common, arguments)?;
    warn((&file, &hierarchy), arguments);
    let history = durations::read(&hierarchy).await;
    let pipeline = Pipeline::new(&file, (&hierarchy, &history), &options);
    let system: CiSystem = arguments.system.into();
    tell_variables(&pipeline, system);
    let (text, notes) = pipeline
        .written(system, &options)
        .map_err(|note| CommandError::new(Exit::Usage, note.limit).hint(note.done))?;
    if arguments.dry_run {
        print(preview(&pipeline, arguments.max_parallel).as_bytes())?;
    }
    for note in &notes {
        output::line(&note.to_string());
    }
    if arguments.dry_run {
        return Ok(Exit::Done);
    }
    if !pipeline.is_empty() {
        keep(&records, &file).await?;
    }
    match &arguments.out {
        Some(path) => write(&start(common)?.join(path), &text)?,
        None => print(text.as_bytes())?,
    }
    let place =
        arguments.out.as_ref().map_or("stdout".to_owned(), |out| format!("`{}`", out.display()));
    let jobs = pipeline.jobs.len() + 1;
    let (jobs, images) = (count(jobs, "job"), count(pipeline.images(), "image"));
    output::line(&if pipeline.is_empty() {
        format!("wrote a pipeline without jobs to {place}: every image is up to date")
    } else {
        format!("wrote the pipeline to {place}: plan {}, {jobs} for {images}", file.id)
    });
    Ok(Exit::Done)
}

/// A plan that is made now.
async fn planned(common: &Common, arguments: &ExportArgs) -> Result<PlanOfPipeline, CommandError> {
    let hierarchy = load(common)?;
    let request = request(&hierarchy, common, &arguments.selection)?;
    let world = Connections::asking(&hierarchy, common.offline).await?;
    let records = plan_source::records(&hierarchy, &world.registries)?;
    let Some(prefix) = &hierarchy.registry else { unreachable!("it was just checked") };
    let store = world.remote(prefix);
    let (plan, warnings) = make(&hierarchy, &request, &world, (&store, !ONLY_ASKS)).await?;
    for warning in &warnings {
        output::warning(warning);
    }
    let file = plan_file::of((&hierarchy, &plan), &world, &arguments.selection)?;
    Ok(PlanOfPipeline { file, hierarchy, records })
}

fn options(arguments: &ExportArgs, hierarchy: &Hierarchy) -> Result<ExportOptions, CommandError> {
    let usage = |message: &str| CommandError::new(Exit::Usage, message);
    let clones = !matches!(arguments.system, CiSystemArg::Github | CiSystemArg::Gitlab);
    let repository = arguments.repository.clone().or_else(|| git::source(hierarchy.root()));
    if clones {
        let Some(url) = &repository else {
            return Err(usage(
                "the pods of the jobs have nothing to clone: there is no remote `origin`",
            )
            .hint("name the repository with `--repository URL`"));
        };
        let has_password = url.split_once("://").is_some_and(|(scheme, rest)| {
            scheme != "ssh" && rest.split('/').next().unwrap_or_default().contains('@')
        });
        if has_password {
            return Err(usage(
                "the address of the repository contains a login, which would be in the file",
            )
            .hint("give pods a login for git, and name the address without it"));
        }
    }
    let mut runners = hierarchy.runners.clone();
    runners.extend(arguments.runners.iter().map(|it| (it.platform.clone(), it.label.clone())));
    let path = arguments.out.as_deref().unwrap_or(Path::new(WORKFLOW));
    let path = path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned();
    // The path is that in the repository.
    let path = match path.find(".github/workflows/") {
        Some(at) => path[at..].to_owned(),
        None => WORKFLOW.to_owned(),
    };
    Ok(ExportOptions {
        rebuild: arguments.rebuild.clone(),
        setup: arguments.setup.clone(),
        runners,
        merge_chains: arguments.merge_chains,
        max_parallel: arguments.max_parallel,
        image: arguments.image.clone(),
        docker_host: arguments.docker_host.clone(),
        repository,
        submodules: git::submodules(hierarchy.root()).is_ok_and(|found| !found.is_empty()),
        path,
    })
}

/// The jobs find another plan than theirs without the values of this command line, which may be secrets.
fn refuse_overrides(common: &Common, arguments: &ExportArgs) -> Result<(), CommandError> {
    let fields = common.fields.iter().map(ToString::to_string);
    let mut all: Vec<String> =
        fields.chain(common.build_args.iter().map(ToString::to_string)).collect();
    all.retain(|one| {
        let option = one.split(' ').next().unwrap_or(one);
        !arguments.rebuild.contains(option)
    });
    if all.is_empty() {
        return Ok(());
    }
    let message = format!("the jobs of the pipeline would not have `{}`", all.join("`, `"));
    Err(CommandError::new(Exit::Usage, message).hint(
        "write the value into hierarchy.yaml, or give it in the command of the jobs: `--rebuild`",
    ))
}

/// Where the jobs get their variables.
fn tell_variables(pipeline: &Pipeline, system: CiSystem) {
    let variables: Vec<String> = pipeline.variables().into_iter().collect();
    if variables.is_empty() {
        return;
    }
    let place = match system {
        CiSystem::GitHub => "the secrets of the GitHub repository",
        CiSystem::GitLab => "the CI/CD variables of the GitLab project",
        CiSystem::Argo | CiSystem::Tekton | CiSystem::Jobs => {
            "the Kubernetes secret `rebuild-secrets`"
        }
    };
    let names = names(&variables, variables.len());
    output::line(&format!("jobs read {names} from {place}: add them there"));
}

/// What may fail on another machine.
fn warn((file, hierarchy): (&PlanFile, &Hierarchy), arguments: &ExportArgs) {
    if file.commit.as_ref().is_some_and(|commit| !commit.is_clean) {
        output::warning(
            "files are not committed: a job whose checkout has other files refuses to build",
        );
    }
    for (name, upstream) in &file.upstreams {
        if upstream.place == DigestSource::Engine {
            output::warning(&format!(
                "`{name}` is an image of this engine only: other machines do not have it"
            ));
        }
    }
    let host = hierarchy.registry.as_ref().map(Repository::host);
    if let Some(host) = host.filter(|host| is_loopback(host)) {
        output::warning(&format!(
            "`{host}` is this machine: jobs on other machines do not reach it"
        ));
    }
    let has_no_setup = arguments.setup.is_empty() && arguments.rebuild == "rebuild";
    if arguments.system == CiSystemArg::Github && has_no_setup && !arguments.dry_run {
        output::line("jobs start `rebuild`, which their runners need: `--setup` installs it");
    }
    let is_default = arguments.image.starts_with("rebuild:");
    if arguments.system != CiSystemArg::Github && is_default && !arguments.dry_run {
        output::line(&format!(
            "jobs run in the image `{}`; `--image` names another one",
            arguments.image
        ));
    }
}

/// Jobs find the plan by its ID.
async fn keep(records: &PipelineRecords, file: &PlanFile) -> Result<(), CommandError> {
    Ok(records.keep_plan(&file.id, &file.written()).await?)
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let written = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        owner::replace(path, text.as_bytes())
    };
    written().map_err(|error| {
        CommandError::new(
            Exit::Internal,
            format!("`{}` cannot be written: {error}", path.display()),
        )
    })
}

fn print(text: &[u8]) -> Result<(), CommandError> {
    output::view(text, false)
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}
