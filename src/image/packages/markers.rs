//! The frame around what a manager prints: a line at the beginning and one at the end, with the exit
//! code. Output that was cut off lacks the second.

use super::ProbeError;

/// Defines `section NAME COMMAND…`, which runs a command and frames what it prints on either stream.
///
/// The scripts are the same for everybody: nothing of the user's enters them.
const FRAME: &str = r#"export LC_ALL=C DEBIAN_FRONTEND=noninteractive
section() {
    section=$1
    shift
    printf '\nrebuild: begin %s\n' "$section"
    "$@" 2>&1
    printf '\nrebuild: end %s %s\n' "$section" "$?"
}
"#;

/// The exit code with which a shell says that there is no such command.
const NO_COMMAND: i32 = 127;

/// What one command printed, whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandSection<'a> {
    command: &'static str,
    text: &'a str,
    code: i32,
}

/// The command line that runs these parts one after the other.
pub(super) fn script(parts: &[&str]) -> Vec<String> {
    let script = std::iter::once(&FRAME).chain(parts).copied().collect();
    vec!["sh".to_owned(), "-c".to_owned(), script]
}

impl<'a> CommandSection<'a> {
    /// The section of that name; the command is what errors call it.
    pub(super) fn find(
        printed: &'a str,
        name: &str,
        command: &'static str,
    ) -> Result<Self, ProbeError> {
        let cut_off = || ProbeError::CutOff(command);
        let begin = format!("\nrebuild: begin {name}\n");
        let end = format!("\nrebuild: end {name} ");
        let (_, rest) = printed.split_once(&begin).ok_or_else(cut_off)?;
        let (text, rest) = rest.split_once(&end).ok_or_else(cut_off)?;
        let (code, _) = rest.split_once('\n').ok_or_else(cut_off)?;
        let code = code.parse().map_err(|_| cut_off())?;
        if code == NO_COMMAND {
            return Err(ProbeError::Missing(command.split(' ').next().unwrap_or(command)));
        }
        Ok(Self { command, text, code })
    }

    /// Only if it ended with one of these.
    pub(super) fn ended_with(self, codes: &[i32]) -> Result<Self, ProbeError> {
        if codes.contains(&self.code) {
            return Ok(self);
        }
        Err(ProbeError::Failed { command: self.command, code: self.code, output: self.complaint() })
    }

    /// Its lines, but for empty ones.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text.lines().map(str::trim_end).filter(|line| !line.is_empty())
    }

    pub(super) fn code(&self) -> i32 {
        self.code
    }

    /// Each line that begins with `= `, which our own formats begin with, split into so many words.
    pub(super) fn records<const N: usize>(&self) -> Result<Vec<[&'a str; N]>, ProbeError> {
        let ours = self.lines().filter_map(|line| Some((line, line.strip_prefix("= ")?)));
        ours.map(|(line, record)| {
            let words: Vec<&str> = record.split(' ').collect();
            words.try_into().map_err(|_| self.unreadable(line))
        })
        .collect()
    }

    pub(super) fn unreadable(&self, line: &str) -> ProbeError {
        ProbeError::Unreadable { command: self.command, line: line.to_owned() }
    }

    pub(super) fn unreachable(&self, line: &str) -> ProbeError {
        ProbeError::Unreachable { command: self.command, output: line.to_owned() }
    }

    pub(super) fn cut_off(&self) -> ProbeError {
        ProbeError::CutOff(self.command)
    }

    /// The first line that calls itself an error, else the last one.
    fn complaint(&self) -> String {
        let is_error = |line: &&str| {
            ["E: ", "ERROR: ", "Error: ", "error: "].iter().any(|mark| line.starts_with(mark))
        };
        let line = self.lines().find(is_error).or_else(|| self.lines().last());
        line.unwrap_or_default().chars().take(500).collect()
    }
}
