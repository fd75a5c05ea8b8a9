//! What another user of the machine, or a link in the checkout, may not make `rebuild` write or read:
//! docs/security.md.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use crate::support::project::{Place, Project};

/// The mode of each file and folder below a folder, itself included.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut found = vec![(folder.display().to_string(), fs::metadata(folder).unwrap().mode())];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(modes(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), entry.metadata().unwrap().mode()));
        }
    }
    found
}

#[test]
fn the_state_is_for_this_user_only_also_without_a_home() {
    let project = Project::of_files();
    let temporary = project.path("../temporary");
    fs::create_dir_all(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    let homeless = |arguments: &str| {
        let start = project.rebuild(arguments).to(Place::Engine);
        start.env("XDG_STATE_HOME", "").env("HOME", "").env("TMPDIR", &temporary).run()
    };
    homeless("").exits(0);
    let state = temporary.join(format!("rebuild-{}", rustix::process::geteuid().as_raw()));
    let found = modes(&state);
    assert!(found.iter().any(|(path, _)| path.contains("/journal/")), "{found:?}");
    for (path, mode) in found {
        assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
    }

    // Where another user was first: a link, or a folder that others can write.
    let theirs = project.path("../theirs");
    fs::rename(&state, &theirs).unwrap();
    let before = modes(&theirs);
    symlink(&theirs, &state).unwrap();
    homeless("").exits(1).says(&["cannot write `", "`: it is a link"]);
    assert_eq!(modes(&theirs), before);
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    homeless("").exits(1).says(&["`: other users may read or write it"]);
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn reports_replace_files_and_are_not_written_through_links() {
    let project = Project::of_files();
    project.write("victim", "untouched\n");
    project.write("there.xml", "from the last run\n");
    fs::create_dir_all(project.path("../elsewhere")).unwrap();
    symlink("victim", project.path("linked.json")).unwrap();
    symlink("../elsewhere", project.path("folder")).unwrap();
    let ended = project.rebuild("--junit there.xml --json-report linked.json").run().exits(0);
    ended.says(&["linked.json` cannot be written: `linked.json` is a link, which is not followed"]);
    assert_eq!(fs::read_to_string(project.path("victim")).unwrap(), "untouched\n");
    assert!(fs::read_to_string(project.path("there.xml")).unwrap().starts_with("<?xml"));

    let ended = project.rebuild("--junit folder/new.xml --json-report /dev/null").run().exits(0);
    ended.says(&["`folder` is a link, which is not followed"]).never_says(&["--json-report"]);
    assert_eq!(fs::read_dir(project.path("../elsewhere")).unwrap().count(), 0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn init_does_not_write_through_a_link() {
    let project = Project::empty();
    project.write("os/Dockerfile", "FROM scratch\n");
    project.write("victim", "untouched\n");
    symlink("victim", project.path("hierarchy.yaml")).unwrap();
    for arguments in ["init", "init --force"] {
        let ended = project.rebuild(arguments).run();
        assert_ne!(ended.status.code(), Some(0), "{ended}");
        assert_eq!(fs::read_to_string(project.path("victim")).unwrap(), "untouched\n");
    }
}
