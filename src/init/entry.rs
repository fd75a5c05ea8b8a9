//! An entry of the file that is going to be written.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use super::{evidence::tidy, target_options::OptionTexts};

/// The fields that init gives, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InitEntry {
    pub(super) name: String,
    pub(super) context: Option<String>,
    pub(super) dockerfile: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) target: Option<String>,
    pub(super) platform: Option<String>,
    /// Several, of one index.
    pub(super) platforms: Vec<String>,
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Other fields, in YAML.
    pub(super) options: OptionTexts,
}

impl InitEntry {
    /// Says where it is built, and leaves out what is so anyway.
    pub(super) fn place(&mut self, root: &Path, context: &Path, dockerfile: &Path) {
        let folder = shown(context);
        let usual = usual_folder(root, &self.name);
        self.context = (usual.as_ref() != Some(&folder)).then_some(folder);
        // A context above the folder has its Dockerfile in a folder whose name only the whole path says.
        let place = |path: &Path| tidy(&root.join(path).to_string_lossy());
        let file = relative(&place(dockerfile), &place(context));
        self.dockerfile = (file != Path::new("Dockerfile")).then(|| shown(&file));
    }
}

/// The context of an entry that gives none.
pub(super) fn usual_folder(root: &Path, name: &str) -> Option<String> {
    let usual = [format!("images/{name}"), name.to_owned()];
    usual.into_iter().find(|folder| root.join(folder).is_dir())
}

/// A path as the file says it: `.` for the folder itself.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy().into_owned();
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The path seen from a folder; both are relative to the same place.
pub(super) fn relative(path: &Path, from: &Path) -> PathBuf {
    let (path, from) = (parts(path), parts(from));
    let shared = path.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(path[shared..].iter().copied()).collect()
}

fn parts(path: &Path) -> Vec<Component<'_>> {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_context() {
        for (path, from, expected) in [
            ("a/Dockerfile", "a", "Dockerfile"),
            ("a/b/Dockerfile", "", "a/b/Dockerfile"),
            ("a/b/Dockerfile", "a", "b/Dockerfile"),
            ("a/Dockerfile", "b/c", "../../a/Dockerfile"),
            ("Dockerfile", ".", "Dockerfile"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(from)), Path::new(expected), "{path}");
        }
    }
}
