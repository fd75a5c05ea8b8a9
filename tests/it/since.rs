//! What changed since a commit, in real repositories.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use rebuild::{
    hierarchy::{Hierarchy, LoadOptions},
    plan::{Selection, since::since},
};

/// What every repository begins with; `base` is a tag on its commit.
const BEGIN: &str = r#"
git init -q -b main repo
cd repo
git config user.name Somebody
git config user.email somebody@example.com
git config commit.gpgsign false
git config protocol.file.allow always
cat >hierarchy.yaml <<END
version: 1
images:
  os: { context: os }
  web: { context: web, dockerfile: ../shared/web.Dockerfile }
  app: { context: app, prepare: [./make.sh] }
  "r-{v}": { context: r, matrix: { v: ["1", "2"] }, build_args: { V: "{v}" } }
END
mkdir os web app r shared docs
echo FROM scratch | tee os/Dockerfile app/Dockerfile r/Dockerfile >shared/web.Dockerfile
echo x | tee os/file os/ignored web/file r/file >docs/page
echo ignored >os/.dockerignore
echo '#!/bin/sh' >app/make.sh
echo 'make.sh' >app/.dockerignore
git add .
git commit -qm base
git tag base
"#;

/// Runs a script in a new folder, with nobody's configuration.
fn folder(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_ALLOW_PROTOCOL", "file")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    folder
}

/// A line for each image that changed, each notice, or the error with its hint.
fn touched(file: &Path, revision: &str) -> String {
    let options = LoadOptions::default();
    let hierarchy = Hierarchy::load(file, &options).unwrap().hierarchy;
    let mut text = String::new();
    match since(&hierarchy, revision, &options) {
        Ok(found) => {
            match found.selection {
                Selection::Because(reasons) => {
                    for (node, reason) in reasons {
                        writeln!(text, "{node}: {reason}").unwrap();
                    }
                }
                other => writeln!(text, "{other:?}").unwrap(),
            }
            for notice in found.notices {
                writeln!(text, "notice: {notice}").unwrap();
            }
        }
        Err(error) => {
            writeln!(text, "error: {error}").unwrap();
            if let Some(hint) = error.hint() {
                writeln!(text, "hint: {hint}").unwrap();
            }
        }
    }
    text
}

/// After [`BEGIN`] and a script in the repository, what is touched, with folders left out.
fn after(script: &str, revision: &str) -> String {
    let folder = folder(&format!("{BEGIN}\n{script}"));
    let root = folder.path().canonicalize().unwrap();
    touched(&root.join("repo/hierarchy.yaml"), revision).replace(root.to_str().unwrap(), "DIR")
}

fn check(cases: &[(&str, &str, &str)]) {
    for (script, revision, expected) in cases {
        assert_eq!(after(script, revision), *expected, "{script}");
    }
}

