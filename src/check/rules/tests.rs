use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use super::*;

#[test]
fn codes_are_read_back_and_stand_in_order() {
    let codes: Vec<Code> = all().map(|rule| rule.code).collect();
    assert!(codes.is_sorted() && codes.iter().collect::<BTreeSet<_>>().len() == codes.len());
    for code in &codes {
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(code.rule().code, *code);
    }
    assert_eq!("rb040".parse(), Ok(Code::Floating));
    for text in ["RB999", "RB", "40", "", "RB40"] {
        assert_eq!(text.parse::<Code>(), Err(UnknownCode(text.to_owned())));
    }
}

/// What stands in people's files: a rule may come, and none may take another's number.
#[test]
fn codes_keep_their_meaning() {
    let variants = include_str!("mod.rs").split("pub enum Code {").nth(1).unwrap();
    let variants = variants.split('}').next().unwrap().lines();
    let variants = variants.filter_map(|line| line.trim().strip_suffix(',')?.split(" = ").nth(1));
    let numbers: Vec<String> =
        variants.map(|n| format!("RB{:03}", n.parse::<u16>().unwrap())).collect();
    let listed: Vec<String> = all().map(|rule| rule.code.to_string()).collect();
    assert_eq!(numbers, listed, "each code has its rule");
}

#[test]
fn rules_say_what_is_wrong_and_show_it_put_right() {
    for rule in all() {
        let Rule { code, title, why, bad, good, .. } = rule;
        assert!(!title.ends_with('.') && title.len() < 80, "{code}: {title}");
        assert!(why.ends_with('.') && why.len() > 30, "{code}: {why}");
        assert_ne!(bad, good, "{code}");
        let told = explanation(*code);
        let ignorable = told.contains(&format!("# rebuild ignore={code}"));
        assert_eq!(ignorable, rule.severity != Severity::Error, "{told}");
    }
}

/// With `UPDATE_DOCS=1` the page is written instead.
#[test]
fn the_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == page(), "run the tests with UPDATE_DOCS=1");
}

/// What `docs/checks.md` is.
fn page() -> String {
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

This page is made from the table that the program has (`src/check/rules/`).

| code | severity | |
|---|---|---|
";
