//! The paths of an image's files: maps a changed path to an image.

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

pub(super) struct ImageFiles<'h> {
    pub(super) node: &'h NodeName,
    pub(super) context: Context,
    /// The folders of `contexts`, by name.
    named: Vec<(&'h str, Context)>,
    /// The context's folder as named, because a link in its path may change too.
    called: Vec<PathBuf>,
    dockerfile: Vec<PathBuf>,
    /// Ignore files, and `prepare` scripts even if they are ignored.
    always: Vec<PathBuf>,
    /// The base for the names of paths outside the context.
    root: PathBuf,
}

impl<'h> ImageFiles<'h> {
    /// The places of all images. Symbolic links in the path of the working tree are resolved.
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
        let context = Context::of(node)?;
        // As named below the real root, and with all links resolved.
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
        let named = node.contexts.iter();
        let named = named.map(|(name, folder)| Ok((name.as_str(), Context::named(folder)?)));
        let folders = node.contexts.values().chain([&node.context]);
        Ok(Self {
            node: &node.name,
            named: named.collect::<Result<_, crate::fingerprint::context::ContextError>>()?,
            called: folders.flat_map(|folder| ways(folder)).collect(),
            dockerfile: ways(&node.dockerfile.path),
            always,
            context,
            root: real_root.to_owned(),
        })
    }

    /// The kind of input that a path is for the image, with its name; `None` if it is not an input.
    pub(super) fn touched_by(&self, path: &Path) -> Option<(Change, Option<String>)> {
        if self.dockerfile.iter().any(|own| own == path) {
            return Some((Change::Dockerfile, None));
        }
        let sent = |context: &Context| {
            let inside = path.strip_prefix(&context.root).ok()?;
            (!context.ignore.excludes(inside)).then(|| inside.to_owned())
        };
        let of_named =
            |(name, context): &(&str, Context)| Some(Path::new(name).join(sent(context)?));
        if let Some(name) = self.named.iter().find_map(of_named) {
            return Some((Change::Context, Some(readable(&name))));
        }
        let inside = path.strip_prefix(&self.context.root).ok();
        let is_context = inside.is_some_and(|inside| !self.context.ignore.excludes(inside));
        let is_own = is_context
            || self.always.iter().any(|own| own == path)
            // A submodule that contains it, or a link in its path.
            || self.called.iter().any(|folder| folder.starts_with(path));
        let name = inside.filter(|inside| !inside.as_os_str().is_empty());
        let name = name.or_else(|| path.strip_prefix(&self.root).ok()).unwrap_or(path);
        is_own.then(|| (Change::Context, Some(readable(name))))
    }
}
