//! What each node's build depends on, read from its files and its entry in the hierarchy.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde::Serialize;

use super::{ObserveError, Question};
use crate::{
    fingerprint::{Detail, Inputs, context::ContextError, source},
    hierarchy::{Base, Node, NodeName, Ssh},
    image::Digest,
    plan::Upstream,
};

/// Reads every node's files, as many at once as there are processors.
pub(super) fn read(
    nodes: &[&Node],
    question: &Question<'_>,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<BTreeMap<NodeName, (Inputs, Detail)>, ObserveError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let inputs = inputs(node, question, upstreams)
                .map_err(|source| ObserveError::Context { node: node.name.clone(), source });
            done.push(inputs.map(|inputs| (node.name.clone(), inputs)));
        }
        done
    };
    let threads = thread::available_parallelism().map_or(2, usize::from).min(nodes.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker only reads")).collect()
    })
}

fn inputs(
    node: &Node,
    question: &Question<'_>,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<(Inputs, Detail), ContextError> {
    let named = node.dockerfile.uses.iter().filter_map(|used| match &used.base {
        Base::Upstream(reference) => Some(reference.to_string()),
        Base::Node(_) => None,
    });
    let source = source(node, question.hashes)?;
    let inputs = Inputs {
        dockerfile: Digest::of(node.dockerfile.text.as_bytes()),
        context: source.digest,
        settings: settings(node),
        tests: digest(&(node.max_size, question.hierarchy.tests(&node.name).collect::<Vec<_>>())),
        platform: node.platform.as_ref().unwrap_or(question.platform).clone(),
        upstreams: named
            .filter_map(|name| Some((name.clone(), upstreams.get(&name)?.digest.clone())))
            .collect(),
        epoch: None,
    };
    Ok((inputs, Detail::new(node, source.files)))
}

/// Images without secrets keep the fingerprint that they had before there were any.
fn settings(node: &Node) -> Digest {
    let settings = (&node.build_args, &node.target, &node.labels, &node.prepare);
    if node.secrets.is_empty() && node.ssh == Ssh::None {
        return digest(&settings);
    }
    let secrets: Vec<&String> = node.secrets.keys().collect();
    digest(&(settings, secrets, node.ssh == Ssh::Agent))
}

fn digest(value: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(value).expect("plain data is always JSON"))
}
