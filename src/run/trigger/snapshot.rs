//! Snapshots of the files of a hierarchy, for comparison.
//!
//! **Invariant:** two snapshots are equal exactly if no build and no entry of the file changed. Times,
//! ignored files and files that editors leave do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    fingerprint::{Detail, HashCache, source},
    hierarchy::{Hierarchy, Node, NodeName},
    image::Digest,
    plan::{Change as What, ChangedPart, Reason},
};

#[derive(Clone, Debug)]
pub struct Look {
    pub hierarchy: Arc<Hierarchy>,
    contexts: BTreeMap<NodeName, ContextSnapshot>,
}

/// For an unreadable context, only the error.
#[derive(Clone, Debug)]
struct ContextSnapshot {
    digest: Result<Digest, String>,
    detail: Detail,
}

/// The difference between two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// Each image with changed inputs of its own, and the change as a sentence.
    pub nodes: BTreeMap<NodeName, String>,
    pub gone: BTreeSet<NodeName>,
}

impl Look {
    /// Reads the files of every image, or only those below some paths if there is an earlier snapshot.
    pub fn new(
        hierarchy: Arc<Hierarchy>,
        hashes: &HashCache,
        before: Option<(&Self, &BTreeSet<PathBuf>)>,
    ) -> Self {
        let mut contexts = BTreeMap::new();
        for node in hierarchy.in_build_order() {
            let known = before.and_then(|(look, paths)| {
                let is_as_it_was = look.hierarchy.get(&node.name) == Some(node);
                let known = look.contexts.get(&node.name)?;
                (is_as_it_was && !touches(node, paths)).then(|| known.clone())
            });
            let context = known.unwrap_or_else(|| context(&hierarchy, node, hashes));
            contexts.insert(node.name.clone(), context);
        }
        Self { hierarchy, contexts }
    }

    /// The difference from an earlier snapshot.
    pub fn since(&self, before: &Self) -> Changed {
        let mut changed = Changed::default();
        for node in self.hierarchy.in_build_order() {
            let was = before.hierarchy.get(&node.name).zip(before.contexts.get(&node.name));
            let is = &self.contexts[&node.name];
            let what = match was {
                None => Some(format!("`{}` is new", node.name)),
                Some(was) => difference(was, (node, is)),
            };
            if let Some(what) = what {
                changed.nodes.insert(node.name.clone(), what);
            }
        }
        let gone = before.hierarchy.in_build_order().map(|node| &node.name);
        changed.gone = gone.filter(|name| self.hierarchy.get(name).is_none()).cloned().collect();
        changed
    }
}

impl Changed {
    pub fn is_nothing(&self) -> bool {
        self.nodes.is_empty() && self.gone.is_empty()
    }

    /// The changed images and their descendants in a hierarchy.
    pub fn cone(&self, hierarchy: &Hierarchy) -> BTreeSet<NodeName> {
        let roots = self.nodes.keys().chain(&self.gone);
        let known = roots.clone().filter(|name| hierarchy.get(name).is_some());
        let below = known.flat_map(|name| hierarchy.descendants(name));
        roots.cloned().chain(below.map(|node| node.name.clone())).collect()
    }
}

fn context(hierarchy: &Hierarchy, node: &Node, hashes: &HashCache) -> ContextSnapshot {
    match source(hierarchy, node, hashes) {
        Ok(source) => ContextSnapshot {
            digest: Ok(source.digest),
            detail: Detail::new((hierarchy, node), source.files, &BTreeMap::new()),
        },
        Err(error) => ContextSnapshot { digest: Err(error.to_string()), detail: Detail::default() },
    }
}

/// Whether a path is an input of the node, judging by its name.
fn touches(node: &Node, paths: &BTreeSet<PathBuf>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folders = node.contexts.values().chain([&node.context]);
    let folders: Vec<PathBuf> = folders.map(|folder| real(folder)).collect();
    let dockerfile = real(&node.dockerfile.path);
    paths.iter().any(|path| {
        let is_inside = |folder: &PathBuf| path.starts_with(folder) || folder.starts_with(path);
        folders.iter().any(is_inside) || is_beside(path, &dockerfile)
    })
}

/// The Dockerfile, or the `.dockerignore` of that Dockerfile.
fn is_beside(path: &Path, dockerfile: &Path) -> bool {
    path == dockerfile
        || (path.parent() == dockerfile.parent()
            && path.to_string_lossy().ends_with(".dockerignore"))
}

fn difference(
    (was, before): (&Node, &ContextSnapshot),
    (is, now): (&Node, &ContextSnapshot),
) -> Option<String> {
    let mut what = Vec::new();
    if was.dockerfile.text != is.dockerfile.text {
        what.push(What::Dockerfile);
    }
    let mut files = before.detail.files.differences(&now.detail.files);
    let count = files.len();
    files.retain(|(_, path)| !is_left_by_an_editor(path));
    let has_only_editor_files = count > 0 && files.is_empty();
    let part = |(difference, name)| ChangedPart { what: What::Context, difference, name };
    let parts: Vec<ChangedPart> = files.into_iter().map(part).collect();
    if before.digest != now.digest
        && !has_only_editor_files
        && (what.is_empty() || !parts.is_empty())
    {
        what.push(What::Context);
    }
    if what.is_empty() && was != is {
        what.push(What::Entry);
    }
    (!what.is_empty()).then(|| Reason::Changed { what, parts }.of(&is.name))
}

