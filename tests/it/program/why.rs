//! Why an image is out of date and why it was built: `why`, `status`, `--since`, and the labels that tell.

use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::everywhere_of_files;
use crate::support::project::{Place, Project};

/// An answer, with what differs from day to day and from place to place left out.
fn asked(project: &Project, place: Place<'_>, arguments: &str) -> String {
    let ended = project.rebuild(arguments).to(place).run().exits(0);
    let digests = Regex::new("[0-9a-f]{12}").unwrap();
    let times = Regex::new(r"was built .* \(.*UTC\)").unwrap();
    times.replace(&digests.replace_all(&ended.stdout, "DIGEST"), "was built TIME").into_owned()
}

/// The values of a field in the list of an answer in JSON, by node.
fn field(project: &Project, place: Place<'_>, arguments: &str, field: &str) -> String {
    let arguments = format!("{arguments} --format json");
    let answer = project.rebuild(&arguments).to(place).run().exits(0);
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    let nodes = answer["nodes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |node: &Value| format!("{} {}\n", text(&node["node"]), text(&node[field]));
    nodes.map(line).collect::<Vec<_>>().concat()
}

#[test]
fn the_table_names_what_really_changed_an_image() {
    let (project, place) = (Project::new(), Place::Engine);
    let tests =
        |program: &str| format!("{{ context: os, test: [{{ run: [{program}, /bin/sh] }}], ");
    project.edit("hierarchy.yaml", "{ context: os, ", &tests("ls"));
    project.rebuilt(place);

    project.edit("hierarchy.yaml", &tests("ls"), &tests("cat"));
    let tested = project.rebuilt(place).says(&["the tests of `~os` changed"]);
    assert!(!tested.stdout.contains("is rebuilt"), "{tested}");

    // The parent is another image than the one that `~web` is based on, and its tests changed.
    project.edit("os/name", "~os", "~os, the second");
    project.rebuild("--only ~os").to(place).run().exits(0);
    project.edit("hierarchy.yaml", &tests("cat"), &tests("ls"));
    let plan = project.rebuild("plan ~web --format json").to(place).run().exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["steps"][0]["besides"]["reason"], "parent-moved", "{plan}");
    project.rebuilt(place).says(&["it is based on another `~os`"]);
}

#[test]
fn why_names_the_file_before_the_run_and_after_it() {
    everywhere_of_files(|project, place| {
        assert_eq!(asked(project, place, "why ~app"), "`~app` was never built\n");
        project.rebuild("status --exit-code").to(place).run().exits(3);
        project.rebuilt(place);
        project.rebuild("status --exit-code").to(place).run().exits(0);
        assert_eq!(
            asked(project, place, "why ~os"),
            "`~os` is up to date: its tags point at the image of the present inputs\n\n\
             its published image DIGEST was built TIME\n  the first image of `~os`\n"
        );

        project.write("web/page", "two\n");
        project.write("web/new/a", "");
        assert_eq!(
            asked(project, place, "why ~app"),
            "`~app` is out of date because `page` of `~web` changed and `new/a` of `~web` is new: \
             ~web → ~app\n\n\
             its published image DIGEST was built TIME\n  the first image of `~app`\n  \
             on ~web  DIGEST\n"
        );
        assert_eq!(
            field(project, place, "status", "state"),
            "~os current\n~web behind\n~app behind\n~tool current\n"
        );

        let ended = project.rebuilt(place);
        assert_eq!(ended.result(), "done in _: 2 built, 2 up to date", "{ended}");
        let after = asked(project, place, "why ~app");
        assert_eq!(
            after,
            "`~app` is up to date: its tags point at the image of the present inputs\n\n\
             its published image DIGEST was built TIME\n  \
             because `page` of `~web` changed and `new/a` of `~web` is new\n  on ~web  DIGEST\n"
        );
        assert_eq!(
            project.label(place, "~app:latest", "rebuild.cause"),
            project.name("`page` of `~web` changed and `new/a` of `~web` is new")
        );

        // Built again for another reason, it comes out the same, and nothing is published.
        let tags = project.tags(place);
        let same = project.rebuild("--from ~app").to(place).run().exits(0);
        assert_eq!(same.result(), "done in _: 1 unchanged", "{same}");
        assert_eq!(project.tags(place), tags);
        assert_eq!(asked(project, place, "why ~app"), after);
    });
}

/// An unchanged image keeps its labels, and they name older inputs.
#[test]
fn a_change_that_left_the_image_unchanged_is_not_named_again() {
    everywhere_of_files(|project, place| {
        project.rebuilt(place);
        project.write("web/Dockerfile", "# A comment.\nFROM ~os:1\nCOPY page /web\n");
        project.write("web/notes", "");
        let ended = project.rebuilt(place);
        assert!(ended.result().starts_with("done in _: 1 unchanged, "), "{ended}");

        let reasons = |place| {
            let mut plan = project.rebuild("plan ~web").to(place);
            if let Place::Registry(_) = place {
                plan = plan.env("XDG_STATE_HOME", project.path("another machine"));
            }
            plan.run().exits(0).stdout
        };
        project.write("os/page", "two\n");
        let plan = reasons(place);
        assert!(plan.contains("~web  `~os` is rebuilt\n"), "{plan}");
        project.write("web/page", "two\n");
        let plan = reasons(place);
        assert!(plan.contains("~web  `page` changed\n"), "{plan}");
        let why = asked(project, place, "why ~app");
        let causes = "because `page` of `~web` changed: ~web → ~app\n  \
                      also because `page` of `~os` changed: ~os → ~web → ~app\n";
        assert!(why.contains(causes), "{why}");
    });
}

