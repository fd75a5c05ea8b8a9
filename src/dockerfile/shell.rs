//! The commands of a shell text: of a `RUN`, a `CMD` or a script.
//!
//! Words, quotes, comments and operators are those of POSIX.1-2024, "Shell Command Language", 2.2 to 2.10. No value
//! is computed: `$NAME` stays as it is written. `shlex` and `shell-words` know no operators, and `brush-parser`
//! would add 28 crates.
//!
//! **Invariant:** no text makes it panic, and nested substitutions end at [`MAX_DEPTH`].

use std::{iter::Peekable, str::Chars};

/// Deeper nesting of `$(…)`, backticks and `sh -c` is not read.
const MAX_DEPTH: usize = 16;

/// A simple command with its quotes removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellCommand {
    /// The program and its arguments, never empty. Without redirections, and without what runs the program: `sudo`,
    /// `env`, `exec`.
    pub words: Vec<String>,
    /// `NAME=value` before the program.
    pub variables: Vec<(String, String)>,
    /// Whether the program replaces the shell.
    pub is_exec: bool,
}

/// Words that may stand before a command.
const RESERVED: [&str; 12] =
    ["!", "do", "done", "elif", "else", "fi", "if", "then", "until", "while", "{", "}"];

/// Programs that run the command behind their options, and their options that have a value.
const WRAPPERS: [(&str, &[&str]); 13] = [
    ("command", &[]),
    ("doas", &["-u", "-C"]),
    ("eatmydata", &[]),
    ("env", &["-u", "-C", "-S"]),
    ("exec", &["-a"]),
    ("ionice", &["-c", "-n"]),
    ("nice", &["-n"]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D"]),
    ("time", &["-f", "-o"]),
    ("timeout", &["-s", "-k"]),
    ("xargs", &["-n", "-I", "-P", "-a", "-d", "-L", "-s", "-E"]),
];

const SHELLS: [&str; 7] = ["ash", "bash", "busybox", "dash", "ksh", "sh", "zsh"];

/// Every command, those of `$(…)` and of `sh -c '…'` too, in the order in which they are written.
pub fn shell_commands(text: &str) -> Vec<ShellCommand> {
    nested(text, 0)
}

/// The command that a list of words runs, and the commands of its text if it is `sh -c '…'`.
pub fn listed_commands(words: Vec<String>) -> Vec<ShellCommand> {
    let mut found = Vec::new();
    add(words, 0, &mut found);
    found
}

/// The commands of an instruction, from behind its name. A list of strings is not given to a shell. `None` if they are
/// in a heredoc.
pub fn instruction_commands(arguments: &str) -> Option<Vec<ShellCommand>> {
    let text = without_options(arguments).1;
    if text.replace("<<<", "").contains("<<") {
        return None;
    }
    Some(match exec_form(text) {
        Some(words) => listed_commands(words),
        None => shell_commands(text),
    })
}

/// The words of `["program", "argument"]`. Builders take a list that is not JSON for a text.
pub fn exec_form(arguments: &str) -> Option<Vec<String>> {
    serde_json::from_str(arguments.trim()).ok()
}

/// The options of an instruction, and what follows them.
pub fn without_options(arguments: &str) -> (Vec<&str>, &str) {
    let (mut options, mut rest) = (Vec::new(), arguments.trim_start());
    while rest.starts_with("--") {
        let (option, after) = rest.split_once(' ').unwrap_or((rest, ""));
        options.push(option);
        rest = after.trim_start();
    }
    (options, rest)
}

impl ShellCommand {
    /// The file name of the program.
    pub fn program(&self) -> &str {
        let program = self.words.first().map_or("", String::as_str);
        program.rsplit('/').next().unwrap_or(program)
    }

    /// The arguments.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Whether the program is a shell.
    pub fn is_shell(&self) -> bool {
        SHELLS.contains(&self.program())
    }

    /// The text of `sh -c '…'`.
    pub fn shell_text(&self) -> Option<&str> {
        if !self.is_shell() && self.program() != "su" {
            return None;
        }
        let is_text = |word: &String| {
            word.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains('c'))
        };
        let at = self.arguments().iter().position(is_text)?;
        let mut rest = self.arguments()[at + 1..].iter();
        rest.find(|word| !word.starts_with('-')).map(String::as_str)
    }
}

fn nested(text: &str, depth: usize) -> Vec<ShellCommand> {
    let mut reader = ShellReader {
        chars: text.chars().peekable(),
        found: Vec::new(),
        words: Vec::new(),
        word: None,
        skips: false,
        heredocs: Vec::new(),
        depth,
    };
    if depth < MAX_DEPTH {
        reader.read();
    }
    reader.found
}

