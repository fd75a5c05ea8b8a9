use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use super::*;

#[test]
fn codes_are_read_back_and_stand_in_order() {
    let codes: Vec<RuleCode> = all().map(|rule| rule.code).collect();
    assert!(codes.is_sorted() && codes.iter().collect::<BTreeSet<_>>().len() == codes.len());
    for code in &codes {
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(code.rule().code, *code);
    }
    assert_eq!("rb040".parse(), Ok(RuleCode::Floating));
    for text in ["RB999", "RB", "40", "", "RB40"] {
        assert_eq!(text.parse::<RuleCode>(), Err(UnknownCode(text.to_owned())));
    }
}

/// What stands in people's files: a rule may come, and none may take another's number.
#[test]
fn codes_keep_their_meaning() {
    let variants = include_str!("mod.rs").split("pub enum RuleCode {").nth(1).unwrap();
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
        let CheckRule { code, title, why, bad, good, .. } = rule;
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
        let CheckRule { code, severity, title, .. } = rule;
        _ = writeln!(
            page,
            "| [{code}](#{}) | {severity} | {title} |",
            code.to_string().to_lowercase()
        );
    }
    for CheckRule { code, severity, title, why, bad, good, language } in all() {
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

`rebuild check` reports problems of the hierarchy and its Dockerfiles, without an engine and without a registry. Each problem
has a code. `rebuild explain RB040` prints the text of this page for a code.

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

**Severity.** `--severity error|warning|note` sets the lowest severity to show (default: `warning`). `--fail-on
error|warning|note|never` sets the lowest severity that causes exit code 2 (default: `error`). Otherwise the exit code is 0. Errors stop every other command too;
a few of them would stop a run only later.

**Ignoring.** The comment `# rebuild ignore=RB040` suppresses a warning or a note on its line, or on the line below if the comment has a line of its own.
Several codes are `ignore=RB040,RB041`; a reason may follow. In a Dockerfile the comment needs a line of its own. A comment cannot suppress
an error. A comment that suppresses nothing is a warning (RB060).

**Formats.** `--format text` is for terminals. `github` prints commands of GitHub Actions, which show each problem at its line in a pull request. `sarif` is SARIF 2.1.0, for code scanning and editors.
In both, paths are relative to the root of the git repository. `json` prints one object: `v` (1), `images` (their number), `counts` (`error`, `warning`, `note` and
`ignored`) and `problems`. Each problem has `code`, `severity`, `message`, `hint` and `file` (relative to the root of the repository). If it has a place, it also has `line`, `column`, `end_line` and `end_column`, counted from 1 in
characters. `counts` includes problems that `--severity` hides.

In a workflow of GitHub Actions:

```yaml
- run: rebuild check --format sarif >rebuild.sarif
- uses: github/codeql-action/upload-sarif@v3
  if: always()
  with: { sarif_file: rebuild.sarif }
```

This page is generated from `src/check/rules/`.

| code | severity | problem |
|---|---|---|
";
