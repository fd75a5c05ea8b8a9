//! `rebuild size`: the bytes of published images, by the image that added them.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    connections::registries,
    error::CommandError,
    history::past_runs,
    output,
    project::{load, nodes, tag_values},
    what_if::what_if,
};
use crate::{
    commands::cli::{Common, SizeArgs, SizeFormat},
    engine::{
        Engine as _,
        docker::{Docker, EngineOptions},
    },
    exit::Exit,
    flatten::read_flat_layers,
    hierarchy::{Hierarchy, NodeName},
    host::git,
    image::Digest,
    publish::{
        journal::{PastRun, published_between, replaced},
        store::{Local, Remote, Store},
    },
    registry::Client,
    report::{
        self, flatten,
        size::{self, SizeView},
    },
    run::{
        observe::{flat_layers, published_images, sizes},
        state::StateFolder,
    },
    size::{Blob, Facts, FlattenForecast, measure},
};

/// The runs that may have published what the present images replaced.
const NEWEST: usize = 20;
/// The runs that are searched for a commit.
const SEARCHED: usize = 320;

pub(super) async fn size(common: &Common, arguments: &SizeArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let named = nodes(&hierarchy, &arguments.nodes)?;
    let (place, facts) = if let Some(prefix) = &hierarchy.registry {
        let client = registries()?;
        let store = Remote::new(client.clone(), prefix, Arc::new(Docker::absent().await?));
        let place = prefix.to_string();
        let registries = (!common.offline).then_some(&client);
        let facts = facts(&hierarchy, (&place, &store), arguments, registries).await?;
        if let Some(change) = &arguments.what_if {
            let read = async |repository, _, blobs: Vec<Blob>| {
                let read = flat_layers(&client, &repository, &blobs).await?;
                read.map_err(|problem| CommandError::new(Exit::RegistryUnreachable, problem))
            };
            let forecast = what_if(&hierarchy, &facts, change, read).await?;
            return tell(&forecast, &place, arguments.format);
        }
        (place, facts)
    } else {
        let (engine, info) = Docker::connect(&EngineOptions::default()).await?;
        let engine = Arc::new(engine);
        let store = Local::new(engine.clone());
        let facts = facts(&hierarchy, (&info.endpoint, &store), arguments, None).await?;
        if let Some(change) = &arguments.what_if {
            let read = async |_, image, _| {
                let layers = engine.export(vec![image], |archive| read_flat_layers(archive));
                layers.await.map_err(CommandError::from)
            };
            let forecast = what_if(&hierarchy, &facts, change, read).await?;
            return tell(&forecast, &info.endpoint, arguments.format);
        }
        (info.endpoint, facts)
    };
    let sizes = measure(&hierarchy, &facts);
    let view = SizeView {
        sizes: &sizes,
        named: &named,
        place: &place,
        is_registry: hierarchy.registry.is_some(),
        since: arguments.since.as_deref(),
    };
    let mut text = Vec::new();
    match arguments.format {
        SizeFormat::Text => {
            let columns = report::stdout_size().map(|(columns, _)| columns.into());
            size::text(view, columns, (output::stdout_has_colour(), &mut text))
        }
        SizeFormat::Json => size::json(view, &mut text),
        SizeFormat::Csv => size::csv(view, &mut text),
        SizeFormat::Svg => {
            text = size::svg(view).into();
            Ok(())
        }
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, SizeFormat::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

/// Prints the answer of `--what-if`.
fn tell(forecast: &FlattenForecast, place: &str, format: SizeFormat) -> Result<Exit, CommandError> {
    let mut text = Vec::new();
    match format {
        SizeFormat::Text => flatten::text(forecast, &mut text),
        SizeFormat::Json => flatten::json(forecast, place, &mut text),
        SizeFormat::Csv | SizeFormat::Svg => {
            let error = "`--what-if` has the formats `text` and `json`";
            return Err(CommandError::new(Exit::Usage, error));
        }
    }
    .and_then(|()| output::view(&text, matches!(format, SizeFormat::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

async fn facts<S: Store>(
    hierarchy: &Hierarchy,
    (place, store): (&str, &S),
    arguments: &SizeArgs,
    registries: Option<&Client>,
) -> Result<Facts, CommandError> {
    let published = published_images(store, hierarchy, &tag_values(hierarchy)?).await?;
    let before = match &arguments.since {
        None => {
            let runs = past_runs(hierarchy, (place, store), NEWEST).await?;
            replaced(&runs, &published)
        }
        Some(revision) => {
            let runs = past_runs(hierarchy, (place, store), SEARCHED).await?;
            since(hierarchy, (place, revision), &runs, &published)?
        }
    };
    let facts = sizes(store, hierarchy, (published, before), registries).await?;
    // `rebuild waste` has read some of the layers.
    Ok(Facts { unpacked: StateFolder::of(&hierarchy.file).layers().sizes(), ..facts })
}

/// The images that were published when the last run of a commit or its ancestors ended.
fn since(
    hierarchy: &Hierarchy,
    (place, revision): (&str, &str),
    runs: &[PastRun],
    published: &BTreeMap<NodeName, Digest>,
) -> Result<BTreeMap<NodeName, Digest>, CommandError> {
    let root = hierarchy.root();
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let commit = git::commit(root, revision).map_err(|error| usage(error.to_string()))?;
    let commit = commit.ok_or_else(|| usage(format!("`{revision}` is not a commit")))?;
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut is_earlier = |run: &PastRun| {
        // Of a run with uncommitted changes, the commit below them.
        let Some(of) = run.began.commit.as_deref() else { return false };
        let of = of.strip_suffix("-dirty").unwrap_or(of);
        *known.entry(of.to_owned()).or_insert_with(|| {
            let of = git::commit(root, of).ok().flatten();
            of.is_some_and(|of| of == commit || git::is_ancestor(root, &of, &commit))
        })
    };
    let Some(at) = runs.iter().position(|run| is_earlier(run) && run.moves.is_some()) else {
        let error = format!("no run of `{revision}` or an earlier commit published to {place}");
        return Err(usage(error).hint("`rebuild history` lists the runs that are known"));
    };
    let (later, earlier) = runs.split_at(at);
    Ok(published_between(earlier, later, published))
}
