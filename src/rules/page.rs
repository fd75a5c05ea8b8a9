//! What is said of the rules: one after another, each by itself, and the page `docs/checks.md`.

use std::fmt::Write as _;

use super::{Code, Language, Rule, Severity, all};

/// A line for each rule.
pub fn summary() -> String {
    let line = |rule: &Rule| format!("{}  {:7}  {}\n", rule.code, rule.severity, rule.title);
    all().map(line).collect()
}

/// All that is said of one rule, for a terminal.
pub fn explanation(code: Code) -> String {
    let Rule { severity, title, why, bad, good, .. } = code.rule();
    let indented =
        |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    let ignored = match severity {
        Severity::Error => String::new(),
        _ => format!(
            "\nTo leave it as it is, on its line or on the line above:\n\n    # rebuild ignore={code}\n"
        ),
    };
    format!(
        "{code}: {title} ({severity})\n\n{}\n\nInstead of\n\n{}\nwrite\n\n{}{ignored}",
        wrapped(why),
        indented(bad),
        indented(good),
    )
}

/// Lines of at most 80 letters.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 80 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// What `docs/checks.md` is.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for rule in all() {
        let Rule { code, severity, title, .. } = rule;
        _ = writeln!(
            page,
            "| [{code}](#{}) | {severity} | {title} |",
            code.to_string().to_lowercase()
        );
    }
    for Rule { code, severity, title, why, bad, good, language } in all() {
        let language = match language {
            Language::Yaml => "yaml",
            Language::Dockerfile => "dockerfile",
            Language::Text => "text",
        };
        _ = write!(
            page,
            "\n## {code}\n\n**{title}** ({severity})\n\n{why}\n\nInstead of\n\n\
             ```{language}\n{bad}\n```\n\nwrite\n\n```{language}\n{good}\n```\n"
        );
    }
    page
}

const HEAD: &str = "\
# Checks

`rebuild check` looks at the hierarchy and its Dockerfiles, and says everything that can be known without an engine and without a registry. Every problem
has a code; `rebuild explain RB040` says in the terminal what stands here.

```console
$ rebuild check
warning[RB040]: `debian` may be any version: it has no tag
 --> images/os-base/Dockerfile:1:6
  |
1 | FROM debian
  |      ^^^^^^
  |
  = hint: name a line of versions by its tag, such as `12` or `3.4`

1 warning in 8 images (2 notes not shown: `--severity note`)
```

**What is shown, and how it ends.** `--severity error|warning|note` says from which severity on problems are shown (`warning` if not given), `--fail-on
error|warning|note|never` from which one on the exit code is 2 (`error` if not given). Otherwise it is 0. Errors are those that every other command ends with, too,
and a few that would end a run later.

**Ignoring.** A comment `# rebuild ignore=RB040` (or `ignore=RB040,RB041`, and a reason behind it if you like) on the line of the problem, or on a
line of its own above it, takes a warning or a note away; in a Dockerfile only above, since a comment needs a line of its own there. Errors
cannot be ignored. A comment that ignores nothing is told (RB060).

**Formats.** `--format text` is for people. `github` prints a command of GitHub Actions for each problem, which shows it at its line in a pull request. `sarif` is SARIF 2.1.0, for code scanning and editors.
In both, paths are relative to the root of the git repository. `json` is one object: `v` (1), `images` (how many there are), `counts` (`error`, `warning`, `note` and
`ignored`) and `problems`, each with `code`, `severity`, `message`, `hint`, `file` (relative to the root of the repository), and, where there is a place, `line`, `column`, `end_line`, `end_column`, counted from 1 in
characters. What `--severity` hides is in the counts only.

In a workflow of GitHub Actions:

```yaml
- run: rebuild check --format sarif >rebuild.sarif
- uses: github/codeql-action/upload-sarif@v3
  if: always()
  with: { sarif_file: rebuild.sarif }
```

This page is made from the table that the program has (`src/rules/`).

| code | severity | |
|---|---|---|
";