#[test]
fn files_of_images() {
    check(&[
        ("", "base", ""),
        ("echo y >docs/page; git commit -qam docs", "base", ""),
        ("echo y >os/file; git commit -qam one", "base", "os: `file` changed since `base`\n"),
        ("echo y >os/file", "HEAD", "os: `file` changed since `HEAD`\n"),
        ("echo y >os/file; git add .", "HEAD", "os: `file` changed since `HEAD`\n"),
        ("echo y >os/new", "HEAD", "os: `new` is new since `HEAD`\n"),
        ("echo y >os/ignored; git commit -qam one", "base", ""),
        ("echo y >os/file; echo x >os/file", "HEAD", ""),
        ("chmod +x os/file", "HEAD", "os: `file` changed since `HEAD`\n"),
        ("ln -sf ignored os/file", "HEAD", "os: `file` changed since `HEAD`\n"),
        ("echo y >os/file; git commit -qam one; echo x >os/file; git commit -qam two", "base", ""),
        // A Dockerfile outside its context, and one inside.
        (
            "echo '# y' >>shared/web.Dockerfile",
            "HEAD",
            "web: its Dockerfile changed since `HEAD`\n",
        ),
        ("echo '# y' >>os/Dockerfile", "HEAD", "os: its Dockerfile changed since `HEAD`\n"),
        // What says what is ignored, and a script that is run even though it is ignored.
        (
            "echo none >shared/web.Dockerfile.dockerignore",
            "HEAD",
            "web: `shared/web.Dockerfile.dockerignore` is new since `HEAD`\n",
        ),
        (
            "echo .dockerignore >>os/.dockerignore",
            "HEAD",
            "os: `.dockerignore` changed since `HEAD`\n",
        ),
        ("echo true >>app/make.sh", "HEAD", "app: `make.sh` changed since `HEAD`\n"),
        // One folder is the context of several.
        (
            "echo y >r/file",
            "HEAD",
            "r-1: `file` changed since `HEAD`\nr-2: `file` changed since `HEAD`\n",
        ),
        (
            "echo y >os/file; echo y >web/file; rm r/file",
            "HEAD",
            "os: `file` changed since `HEAD`\nr-1: `file` was removed from the context since `HEAD`\n\
             r-2: `file` was removed from the context since `HEAD`\nweb: `file` changed since `HEAD`\n",
        ),
    ]);
}

#[test]
fn renamed_deleted_and_oddly_named_files() {
    check(&[
        (
            "git rm -q os/file; git commit -qm rm",
            "base",
            "os: `file` was removed from the context since `base`\n",
        ),
        ("rm os/file", "base", "os: `file` was removed from the context since `base`\n"),
        // Git knows nothing of it any more, so it may have changed.
        ("git rm -q --cached os/file", "base", "os: `file` changed since `base`\n"),
        (
            "git mv os/file web/moved; git commit -qm mv",
            "base",
            "os: `file` was removed from the context since `base`\nweb: `moved` is new since `base`\n",
        ),
        (
            "git mv os/file os/moved; git config diff.renames true",
            "base",
            "os: `moved` is new and `file` was removed from the context since `base`\n",
        ),
        (
            "mkdir 'os/a folder'; echo y >'os/a folder/ä \"file\"'; git add .; git commit -qm odd",
            "base",
            "os: `a folder/ä \"file\"` is new since `base`\n",
        ),
        (
            "touch \"$(printf 'os/new\\nline')\" \"$(printf 'os/\\377')\" 'os/*'",
            "base",
            "os: `*`, `\\xff` and `new\nline` are new since `base`\n",
        ),
        (
            "for n in 1 2 3 4 5 6; do touch os/$n; done",
            "base",
            "os: `1`, `2`, `3` and 3 more files are new since `base`\n",
        ),
    ]);
}

#[test]
fn entries_of_the_file() {
    check(&[
        ("sed -i 's/^images/# Ours.\\nimages/' hierarchy.yaml", "base", ""),
        (
            "sed -i 's/os: { context: os }/os: { context: os, target: x }/' hierarchy.yaml\n\
             echo 'FROM scratch AS x' >os/Dockerfile",
            "base",
            "os: its Dockerfile and its entry in hierarchy.yaml changed since `base`\n",
        ),
        (
            "sed -i 's/\"2\"/\"2\", \"3\"/' hierarchy.yaml; git commit -qam three",
            "HEAD~1",
            "r-3: its entry in hierarchy.yaml changed since `HEAD~1`\n",
        ),
        (
            "echo 'defaults: { tags: [x] }' >>hierarchy.yaml",
            "base",
            "app: its entry in hierarchy.yaml changed since `base`\n\
             os: its entry in hierarchy.yaml changed since `base`\n\
             r-1: its entry in hierarchy.yaml changed since `base`\n\
             r-2: its entry in hierarchy.yaml changed since `base`\n\
             web: its entry in hierarchy.yaml changed since `base`\n",
        ),
        (
            "cp hierarchy.yaml good; echo '[' >hierarchy.yaml; git commit -qam bad\n\
             printf 'version: 1\\nimages: { os: { context: os } }\\n' >hierarchy.yaml",
            "HEAD",
            "os: its entry in hierarchy.yaml changed since `HEAD`\n\
             notice: `hierarchy.yaml` of `HEAD` cannot be read: every entry in it counts as \
             changed\n",
        ),
        (
            "git rm -q --cached hierarchy.yaml; git commit -qm without\n\
             printf 'version: 1\\nimages: { os: { context: os } }\\n' >hierarchy.yaml",
            "HEAD",
            "os: its entry in hierarchy.yaml changed since `HEAD`\n",
        ),
    ]);
}

