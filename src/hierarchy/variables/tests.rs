use std::{fs, path::PathBuf};

use super::*;
use crate::hierarchy::{Hierarchy, Node};

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment::Only(pairs.iter().map(own).collect())
}

fn options(pairs: &[(&str, &str)]) -> LoadOptions {
    let environment = environment(pairs);
    LoadOptions { environment, names_only: false, ..LoadOptions::default() }
}

/// The images of a file below a folder without Dockerfiles; or each problem with its place.
fn load(text: &str, options: &LoadOptions) -> Result<Vec<Node>, Vec<String>> {
    let text = format!("version: 1\n{text}");
    let options = LoadOptions { names_only: true, ..options.clone() };
    let loaded = Hierarchy::load_text(PathBuf::from("/h.yaml"), text, &options);
    let loaded = loaded.map_err(|error| {
        let line = |one: &Diagnostic| {
            let (_, line, column) = one.position().unwrap();
            let label = &one.excerpts[0].labels[0].text;
            format!("{line}:{column}: {} [{label}]", one.message)
        };
        error.problems.iter().map(line).collect::<Vec<_>>()
    })?;
    Ok(loaded.hierarchy.in_build_order().cloned().collect())
}

#[test]
fn values_are_expanded_and_commands_are_not() {
    let text = r#"
registry: ${HOST:-r.example}/base
defaults: { timeout: "${TIME}", ssh: "${SSH}" }
images:
  a:
    tags: ["${V}", "${V}-$${V}{date}"]
    build_args: { A: "${V}", B: "$V $$ $", C: "$${V}", D: "${UNSET:-${ALSO:-x${V}}}", E: "${EMPTY}", F: "${EMPTY:-f}" }
    labels: { l: "a${V}b${V}c" }
    retries: ${N}
    prepare: [sh, -c, "echo ${UNSET}"]
    test: [{ run: [sh, -c, "echo ${UNSET} $${V}"], stdout: "^$" }]
  m-{v}: { matrix: { v: ["${V}"] } }
"#
    .replace("-$${V}{date}", "-{date}");
    let values = [
        ("V", "12"),
        ("N", "2"),
        ("EMPTY", ""),
        ("TIME", "90s"),
        ("SSH", "true"),
        ("HOST", "h.example:5000"),
    ];
    let nodes = load(&text, &options(&values)).unwrap();
    let [a, m] = &nodes[..] else { panic!("{nodes:?}") };
    assert_eq!((a.repository.as_str(), m.name.as_str()), ("h.example:5000/base/a", "m-12"));
    assert_eq!(
        a.tags.iter().map(crate::hierarchy::TagTemplate::as_str).collect::<Vec<_>>(),
        ["12", "12-{date}"]
    );
    let args: Vec<&str> = a.build_args.values().map(String::as_str).collect();
    assert_eq!(args, ["12", "$V $$ $", "${V}", "x12", "", "f"]);
    assert_eq!(a.labels["l"], "a12b12c");
    assert_eq!((a.retries, a.timeout.as_secs(), a.ssh), (2, 90, crate::hierarchy::Ssh::Agent));
    assert_eq!(a.prepare.as_ref().unwrap()[2], "echo ${UNSET}");
    let crate::hierarchy::Check::Run { argv, stdout } = &a.tests[0].check else { panic!() };
    assert_eq!((argv[2].as_str(), stdout.as_deref()), ("echo ${UNSET} $${V}", Some("^$")));
}

