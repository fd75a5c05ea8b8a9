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
        AnyEngine, Buildkitd, Engine as _, EngineError, EngineInfo, TestHost,
        docker::{Docker, EngineOptions},
    },
    exit::Exit,
    hierarchy::{EngineEntry, Hierarchy, Node, NodeName},
    image::Platform,
    plan::{Action, Plan, order::placement::Fitness},
    publish::store::{Store, StreamNames, Streamed},
    registry::Client,
    run::{Elsewhere, EngineSkills, PoolEngine, Workshop},
};

/// How many images a message names; it counts the others.
const NAMED: usize = 3;
/// At the end of a run, an engine that takes longer is not waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A connected engine.
pub(super) struct PooledEngine {
    pub(super) engine: Arc<AnyEngine>,
    pub(super) info: EngineInfo,
    pub(super) entry: EngineEntry,
}

/// Connects to each engine. One that does not answer is left out. Those that run containers come first.
///
/// # Errors
/// None of them answers.
pub(super) async fn connect(
    entries: &[EngineEntry],
    options: &EngineOptions,
    registries: &Client,
) -> Result<Vec<PooledEngine>, EngineError> {
    let connecting = entries.iter().map(|entry| connect_one(entry, options, registries));
    let (mut connected, mut failed) = (Vec::new(), Vec::new());
    for (entry, result) in entries.iter().zip(join_all(connecting).await) {
        match result {
            Ok((engine, info)) => connected.push((engine, info, entry.clone())),
            Err(error) => failed.push((entry, error)),
        }
    }
    connected.sort_by_key(|(engine, _, _)| engine.docker().is_none());
    let hosts = connected.iter().filter_map(|(engine, info, entry)| {
        Some(TestHost {
            engine: engine.docker()?.clone(),
            name: info.endpoint.clone(),
            platforms: platforms_of(info, entry),
            emulates: entry.emulate,
        })
    });
    let hosts: Vec<TestHost> = hosts.collect();
    let connected: Vec<PooledEngine> = connected
        .into_iter()
        .map(|(mut engine, info, entry)| {
            if let AnyEngine::Buildkitd(engine) = &mut engine {
                engine.use_hosts(hosts.clone());
            }
            PooledEngine { engine: Arc::new(engine), info, entry }
        })
        .collect();
    if connected.is_empty()
        && let Some((_, first)) = failed.pop()
    {
        return Err(first);
    }
    for (entry, error) in failed {
        let message = with_address(entry, &error.to_string());
        output::warning(&format!("{message}: the other engines build without it"));
    }
    Ok(connected)
}

pub(super) async fn connect_one(
    entry: &EngineEntry,
    options: &EngineOptions,
    registries: &Client,
) -> Result<(AnyEngine, EngineInfo), EngineError> {
    if entry.is_buildkitd() {
        let connect = Buildkitd::connect(&entry.url, registries.clone(), options.idle);
        let (engine, info) = connect.await?;
        return Ok((AnyEngine::Buildkitd(Box::new(engine)), info));
    }
    let host = Some(entry.url.clone());
    let options = EngineOptions { host, ..options.clone() };
    let (mut engine, info) = Docker::connect(&options).await?;
    engine.report_delays(registries.delays());
    Ok((AnyEngine::Docker(Box::new(engine)), info))
}

/// A message about an engine, with its address as it is written.
pub(super) fn with_address(entry: &EngineEntry, message: &str) -> String {
    if message.contains(&entry.url) {
        return message.to_owned();
    }
    format!("`{entry}`: {message}")
}

impl PooledEngine {
    /// The platforms that it builds without emulation.
    fn platforms(&self) -> BTreeSet<Platform> {
        platforms_of(&self.info, &self.entry)
    }

    /// Where its containers run, if not in itself.
    fn elsewhere(&self, pool: &[Self]) -> Option<Elsewhere> {
        if self.engine.docker().is_some() {
            return None;
        }
        let hosts = || pool.iter().filter(|one| one.engine.docker().is_some());
        Some(Elsewhere {
            platforms: hosts().flat_map(Self::platforms).collect(),
            emulates: hosts().any(|one| one.entry.emulate),
        })
    }
}

