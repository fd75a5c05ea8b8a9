//! The engine, or each engine of a pool: does it answer, which versions has it, is there disk space?

use std::path::Path;

use crate::{
    commands::{
        connections::{exposed, registries},
        error::CommandError,
        pool::{connect_one, with_address},
        preflight::{LITTLE, TOO_LITTLE},
    },
    engine::{Capabilities, Capability, Docker, EngineError, EngineInfo, EngineOptions, Tried},
    exit::Exit,
    hierarchy::EngineEntry,
    report::doctor::{Finding, Level, size},
};

/// Says where it is, if it answers. Of the engines of a pool: where the first one is that answers.
pub(super) async fn check(entries: &[EngineEntry], findings: &mut Vec<Finding>) -> Option<String> {
    if entries.is_empty() {
        let connected = Docker::connect(&EngineOptions::default()).await;
        let connected = connected.map(|(engine, info)| (Some(engine), info));
        let used = one(connected, None, findings).await;
        places(used.as_deref(), findings).await;
        return used;
    }
    let registries = match registries() {
        Ok(registries) => registries,
        Err(error) => {
            findings.push(Finding::problem("engine", error.exit, error.to_string()));
            return None;
        }
    };
    let mut used = None;
    for entry in entries {
        let connected = connect_one(entry, &EngineOptions::default(), &registries).await;
        let connected = connected.map(|(engine, info)| (engine.docker().cloned(), info));
        let endpoint = one(connected, Some(entry), findings).await;
        used = used.or(endpoint);
    }
    used
}

/// Where else an engine was looked for.
async fn places(used: Option<&str>, findings: &mut Vec<Finding>) {
    let (mut used, is_connected) = (used, used.is_some());
    for Tried { place, problem } in Docker::survey().await {
        let is_used = used.is_some_and(|url| place.split(' ').next() == Some(url));
        let message = match problem {
            None if is_used => {
                used = None;
                format!("{place}: answers, and is used")
            }
            None => format!("{place}: answers, not used"),
            Some(problem) if is_connected => format!("{place}: not used, {problem}"),
            Some(problem) => {
                let is_told = |one: &Finding| {
                    one.level == Level::Problem
                        && one.message.contains(&place)
                        && one.message.contains(&problem)
                };
                let problem = if findings.iter().any(is_told) { "see above" } else { &problem };
                findings.push(Finding::warning("place", format!("{place}: {problem}")));
                continue;
            }
        };
        findings.push(Finding::ok("place", message));
    }
}

/// What one engine is. One with the Docker API also says what its parts are.
async fn one(
    connected: Result<(Option<Docker>, EngineInfo), EngineError>,
    entry: Option<&EngineEntry>,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let (engine, info) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            let what = if let EngineError::Builder { .. } = error { "builder" } else { "engine" };
            let error = CommandError::from(error);
            let message = error.to_string();
            let message = entry.map_or(message.clone(), |entry| with_address(entry, &message));
            findings.push(Finding::problem(what, error.exit, message));
            return None;
        }
    };
    let EngineInfo { version, platform, cpus, endpoint, .. } = &info;
    let processors = if *cpus == 1 { "processor" } else { "processors" };
    findings.push(Finding::ok(
        "engine",
        format!("{version} at {endpoint}, {platform}, {cpus} {processors}"),
    ));
    if info.is_exposed {
        findings.push(Finding::warning("engine", exposed(endpoint)));
    }
    findings.push(Finding::ok("builder", info.capabilities.builder.to_string()));
    findings.push(capabilities(info.capabilities));
    let Some(engine) = engine else { return Some(info.endpoint) };
    match engine.about().await {
        Ok(about) => {
            for (name, version) in &about.components {
                part(name, version, findings);
            }
            if let (Some(root), Some(room)) = (about.root, info.room) {
                disk(&root, room, findings);
            }
        }
        Err(error) => {
            let error = CommandError::from(error);
            findings.push(Finding::problem("engine", error.exit, error.to_string()));
        }
    }
    Some(info.endpoint)
}

/// What it can do, and what not.
fn capabilities(engine: Capabilities) -> Finding {
    let all = Capability::ALL.into_iter();
    let (has, lacks): (Vec<_>, Vec<_>) = all.partition(|capability| engine.has(*capability));
    let names = |names: &[Capability]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (store, sizes) = (engine.store, engine.sizes());
    let mut text = format!("{}; image store: {store}, sizes: {sizes}", names(&has).join(", "));
    if !lacks.is_empty() {
        text = format!("{text}; lacks {}", names(&lacks).join(", "));
    }
    Finding::ok("capabilities", text)
}

/// The version of one part, and where its known vulnerabilities are published.
fn part(name: &str, version: &str, findings: &mut Vec<Finding>) {
    let (what, repository) = match name {
        "Engine" => ("moby", "moby/moby"),
        "containerd" => ("containerd", "containerd/containerd"),
        "runc" => ("runc", "opencontainers/runc"),
        _ => return,
    };
    let advisories =
        format!("{version}; advisories: https://github.com/{repository}/security/advisories");
    findings.push(Finding::ok(what, advisories));
}

fn disk(root: &Path, free: u64, findings: &mut Vec<Finding>) {
    let text = format!("{} free in {}", size(free), root.display());
    let hint = Some("`rebuild gc`, `docker system prune`".to_owned());
    findings.push(match free {
        // As a run is refused before its first build.
        ..TOO_LITTLE => Finding::problem("disk", Exit::EngineUnreachable, text).hint(hint),
        TOO_LITTLE..LITTLE => Finding::warning("disk", text).hint(hint),
        _ => Finding::ok("disk", text),
    });
}
