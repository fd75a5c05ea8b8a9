//! Reads the inputs of each node from its files and its entry in the hierarchy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{ObserveError, Question};
use crate::{
    fingerprint::{Checks, Detail, Inputs, context::ContextError, encoding, source},
    hierarchy::{Base, Gate, Hierarchy, Node, NodeName, SecretSource},
    host::{bounded, git},
    image::Digest,
    plan::Upstream,
};

/// Reads the files of the nodes in parallel, one per processor.
pub(super) fn read(
    nodes: &[&Node],
    question: &Question<'_>,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<BTreeMap<NodeName, (Inputs, Detail)>, ObserveError> {
    let tracked = tracked_secrets(nodes, question.hierarchy);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let inputs = inputs(node, (question, &tracked), upstreams)
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
    (question, tracked): (&Question<'_>, &Tracked),
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<(Inputs, Detail), ContextError> {
    let named = node.dockerfile.uses.iter().filter_map(|used| match &used.base {
        Base::Upstream(reference) => Some(reference.to_string()),
        Base::Node(_) | Base::Files(_) => None,
    });
    let source = source(question.hierarchy, node, question.hashes)?;
    let root = question.hierarchy.root();
    let checks = Checks::of(node, question.hierarchy, |gate| gate_files(gate, root));
    let inputs = Inputs {
        dockerfile: Digest::of(node.dockerfile.text.as_bytes()),
        context: source.digest,
        settings: settings(node, tracked, &question.hierarchy.volatile(&node.name)),
        tests: checks.digest,
        platform: node.platform.as_ref().unwrap_or(question.platform).clone(),
        upstreams: named
            .filter_map(|name| Some((name.clone(), upstreams.get(&name)?.digest.clone())))
            .collect(),
        epoch: None,
    };
    Ok((inputs, Detail::new((question.hierarchy, node), source.files, &checks.parts)))
}

/// A file of the hierarchy's folder that a gate's command names is part of the gate.
fn gate_files(gate: &Gate, root: &Path) -> Vec<Digest> {
    let files = gate.run.iter().filter(|word| Path::new(word).is_relative());
    let files = files.filter_map(|word| {
        let bytes = bounded::read(&root.join(word), bounded::TEXT).ok()?;
        Some(Digest::of(&bytes))
    });
    files.collect()
}

/// The content of each secret's file that git tracks.
type Tracked = BTreeMap<PathBuf, Digest>;

/// A file that git tracks is not secret, and every author can change it, so its content is an input. Other
/// values are never hashed.
fn tracked_secrets(nodes: &[&Node], hierarchy: &Hierarchy) -> Tracked {
    let sources = nodes.iter().flat_map(|node| node.secrets.values());
    let files: BTreeSet<&PathBuf> = sources
        .filter_map(|source| match source {
            SecretSource::File(file) => Some(file),
            SecretSource::Env(_) => None,
        })
        .collect();
    if files.is_empty() {
        return Tracked::new();
    }
    let Ok(work_tree) = git::work_tree(hierarchy.root()) else { return Tracked::new() };
    let real = files.into_iter().filter_map(|file| {
        let real = hierarchy.secret_path(file).canonicalize().ok()?;
        Some((real.strip_prefix(&work_tree).ok()?.to_owned(), file))
    });
    let real: BTreeMap<PathBuf, &PathBuf> = real.collect();
    let tracked = git::tracked_among(&work_tree, real.keys()).unwrap_or_default();
    let hashed = tracked.into_iter().filter_map(|path| {
        let bytes = bounded::read(&work_tree.join(&path), bounded::TEXT).ok()?;
        Some(((*real.get(&path)?).clone(), Digest::of(&bytes)))
    });
    hashed.collect()
}

fn settings(node: &Node, tracked: &Tracked, volatile: &[String]) -> Digest {
    let contents = node.secrets.iter().filter_map(|(id, source)| match source {
        SecretSource::File(file) => Some((id, tracked.get(file)?)),
        SecretSource::Env(_) => None,
    });
    encoding::settings(node, &contents.collect(), volatile)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        fingerprint::{Fingerprint, HashCache, Parents},
        hierarchy::{FieldSample, LoadOptions, TagValues},
        plan::{PlanRequest, Selection},
    };

    #[test]
    fn fields_change_the_fingerprint_as_their_table_says() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".env", "X=1\n"),
            ("images/os/Dockerfile", "FROM scratch\n"),
            ("images/a/Dockerfile", "FROM os AS one\nFROM one AS two\n"),
            ("images/a/Dockerfile.b", "FROM os\nLABEL b=\n"),
            ("other/Dockerfile", "FROM os\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let fingerprints = |text: &str| -> BTreeMap<NodeName, Fingerprint> {
            let path = folder.path().join("hierarchy.yaml");
            let loaded = Hierarchy::load_text(path, text.to_owned(), &LoadOptions::default());
            let hierarchy = &loaded.unwrap_or_else(|error| panic!("{error}: {text}")).hierarchy;
            let question = Question {
                hierarchy,
                request: &PlanRequest {
                    selection: Selection::OutOfDate,
                    refresh: false,
                    by_schedule: false,
                    platforms: BTreeSet::new(),
                    now: jiff::Timestamp::UNIX_EPOCH,
                },
                platform: &"linux/amd64".parse().unwrap(),
                tag_values: &TagValues { date: String::new(), git: None },
                hashes: &HashCache::read(b"", ""),
                offline: true,
                only_asks: true,
                run: "",
            };
            let nodes: Vec<&Node> = hierarchy.in_build_order().collect();
            let inputs = read(&nodes, &question, &BTreeMap::new()).unwrap().into_iter();
            inputs.map(|(name, (inputs, _))| (name, inputs.fingerprint(&Parents::new()))).collect()
        };
        let without = fingerprints(&FieldSample::without());
        for sample in FieldSample::all() {
            let is_other = fingerprints(&sample.file) != without;
            assert_eq!(is_other, sample.changes_fingerprint, "{}", sample.key);
        }
    }
}