#[test]
fn problems_name_their_place_and_every_variable_without_a_value() {
    let text = "\
registry: ${REGISTRY}
images:
  a: { tags: [\"${TAG:?set it to a version}\"], target: \"${TARGET}\", retries: \"${MANY}\" }
  b: { labels: { x: \"${1}\", y: \"${A-b}\", z: \"${A\" } }
  c: { labels: { x: \"${NPM_TOKEN}\" } }
  d: { allow_build_args: [SIGN_KEY], labels: { x: \"${SIGN_KEY}\" } }
";
    let values = [("MANY", "9"), ("NPM_TOKEN", "hunter2"), ("SIGN_KEY", "k")];
    let options = LoadOptions { names_only: false, ..options(&values) };
    let source =
        crate::check::diagnostic::SourceFile::new("/h.yaml", format!("version: 1\n{text}"));
    let (mut tree, _) = crate::hierarchy::yaml::parse(&source).unwrap();
    let mut problems = Problems::new(&source);
    let file =
        crate::hierarchy::schema::File::expanded(&mut tree, &source.path, &options, &mut problems);
    let broken: Vec<(String, bool)> = file
        .unwrap()
        .images
        .into_iter()
        .map(|(name, image)| (name.value, image.is_broken))
        .collect();
    let is_broken = [("a", true), ("b", true), ("c", true), ("d", false)];
    assert_eq!(broken, is_broken.map(|(name, is)| (name.to_owned(), is)));
    let mut told: Vec<String> = problems
        .take()
        .iter()
        .map(|one| {
            assert!(!format!("{one:?}").contains("hunter2"));
            let (_, line, column) = one.position().unwrap();
            format!(
                "{} {line}:{column} {} {}",
                one.code.unwrap(),
                one.message,
                one.excerpts[0].labels[0].text
            )
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "RB006 4:77 `retries` must be a number from 0 to 5, not `9` `${MANY}` is `9` here",
            "RB006 5:21 `${1}` is not a variable ",
            "RB006 5:32 `${A-b}` is not a variable ",
            "RB006 5:45 `${A` has no closing brace ",
            "RB011 6:21 `NPM_TOKEN` looks like a secret, and this value can be read from the image or its records ",
            "RB014 2:11 `REGISTRY` has no value ",
            "RB014 4:15 `TAG` has no value: set it to a version ",
            "RB014 4:55 `TARGET` has no value ",
        ]
    );
}

#[test]
fn names_alone_need_no_other_variables() {
    let text =
        "images:\n  a: { tags: [\"${V}\"], target: \"${UNSET}\", labels: { x: \"${UNSET}\" } }\n";
    assert_eq!(load(text, &options(&[("V", "1")])).unwrap().len(), 1);
    let problems = load(text, &options(&[])).unwrap_err();
    assert_eq!(problems, ["3:15: `V` has no value []"]);
}

#[test]
fn an_untrusted_file_reads_no_variable_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "B=from file\n").unwrap();
    let text = |value: &str| {
        format!("version: 1\nenv_file: .env\nimages:\n  a: {{ labels: {{ x: \"{value}\" }} }}\n")
    };
    let options = LoadOptions {
        trust: Trust::Untrusted,
        names_only: false,
        ..options(&[("HOME", "/secret")])
    };
    for (value, expected) in [
        ("${HOME}", Err("`HOME` is a variable of this machine: refused")),
        ("${HOME:-x}", Err("`HOME` is a variable of this machine: refused")),
        ("${UNSET:-x}", Ok("x")),
        ("${B}", Ok("from file")),
    ] {
        let path = folder.path().join("hierarchy.yaml");
        let source = crate::check::diagnostic::SourceFile::new(path, text(value));
        let (mut tree, _) = crate::hierarchy::yaml::parse(&source).unwrap();
        let mut problems = Problems::new(&source);
        let file = crate::hierarchy::schema::File::expanded(
            &mut tree,
            &source.path,
            &options,
            &mut problems,
        );
        let found = problems.take();
        assert!(!format!("{found:?}").contains("/secret"));
        let label = file.unwrap().images[0].1.labels.get("x").cloned();
        let result = found.first().map_or(Ok(label.as_deref().unwrap_or_default()), |problem| {
            Err(problem.message.as_str())
        });
        assert_eq!(result, expected, "{value}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("values.env"), "A=file\nB=file\n").unwrap();
    let text = "version: 1\nenv_file: values.env\nimages:\n  a: { tags: [\"${A}-${B}\"] }\n";
    let options = LoadOptions { names_only: true, ..options(&[("A", "environment")]) };
    let path = folder.path().join("hierarchy.yaml");
    let loaded = Hierarchy::load_text(path, text.to_owned(), &options).unwrap();
    let tags: Vec<String> =
        loaded.hierarchy.in_build_order().map(|node| node.tags[0].to_string()).collect();
    assert_eq!(tags, ["environment-file"]);
    assert_eq!(loaded.hierarchy.env_file, Some(folder.path().join("values.env")));

    let text = text.replace("values.env", "missing.env");
    let path = folder.path().join("hierarchy.yaml");
    let error = Hierarchy::load_text(path, text, &options).unwrap_err();
    let messages: Vec<&str> = error.problems.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages, ["there is no file `missing.env`", "`B` has no value"]);
}

#[test]
fn nested_defaults_have_a_limit() {
    let deep = |n: usize| "${A:-".repeat(n) + &"}".repeat(n);
    let text = |n| format!("images:\n  a: {{ tags: [\"x{}\"] }}\n", deep(n));
    assert!(load(&text(DEEPEST), &options(&[])).is_ok());
    assert!(load(&text(DEEPEST + 1), &options(&[])).unwrap_err()[0].contains("levels deep"));
    assert!(load(&text(100_000), &options(&[])).unwrap_err()[0].contains("levels deep"));
}

#[test]
fn an_unquoted_variable_in_a_flow_mapping_has_a_hint() {
    let text = "version: 1\nimages:\n  a: { target: ${TARGET}, retries: 1 }\n".to_owned();
    let error = Hierarchy::load_text(PathBuf::from("/h.yaml"), text, &options(&[])).unwrap_err();
    let hint = error.problems[0].hint.as_deref();
    assert_eq!(hint, Some("quote a `${NAME}` between braces or brackets: `\"${NAME}\"`"));
}
