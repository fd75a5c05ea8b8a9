//! Values from outside the file: variables, `--set`, `--build-arg`.

use std::process::Command;

use crate::support::project::Project;

fn project() -> Project {
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nenv_file: values.env\nimages:\n  ~os: { context: os }\n  ~app:\n    context: app\n    \
                tags: [\"${VERSION}\", latest]\n    build_args: { COLOR: \"${COLOR:-red}\" }\n    \
                test:\n      - run: [sh, -c, 'x=1; test \"${x}\" = 1']\n  ~web: { context: web }\n";
    project.write("hierarchy.yaml", file);
    project.write("values.env", "VERSION=1.0\n");
    project.write(
        "app/Dockerfile",
        "FROM ~os\nARG COLOR\nARG SHAPE=round\nRUN echo $COLOR $SHAPE >/app\n",
    );
    project.write("web/Dockerfile", "FROM ~os AS plain\nARG SHAPE=flat\nRUN echo $SHAPE >/web\nFROM plain AS other\nRUN echo other >>/web\n");
    project
}

#[test]
fn values_from_outside_reach_the_build_and_why_names_the_argument() {
    let project = project();
    project.rebuild("").run().exits(0);
    assert_eq!(project.output_in("~app:1.0", &["cat", "/app"]), "red round\n");
    project.rebuild("plan --exit-code").run().exits(0);

    let start = project.rebuild("why ~app").env("COLOR", "blue-value");
    let why = start.run().exits(0);
    assert!(why.stdout.contains("build arg `COLOR` of `~app` changed"), "{why}");
    why.never_says(&["blue-value"]);

    let flags = "--build-arg SHAPE=square --build-arg ~app.COLOR=green --set ~web.target=plain";
    let ended = project.rebuild(flags).run().exits(0);
    assert!(ended.result().ends_with(": 2 built, 1 up to date"), "{ended}");
    assert_eq!(project.output_in("~app", &["cat", "/app"]), "green square\n");
    assert_eq!(project.output_in("~web", &["cat", "/web"]), "square\n");
    project.rebuild(&format!("plan --exit-code {flags}")).run().exits(0);
    project.rebuild("plan --exit-code").run().exits(3);
}

#[test]
fn check_names_each_variable_without_a_value_at_its_place() {
    let project = project();
    project.write("values.env", "");
    project.edit("hierarchy.yaml", "COLOR:-red", "COLOR:?pick one");
    let ended = project.rebuild("check").run().exits(2);
    for text in [
        "error[RB014]: `VERSION` has no value",
        "hierarchy.yaml:7:12",
        "error[RB014]: `COLOR` has no value: pick one",
        "hierarchy.yaml:8:26",
        "2 errors",
    ] {
        assert!(ended.stdout.contains(text), "{text}\n{ended}");
    }
    let ended = project.rebuild("plan --set ~app.tags=1").run().exits(2);
    ended.says(&["`tags` is not a field of one value"]);
}

#[test]
fn a_changed_env_file_is_a_change_since_a_commit() {
    let project = project();
    let git = |arguments: &[&str]| {
        let status = Command::new("git").current_dir(project.path("")).args(arguments).status();
        assert!(status.unwrap().success(), "{arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]);
    project.rebuild("").run().exits(0);
    let plan = |part: &str| {
        let plan = project.rebuild("plan --since HEAD").run().exits(0);
        assert!(plan.stdout.contains(part), "{plan}");
    };
    plan("no image is selected");
    project.write("values.env", "VERSION=1.0\nCOLOR=blue\n");
    plan("1 to build, 2 up to date");
}
