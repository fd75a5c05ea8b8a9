//! Where on disk the files of an image lie: which of them a path is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::SinceError;
use crate::{
    fingerprint::{context::Context, readable},
    hierarchy::{Hierarchy, Node, NodeName},
    plan::Change,
};

pub(super) struct Place<'h> {
    pub(super) node: &'h NodeName,
    pub(super) context: Context,
    /// The context's folder as it is called, where a link on the way to it may change too.
    called: Vec<PathBuf>,
    dockerfile: Vec<PathBuf>,
    /// What says what is ignored, and scripts that are run even where they are ignored.
    always: Vec<PathBuf>,
    /// What paths outside the context are told relative to.
    root: PathBuf,
}

impl<'h> Place<'h> {
    /// The places of all images. The work tree has its symbolic links resolved.
    pub(super) fn all(hierarchy: &'h Hierarchy, work_tree: &Path) -> Result<Vec<Self>, SinceError> {
        let root = fs::canonicalize(hierarchy.root()).unwrap_or_else(|_| work_tree.to_owned());
        let place = |node: &'h Node| {
            Self::new(hierarchy, node, &root)
                .map_err(|source| SinceError::Context { node: node.name.clone(), source })
        };
        hierarchy.in_build_order().map(place).collect()
    }

    fn new(
        hierarchy: &'h Hierarchy,
        node: &'h Node,
        real_root: &Path,
    ) -> Result<Self, crate::fingerprint::context::ContextError> {
        let root = hierarchy.root();
        let context = Context::open(&node.context, &node.dockerfile.path)?;
        // As it is called below the real root, and with all links resolved.
        let ways = |path: &Path| {
            let called = path.strip_prefix(root).map_or(path.to_owned(), |p| real_root.join(p));
            let real = fs::canonicalize(path).unwrap_or_else(|_| called.clone());
            if real == called { vec![real] } else { vec![called, real] }
        };
        let mut beside = node.dockerfile.path.clone().into_os_string();
        beside.push(".dockerignore");
        let beside = PathBuf::from(beside);
        let mut always = ways(&beside);
        if !beside.exists() {
            always.push(context.root.join(".dockerignore"));
        }
        let scripts = hierarchy
            .prepare_files(node)
            .map_err(|path| crate::fingerprint::context::ContextError::Outside { path })?;
        for (named, real) in scripts {
            always.extend(ways(&node.context.join(named)));
            always.push(context.root.join(real));
        }
        Ok(Self {
            node: &node.name,
            called: ways(&node.context),
            dockerfile: ways(&node.dockerfile.path),
            always,
            context,
            root: real_root.to_owned(),
        })
    }

    /// What of the image a path is, and how it is called there; `None` if it is nothing of it.
    pub(super) fn touched_by(&self, path: &Path) -> Option<(Change, Option<String>)> {
        if self.dockerfile.iter().any(|own| own == path) {
            return Some((Change::Dockerfile, None));
        }
        let inside = path.strip_prefix(&self.context.root).ok();
        let is_context = inside.is_some_and(|inside| !self.context.ignore.excludes(inside));
        let is_own = is_context
            || self.always.iter().any(|own| own == path)
            // A submodule that it lies in, or a link on the way to it.
            || self.called.iter().any(|folder| folder.starts_with(path));
        let name = inside.filter(|inside| !inside.as_os_str().is_empty());
        let name = name.or_else(|| path.strip_prefix(&self.root).ok()).unwrap_or(path);
        is_own.then(|| (Change::Context, Some(readable(name))))
    }
}
