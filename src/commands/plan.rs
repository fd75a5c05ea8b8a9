//! `rebuild plan`: what a run would do, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    channels,
    connections::Connections,
    error::CommandError,
    journals,
    local::{local_only, narrow},
    mirror::showing_copies,
    output, plan_file, pool,
    project::{for_engine, load, nodes, request, start, tag_values},
    replaced, unpublished,
    what_if::forecasts,
};
use crate::{
    commands::cli::{Common, Format, PlanArgs},
    exit::Exit,
    hierarchy::{Flatten, Hierarchy, NodeName},
    host::git,
    plan::{self, Action, Plan, PlanRequest, Selection, Step, order::BlastRadius},
    publish::{journal, store::Store},
    report::{
        self,
        plan::{Planned, TagList},
    },
    run::{
        Secrets,
        mirror::{MirrorUse, UpstreamMirror},
        observe::{FactSources, Question, due, observe, published_images, sizes},
        state::ProbeOwner,
    },
    size::FlattenForecast,
};

/// So many images are printed with those that stay as they are.
const ALL: usize = 40;
/// Of [`make`]: nothing is done by the plan that it makes.
pub(super) const ONLY_ASKS: bool = true;

pub(super) async fn plan(common: &Common, arguments: &PlanArgs) -> Result<Exit, CommandError> {
    let mut hierarchy = load(common)?;
    let local = local_only(&mut hierarchy, arguments.local.as_ref())?;
    let mut request = request(&hierarchy, common, &arguments.selection)?;
    narrow(&mut request, &hierarchy, local.as_ref());
    let named = nodes(&hierarchy, &arguments.nodes)?;
    let mut world = Connections::asking(&hierarchy, common.offline).await?;
    world.local = local;
    let mut of_engine = for_engine(&hierarchy, common, &world.info.platform)?;
    if let (Some(hierarchy), Some(_)) = (&mut of_engine, &world.local) {
        hierarchy.take_registry();
    }
    let hierarchy = of_engine.unwrap_or(hierarchy);
    let asks = if arguments.out.is_some() { !ONLY_ASKS } else { ONLY_ASKS };
    let ((plan, warnings), flattened) = if let Some(prefix) = &hierarchy.registry {
        let store = world.remote(prefix);
        let made = made(&hierarchy, &request, &world, (&store, asks)).await?;
        let flattened = flattened(&hierarchy, &made.0, &store).await;
        (made, flattened)
    } else if let Some(store) = world.layered(&hierarchy) {
        let made = made(&hierarchy, &request, &world, (&store, asks)).await?;
        (made, Vec::new())
    } else {
        let store = world.local();
        let made = made(&hierarchy, &request, &world, (&store, asks)).await?;
        let flattened = flattened(&hierarchy, &made.0, &store).await;
        (made, flattened)
    };
    journals::tell(
        &hierarchy,
        &world.publishes_to(&hierarchy),
        "the next `rebuild` first moves the rest",
    );
    for warning in warnings.iter().chain(&refusals(&hierarchy, &plan, &world)) {
        output::warning(warning);
    }
    if let Some(path) = &arguments.out {
        let file = plan_file::of((&hierarchy, &plan), &world, &arguments.selection)?;
        plan_file::write(&start(common)?.join(path), &file)?;
        output::line(&format!("wrote `{}`: plan {}", path.display(), file.id));
    }
    let place = world.publishes_to(&hierarchy);
    let history = world.history(&place);
    let mut radius = BlastRadius::of(&plan, &hierarchy, &history, world.jobs());
    if !request.platforms.is_empty() {
        // Such a run builds a part of each image.
        radius.tags.clear();
    }
    let shown = shown(&plan, &named, arguments);
    let planned = Planned {
        run: &plan,
        shown: &shown,
        radius: &radius,
        place: &place,
        flattened: &flattened,
        tags: if arguments.all || !output::stdout_is_terminal() {
            TagList::All
        } else {
            TagList::Line
        },
    };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => report::plan::text(planned, (output::stdout_has_colour(), &mut text)),
        Format::Json => report::plan::json(planned, &mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Box::pin(channels::plan(planned, &hierarchy)).await;
    Ok(if arguments.exit_code && shown.has_work() { Exit::Work } else { Exit::Done })
}

/// Why a run would end before its first build.
fn refusals(hierarchy: &Hierarchy, plan: &Plan, world: &Connections) -> Vec<String> {
    const PUSHES: bool = true;
    let unbuildable = pool::refuse_unbuildable(world, hierarchy, (plan, PUSHES)).err();
    let secrets = world.has_engine.then(|| Secrets::read(hierarchy, plan, &world.info).err());
    let secrets = secrets.flatten().unwrap_or_default();
    let all = unbuildable.iter().map(ToString::to_string);
    let all = all.chain(secrets.iter().map(ToString::to_string));
    all.map(|error| format!("a run would fail: {error}")).collect()
}

/// The part of a plan that is printed.
fn shown(plan: &Plan, named: &BTreeSet<NodeName>, arguments: &PlanArgs) -> Plan {
    let is_long = arguments.format == Format::Text && plan.steps.len() > ALL;
    let only_changed = arguments.changed || (is_long && named.is_empty() && !arguments.all);
    let is_shown = |step: &&Step| {
        let is_named = named.is_empty() || named.contains(&step.node);
        is_named && !(only_changed && matches!(step.action, Action::Keep { .. }))
    };
    let nodes = plan.steps.iter().filter(is_shown).map(|step| step.node.clone()).collect();
    plan.clone().narrowed(&nodes)
}

/// What flattening saves and costs, for the images to build that are published with more layers. It is not part of
/// the decision: without sizes, the plan does not name it.
async fn flattened<S: Store>(
    hierarchy: &Hierarchy,
    plan: &Plan,
    store: &S,
) -> Vec<FlattenForecast> {
    let built = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    let is_flat =
        |name: &&NodeName| hierarchy.get(name).is_some_and(|node| node.flatten != Flatten::No);
    let nodes: Vec<&NodeName> = built.map(|step| &step.node).filter(is_flat).collect();
    if nodes.is_empty() {
        return Vec::new();
    }
    let read = async {
        let published =
            published_images(store, hierarchy, &tag_values(hierarchy).ok()?).await.ok()?;
        sizes(store, hierarchy, (published, BTreeMap::new()), None).await.ok()
    };
    read.await.map_or_else(Vec::new, |facts| forecasts(hierarchy, &facts, &nodes))
}

/// What a run would begin with, and a warning if it would be refused.
async fn made<S: Store>(
    hierarchy: &Hierarchy,
    request: &PlanRequest,
    world: &Connections,
    (store, asks): (&S, bool),
) -> Result<(Plan, Vec<String>), CommandError> {
    let (plan, mut warnings) = make(hierarchy, request, world, (store, asks)).await?;
    let head = git::head(hierarchy.root());
    match replaced::check(store, hierarchy, &plan, head.as_ref()).await {
        Ok(found) => warnings.extend(found),
        Err(error) if error.exit == Exit::PromotionFailed => {
            warnings.push(format!("a run is refused without `--allow-older`: {error}"));
        }
        Err(_) => {}
    }
    Ok((plan, warnings))
}

/// Asks everybody, and decides. Also what a run begins with.
pub(super) async fn make<S: Store>(
    hierarchy: &Hierarchy,
    request: &PlanRequest,
    world: &Connections,
    (store, only_asks): (&S, bool),
) -> Result<(Plan, Vec<String>), CommandError> {
    let tag_values = tag_values(hierarchy)?;
    let request = &if request.by_schedule {
        let selection = Selection::Among(due(store, (hierarchy, &tag_values), request.now).await?);
        PlanRequest { selection, ..request.clone() }
    } else {
        request.clone()
    };
    let does = if world.fills_mirror && !only_asks { MirrorUse::Copies } else { MirrorUse::Reads };
    let asked = (&world.registries, &world.info.platform);
    let mirror = UpstreamMirror::of(hierarchy, hierarchy.in_build_order(), asked, does);
    let sources = FactSources {
        engine: &*world.builder,
        store,
        registries: &world.registries,
        mirror: mirror.as_ref(),
    };
    let asking = ProbeOwner::begin();
    let question = Question {
        hierarchy,
        request,
        platform: &world.info.platform,
        tag_values: &tag_values,
        hashes: &world.hashes,
        offline: world.offline,
        only_asks,
        run: &asking.id,
    };
    let observing = Box::pin(observe(&sources, &question));
    let (observed, warnings) = showing_copies(mirror.as_ref(), observing).await?;
    world.keep_hashes().await;
    for copied in mirror.iter().flat_map(UpstreamMirror::copied) {
        output::line(&format!("copied `{}` to {}", copied.reference, copied.repository));
    }
    let mut plan = plan::plan(hierarchy, &observed, request);
    if world.local.is_some() {
        unpublished::mark_local(&mut plan);
    } else if unpublished::is_open(&plan) {
        let place = world.publishes_to(hierarchy);
        let runs = journal::find(&world.state.journals(), &place);
        unpublished::mark_deleted(&mut plan, &runs);
    }
    Ok((plan, warnings))
}
