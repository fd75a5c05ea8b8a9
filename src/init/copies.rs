//! Values that a build reads from files of the repository: `$(cat VERSION)`.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    evidence::{Open, tidy, unknown},
    readers::text_inside,
};

/// A longer text is no value of a tag.
const LONGEST: usize = 128;

/// What a variable is called whose value is the content of a file.
const COMMAND: &str = "cat ";

/// The variable of a command that prints the content of a file: `cat VERSION`, `< VERSION`, and with `shell ` of a
/// Makefile. `expand` gives the values of variables in a path.
pub(super) fn variable(command: &str, expand: impl FnOnce(&str) -> String) -> Option<String> {
    let command = command.trim();
    let command = command.strip_prefix("shell ").unwrap_or(command);
    // If the file is here, what follows is not needed.
    let command = command.split("||").next().unwrap_or(command);
    let mut parts = command.split('|').map(str::trim);
    let first = parts.next()?.trim_end_matches("2>/dev/null").trim();
    if !parts.all(|part| part == "xargs" || part.starts_with("tr -d ")) {
        return None;
    }
    let readers = ["cat ", "<", "file <", "head -1 ", "head -n1 ", "head -n 1 "];
    let path = readers.iter().find_map(|reader| first.strip_prefix(reader))?.trim();
    let path = expand(path.trim_matches(['"', '\'']));
    let is_path = !path.is_empty() && !path.starts_with('-') && Open(path.clone()).is_known();
    (is_path && !path.contains([' ', '"', '\'', ';', '&']))
        .then(|| unknown(&format!("{COMMAND}{path}")))
}

/// The files that the texts of one build read.
pub(super) struct CopiedFiles<'a> {
    root: &'a Path,
    /// Where the commands run, or a folder below that.
    folder: &'a Path,
    used: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> CopiedFiles<'a> {
    pub(super) fn new(root: &'a Path, folder: &'a Path) -> Self {
        Self { root, folder, used: RefCell::default() }
    }

    /// The text with the present contents of the files that it reads.
    pub(super) fn fill(&self, text: &Open) -> Open {
        let names = text.variables().into_iter();
        let contents = names.filter_map(|name| Some((name.to_owned(), self.content(name)?)));
        text.fill(&contents.collect())
    }

    fn content(&self, variable: &str) -> Option<String> {
        let written = variable.strip_prefix(COMMAND)?;
        let in_folder = |base: &Path| {
            let path = tidy(&base.join(written).to_string_lossy());
            let is_inside = !path.is_absolute() && !path.starts_with("..");
            let text = is_inside.then(|| text_inside(self.root, &path)).flatten()?;
            Some((path, text.trim().to_owned()))
        };
        let (path, text) = self.folder.ancestors().find_map(in_folder)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        let is_value = !text.is_empty() && text.len() <= LONGEST && text.chars().all(is_part);
        is_value.then(|| {
            self.used.borrow_mut().insert(path);
            text
        })
    }

    /// The files, relative to the root.
    pub(super) fn into_used(self) -> BTreeSet<PathBuf> {
        self.used.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_print_a_file() {
        for (command, expected) in [
            ("cat VERSION", Some("cat VERSION")),
            ("shell cat \"x/VERSION\"", Some("cat x/VERSION")),
            ("<VERSION", Some("cat VERSION")),
            ("file < VERSION", Some("cat VERSION")),
            ("cat VERSION | tr -d '\\n'", Some("cat VERSION")),
            ("cat VERSION 2>/dev/null || echo dev", Some("cat VERSION")),
            ("head -n1 VERSION", Some("cat VERSION")),
            ("cat VERSION | cut -d. -f1", None),
            ("cat -n VERSION", None),
            ("cat a b", None),
            ("cat", None),
            ("git describe", None),
        ] {
            let expected = expected.map(unknown);
            assert_eq!(variable(command, str::to_owned), expected, "{command}");
        }
    }
}
