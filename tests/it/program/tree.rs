//! `rebuild tree`: with everybody asked, with nobody there, and as each of its formats.

use serde_json::Value;

use super::everywhere;
use crate::support::project::Project;

#[test]
fn the_tree_says_how_each_image_stands() {
    everywhere(|project, place| {
        project.rebuilt(place);
        project.write("app/new", "");
        let ended = project.rebuild("tree --format json").to(place).run().exits(0);
        let tree: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(tree["asked"], true, "{ended}");
        let line = |node: &Value| {
            assert!(node["size"].as_u64().unwrap() > 100_000, "{node}");
            assert!(node["since"].as_str().unwrap().starts_with("20"), "{node}");
            let [name, base, state] = ["node", "base", "state"].map(|key| node[key].to_string());
            format!("{name} {base} {state}\n").replace('"', "")
        };
        let lines: Vec<String> = tree["nodes"].as_array().unwrap().iter().map(line).collect();
        assert_eq!(
            lines.concat(),
            "~os null current\n~web ~os current\n~app ~web behind\n~tool ~os current\n"
        );
        let ended = project.rebuild("tree ~web").to(place).run().exits(0);
        let words = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = ended.stdout.lines().map(words).collect();
        assert_eq!(
            lines,
            [
                "~os current just now",
                "└─ ~web current just",
                "└─ ~app behind just",
                "",
                "3 images, 2 current"
            ],
            "{ended}"
        );
    });
}

#[test]
fn without_an_engine_the_tree_is_that_of_the_files() {
    let project = Project::new();
    let nobody = "unix:///nowhere/docker.sock";
    let tree = "~os\n├─ ~web\n│  └─ ~app\n└─ ~tool\n\n4 images\n";
    let ended = project.rebuild("tree").env("DOCKER_HOST", nobody).run().exits(0);
    assert_eq!(ended.stdout, tree);
    ended.says(&["warning: ", "/nowhere/docker.sock", "`--no-state` skips the query"]);
    let ended = project.rebuild("tree --no-state").env("DOCKER_HOST", nobody).run().exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (tree, ""));
    for (format, begin) in [
        ("dot", "digraph"),
        ("mermaid", "graph LR"),
        ("svg", "<svg "),
        ("json", "{\"v\":1,\"asked\":false"),
    ] {
        let ended = project.rebuild(&format!("tree --no-state --format {format}"));
        let ended = ended.env("DOCKER_HOST", nobody).run().exits(0);
        assert!(ended.stdout.starts_with(begin), "{ended}");
        for name in ["~os", "~web", "~app", "~tool"] {
            assert!(ended.stdout.contains(name), "{name} in {ended}");
        }
    }
    project
        .rebuild("tree ~wbe")
        .run()
        .exits(2)
        .says(&["no image is called `~wbe`", "did you mean `~web`?"]);
}
