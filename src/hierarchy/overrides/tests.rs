use std::fs;

use super::*;
use crate::{
    check::diagnostic::{self, Rendering},
    hierarchy::{Hierarchy, LoadError, LoadOptions, Node},
};

const FILE: &str = "\
version: 1
defaults: { flatten: own, retries: 1 }
images:
  os: { build_args: { A: file } }
  app-{v}: { matrix: { v: [\"1\", \"2\"] }, target: prod, context: app }
";

/// The images with these flags; or the message of each problem.
fn load(fields: &[&str], build_args: &[&str]) -> Result<Vec<Node>, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let messages =
        |error: LoadError| error.problems.iter().map(|one| one.message.clone()).collect::<Vec<_>>();
    Ok(loaded(folder.path(), fields, build_args)
        .map_err(messages)?
        .in_build_order()
        .cloned()
        .collect())
}

fn loaded(folder: &Path, fields: &[&str], build_args: &[&str]) -> Result<Hierarchy, LoadError> {
    for (path, text) in [
        ("os/Dockerfile", "FROM scratch\nARG A\nARG NPM_TOKEN\n"),
        ("app/Dockerfile", "ARG V=1\nFROM os AS prod\nARG B\nFROM prod AS debug\nARG NPM_TOKEN\n"),
    ] {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), text).unwrap();
    }
    let overrides = Overrides {
        fields: fields.iter().map(|one| one.parse().unwrap()).collect(),
        build_args: build_args.iter().map(|one| one.parse().unwrap()).collect(),
    };
    let options = LoadOptions { overrides, ..LoadOptions::default() };
    let file = folder.join("hierarchy.yaml");
    Ok(Hierarchy::load_text(file, FILE.to_owned(), &options)?.hierarchy)
}

#[test]
fn a_problem_with_a_value_of_a_flag_shows_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let told = |fields: &[&str]| {
        let error = loaded(folder.path(), fields, &[]).unwrap_err();
        let rendering = Rendering { colour: false, current_dir: folder.path() };
        diagnostic::render(&error.problems, rendering)
    };
    insta::assert_snapshot!(told(&["os.context=nowhere"]), @"
    error[RB020]: there is no folder `nowhere`
     --> --set:1:12
      |
    1 | os.context=nowhere
      |            ^^^^^^^
      |
      = hint: a context is relative to the folder of hierarchy.yaml; `rebuild init --update` comments out images whose files were deleted
    ");
    for (fields, shown) in [
        (&["os.retries=9"][..], "1 | os.retries=9\n  |            ^"),
        // Each of several has its own excerpt.
        (&["os.retries=1", "app-1.target=none"], "1 | app-1.target=none\n  |              ^^^^"),
        (&["app-1.target=none", "os.retries=1"], "1 | app-1.target=none\n  |              ^^^^"),
        (
            &["app-1.target=none", "app-2.dockerfile=nofile"],
            "1 | app-2.dockerfile=nofile\n  |                  ^^^^^^",
        ),
    ] {
        let told = told(fields);
        assert!(told.contains("\n --> --set:1:") && told.contains(shown), "{told}");
    }
}

#[test]
fn fields_replace_those_of_the_file() {
    let nodes = load(&["app-*.target=debug", "app-2.retries=4", "os.file_labels=false"], &[]);
    let nodes = nodes.unwrap();
    let shown: Vec<String> = nodes
        .iter()
        .map(|one| {
            let target = one.target.as_deref().unwrap_or_default();
            format!("{} {target} {} {} {:?}", one.name, one.retries, one.file_labels, one.flatten)
        })
        .collect();
    assert_eq!(
        shown,
        ["os  1 false No", "app-1 debug 1 true Own", "app-2 debug 4 true Own"],
        "`flatten` is as without them"
    );
}

#[test]
fn build_arguments_reach_the_images_that_declare_them() {
    let given = |build_args: &[&str]| {
        let nodes = load(&[], build_args).unwrap();
        let line = |node: &Node| {
            let args = node.build_args.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", node.name, args.collect::<String>())
        };
        nodes.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(given(&[]), "os A=file, app-1, app-2");
    assert_eq!(given(&["A=x=y"]), "os A=x=y, app-1, app-2");
    assert_eq!(given(&["B=1", "app-2.B=2"]), "os A=file, app-1 B=1, app-2 B=2");
    assert_eq!(given(&["app-*.V=3"]), "os A=file, app-1 V=3, app-2 V=3");
    assert_eq!(given(&["os.HTTP_PROXY=x"]), "os A=file HTTP_PROXY=x, app-1, app-2");
}

#[test]
fn what_is_for_no_image_or_wrong_is_an_error() {
    for (fields, build_args, expected) in [
        (vec!["ap-1.target=x"], vec![], "`--set ap-1.target`: no image is called `ap-1`"),
        (vec!["app-1.retries=9"], vec![], "`retries` must be a number from 0 to 5, not `9`"),
        (
            vec!["os.network=bridge"],
            vec![],
            "`network` must be `default`, `none` or `host`, not `bridge`",
        ),
        (vec![], vec!["C=1"], "`--build-arg C`: no image declares `ARG C`"),
        (vec![], vec!["os.B=1"], "`--build-arg os.B`: `os` does not declare `ARG B`"),
        (vec![], vec!["o.A=1"], "`--build-arg o.A`: no image is called `o`"),
        (
            vec![],
            vec!["os.NPM_TOKEN=hunter2"],
            "the build arg `NPM_TOKEN` looks like a secret, and build args can be read from the image",
        ),
    ] {
        let problems = load(&fields, &build_args).unwrap_err();
        assert_eq!(problems, [expected], "{fields:?} {build_args:?}");
    }
}

#[test]
fn arguments_of_the_wrong_form_are_refused_with_the_right_one() {
    for (text, expected) in [
        ("app.target", "write `IMAGE.FIELD=value`, such as `app.target=debug`"),
        ("target=x", "write `IMAGE.FIELD=value`, such as `app.target=debug`"),
        ("app.targt=x", "`targt` is not a field of one value; did you mean `target`?"),
    ] {
        assert_eq!(text.parse::<FieldOverride>().unwrap_err(), expected);
    }
    let list = "app.tags=x".parse::<FieldOverride>().unwrap_err();
    assert!(list.starts_with("`tags` is not a field of one value; "), "{list}");
    for text in ["A", "=x", "app.=x"] {
        assert_eq!(
            text.parse::<BuildArgOverride>().unwrap_err(),
            "write `NAME=value` or `IMAGE.NAME=value`"
        );
    }
}
