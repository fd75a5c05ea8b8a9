//! `rebuild size`: totals agree with what the registry stores, growth with what a run changed.

use serde_json::Value;

use super::everywhere;
use crate::support::project::{Place, Project};

fn sizes(project: &Project, place: Place<'_>, arguments: &str) -> Value {
    let ended = project.rebuild(&format!("size --format json {arguments}")).to(place).run();
    serde_json::from_str(&ended.exits(0).stdout).unwrap()
}

/// The bytes of a node in one of its columns.
fn bytes(sizes: &Value, place: Place<'_>, (node, column): (usize, &str)) -> u64 {
    let kind = if matches!(place, Place::Engine) { "unpacked" } else { "compressed" };
    sizes["nodes"][node][column][kind].as_u64().unwrap()
}

#[test]
fn each_image_has_its_own_bytes_and_the_total_is_what_is_stored() {
    everywhere(|project, place| {
        project.rebuilt(place);
        let found = sizes(project, place, "");
        let line = |node: &Value| {
            let [node, parent] = ["node", "parent"].map(|key| node[key].as_str().unwrap_or("-"));
            format!("{node} {parent}\n")
        };
        let lines: Vec<String> = found["nodes"].as_array().unwrap().iter().map(line).collect();
        assert_eq!(lines.concat(), "~os -\n~web ~os\n~app ~web\n~tool ~os\n", "{found}");
        let own: u64 = (0..4).map(|node| bytes(&found, place, (node, "own"))).sum();
        let os = bytes(&found, place, (0, "own"));
        assert!(os > 500_000, "{found}");
        assert_eq!(bytes(&found, place, (0, "with_descendants")), own);
        for node in 1..4 {
            let inherited = bytes(&found, place, (node, "inherited"));
            assert!(inherited <= os + 10_000 && inherited > os - 10_000, "{found}");
        }
        if let Place::Registry(registry) = place {
            let total = found["total"]["once"]["compressed"].as_u64().unwrap();
            assert_eq!(total, own);
            // Beside the images, the registry has records of runs.
            let records = registry.stored() - total;
            assert!(records < 50_000, "{records} bytes beside {found}");
            // `rebuild waste` reads the layers, so that later their files are known.
            assert!(found["total"]["once"]["unpacked"].is_null(), "{found}");
            project.rebuild("waste").to(place).run().exits(0);
            let read = sizes(project, place, "");
            let unpacked = read["total"]["once"]["unpacked"].as_u64().unwrap();
            assert!(unpacked > read["nodes"][0]["own"]["unpacked"].as_u64().unwrap(), "{read}");
        }

        project.write("app/Dockerfile", "FROM ~web\nCOPY big /\n");
        project.write("app/big", &"0123456789abcdef".repeat(10_000));
        project.rebuilt(place);
        let grown = sizes(project, place, "~app");
        assert_eq!(grown["nodes"].as_array().unwrap().len(), 1);
        let before = bytes(&found, place, (2, "whole"));
        assert_eq!(bytes(&grown, place, (0, "before")), before);
        assert!(bytes(&grown, place, (0, "whole")) > before);
        let ended = project.rebuild("size").to(place).run().exits(0);
        for part in ["shared layers counted once", "4 images, "] {
            assert!(ended.stdout.contains(part), "{ended}");
        }
        let ended = project.rebuild("size --since HEAD").to(place).run().exits(2);
        ended.says(&["`HEAD` is not a commit"]);
        for (format, begin) in [("csv", "node,parent,"), ("svg", "<svg ")] {
            let ended = project.rebuild(&format!("size --format {format}")).to(place).run();
            let ended = ended.exits(0);
            assert!(ended.stdout.starts_with(begin), "{ended}");
            assert!(ended.stdout.contains("~tool"), "{ended}");
        }
    });
}

#[test]
fn before_the_first_run_nothing_is_published() {
    everywhere(|project, place| {
        let ended = project.rebuild("size").to(place).run().exits(0);
        assert!(ended.stdout.starts_with("no image is published in "), "{ended}");
        let names = "`~os`, `~web`, `~app` and `~tool` are not published\n";
        assert!(ended.stdout.ends_with(names), "{ended}");
    });
}

#[test]
fn growth_since_a_commit() {
    everywhere(|project, place| {
        let git = |script: &str| project.shell(&project.path(""), script).run().exits(0);
        git("git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm one");
        project.rebuilt(place);
        let first = sizes(project, place, "");
        for text in ["two", "three, and a few more bytes"] {
            project.write("tool/Dockerfile", &format!("FROM ~os\nRUN echo {text} >/tool\n"));
            git("git add . && git -c user.name=a -c user.email=a@b commit -qm more");
            project.rebuilt(place);
        }
        let grown = sizes(project, place, "--since HEAD^^");
        for node in 0..4 {
            assert_eq!(grown["nodes"][node]["before"]["digest"], first["nodes"][node]["digest"]);
        }
        let replaced = sizes(project, place, "");
        assert_ne!(replaced["nodes"][3]["before"]["digest"], first["nodes"][3]["digest"]);
    });
}
