//! Signs the images of a promotion before their tags move.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::host_command::HostCommand;
use crate::{
    hierarchy::{Hierarchy, NodeName},
    image::{Digest, Repository},
    publish::journal::Move,
};

/// For one image. A key in the cloud answers in seconds.
const LIMIT: Duration = Duration::from_secs(2 * 60);
/// How many of the last bytes that a command printed a message shows.
const SHOWN: usize = 2000;

/// Whether any of these moves needs a signature.
pub fn has_any(hierarchy: &Hierarchy, moves: &[Move]) -> bool {
    signed(hierarchy, moves).next().is_some()
}

/// Each image with a tag that moves, in each repository once, with its command.
fn signed<'a>(
    hierarchy: &'a Hierarchy,
    moves: &'a [Move],
) -> impl Iterator<Item = (&'a NodeName, &'a Repository, &'a Digest, &'a [String])> {
    let mut seen = BTreeSet::new();
    moves.iter().filter(|one| !one.is_check()).filter_map(move |one| {
        let command = hierarchy.nodes_of(one.node.as_str()).first()?.sign.as_deref()?;
        let image = (&one.tag.repository, one.to.as_ref()?);
        seen.insert(image).then_some((&one.node, image.0, image.1, command))
    })
}

/// Runs the command of each image, one after the other.
///
/// # Errors
/// A sentence with the image, and the last lines that the command printed.
pub async fn sign(hierarchy: &Hierarchy, moves: &[Move]) -> Result<(), String> {
    for (node, repository, digest, command) in signed(hierarchy, moves) {
        let image = format!("{repository}@{digest}");
        let argv: Vec<String> =
            command.iter().map(|word| word.replace("{image}", &image)).collect();
        let variables =
            vec![("REBUILD_IMAGE", image.clone().into()), ("REBUILD_NODE", node.as_str().into())];
        let command =
            HostCommand { argv: &argv, folder: hierarchy.root(), variables, timeout: LIMIT };
        let mut printed: VecDeque<u8> = VecDeque::new();
        let signed = command.run(|bytes| {
            printed.extend(bytes);
            printed.drain(..printed.len().saturating_sub(SHOWN));
        });
        signed.await.map_err(|error| {
            let bytes: Vec<u8> = printed.into();
            let printed = String::from_utf8_lossy(&bytes);
            let printed: Vec<&str> =
                printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let last = printed.last().map(|line| format!(": {line}")).unwrap_or_default();
            format!("`{node}` was not signed: {error}{last}")
        })?;
    }
    Ok(())
}
