//! `prepare`: a command of the host that fills the context first.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::project::{Place, Project};

fn project(prepare: &str, script: &str, timeout: &str) -> Project {
    let project = Project::new();
    let fields = format!("{{ context: tool, prepare: [{prepare}], timeout: {timeout} }}");
    project.edit("hierarchy.yaml", "{ context: tool }", &fields);
    project.write("tool/Dockerfile", "FROM ~os\nCOPY made /made\n");
    project.write_script("tool/make.sh", script);
    project
}

#[test]
fn it_fills_a_copy_and_leaves_the_checkout_alone() {
    let script = "#!/bin/sh\necho \"$1 for $REBUILD_NODE\" >made\necho touched >>Dockerfile.bak\n";
    let project = project("./make.sh, a word", script, "1m");
    let before = files(&project);
    project.rebuilt(Place::Engine);
    assert_eq!(project.output_in("~tool", &["cat", "/made"]), "a word for ~tool\n");
    assert_eq!(files(&project), before);
    let again = project.rebuilt(Place::Engine);
    assert_eq!(again.result(), "nothing to do: all 4 images are up to date");
}

#[test]
fn files_keep_the_modes_that_the_command_gave_them() {
    let script = "#!/bin/sh\nmkdir -p made/folder\necho key >made/key\nchmod 400 made/key\n\
                  chmod 700 made/folder\ncp -p given made/\n";
    let project = project("./make.sh", script, "1m");
    project.write("tool/given", "given");
    let given = project.path("tool/given");
    std::fs::set_permissions(given, std::fs::Permissions::from_mode(0o640)).unwrap();
    project.rebuilt(Place::Engine);
    let paths = ["/made/key", "/made/folder", "/made/given"];
    let command = [&["busybox", "stat", "-c", "%a"], &paths[..]].concat();
    assert_eq!(project.output_in("~tool", &command), "400\n700\n640\n");
}

#[test]
fn the_copy_is_for_this_user_only_whatever_the_umask_is() {
    let script = "#!/bin/sh\nstat -c %a . >made\n";
    let project = project("./make.sh", script, "1m");
    project.shell(&project.path(""), "umask 000\nrebuild").run().exits(0);
    assert_eq!(project.output_in("~tool", &["cat", "/made"]), "700\n");
}

#[test]
fn a_failure_is_told_with_what_it_printed() {
    let script = "#!/bin/sh\necho on stdout\necho on stderr >&2\nexit 9\n";
    let project = project("./make.sh", script, "1m");
    project.rebuild("").run().exits(10).says(&[
        "~tool: prepare failed after ",
        "`./make.sh` ended with exit ",
        "  | on stdout\n",
        "  | on stderr\n",
        "nothing was promoted: `~tool` failed",
    ]);
    assert!(project.tags(Place::Engine).is_empty());
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_started() {
    // It ignores TERM, and its child holds the pipe.
    let script = "#!/bin/sh\ntrap '' TERM\nsh -c 'trap \"\" TERM; while sleep 1; do :; done' ~child &\n\
                  echo started\nwhile sleep 1; do :; done\n";
    let project = project("./make.sh", script, "2s");
    project.rebuild("").run().exits(10).says(&[
        "~tool: prepare failed after ",
        "`./make.sh` took longer than ",
        "  | started\n",
    ]);
    assert_eq!(project.under_way(), [""; 0]);
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let project = project("no-such-command-anywhere", "", "1m");
    let ended = project.rebuild("").run().exits(10);
    ended.says(&["cannot run `no-such-command-anywhere`: No such file or directory"]);
}

/// Path and content of every file of the project.
fn files(project: &Project) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![project.path("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
