//! An older commit is not published over a newer one, unless somebody says so.

use std::process::Command;

use super::everywhere_of_files;
use crate::support::{
    project::{Place, Project},
    registry::Registry,
};

pub(super) fn git(project: &Project, arguments: &[&str]) -> String {
    git_at(project, "@1800000200 +0000", arguments)
}

/// With this time for a commit.
fn git_at(project: &Project, date: &str, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=Somebody", "-c", "user.email=s@example.com"];
    let output = Command::new("git")
        .args(identity)
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_COMMITTER_DATE", date)
        .current_dir(project.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn an_older_commit_is_refused_before_anything_is_built() {
    everywhere_of_files(|project, place| {
        git(project, &["init", "-q", "-b", "main"]);
        git(project, &["add", "."]);
        git(project, &["commit", "-qm", "one"]);
        let one = git(project, &["rev-parse", "HEAD"]);
        project.rebuilt(place);
        assert_eq!(project.label(place, "~web:latest", "rebuild.revision"), one);
        project.edit("web/page", "one", "two");
        git(project, &["commit", "-qam", "two"]);
        let two = git(project, &["rev-parse", "HEAD"]);
        project.rebuilt(place);
        let newest = project.tags(place);
        assert_eq!(project.label(place, "~web:latest", "rebuild.revision"), two);

        git(project, &["checkout", "-q", &one]);
        let ended = project.rebuild("").to(place).run().exits(13);
        ended.says(&[
            &format!("was built from commit {}, which comes after {}", &two[..12], &one[..12]),
            "hint: check out the newer commit, or publish the older one with `--allow-older`",
        ]);
        assert_eq!(project.tags(place), newest);
        project.rebuild("--no-push").to(place).run().exits(0);

        // A commit that is no ancestor, such as one that takes the change back, is none of that.
        git(project, &["checkout", "-q", "main"]);
        git_at(project, "@1700000000 +0000", &["revert", "--no-edit", "HEAD"]);
        project.rebuilt(place);
        let reverted = project.tags(place);
        assert_ne!(reverted, newest);

        // What is not committed is of no commit.
        project.edit("web/page", "one", "three");
        project.rebuilt(place);
        assert_eq!(project.label(place, "~web:latest", "rebuild.revision"), "");
        git(project, &["checkout", "-q", "--force", "main"]);
        let warning = "published from uncommitted files, after commit";
        project.rebuild("plan").to(place).run().exits(0).says(&["`~web`", warning]);
        project.edit("web/page", "one", "four");
        git(project, &["commit", "-qam", "four"]);
        project.rebuilt(place);
        git(project, &["checkout", "-q", &one]);
        project.rebuild("--allow-older").to(place).run().exits(0);
        assert_eq!(project.tags(place), reverted);
    });
}

#[test]
fn a_clone_that_does_not_have_the_newer_commit_goes_by_its_time() {
    let (project, registry) = (Project::pair(), Registry::start());
    let place = Place::Registry(&registry);
    let commit = |message: &str, seconds: u32| {
        let at = format!("@{seconds} +0000");
        std::fs::write(project.path("app/page"), format!("{message}\n")).unwrap();
        git(&project, &["add", "."]);
        git_at(&project, &at, &["commit", "-qm", message]);
    };
    git(&project, &["init", "-q", "-b", "main"]);
    for (message, seconds) in [("one", 1_800_000_000), ("two", 1_800_000_100)] {
        commit(message, seconds);
    }
    project.rebuilt(place);
    let newest = project.tags(place);
    let from = format!("file://{}", project.path("").display());
    for (branch, revision, code) in [("older", "HEAD~1", 13), ("same", "HEAD", 0)] {
        git(&project, &["branch", branch, revision]);
        let folder = project.path("..").join(branch);
        let clone =
            ["clone", "-q", "--depth", "1", "-b", branch, &from, &folder.display().to_string()];
        git(&project, &clone);
        let rebuild = |arguments: &str| {
            project.rebuild(&format!("-C {} {arguments}", folder.display())).to(place).run()
        };
        let planned = rebuild("plan").exits(0);
        let ended = rebuild("").exits(code);
        if code != 0 {
            let said = "which this clone does not have and which was made after";
            ended.says(&[said, "`--allow-older`"]);
            planned.says(&["warning: a run is refused without `--allow-older`: ", said]);
        }
        assert_eq!(project.tags(place), newest);
    }
}
