//! `rebuild mirror`: copies upstreams into the mirror, or compares them with their copies.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

use super::{
    connections::registries,
    error::CommandError,
    output,
    project::{load, nodes},
    signals,
};
use crate::{
    commands::cli::{Common, Format, MirrorArgs},
    exit::Exit,
    hierarchy::{bytes, this_machine},
    image::Reference,
    plan::CopyState,
    registry::RegistryError,
    report::mirror::{self, MirrorView, UpstreamRow},
    run::mirror::{MirrorUse, MirroredUpstream, UpstreamMirror},
};

/// How often a copy under way is reported.
const PROGRESS: Duration = Duration::from_secs(5);

pub(super) async fn mirror(common: &Common, arguments: &MirrorArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let hierarchy = load(common)?;
    let named = nodes(&hierarchy, &arguments.nodes)?;
    if common.untrusted && !arguments.check {
        let error = "an untrusted hierarchy writes into no registry";
        return Err(
            CommandError::new(Exit::Usage, error).hint("`rebuild mirror --check` only reads")
        );
    }
    let client = registries()?;
    let does = if arguments.check { MirrorUse::Checks } else { MirrorUse::Copies };
    let wanted =
        hierarchy.in_build_order().filter(|node| named.is_empty() || named.contains(&node.name));
    let Some(upstreams) = UpstreamMirror::of(&hierarchy, wanted, (&client, &this_machine()), does)
    else {
        return Err(CommandError::new(Exit::Usage, "hierarchy.yaml has no `mirror`")
            .hint("name a prefix in a registry: `mirror: registry.example.com/mirror`"));
    };
    let all = showing_copies(Some(&upstreams), upstreams.look_at_all());
    let all = tokio::select! {
        all = all => all,
        Some(reason) = stops.recv() => {
            let message = "stopped: the next command copies the rest";
            return Err(CommandError::new(signals::exit_of(reason), message));
        }
    };
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (reference, looked) in all {
        match looked {
            Ok(upstream) => found.push(upstream),
            Err(error) => failed.push((reference, error)),
        }
    }
    let prefix = hierarchy.mirror.as_ref().map(|mirror| mirror.prefix.to_string());
    let view = MirrorView {
        upstreams: &found.iter().map(row).collect::<Vec<_>>(),
        prefix: &prefix.unwrap_or_default(),
    };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text if found.is_empty() && !failed.is_empty() => Ok(()),
        Format::Text => mirror::text(view, (output::stdout_has_colour(), &mut text)),
        Format::Json => mirror::json(view, &mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    ended(&found, failed)
}

/// Prints what is copied, if that takes long.
pub(super) async fn showing_copies<T>(
    mirror: Option<&UpstreamMirror>,
    work: impl Future<Output = T>,
) -> T {
    let (mut work, mut last) = (pin!(work), 0);
    loop {
        if let Ok(done) = timeout(PROGRESS, &mut work).await {
            return done;
        }
        let Some((copying, sent)) = mirror.map(UpstreamMirror::progress) else { continue };
        let Some(first) = copying.first().filter(|_| sent > last) else { continue };
        let more = match copying.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        output::line(&format!("copying `{first}`{more} to the mirror: {} so far", bytes(sent)));
        last = sent;
    }
}

fn row(found: &MirroredUpstream) -> UpstreamRow {
    UpstreamRow {
        upstream: found.reference.clone(),
        state: found.state(),
        copy: found.repository.clone(),
        upstream_digest: found.upstream.clone().ok().flatten(),
        copy_digest: if found.transfer.is_some() {
            found.upstream.clone().ok().flatten()
        } else {
            found.copy.clone()
        },
        streamed: found.transfer.map(|transfer| transfer.streamed),
        mounted: found.transfer.map(|transfer| transfer.mounted),
        error: found.trouble().map(ToString::to_string),
    }
}

/// The exit code; an error of the mirror is the first.
fn ended(
    found: &[MirroredUpstream],
    failed: Vec<(Reference, RegistryError)>,
) -> Result<Exit, CommandError> {
    let mut failed = failed.into_iter();
    if let Some((reference, error)) = failed.next() {
        let hint = error.hint();
        let others = match failed.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let message = format!("the mirror has no copy of `{reference}`{others}: {error}");
        let error = CommandError::new(Exit::RegistryUnreachable, message);
        return Err(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    let has = |state| found.iter().any(|upstream| upstream.state() == state);
    Ok(if has(CopyState::Missing) {
        Exit::BuildFailed
    } else if has(CopyState::Unreachable) {
        Exit::RegistryUnreachable
    } else {
        Exit::Done
    })
}
