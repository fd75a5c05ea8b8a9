//! The first process of a container: whether it is a shell that passes no signals on.

use std::path::{Path, PathBuf};

use super::image::{Advice, LintedImage, copy};
use crate::{
    check::rules::RuleCode,
    dockerfile::shell::{
        ShellCommand, exec_form, listed_commands, shell_commands, without_options,
    },
    host::bounded,
};

/// Longer scripts are not read, in bytes.
const LONGEST_SCRIPT: u64 = 256 * 1024;
/// Where a program without a path is looked for.
const PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Advice if a shell stays the first process.
pub(super) fn shell(image: &LintedImage<'_>) -> Option<Advice> {
    let entrypoint = image.last("ENTRYPOINT").filter(|(_, text)| text.trim() != "[]");
    let (name, (line, text)) = match entrypoint {
        Some(entrypoint) => ("ENTRYPOINT", entrypoint),
        None => ("CMD", image.last("CMD")?),
    };
    let advice = |message: String, hint: String| Advice {
        line,
        code: RuleCode::ShellEntrypoint,
        message,
        hint,
    };
    let stays = || {
        advice(
            format!("`{name}` starts a shell, which passes no signal on to the program"),
            format!("name the program as a list: `{name} [\"program\", \"argument\"]`"),
        )
    };
    let Some(words) = exec_form(text) else {
        return (!ends_with_exec(&shell_commands(text))).then(stays);
    };
    let commands = listed_commands(words);
    let first = commands.first()?;
    if first.is_shell() && first.shell_text().is_some() {
        return (!ends_with_exec(&commands[1..])).then(stays);
    }
    let script = if first.is_shell() {
        first.arguments().iter().find(|word| !word.starts_with('-'))?
    } else {
        &first.words[0]
    };
    let text = bounded::read(&copied_from(image, script)?, LONGEST_SCRIPT).ok()?;
    let text = String::from_utf8_lossy(&text);
    (is_shell_script(&text) && !hands_over(&shell_commands(&text))).then(|| {
        advice(
            format!("`{script}` is a shell script that starts its program without `exec`"),
            "write `exec` before the program, such as `exec \"$@\"`: then signals reach it"
                .to_owned(),
        )
    })
}

fn ends_with_exec(commands: &[ShellCommand]) -> bool {
    commands.last().is_some_and(|last| last.is_exec)
}

/// Whether a script replaces itself, or handles signals.
fn hands_over(commands: &[ShellCommand]) -> bool {
    commands.iter().any(|one| one.is_exec || one.program() == "trap")
}

fn is_shell_script(text: &str) -> bool {
    let program = text.strip_prefix("#!").and_then(|rest| rest.lines().next());
    program.is_some_and(|line| shell_commands(line).first().is_some_and(ShellCommand::is_shell))
}

/// The file of the context that is at this path of the image, if a `COPY` shows it.
fn copied_from(image: &LintedImage<'_>, program: &str) -> Option<PathBuf> {
    let mut folder: Option<String> = None;
    let mut found = None;
    for one in image.own() {
        if let Some(to) = one.text.strip_prefix("WORKDIR ") {
            let is_known = !to.contains('$');
            folder = match &folder {
                _ if to.starts_with('/') => Some(to.to_owned()),
                Some(folder) => Some(format!("{folder}/{to}")),
                None => None,
            };
            folder = folder.filter(|_| is_known);
            continue;
        }
        let is_from_context = one.text.starts_with("COPY ") || one.text.starts_with("ADD ");
        let options = one.text.split_once(' ').map(|(_, rest)| without_options(rest).0);
        let is_elsewhere = options.unwrap_or_default().iter().any(|it| it.starts_with("--from="));
        if !is_from_context || is_elsewhere || one.text.contains('$') {
            continue;
        }
        let words = copy(&one.text).unwrap_or_default();
        let Some((to, sources)) = words.split_last() else { continue };
        let to = match &folder {
            _ if to.starts_with('/') => to.clone(),
            Some(folder) => format!("{folder}/{to}"),
            None => continue,
        };
        for source in sources {
            let file = source_of(&image.files.context, source, &to, sources.len(), program);
            found = file.or(found);
        }
    }
    found
}

/// The file of the context that a source puts at the program's path. A folder is copied as its content.
fn source_of(
    context: &Path,
    source: &str,
    to: &str,
    number_of_sources: usize,
    program: &str,
) -> Option<PathBuf> {
    let normal = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !["", "."].contains(part)).map(str::to_owned).collect()
    };
    let parts = normal(source);
    if parts.iter().any(|part| part == "..") {
        return None;
    }
    let file = context.join(parts.iter().collect::<PathBuf>());
    let mut at = normal(to);
    if file.is_file() && (to.ends_with('/') || to.ends_with("/.") || number_of_sources > 1) {
        at.push(parts.last()?.clone());
    }
    let wanted: Vec<Vec<String>> = if program.contains('/') {
        vec![normal(program)]
    } else {
        PATH.iter().map(|folder| normal(&format!("{folder}/{program}"))).collect()
    };
    let rest = wanted.iter().find_map(|wanted| wanted.strip_prefix(&at[..]))?;
    let file = if rest.is_empty() { file } else { file.join(rest.iter().collect::<PathBuf>()) };
    file.is_file().then_some(file)
}