#[test]
fn what_a_revision_means() {
    let branch = "git switch -qc work\necho y >os/file; git commit -qam ours\n\
                  git switch -q main; echo y >web/file; git commit -qam theirs; git switch -q work";
    let zeros = "0".repeat(40);
    check(&[
        (branch, "main...", "os: `file` changed since `main...`\n"),
        (branch, "main...HEAD", "os: `file` changed since `main...HEAD`\n"),
        (branch, "main...work", "os: `file` changed since `main...work`\n"),
        (branch, "main", "os: `file` changed since `main`\nweb: `file` changed since `main`\n"),
        (
            branch,
            "main..work",
            "os: `file` changed since `main..work`\nweb: `file` changed since `main..work`\n",
        ),
        (
            branch,
            "base..main",
            "os: `file` changed since `base..main`\n\
             notice: `main` is not what is checked out: the working tree is compared\n",
        ),
        (
            "",
            &zeros,
            "OutOfDate\nnotice: `000000000000` stands for no commit: all that is out of date is \
             selected\n",
        ),
        (
            "",
            "nowhere",
            "error: there is no commit `nowhere`\n\
             hint: `git fetch` it first, or name one of `git log`\n",
        ),
        (
            "",
            "0123456789012345678901234567890123456789",
            "error: there is no commit `0123456789012345678901234567890123456789`\n\
             hint: `git fetch` it first, or name one of `git log`\n",
        ),
        (
            "",
            "base:os/file",
            "error: there is no commit `base:os/file`\n\
             hint: `git fetch` it first, or name one of `git log`\n",
        ),
        ("", "--all", "error: `--all` is not a commit: it begins with `-`\n"),
        (
            "",
            "",
            "error: `--since` was given no commit\nhint: if it comes from a variable, is that variable set?\n",
        ),
        (
            "git switch -q --orphan other; git commit -q --allow-empty -m other\n\
             git switch -q main; echo y >os/file",
            "other...main",
            "error: `other` and `main` have no commit in common\n",
        ),
    ]);
}

#[test]
fn a_whole_commit_id_is_shortened() {
    let folder = folder(&format!("{BEGIN}\necho y >os/file; git rev-parse HEAD >../id"));
    let id = std::fs::read_to_string(folder.path().join("id")).unwrap();
    let told = touched(&folder.path().join("repo/hierarchy.yaml"), &id);
    assert_eq!(told, format!("os: `file` changed since `{}`\n", &id[..12]));
}

#[test]
fn a_hierarchy_below_the_root_of_its_repository() {
    let script = format!(
        "mkdir mono; cd mono\n{BEGIN}\ncd ..; mv repo 'the images'; rm -rf 'the images/.git'\n\
         git init -q -b main; git config user.name S; git config user.email s@example.com\n\
         printf x >other\ngit config diff.relative true\n\
         sed -i 's/context: r,/context: ..\\/outside,/' 'the images/hierarchy.yaml'\n\
         mkdir outside; echo FROM scratch >outside/Dockerfile\n\
         git add .; git commit -qm base\n\
         echo y >other; echo y >'the images/os/file'; echo y >outside/new"
    );
    let folder = folder(&script);
    let file: PathBuf = folder.path().join("mono/the images/hierarchy.yaml");
    assert_eq!(
        touched(&file, "HEAD"),
        "os: `file` changed since `HEAD`\nr-1: `new` is new since `HEAD`\n\
         r-2: `new` is new since `HEAD`\n"
    );
}