struct ShellReader<'t> {
    chars: Peekable<Chars<'t>>,
    found: Vec<ShellCommand>,
    words: Vec<String>,
    word: Option<String>,
    /// The next word is the target of a redirection.
    skips: bool,
    /// Names that end the heredocs of this line. An empty one is not known yet.
    heredocs: Vec<String>,
    depth: usize,
}

impl ShellReader<'_> {
    fn read(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                '\n' => {
                    self.end_command();
                    self.skip_heredocs();
                }
                '&' if self.chars.peek() == Some(&'>') => self.redirection(c),
                ';' | '&' | '|' | '(' | ')' => self.end_command(),
                _ if c.is_whitespace() => self.end_word(),
                '#' if self.word.is_none() => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '<' | '>' => self.redirection(c),
                '\'' => {
                    let text: String = self.chars.by_ref().take_while(|c| *c != '\'').collect();
                    self.push(&text);
                }
                '"' => self.double_quotes(),
                '\\' => match self.chars.next() {
                    Some('\n') | None => {}
                    Some(c) => self.push(c.encode_utf8(&mut [0; 4])),
                },
                '$' => self.dollar(),
                '`' => self.backticks(),
                _ => self.push(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.end_command();
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.skips) {
            self.words.push(word);
        } else if let Some(name) = self.heredocs.last_mut().filter(|name| name.is_empty()) {
            *name = word;
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.skips = false;
        let words = std::mem::take(&mut self.words);
        add(words, self.depth, &mut self.found);
    }

    /// `>file`, `2>&1`, `<<EOF`, and `<(command)`.
    fn redirection(&mut self, first: char) {
        let is_number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
        if self.word.as_ref().is_some_and(is_number) {
            self.word = None;
        }
        self.end_word();
        let mut operator = first.to_string();
        while let Some(c) = self.chars.next_if(|c| "<>&|-".contains(*c)) {
            operator.push(c);
        }
        self.skips = self.chars.peek() != Some(&'(') && !operator.ends_with("&-");
        if ["<<", "<<-"].contains(&operator.as_str()) {
            self.heredocs.push(String::new());
        }
    }

    fn skip_heredocs(&mut self) {
        for name in std::mem::take(&mut self.heredocs) {
            while self.chars.peek().is_some() {
                let line: String = self.chars.by_ref().take_while(|c| *c != '\n').collect();
                if line.trim_start_matches('\t') == name {
                    break;
                }
            }
        }
    }

    fn double_quotes(&mut self) {
        self.push("");
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return,
                '\\' => match self.chars.next() {
                    Some('\n') | None => {}
                    Some(c) => {
                        if !"\"\\$`".contains(c) {
                            self.push("\\");
                        }
                        self.push(c.encode_utf8(&mut [0; 4]));
                    }
                },
                '$' => self.dollar(),
                '`' => self.backticks(),
                _ => self.push(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn backticks(&mut self) {
        let (mut text, mut is_escaped) = (String::new(), false);
        for c in self.chars.by_ref() {
            match c {
                '`' if !is_escaped => break,
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                _ => text.push(c),
            }
            is_escaped = false;
        }
        self.substitution(&text);
    }

    /// `$NAME`, `${NAME:-a b}` and `$(command)`.
    fn dollar(&mut self) {
        let Some(open) = self.chars.next_if(|c| matches!(c, '(' | '{')) else {
            return self.push("$");
        };
        let close = if open == '(' { ')' } else { '}' };
        let (mut text, mut level, mut quote) = (String::new(), 1, None);
        while let Some(c) = self.chars.next() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), _) if open == c => quote = None,
                (None, _) if c == open => level += 1,
                (None, _) if c == close => level -= 1,
                _ => {}
            }
            if level == 0 {
                break;
            }
            text.push(c);
            if c == '\\' && quote != Some('\'') {
                text.extend(self.chars.next());
            }
        }
        match open {
            '(' => self.substitution(&text),
            _ => self.push(&format!("${{{text}}}")),
        }
    }

    fn substitution(&mut self, text: &str) {
        self.found.extend(nested(text, self.depth + 1));
        self.push("$(…)");
    }
}

fn add(words: Vec<String>, depth: usize, found: &mut Vec<ShellCommand>) {
    let command = without_wrappers(words);
    if command.words.is_empty() {
        return;
    }
    let text = command.shell_text().map(str::to_owned);
    found.push(command);
    if let Some(text) = text {
        found.extend(nested(&text, depth + 1));
    }
}