/// Swap, backup and lock files of vim and emacs, and the file with which vim tests whether it can write.
fn is_left_by_an_editor(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "4913"
        || name.starts_with(".#")
        || [".swp", ".swx", ".swo", "~"].iter().any(|end| name.ends_with(end))
        || (name.len() > 2 && name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::LoadOptions;

    const FILE: &str = "version: 1\nimages:\n  os: {}\n  web: {}\n  app: {}\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("hierarchy.yaml", FILE);
            folder.write("os/Dockerfile", "FROM scratch\nCOPY . /\n");
            folder.write("web/Dockerfile", "FROM os\nCOPY . /\n");
            folder.write("app/Dockerfile", "FROM web\nCOPY . /\n");
            folder.write("web/page", "one");
            folder.write("web/.dockerignore", "*.swp\n");
            folder
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn look(&self, before: Option<(&Look, &BTreeSet<PathBuf>)>) -> Look {
            let file = self.path("hierarchy.yaml");
            let loaded = Hierarchy::load(&file, &LoadOptions::default()).unwrap();
            Look::new(Arc::new(loaded.hierarchy), &HashCache::default(), before)
        }

        /// The changed images and their descendants, after checking everything. Checking only the changed
        /// paths must give the same result.
        fn after(&self, seen: &[&str], change: impl FnOnce()) -> String {
            let before = self.look(None);
            change();
            let paths = seen.iter().map(|path| self.path(path)).collect();
            let (all, some) = (self.look(None), self.look(Some((&before, &paths))));
            let [all, some] = [all, some].map(|look| {
                let changed = look.since(&before);
                let what: Vec<&str> = changed.nodes.values().map(String::as_str).collect();
                let gone: Vec<&str> = changed.gone.iter().map(NodeName::as_str).collect();
                let cone = changed.cone(&before.hierarchy);
                let cone: Vec<&str> = cone.iter().map(NodeName::as_str).collect();
                format!("{}|{}|{}", what.join(", "), gone.join(" "), cone.join(" "))
            });
            assert_eq!(all, some);
            all
        }
    }

    #[test]
    fn what_changes_an_image_is_seen_and_nothing_else() {
        let folder = Folder::new();
        let write = |path: &'static str, text: &'static str| {
            let folder = &folder;
            move || folder.write(path, text)
        };
        for (path, text, expected) in [
            ("web/page", "one", "||"),
            ("web/page", "two", "`page` of `web` changed||app web"),
            ("web/new", "x", "`new` of `web` is new||app web"),
            ("web/.page.swp", "x", "||"),
            ("notes", "x", "||"),
            ("app/Dockerfile", "FROM web\n", "the Dockerfile of `app` changed||app"),
            ("hierarchy.yaml", "# x\nversion: 1\nimages: {web: {}, os: {}, app: {}}\n", "||"),
            (
                "hierarchy.yaml",
                "version: 1\nimages: {os: {tags: [x, latest]}, web: {}, app: {}}\n",
                "the entry in hierarchy.yaml of `os` changed||app os web",
            ),
            (
                "hierarchy.yaml",
                "version: 1\nimages: {os: {}, web: {}}\n",
                "the entry in hierarchy.yaml of `os` changed|app|app os web",
            ),
            ("hierarchy.yaml", FILE, "`app` is new||app"),
        ] {
            assert_eq!(folder.after(&[path], write(path, text)), expected, "{path}: {text}");
        }
    }

    #[test]
    fn files_that_editors_leave_in_a_context_are_no_change() {
        let folder = Folder::new();
        for path in ["os/.x.swp", "os/x.swx", "os/4913", "os/x~", "os/#x#", "os/.#x"] {
            assert_eq!(folder.after(&[path], || folder.write(path, "x")), "||", "{path}");
            let gone = folder.after(&[path], || fs::remove_file(folder.path(path)).unwrap());
            assert_eq!(gone, "||", "{path}");
        }
        let both = folder.after(&["os/x", "os/x~"], || {
            folder.write("os/x~", "x");
            folder.write("os/x", "x");
        });
        assert_eq!(both, "`x` of `os` is new||app os web");
        assert!(!is_left_by_an_editor("src/~x") && !is_left_by_an_editor("#"));
    }

    #[test]
    fn a_context_that_cannot_be_read_is_a_change_and_so_is_its_end() {
        let folder = Folder::new();
        let socket = folder.path("web/socket");
        let listener = std::cell::OnceCell::new();
        let made = folder.after(&["web/socket"], || {
            _ = listener.set(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        });
        assert!(made.ends_with("||app web"), "{made}");
        let gone = folder.after(&["web/socket"], || fs::remove_file(&socket).unwrap());
        assert!(gone.ends_with("||app web"), "{gone}");
    }
}
