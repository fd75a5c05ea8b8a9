//! Which files of the build context a `prepare` command names.
//!
//! **Invariant:** the command runs in a copy of the context. A word either names a file of the
//! context, which is copied and is a part of the fingerprint, or names nothing of the checkout.

use std::path::{Component, Path, PathBuf};

/// Why a word of the command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// `..`: beside the copy there is no checkout, but the temporary folder of every user.
    Above,
    /// A link out of the context.
    LeadsOut,
    /// An absolute path into the checkout: not the copy's file, and no part of the fingerprint.
    Checkout,
}

/// The file of the context that a word names, relative to it and with links resolved.
pub(super) fn file(word: &str, context: &Path, root: &Path) -> Result<Option<PathBuf>, Refused> {
    let leads_up =
        |text: &str| Path::new(text).components().any(|part| part == Component::ParentDir);
    // Also the value of an option: `--from=../x`.
    if word.split('=').any(leads_up) {
        return Err(Refused::Above);
    }
    let (Ok(real), Ok(context), Ok(root)) =
        (context.join(word).canonicalize(), context.canonicalize(), root.canonicalize())
    else {
        return Ok(None);
    };
    if Path::new(word).is_absolute() {
        let is_ours = real.starts_with(&root) || real.starts_with(&context);
        return if is_ours { Err(Refused::Checkout) } else { Ok(None) };
    }
    let inside = real.strip_prefix(&context).map_err(|_| Refused::LeadsOut)?;
    Ok(real.is_file().then(|| inside.to_owned()))
}

/// The first word that is refused.
pub(super) fn refused<'w>(
    command: &'w [String],
    context: &Path,
    root: &Path,
) -> Option<(&'w str, Refused)> {
    command.iter().find_map(|word| Some((word.as_str(), file(word, context, root).err()?)))
}

impl Refused {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Above => {
                "the command runs in a copy of the context: put the file into the context, or let \
                 `context` name a folder above both"
            }
            Self::LeadsOut => "it is a link out of the context: put the file itself there",
            Self::Checkout => {
                "name the file relative to the context, so that it is hashed and copied"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_files_of_the_context_are_files_of_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let (root, context) = (folder.path(), folder.path().join("c"));
        fs::create_dir_all(context.join("sub")).unwrap();
        for path in ["gen.sh", "c/make.sh", "c/sub/x"] {
            fs::write(root.join(path), "").unwrap();
        }
        symlink("sub/x", context.join("inside")).unwrap();
        symlink("../gen.sh", context.join("outside")).unwrap();
        symlink("..", context.join("up")).unwrap();
        let absolute = |path: &str| root.join(path).display().to_string();
        for (word, expected) in [
            ("make.sh", Ok(Some("make.sh"))),
            ("./make.sh", Ok(Some("make.sh"))),
            ("sub/x", Ok(Some("sub/x"))),
            ("inside", Ok(Some("sub/x"))),
            ("sub", Ok(None)),
            ("bookworm", Ok(None)),
            ("1..2", Ok(None)),
            ("cd sub && cd ..", Ok(None)),
            ("", Ok(None)),
            ("/bin/sh", Ok(None)),
            ("/dev/null", Ok(None)),
            ("../gen.sh", Err(Refused::Above)),
            ("sub/../../gen.sh", Err(Refused::Above)),
            ("../nothing", Err(Refused::Above)),
            ("--file=../gen.sh", Err(Refused::Above)),
            ("outside", Err(Refused::LeadsOut)),
            ("up/gen.sh", Err(Refused::LeadsOut)),
            (&absolute("gen.sh"), Err(Refused::Checkout)),
            (&absolute("c/make.sh"), Err(Refused::Checkout)),
        ] {
            let expected = expected.map(|path| path.map(PathBuf::from));
            assert_eq!(file(word, &context, root), expected, "{word}");
        }
    }
}