fn without_wrappers(words: Vec<String>) -> ShellCommand {
    let mut command = ShellCommand::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if RESERVED.contains(&word.as_str()) {
            continue;
        }
        if let Some((name, value)) = word.split_once('=')
            && is_name(name)
        {
            command.variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let program = word.rsplit('/').next().unwrap_or(&word);
        let Some((name, values)) = WRAPPERS.iter().find(|(name, _)| *name == program) else {
            command.words = [word].into_iter().chain(words).collect();
            return command;
        };
        command.is_exec |= *name == "exec";
        // A time limit or a niceness is a word without a name.
        let is_own =
            |word: &String| word.starts_with('-') || word.starts_with(|c: char| c.is_ascii_digit());
        while let Some(option) = words.next_if(is_own) {
            if values.contains(&option.as_str()) {
                words.next();
            }
        }
    }
    command
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands separated by ` / `, words by `_`.
    fn told(commands: &[ShellCommand]) -> String {
        let one = |command: &ShellCommand| {
            let exec = if command.is_exec { "exec " } else { "" };
            let variables =
                command.variables.iter().map(|(name, value)| format!("{name}={value} "));
            format!("{}{exec}{}", variables.collect::<String>(), command.words.join("_"))
        };
        commands.iter().map(one).collect::<Vec<_>>().join(" / ")
    }

    #[test]
    fn commands_and_words() {
        for (text, expected) in [
            ("a b&&c|d;e & f||g", "a_b / c / d / e / f / g"),
            ("a 'b  && c' \"d;e\" f\\ g h'i'", "a_b  && c_d;e_f g_hi"),
            ("a # b && c\nd#e", "a / d#e"),
            ("a >x 2>&1 </dev/null b 2>/dev/null >>y&>z c", "a_b_c"),
            ("if a; then b; else { c; }; fi; ! d", "a / b / c / d"),
            ("for x in 1 2; do a $x; done", "for_x_in_1_2 / a_$x"),
            ("(cd x && a) | b", "cd_x / a / b"),
            ("a $(b \"$(c)\") `d`", "c / b_$(…) / d / a_$(…)_$(…)"),
            ("a \"$(b)\" ${c:-d e} \"\"", "b / a_$(…)_${c:-d e}_"),
            ("X=1 Y= a X=2", "X=1 Y= a_X=2"),
            ("sudo -E -u root env -i B=1 a", "B=1 a"),
            ("timeout -k 5 60 nice -n 10 /usr/bin/a b", "/usr/bin/a_b"),
            ("xargs -r -n 1 a -y <list", "a_-y"),
            ("cd x && exec a", "cd_x / exec a"),
            ("exec >log; echo exec a", "echo_exec a".replace(' ', "_").as_str()),
            ("bash -ec 'a && b' x", "bash_-ec_a && b_x / a / b"),
            ("su - user -c \"a b\"", "su_-_user_-c_a b / a_b"),
            ("cat <<E && a\nb && c\nE\nd", "cat / a / d"),
            ("a <(b c)", "a / b_c"),
            ("a 'open", "a_open"),
            ("", ""),
        ] {
            assert_eq!(told(&shell_commands(text)), expected, "{text}");
        }
    }

    #[test]
    fn instructions_in_both_forms() {
        for (text, expected) in [
            ("--mount=type=cache,target=/x --network=none a b", Some("a_b")),
            ("[\"a\", \"b && c\"]", Some("a_b && c")),
            ("[\"sh\", \"-c\", \"a && b\"]", Some("sh_-c_a && b / a / b")),
            ("['a', 'b']", Some("[a,_b]")),
            ("[ -f x ] && a", Some("[_-f_x_] / a")),
            ("<<EOF", None),
            ("cat <<<x", Some("cat")),
        ] {
            let found = instruction_commands(text);
            assert_eq!(found.as_deref().map(told).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_ends() {
        for open in ["$(", "`", "${", "(", "\"$(", "sh -c '"] {
            assert!(shell_commands(&open.repeat(50_000)).len() < 100_000, "{open}");
        }
    }

    #[test]
    fn fuzz_shell() {
        const WORDS: [&str; 14] =
            ["$(", ")", "`", "'", "\"", "\\", "#", "<<", "&&", "${", "}", "sh -c ", "\n", "exec "];
        let texts: [&[u8]; 2] =
            [b"a \"$(b `c`)\" && sh -c 'd; e' >x 2>&1 # f", b"cat <<E\nx\nE\nif a; then b; fi"];
        crate::testing::fuzz::each(&texts, &WORDS, |text| {
            _ = shell_commands(&String::from_utf8_lossy(text));
        });
    }
}
