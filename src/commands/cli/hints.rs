//! What else to write, where clap does not know a word of the command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of other programs, and what `rebuild` has for them.
const OTHER_NAMES: [(&[&str], &str); 3] = [
    (&["--json"], "commands that write JSON have `--format json`"),
    (&["--dry-run", "-n"], "`rebuild plan` prints what a run would do"),
    (
        &["--verbose", "-v"],
        "`REBUILD_LOG=rebuild=debug` before a command logs what the program does",
    ),
];

/// Removes clap's proposal to write an unknown flag as a value, which only the command of `shell` can be.
pub(super) fn without_values(arguments: &[OsString], mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument && arguments.iter().all(|word| word != "shell") {
        error.remove(ContextKind::Suggested);
    }
    error
}

/// A sentence about the unknown word.
pub(in crate::commands) fn hint(
    error: &clap::Error,
    is_image: impl Fn(&str) -> bool,
) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(word)) = error.get(kind) else { return None };
    if let Some((_, hint)) = OTHER_NAMES.iter().find(|(flags, _)| flags.contains(&word.as_str())) {
        return Some((*hint).to_owned());
    }
    is_image(word).then(|| {
        format!(
            "`{word}` is an image: `rebuild --from {word}` rebuilds it and its descendants, `rebuild --only {word}` \
             the image alone"
        )
    })
}