/// Labels come after all layers: a cause that differs takes no layer from the cache, or this image
/// would come out another one each time.
#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_cause_costs_no_layer() {
    let project = Project::new();
    project.write("app/Dockerfile", "FROM ~web\nRUN cat /proc/sys/kernel/random/uuid >/app\n");
    project.rebuild("").run().exits(0);
    assert_eq!(
        project.label(Place::Engine, "~app:latest", "rebuild.cause"),
        project.name("`~app` was never built")
    );
    let again = project.rebuild("--from ~app").run().exits(0);
    assert_eq!(again.result(), "done in _: 1 unchanged", "{again}");
}

#[test]
fn arguments_are_named_and_their_values_are_not() {
    everywhere_of_files(|project, place| {
        project.edit(
            "hierarchy.yaml",
            "context: app }",
            "context: app, build_args: { V: s3same, W: a } }",
        );
        project.rebuilt(place);
        project.edit("hierarchy.yaml", "V: s3same, W: a", "V: s3other, X: a");
        let why = asked(project, place, "why ~app");
        let expected = "`~app` is out of date because build arg `V` of `~app` changed, build arg `X` \
                        of `~app` is new and build arg `W` of `~app` was removed\n";
        assert!(why.starts_with(expected), "{why}");
        project.rebuilt(place);
        let labels = project.config(place, "~app:latest")["Labels"].to_string();
        assert!(labels.contains("build_args.V") && !labels.contains("s3"), "{labels}");
    });
}

#[test]
fn since_builds_what_a_commit_touched_and_says_so() {
    everywhere_of_files(|project, place| {
        project.rebuilt(place);
        let git = |arguments: &str| {
            let set = ["-c", "user.name=S", "-c", "user.email=s@example.com"];
            let mut command = Command::new("git");
            command.args(set).args(arguments.split_whitespace()).current_dir(project.path(""));
            assert!(command.output().unwrap().status.success(), "{arguments}");
        };
        git("init -q");
        git("add .");
        git("commit -qm base");
        let none = project.rebuild("--since HEAD").to(place).run().exits(0);
        assert_eq!(none.result(), "nothing to do", "{none}");

        project.write("web/page", "two\n");
        // Behind for a reason that is none of the commit's.
        project.write("tool/Dockerfile", "FROM ~os\nCOPY page /other\n");
        git("add tool");
        git("commit -qm tool");
        let plan = asked(project, place, "plan --since HEAD");
        let (_, plan) = plan.split_once('\n').unwrap();
        let (plan, radius) = plan.rsplit_once("\n2 images, 2 tags, ").unwrap();
        assert_eq!(
            plan,
            "build    ~web    `page` changed since `HEAD`\n\
             build      ~app  `~web` is rebuilt\n\nat most 2 to build"
        );
        assert!(radius.starts_with("about "), "{radius}");
        let ended = project.rebuild("--since HEAD").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 2 built", "{ended}");
        let plan = asked(project, place, "plan --since HEAD^");
        assert!(plan.contains("~tool   its Dockerfile changed since `HEAD^`"), "{plan}");
        // What is up to date is selected and not built.
        assert!(plan.contains("keep     ~web    up to date"), "{plan}");
        let again = project.rebuild("--since HEAD").to(place).run().exits(0);
        assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");

        for (arguments, said) in [
            ("--since=-x", "`-x` is not a commit"),
            ("--since nowhere", "there is no commit `nowhere`"),
            ("--since HEAD --only ~web", "cannot be used with"),
        ] {
            let ended = project.rebuild(arguments).to(place).run().exits(2);
            assert!(ended.stderr.contains(said), "{ended}");
        }
    });
}

#[test]
fn answers_need_a_name_that_exists() {
    let project = Project::new();
    let ended = project.rebuild("why ~ap").run().exits(2);
    assert!(ended.stderr.contains("did you mean `~app`?"), "{ended}");
    project.rebuild("why").run().exits(2);
    let both = project.rebuild("why ~web ~os").run().exits(0);
    assert_eq!(both.stdout, "`~os` was never built\n\n`~web` was never built\n");
}

#[test]
fn offline_takes_upstreams_as_the_engine_has_them() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    // Nobody listens there; and the engine has one of the two.
    let (host, name) = ("127.0.0.1:9", project.name("~"));
    project.edit(
        "app/Dockerfile",
        "FROM ~web",
        &format!("FROM {host}/{name}gone:1\nCOPY --from=~web /page /page"),
    );
    let ended = project.rebuild("plan --offline").run().exits(21);
    let said = ended.stderr.contains("and with `--offline` no registry is asked");
    assert!(said && !ended.stderr.contains("cannot reach"), "{ended}");
    let ended = project.rebuild("plan").run().exits(0);
    assert!(ended.stdout.contains("cannot reach the registry 127.0.0.1:9"), "{ended}");
}

/// A label takes no layer, so all layers come from the cache.
#[test]
fn an_image_from_the_layer_cache_was_built_by_its_run() {
    everywhere_of_files(|project, place| {
        let since = || field(project, place, "status", "since");
        project.rebuilt(place);
        let before = since();
        project.write("tool/Dockerfile", "FROM ~os\nCOPY page /tool\nLABEL x=1\n");
        project.rebuilt(place);
        let after = since();
        let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
        let changed: Vec<&str> = changed.map(|(_, after)| after).collect();
        assert!(changed.len() == 1 && changed[0].starts_with("~tool "), "{before}\n{after}");
        let history = project.rebuild("history --format json").to(place).run().exits(0);
        let run = history.events()[0]["runs"][0]["run"].as_str().unwrap().to_owned();
        assert_eq!(project.label(place, "~tool:latest", "rebuild.built-by"), run);
    });
}
