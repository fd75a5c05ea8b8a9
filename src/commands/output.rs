//! Where commands print: results on stdout, everything else on stderr.
//!
//! **Invariant:** what is printed here went through the sanitizer, whatever it was made of: paths, names,
//! errors of registries. `tests/it/architecture.rs` lists who may go around it, and that there is no other
//! door.

use std::{
    io::{self, IsTerminal as _, Write},
    process::Stdio,
};

use crate::{
    commands::cli::Colour,
    report::{self, sanitize},
};

/// Says what went wrong.
pub(super) fn error(message: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    line(&format!("{style}error{style:#}: {message}"));
}

/// Says what a person should know though it goes on.
pub(super) fn warning(message: &str) {
    let style = anstyle::AnsiColor::Yellow.on_default().bold();
    line(&format!("{style}warning{style:#}: {message}"));
}

/// Text that is already laid out, to stderr, set apart from what follows.
pub(super) fn notice(text: &str) {
    laid_out(&format!("{text}\n"));
}

/// A line of what is going on, to stderr, in the width of the terminal.
pub(super) fn line(text: &str) {
    let columns = report::stderr_size().map(|(columns, _)| columns);
    laid_out(&report::wrap(&sanitize::lines(text), columns));
}

fn laid_out(text: &str) {
    _ = writeln!(anstream::stderr(), "{}", sanitize::lines(text));
}

/// What clap says of a command line. Help and version are answers, and go to stdout.
pub(super) fn usage(error: &clap::Error) {
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        laid_out(text.trim_end());
    } else {
        _ = answer(text.as_bytes());
    }
}

/// Where `REBUILD_LOG` goes: stderr, an event at a time.
#[derive(Default)]
pub(super) struct LogWriter(Vec<u8>);

impl Write for LogWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        laid_out(String::from_utf8_lossy(&self.0).trim_end());
    }
}

/// Text that a CI system is to read, to stderr, where the report of a run stands.
pub(super) fn stderr() -> impl Write {
    io::stderr()
}

/// Where a program of the user's prints: stdout is for results of ours.
pub(super) fn stderr_of_child() -> Stdio {
    io::stderr().into()
}

/// An empty screen, for what comes next.
pub(super) fn clear() {
    _ = write!(io::stderr(), "\x1b[2J\x1b[H");
}

/// An answer, to stdout.
pub(super) fn answer(text: &[u8]) -> io::Result<()> {
    // A file with CRLF, or a change of one, stays so.
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.split("\r\n").map(sanitize::lines).collect();
    trusted(lines.join("\r\n").as_bytes())
}

/// An answer, to stdout. Text for people (`is_prose`) is wrapped in the width of the terminal.
pub(super) fn view(text: &[u8], is_prose: bool) -> io::Result<()> {
    let text = sanitize::lines(&String::from_utf8_lossy(text));
    let columns = report::stdout_size().filter(|_| is_prose).map(|(columns, _)| columns.into());
    trusted(report::wrap(&text, columns).as_bytes())
}

/// A page for a browser, to stdout: its writer has made all texts in it harmless, and its style sheet must stay as it is.
pub(super) fn page(text: &[u8]) -> io::Result<()> {
    trusted(text)
}

/// Text to stdout as it is: made of nothing but our own command line, or of commands for a CI system
/// whose writer has made each text in them harmless. A closed pipe is the reader's way of saying that it
/// is enough.
pub(super) fn trusted(text: &[u8]) -> io::Result<()> {
    match anstream::stdout().write_all(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What a program prints that the user has started in a container: all of it, as with `docker run`.
pub(super) fn session(bytes: &[u8]) {
    let mut out = io::stdout();
    _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Makes `--color`, `NO_COLOR`, `CLICOLOR_FORCE` and the terminal one decision.
pub(super) fn choose_colour(colour: Colour) {
    match colour {
        Colour::Auto => {}
        Colour::Always => anstream::ColorChoice::Always.write_global(),
        Colour::Never => anstream::ColorChoice::Never.write_global(),
    }
}

/// Whether text on stderr is coloured.
pub(super) fn stderr_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Whether text on stdout is coloured.
pub(super) fn stdout_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Whether a person looks at stdout.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person looks at stderr, on a terminal that can move its cursor.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
