//! What else to write, where clap does not know a word of the command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of other programs, and what `rebuild` has for them.
const OTHER_NAMES: [(&[&str], &str); 2] = [
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
    arguments: &[OsString],
    is_image: impl Fn(&str) -> bool,
) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(word)) = error.get(kind) else { return None };
    if ["--json", "--format"].contains(&word.as_str()) {
        return Some(json_flag(arguments));
    }
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

/// How the command of this command line writes JSON.
fn json_flag(arguments: &[OsString]) -> String {
    let all = super::command();
    let named = arguments.iter().skip(1).find_map(|word| all.find_subcommand(word));
    let command = named.unwrap_or(&all);
    let name =
        named.map_or_else(|| "rebuild".to_owned(), |one| format!("rebuild {}", one.get_name()));
    let has = |flag: &str, value: &str| {
        let mut flags = command.get_arguments();
        let argument = flags.find(|argument| argument.get_long() == Some(flag));
        let values = argument.map(clap::Arg::get_possible_values).unwrap_or_default();
        values.iter().any(|one| one.matches(value, false))
    };
    if has("format", "json") {
        format!("`{name}` writes JSON with `--format json`")
    } else if has("progress", "json") {
        format!(
            "`{name}` writes its events as JSON with `--progress json`, and its result with `--json-report FILE`"
        )
    } else {
        format!("`{name}` has no output in JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cli::Cli;

    /// The hint for an unknown flag.
    fn hinted(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = Cli::read(arguments.clone()).unwrap_err();
        hint(&error, &arguments, |_| false).unwrap_or_default()
    }

    #[test]
    fn an_unknown_json_flag_names_the_flag_of_its_command() {
        for command in super::super::command().get_subcommands() {
            let name = command.get_name();
            let hint = hinted(&format!("rebuild {name} --json"));
            let has_format = command.get_arguments().any(|argument| {
                argument.get_long() == Some("format")
                    && argument.get_possible_values().iter().any(|one| one.get_name() == "json")
            });
            assert!(hint.starts_with(&format!("`rebuild {name}` ")), "{name}: {hint}");
            assert_eq!(hint.contains("`--format json`"), has_format, "{name}: {hint}");
        }
        assert_eq!(
            hinted("rebuild -C images plan --json"),
            "`rebuild plan` writes JSON with `--format json`"
        );
        assert_eq!(
            hinted("rebuild --json"),
            "`rebuild` writes its events as JSON with `--progress json`, and its result with `--json-report FILE`"
        );
        assert_eq!(hinted("rebuild log app --json"), "`rebuild log` has no output in JSON");
    }
}
