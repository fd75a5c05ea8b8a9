//! `rebuild shell`: look around in an image.

use std::{
    io::{self, IsTerminal as _, Read as _},
    sync::Arc,
    thread,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    connections::{Connections, FAILURES},
    error::CommandError,
    output, pool,
    project::{load_names, node},
};
use crate::{
    commands::cli::{Builder, Common, ShellArgs},
    engine::{Docker, Engine as _, ShellSession, not_started_because},
    exit::Exit,
    fingerprint::{is_build_tag, node_of},
    hierarchy::{Hierarchy, Node, NodeName},
    image::{Digest, Tagged},
    publish::{
        failures::{Failures, LastFailure, Setback},
        store::{Inventory, Remote},
    },
    report,
    run::state::ProbeOwner,
};

pub(super) async fn shell(common: &Common, arguments: &ShellArgs) -> Result<Exit, CommandError> {
    let hierarchy = load_names(common)?;
    let name = node(&hierarchy, &arguments.node)?;
    let node = hierarchy.get(&name).expect("it was found by its name");
    let world = Connections::connect(&hierarchy, Builder::Auto, common.offline).await?;
    if !world.has_engine {
        let message = "no Docker or podman engine is in the pool: buildkitd runs no containers";
        return Err(CommandError::new(Exit::EngineUnreachable, message));
    }
    let failures = Failures::read(&world.state.recall(FAILURES));
    let failure = failures.of(&node.name).filter(|_| !arguments.published);
    let failed = failed(&world, failure).await?;
    let native = pool::engine_for(&world, (&hierarchy, node));
    let (engine, image) = if let Some((engine, image, failure)) = failed {
        let Setback::Failed { message, .. } = &failure.setback else { unreachable!("it failed") };
        output::line(&format!("image of run {}: {message}", failure.run));
        (engine, image)
    } else {
        tell_failed_build(failure);
        (native, published((&hierarchy, &world), native, node).await?)
    };
    let argv = match &arguments.command[..] {
        [] => vec!["sh".to_owned()],
        command => command.to_vec(),
    };
    let program = argv[0].clone();
    let asking = ProbeOwner::begin();
    let terminal = RawTerminal::begin();
    let session = ShellSession {
        argv,
        terminal: terminal.as_ref().and(report::stdout_size()),
        input: typed(),
        sizes: resized()?,
    };
    let print = |bytes: &[u8]| output::session(bytes);
    let ended = engine.interact(&image, session, (&asking.id, print)).await;
    drop(terminal);
    engine.quiesce().await;
    match ended {
        Ok(0) => Ok(Exit::Done),
        Ok(_) => Ok(Exit::TestFailed),
        Err(error) => Err(match error.not_started() {
            Some(why) => not_started(&program, why, &name),
            None => error.into(),
        }),
    }
}

fn not_started(program: &str, why: &str, node: &NodeName) -> CommandError {
    CommandError::new(Exit::NotStarted, not_started_because(program, why)).hint(format!(
        "`rebuild shell {} -- PROGRAM` starts another program of the image",
        node.argument()
    ))
}

/// The image whose test failed in the last run, if an engine still has it, and the engine.
async fn failed<'w, 'f>(
    world: &'w Connections,
    failure: Option<&'f LastFailure>,
) -> Result<Option<(&'w Docker, Digest, &'f LastFailure)>, CommandError> {
    let Some(failure) = failure else { return Ok(None) };
    let Some(tag) = failure.setback.image() else { return Ok(None) };
    for engine in pool::with_docker_api(world) {
        if let Some(image) = engine.inspect(&tag.to_string()).await? {
            return Ok(Some((engine, image.id, failure)));
        }
    }
    Ok(None)
}

/// A build that failed left no image.
fn tell_failed_build(failure: Option<&LastFailure>) {
    let Some(LastFailure { run, setback: Setback::Failed { message, image: None, .. }, .. }) =
        failure
    else {
        return;
    };
    output::line(&format!("run {run} has no image of it ({message}): looking for an earlier one"));
}

/// The image under the first tag that exists.
async fn published(
    (hierarchy, world): (&Hierarchy, &Connections),
    engine: &Docker,
    node: &Node,
) -> Result<Digest, CommandError> {
    if let Some(prefix) = &hierarchy.registry {
        let store = Remote::new(world.registries.clone(), prefix, Arc::new(engine.clone()));
        fetched(&store, node).await
    } else {
        fetched(&world.local(), node).await
    }
}

async fn fetched<S: Inventory>(store: &S, node: &Node) -> Result<Digest, CommandError> {
    for tag in node.stable_tags().filter_map(|tag| tag.to_string().parse().ok()) {
        let tag = node.repository.tagged(tag);
        if let Some(digest) = store.head(&tag).await? {
            output::line(&format!("image `{tag}`"));
            return Ok(store.fetch(&node.repository, &digest, node.platform.as_ref()).await?);
        }
    }
    // Stored, but not promoted.
    if let Some((tag, digest)) = newest_build(store, node).await? {
        // Podman also finds the repositories of registries that end in this name.
        let is_own = tag.repository.is_same(&node.repository);
        let state = if is_own { ", which was not promoted" } else { "" };
        output::line(&format!("image `{tag}`{state}"));
        return Ok(store.fetch(&node.repository, &digest, node.platform.as_ref()).await?);
    }
    let message =
        format!("no tag of `{}` exists, and no image of a failed test is kept", node.repository);
    let log = format!("if its build failed: `rebuild log {}`", node.name.argument());
    Err(CommandError::new(Exit::Usage, message).hint(log))
}

/// The newest image of the node that has a build tag.
async fn newest_build<S: Inventory>(
    store: &S,
    node: &Node,
) -> Result<Option<(Tagged, Digest)>, CommandError> {
    let holdings = store.holdings(vec![node.repository.clone()]).await?;
    let of_node =
        holdings.into_iter().filter(|one| node_of(&one.labels).as_ref() == Some(&node.name));
    let built = of_node.filter_map(|one| {
        let tag = one.tags.into_iter().find(is_build_tag)?;
        Some((one.created, one.repository.tagged(tag), one.digest))
    });
    Ok(built.max_by_key(|(created, ..)| *created).map(|(_, tag, digest)| (tag, digest)))
}

/// The terminal, passing every key to the container until it is dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// `None` if the user does not sit at one.
    fn begin() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !output::stdout_is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// What is typed. A thread, since a runtime that ends would wait for the next key.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = io::stdin().read(&mut bytes) {
            if sender.blocking_send(bytes[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn resized() -> Result<mpsc::Receiver<(u16, u16)>, CommandError> {
    let (sender, receiver) = mpsc::channel(1);
    let mut signals = signal(SignalKind::window_change())
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if let Some(size) = report::stdout_size()
                && sender.send(size).await.is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}
