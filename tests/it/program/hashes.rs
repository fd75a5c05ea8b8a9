//! The hashes of files that are kept, so that they are not read again: a quicker plan, never another.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::support::project::{Place, Project};

/// Where the hashes are kept; there is one hierarchy in the state folder.
fn kept(project: &Project) -> Option<PathBuf> {
    let folders = fs::read_dir(project.state().join("rebuild")).ok()?;
    folders.flatten().map(|folder| folder.path().join("hashes")).find(|file| file.is_file())
}

/// Plans until every file of the project is known: those just written are taken in two seconds later.
fn kept_of_all(project: &Project, files: usize) -> PathBuf {
    // A line and a digest before, a digest behind, and two digests and a day for each file.
    let whole = 17 + 32 + 68 * files as u64 + 32;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "the hashes are never all kept");
        project.rebuild("plan").run().exits(0);
        let file = kept(project).filter(|file| fs::metadata(file).unwrap().len() == whole);
        if let Some(file) = file {
            return file;
        }
    }
}

/// `os` has three files, `web` two, `app` and `tool` one.
const FILES: usize = 7;

#[test]
fn whatever_becomes_of_the_file_the_plan_is_the_same() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let file = kept_of_all(&project, FILES);
    let plan = project.rebuild("plan").run().exits(0).stdout;
    assert!(plan.contains("4 up to date"), "{plan}");
    let whole = fs::read(&file).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for broken in [vec![], half, flipped, b"garbage".repeat(1000)] {
        fs::write(&file, &broken).unwrap();
        assert_eq!(project.rebuild("plan").run().exits(0).stdout, plan);
        assert_eq!(fs::read(&file).unwrap().len(), whole.len(), "it is made anew");
    }
    // Nor does it have to be there, or to be a file.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let ended = project.rebuild("plan").run().exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (plan.as_str(), ""));
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    kept_of_all(&project, FILES);
    let page = project.path("web/page");
    let time = fs::metadata(&page).unwrap().modified().unwrap();
    project.write("web/page", "two\n");
    fs::File::options().write(true).open(&page).unwrap().set_modified(time).unwrap();
    let plan = project.rebuild("plan --exit-code").run().exits(3).stdout;
    assert!(plan.contains("`page` changed"), "{plan}");
}

#[test]
fn a_change_while_it_is_built_is_seen() {
    let project = Project::new();
    // A prepare command may do what it likes, here as someone who saves a file meanwhile.
    project.edit(
        "hierarchy.yaml",
        "{ context: tool }",
        "{ context: tool, prepare: [./change.sh] }",
    );
    project.write("tool/Dockerfile", "FROM ~os\nCOPY note /note\n");
    project.write("tool/note", "one\n");
    project.write_script("tool/change.sh", "#!/bin/sh\n");
    project.rebuilt(Place::Engine);
    kept_of_all(&project, FILES + 2);

    let script = "#!/bin/sh\ncd $REBUILD_CONTEXT\ntouch -r note time\necho two >note\n\
                  touch -r time note\nrm time\n";
    project.write_script("tool/change.sh", script);
    let ended = project.rebuild("").run().exits(10);
    ended.says(&["its build context changed while it was built; run again"]);
    let note = fs::read_to_string(project.path("tool/note")).unwrap();
    assert_eq!(note, "two\n", "the command did its work");
}
