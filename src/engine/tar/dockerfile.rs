//! Where the pinned Dockerfile goes in the tar.
//!
//! The engine gets the Dockerfile with every base pinned, not the one on the disk. If `COPY` can see
//! the one on the disk, the pinned text takes its place: no name more, none less. If it cannot, since
//! it is ignored or lies outside of the context, the text goes under a name of its own, which `COPY .`
//! should not see either. The classic builder can be told so: it removes the Dockerfile and
//! `.dockerignore` from the context where the tar's own `.dockerignore` names them. (The docker CLI
//! does the same for a Dockerfile from its standard input.) BuildKit cannot be told in a tar.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use crate::fingerprint::context::{Context, ContextEntry, ContextError, EntryExtras};

const IGNORE: &str = ".dockerignore";

/// The Dockerfile as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Dockerfile {
    /// Its path in the tar: the engine's `dockerfile` parameter.
    pub(in crate::engine) name: String,
    pub(in crate::engine) text: String,
    pub(in crate::engine) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Place {
    /// Takes the place of the context's own file.
    Instead,
    /// Comes on top of the context's files, and `COPY .` sees it.
    Extra,
    /// Comes on top, and the classic builder removes it before the first `COPY`.
    Hidden,
}

impl Dockerfile {
    /// Decides the place of the Dockerfile that lies at `path`; `classic` is the builder it is for.
    pub(in crate::engine) fn new(
        context: &Context,
        path: &Path,
        text: String,
        classic: bool,
    ) -> Result<Self, ContextError> {
        // Docker, too, takes the file that a link leads to.
        let real = match context.root.join(path).canonicalize() {
            Ok(real) => Some(real),
            // A text that is in no file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ContextError::Io { path: path.to_owned(), source }),
        };
        let inside = real.as_ref().and_then(|real| real.strip_prefix(&context.root).ok());
        if let Some(name) = inside.filter(|name| !context.ignore.excludes(name))
            && let Some(name) = name.to_str()
        {
            return Ok(Self { name: name.to_owned(), text, place: Place::Instead });
        }
        let taken = |name: &String| context.root.join(name).symlink_metadata().is_ok();
        let mut name = ".rebuild.Dockerfile".to_owned();
        while taken(&name) {
            name.push('_');
        }
        Ok(Self { name, text, place: if classic { Place::Hidden } else { Place::Extra } })
    }

    pub(super) fn replaces(&self, entry: &ContextEntry) -> bool {
        self.place == Place::Instead && entry.path == Path::new(&self.name)
    }

    /// What hides the Dockerfile, if this entry is the context's own `.dockerignore`.
    pub(super) fn appended_to(&self, entry: &ContextEntry) -> Option<String> {
        let hides = self.place == Place::Hidden && entry.path == Path::new(IGNORE);
        hides.then(|| format!("\n{}\n", self.name))
    }

    /// A hard link becomes a file of its own if only one of the two names gets another text.
    pub(super) fn unlinked<'e>(&self, entry: &'e ContextEntry) -> Cow<'e, ContextEntry> {
        let is_changed = |path: &Path| path == Path::new(&self.name) || path == Path::new(IGNORE);
        match &entry.extras.hard_link {
            Some(first) if is_changed(first) || is_changed(&entry.path) => {
                let extras = EntryExtras { hard_link: None, ..entry.extras.clone() };
                Cow::Owned(ContextEntry { extras, ..entry.clone() })
            }
            _ => Cow::Borrowed(entry),
        }
    }

    /// The files that the context does not have: name and text.
    pub(super) fn extras(&self, entries: &[ContextEntry]) -> Vec<(PathBuf, String)> {
        if self.place == Place::Instead {
            return Vec::new();
        }
        let mut extras = vec![(self.name.clone().into(), self.text.clone())];
        let has_own = entries.iter().any(|entry| entry.path == Path::new(IGNORE));
        if self.place == Place::Hidden && !has_own {
            // It hides itself as well.
            extras.push((IGNORE.into(), format!("{IGNORE}\n{}\n", self.name)));
        }
        extras
    }
}
