//! Connects to the engines of a pool, and finds out before the first build what none of them builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{connections::Connections, error::CommandError, output};
use crate::{
    check::diagnostic::names,
    engine::{
        Engine as _, EngineError, EngineInfo,
        docker::{Docker, EngineOptions},
    },
    exit::Exit,
    hierarchy::{EngineEntry, Hierarchy, NodeName},
    image::Platform,
    plan::{Action, Plan, order::placement::Fitness},
    publish::store::Store,
    run::{EngineSkills, PoolEngine, Workshop},
};

/// How many images a message names; it counts the others.
const NAMED: usize = 3;
/// At the end of a run, an engine that takes longer is not waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A connected engine.
pub(super) struct PooledEngine {
    pub(super) engine: Arc<Docker>,
    pub(super) info: EngineInfo,
    pub(super) entry: EngineEntry,
}

/// Connects to each engine. One that does not answer is left out.
///
/// # Errors
/// None of them answers.
pub(super) async fn connect(
    entries: &[EngineEntry],
    options: &EngineOptions,
) -> Result<Vec<(Docker, EngineInfo, EngineEntry)>, EngineError> {
    let connecting = entries.iter().map(async |entry| {
        let host = Some(entry.url.clone());
        Docker::connect(&EngineOptions { host, ..options.clone() }).await
    });
    let (mut connected, mut failed) = (Vec::new(), Vec::new());
    for (entry, result) in entries.iter().zip(join_all(connecting).await) {
        match result {
            Ok((engine, info)) => connected.push((engine, info, entry.clone())),
            Err(error) => failed.push(error),
        }
    }
    if connected.is_empty()
        && let Some(first) = failed.pop()
    {
        return Err(first);
    }
    for error in failed {
        output::warning(&format!("{error}: the other engines build without it"));
    }
    Ok(connected)
}

impl PooledEngine {
    /// The platforms that it builds without emulation.
    fn platforms(&self) -> BTreeSet<Platform> {
        let own = self.info.platform.clone().normalized();
        match &self.entry.platforms[..] {
            [] => [own].into(),
            given => given.iter().cloned().collect(),
        }
    }
}

/// How many images each engine builds at once. Engines of one machine share its processors.
pub(super) fn slots(engines: &[PooledEngine], jobs: Option<NonZeroUsize>) -> Vec<NonZeroUsize> {
    let mut machines: BTreeMap<&str, usize> = BTreeMap::new();
    for machine in engines.iter().filter_map(|it| it.info.machine.as_deref()) {
        *machines.entry(machine).or_default() += 1;
    }
    let of = |engine: &PooledEngine| {
        let shared = engine.info.machine.as_deref().map_or(1, |machine| machines[machine]);
        let by_processors = default_jobs(engine.info.cpus).div_ceil(shared);
        let slots = NonZeroUsize::new(by_processors).unwrap_or(NonZeroUsize::MIN);
        engine.entry.slots.or(jobs).unwrap_or(slots)
    };
    engines.iter().map(of).collect()
}

/// The default number of parallel builds for a number of processors: [`Connections::jobs`] says why.
pub(super) fn default_jobs(cpus: usize) -> usize {
    cpus.max(1) + 4
}

/// The engines that a run has to wait for at its end: without those of a pool that are gone.
pub(super) async fn answering(world: &Connections) -> Vec<&Docker> {
    if world.pool.len() < 2 {
        return vec![&*world.engine];
    }
    let asked = world.pool.iter().map(async |one| {
        let answer = timeout(ANSWERS_WITHIN, one.engine.ping()).await;
        matches!(answer, Ok(Ok(()))).then_some(&*one.engine)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The engines of a run. `stores` are those that use the engines after the first.
pub(super) fn engines<S: Store>(
    world: &Connections,
    shop: &Arc<Workshop<Docker, S>>,
    (stores, jobs): (Vec<Arc<S>>, Option<NonZeroUsize>),
) -> Vec<PoolEngine<Docker, S>> {
    if world.pool.is_empty() {
        return vec![PoolEngine::only(shop.clone())];
    }
    let others = world.pool.iter().skip(1).zip(stores);
    let others = others.map(|(one, store)| Arc::new(shop.with_engine(one.engine.clone(), store)));
    let shops = std::iter::once(shop.clone()).chain(others);
    let all = world.pool.iter().zip(shops).zip(slots(&world.pool, jobs));
    all.map(|((one, shop), slots)| PoolEngine {
        shop,
        name: one.info.endpoint.clone(),
        platforms: one.platforms(),
        emulates: one.entry.emulate,
        capabilities: one.info.capabilities,
        slots,
    })
    .collect()
}

/// # Errors
/// No engine builds an image of the plan.
pub(super) fn refuse_unbuildable(
    world: &Connections,
    hierarchy: &Hierarchy,
    plan: &Plan,
) -> Result<(), CommandError> {
    if world.pool.is_empty() {
        return Ok(());
    }
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    if hierarchy.registry.is_none() && world.pool.len() > 1 {
        let error =
            usage("several engines need a `registry`: they exchange images through it".into());
        return Err(error.hint("name one with `registry:` or `--registry`, or use one engine"));
    }
    let skills: Vec<BTreeSet<Platform>> = world.pool.iter().map(PooledEngine::platforms).collect();
    let is_fit = |node| {
        world.pool.iter().zip(&skills).any(|(one, platforms)| {
            let (emulates, capabilities) = (one.entry.emulate, one.info.capabilities);
            let skills = EngineSkills { platforms, emulates, capabilities };
            skills.fitness(hierarchy, node) != Fitness::Unfit
        })
    };
    let builds = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    let nodes = builds.filter_map(|step| hierarchy.get(&step.node));
    let unfit: Vec<_> = nodes.filter(|node| !is_fit(node)).collect();
    let Some(first) = unfit.first() else { return Ok(()) };
    let platform = hierarchy.platform_of(first);
    let of_platform: Vec<&NodeName> = unfit
        .iter()
        .filter(|node| hierarchy.platform_of(node) == platform)
        .map(|node| &node.name)
        .collect();
    let list = names(&of_platform, NAMED);
    let is_native = skills.iter().any(|platforms| platforms.contains(platform));
    let (message, hint) = if is_native {
        (
            format!("no engine for {platform} can build {list}"),
            "`DOCKER_HOST=URL rebuild doctor` prints the capabilities of an engine".to_owned(),
        )
    } else {
        let own: Vec<String> = skills.iter().flatten().map(ToString::to_string).collect();
        (
            format!("no engine builds for {platform}: {list}"),
            format!(
                "the engines are for {}; add one for {platform} to `engines`, or allow emulation with `emulate: true` or `--emulate`",
                BTreeSet::from_iter(own).into_iter().collect::<Vec<_>>().join(", ")
            ),
        )
    };
    Err(CommandError::new(Exit::EngineUnreachable, message).hint(hint))
}