#[test]
fn submodules_are_one_path() {
    let library = "git init -q ../library; cd ../library; git config user.name S\n\
         git config user.email s@example.com; echo FROM scratch >Dockerfile; echo x >file\n\
         git add .; git commit -qm one; cd ../repo\n\
         git -c protocol.file.allow=always submodule --quiet add ../library os/library\n\
         git config -f .gitmodules submodule.os/library.ignore all\n\
         sed -i 's/context: web, dockerfile: ..\\/shared\\/web.Dockerfile/context: os\\/library/' hierarchy.yaml\n\
         git add .; git commit -qm with\n";
    let both = "os: `library` changed since `HEAD`\nweb: `os/library` changed since `HEAD`\n";
    check(&[
        (library, "HEAD", ""),
        (
            &format!(
                "{library}cd os/library; git config user.name S; git config user.email s@e.com; git commit -q --allow-empty -m two"
            ),
            "HEAD",
            both,
        ),
        (&format!("{library}echo y >os/library/file"), "HEAD", both),
        (&format!("{library}echo y >os/library/new"), "HEAD", both),
    ]);
}

#[test]
fn shallow_clones_say_how_deep_they_must_be() {
    let deep = "for n in 1 2 3; do echo $n >os/file; git commit -qam $n; done\n\
                git switch -qc side HEAD~2; echo y >web/file; git commit -qam side; git switch -q main\n\
                cd ..; git clone -q --depth 2 --no-tags --no-single-branch file://$PWD/repo clone\n\
                rm -rf repo; mv clone repo; cd repo";
    let fetch = "hint: `git fetch --unshallow`, or in GitHub Actions `fetch-depth: 0` for \
                 actions/checkout\n";
    check(&[
        (deep, "HEAD~1", "os: `file` changed since `HEAD~1`\n"),
        (
            deep,
            "HEAD~3",
            "error: there is no commit `HEAD~3` in this clone: it is shallow, 2 commits deep\n\
             hint: `git fetch --unshallow`, or at least `git fetch --depth=4`, or in GitHub \
             Actions `fetch-depth: 4` for actions/checkout\n",
        ),
        (
            deep,
            "base",
            &format!(
                "error: there is no commit `base` in this clone: it is shallow, 2 commits deep\n{fetch}"
            ),
        ),
        (
            deep,
            "origin/side...",
            &format!(
                "error: there is no commit `origin/side...` in this clone: it is shallow, 2 \
                 commits deep\n{fetch}"
            ),
        ),
    ]);
}

#[test]
fn what_git_cannot_see_is_told() {
    check(&[
        (
            "echo '*.tmp' >.gitignore; git add .; git commit -qm ignore\n\
             touch os/a.tmp web/b.tmp docs/c.tmp",
            "HEAD",
            "notice: git ignores `os/a.tmp` and `web/b.tmp`, but build contexts contain them: \
             `--since` does not see whether they changed\n",
        ),
        (
            "mkdir ../elsewhere; echo FROM scratch >../elsewhere/Dockerfile\n\
             sed -i 's/{ context: os }/{ context: ..\\/elsewhere }/' hierarchy.yaml; git commit -qam out",
            "HEAD",
            "notice: the build context of `os` is outside the repository: `--since` does not see \
             what changes there\n",
        ),
    ]);
    let folder = folder(
        "mkdir os; echo FROM scratch >os/Dockerfile\nprintf 'version: 1\\nimages: { os: {} }\\n' >hierarchy.yaml",
    );
    let told = touched(&folder.path().join("hierarchy.yaml"), "HEAD");
    assert!(told.starts_with("error: `--since` needs a git repository: git rev-parse"), "{told}");
}
