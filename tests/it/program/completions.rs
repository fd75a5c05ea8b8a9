//! Completion in a real bash and by the protocol of other shells; man pages.

use std::{fs, process::Command};

use crate::support::project::{Place, Project};

const BASH: &str = r#"
source <(rebuild completions bash)
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9; COMPREPLY=()
    _clap_complete_rebuild rebuild "${COMP_WORDS[$COMP_CWORD]}" "" 2>/dev/null
    echo "${COMPREPLY[*]}"
}
try rebuild why ~w
try rebuild --from ~app,~t
try rebuild plan --only ~
try rebuild plan --set ~web.tar
try rebuild explain RB04
try rebuild log ~app --run 01
try rebuild rollback 01
cd /
try rebuild -C "$PROJECT" tree ~a
try rebuild --directory="$PROJECT" tree ~a
try rebuild -f "$PROJECT/hierarchy.yaml" tree ~a
try rebuild why ~a
"#;

/// `PATH` with the program in front.
fn path() -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rebuild"));
    format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_shell_completes_names_of_images() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let history = project.rebuild("history --format json").run().exits(0);
    let run = history.events()[0]["runs"][0]["run"].as_str().unwrap().to_owned();
    // A Dockerfile that cannot be read is no reason not to know the names.
    project.write("web/Dockerfile", "FRM x\n");
    let bash = Command::new("bash")
        .args(["--norc", "-c", &project.name(BASH)])
        .current_dir(project.path(""))
        .env("PATH", path())
        .env("PROJECT", project.path(""))
        .env("XDG_STATE_HOME", project.state())
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    let answer = project.shown(&String::from_utf8(bash.stdout).unwrap());
    assert_eq!(
        answer,
        format!(
            "~web\n~app,~tool\n~app ~os ~tool ~web\n~web.target=\nRB040 RB041 RB042 RB043 RB044 RB045 RB046 RB047 RB048 RB049\n{run}\n{run}\n~app\n~app\n~app\n\n"
        ),
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
    for shell in ["zsh", "fish"] {
        let script = project.rebuild(&format!("completions {shell}")).run().exits(0).stdout;
        assert!(script.contains("REBUILD_COMPLETE"), "{script}");
        let answer = Command::new(env!("CARGO_BIN_EXE_rebuild"))
            .args(["--", "rebuild", "why", &project.name("~w")])
            .current_dir(project.path(""))
            .env("REBUILD_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "2")
            .output()
            .unwrap();
        assert_eq!(
            project.shown(&String::from_utf8(answer.stdout).unwrap()).trim(),
            "~web",
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_man_page() {
    let project = Project::empty();
    project.rebuild("man pages/man1").run().exits(0);
    let mut pages: Vec<String> = fs::read_dir(project.path("pages/man1"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in ["rebuild.1", "rebuild-plan.1", "rebuild-check.1", "rebuild-tree.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
        let text = fs::read_to_string(project.path("pages/man1").join(page)).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains(".SH EXAMPLES\n.nf\n"),
            "{page}: {text}"
        );
    }
    assert!(project.rebuild("man").run().exits(0).stdout.contains(".TH rebuild 1"));
    project.write("file", "");
    project.rebuild("man file/x").run().exits(1).says(&["cannot write man pages into `file/x`"]);
}