/// The platforms that an engine builds without emulation.
fn platforms_of(info: &EngineInfo, entry: &EngineEntry) -> BTreeSet<Platform> {
    let own = info.platform.clone().normalized();
    match &entry.platforms[..] {
        [] => [own].into(),
        given => given.iter().cloned().collect(),
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
    cpus.max(1) + 10
}

/// The engines that a run has to wait for at its end: without those of a pool that are gone.
pub(super) async fn answering(world: &Connections) -> Vec<&Docker> {
    if world.pool.len() < 2 {
        return world.has_engine.then_some(&*world.engine).into_iter().collect();
    }
    let asked = world.pool.iter().filter_map(|one| one.engine.docker()).map(async |engine| {
        let answer = timeout(ANSWERS_WITHIN, engine.ping()).await;
        matches!(answer, Ok(Ok(()))).then_some(engine)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Every engine that runs containers and keeps images, the first one first.
pub(super) fn with_docker_api(world: &Connections) -> Vec<&Docker> {
    match &world.pool[..] {
        [] => vec![&*world.engine],
        pool => pool.iter().filter_map(|one| one.engine.docker()).collect(),
    }
}

/// The engine for containers of a node: one of its platform, else the first.
pub(super) fn engine_for<'w>(
    world: &'w Connections,
    (hierarchy, node): (&Hierarchy, &Node),
) -> &'w Docker {
    let platform = hierarchy.platform_of(node);
    let is_fit = |one: &&PooledEngine| one.platforms().contains(platform);
    let native = world.pool.iter().filter(is_fit).find_map(|one| one.engine.docker());
    native.unwrap_or(&*world.engine)
}

/// # Errors
/// A `buildkitd` has no registry for its images.
pub(super) fn refuse_without_registry(
    hierarchy: &Hierarchy,
    pool: &[PooledEngine],
) -> Result<(), CommandError> {
    let buildkitd = pool.iter().find(|one| one.engine.docker().is_none());
    let Some(buildkitd) = buildkitd.filter(|_| hierarchy.registry.is_none()) else {
        return Ok(());
    };
    let url = &buildkitd.info.endpoint;
    let message =
        format!("`{url}` needs a registry: buildkitd keeps no images, and pushes each one");
    Err(CommandError::new(Exit::Usage, message)
        .hint("name one with `registry:` or `--registry`, or use only Docker or podman engines"))
}

/// Without a registry, the first engine has the tags, and images move between it and the others.
pub(super) fn streamed(world: &Connections, names: &Arc<StreamNames>) -> Vec<Arc<Streamed>> {
    let all = with_docker_api(world).into_iter();
    let store = |(n, engine): (usize, &Docker)| {
        let away = (n > 0).then(|| engine.clone());
        Arc::new(Streamed::new((world.local(), (*world.engine).clone()), away, names.clone()))
    };
    all.enumerate().map(store).collect()
}

/// The engines of a run. `stores` are those that use the engines after the first.
pub(super) fn engines<S: Store>(
    world: &Connections,
    shop: &Arc<Workshop<AnyEngine, S>>,
    (stores, jobs): (Vec<Arc<S>>, Option<NonZeroUsize>),
) -> Vec<PoolEngine<AnyEngine, S>> {
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
        elsewhere: one.elsewhere(&world.pool),
        slots,
    })
    .collect()
}

/// # Errors
/// No engine builds an image of the plan.
pub(super) fn refuse_unbuildable(
    world: &Connections,
    hierarchy: &Hierarchy,
    (plan, pushes): (&Plan, bool),
) -> Result<(), CommandError> {
    if world.pool.is_empty() {
        return Ok(());
    }
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    if !pushes && world.pool.iter().any(|one| one.engine.docker().is_none()) {
        let error = usage("a buildkitd engine keeps no images, and pushes each one".to_owned());
        return Err(error.hint("`--no-push` needs a Docker or podman engine"));
    }
    let skills: Vec<BTreeSet<Platform>> = world.pool.iter().map(PooledEngine::platforms).collect();
    let elsewhere: Vec<Option<Elsewhere>> =
        world.pool.iter().map(|one| one.elsewhere(&world.pool)).collect();
    let fits = |node: &Node, has_hosts: bool| {
        let mut all = world.pool.iter().zip(&skills).zip(&elsewhere);
        all.any(|((one, platforms), elsewhere)| {
            let (emulates, capabilities) = (one.entry.emulate, one.info.capabilities);
            let elsewhere = elsewhere.as_ref().filter(|_| has_hosts);
            let skills = EngineSkills { platforms, emulates, capabilities, elsewhere };
            skills.fitness(hierarchy, node) != Fitness::Unfit
        })
    };
    let is_fit = |node: &Node| fits(node, true);
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
    let (message, hint) = if fits(first, false) {
        let what = Elsewhere::lacking(hierarchy, first);
        (
            format!(
                "{list} {} {what}, and no Docker or podman engine of the pool runs {platform}",
                if of_platform.len() == 1 { "has" } else { "have" }
            ),
            format!(
                "buildkitd only builds; add a Docker or podman engine for {platform} to `engines`, \
                 or one with `emulate: true`"
            ),
        )
    } else if is_native {
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

#[cfg(test)]
mod tests {
    use super::with_address;

    #[test]
    fn a_message_about_an_engine_names_it_once() {
        let entry = "unix:///x.sock".parse().unwrap();
        for (message, expected) in [
            ("no such socket: unix:///x.sock", "no such socket: unix:///x.sock"),
            ("the engine answered: 404", "`unix:///x.sock`: the engine answered: 404"),
        ] {
            assert_eq!(with_address(&entry, message), expected);
        }
    }
}
