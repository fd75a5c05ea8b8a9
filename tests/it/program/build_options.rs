//! Options of a build reach it on each engine, and an option that the engine lacks is refused by its name.

use rebuild::engine::Capability;

use crate::support::{engine::capabilities, project::Project};

#[test]
fn options_reach_the_build() {
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, add_hosts: { db.test: 10.9.8.7 } }\n  ~none: { context: none, network: none }\n";
    project.write("hierarchy.yaml", file);
    project.write("app/Dockerfile", "FROM ~os\nRUN grep db.test /etc/hosts >/hosts\n");
    project.write("none/Dockerfile", "FROM ~os\nRUN ls /sys/class/net >/net\n");
    project.rebuild("").run().exits(0);
    assert_eq!(project.output_in("~app", &["cat", "/hosts"]), "10.9.8.7\tdb.test\n");
    assert_eq!(project.output_in("~none", &["cat", "/net"]), "lo\n");
    // Another value is another image, and `why` names the option only.
    project.edit("hierarchy.yaml", "10.9.8.7", "10.9.8.6");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("add_hosts.db.test"), "{plan}");
    plan.never_says(&["10.9.8"]);
}

#[test]
fn limits_that_an_engine_lacks_are_refused_before_the_first_build() {
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, shm_size: 32MiB, ulimits: { nofile: \"500:600\" } }\n";
    project.write("hierarchy.yaml", file);
    project.write(
        "app/Dockerfile",
        "FROM ~os\nRUN ulimit -n >/limit; grep ' /dev/shm ' /proc/mounts >/shm\n",
    );
    if capabilities().unwrap().has(Capability::BuildLimits) {
        project.rebuild("").run().exits(0);
        let shown = project.output_in("~app", &["cat", "/limit", "/shm"]);
        assert!(shown.starts_with("500\n") && shown.contains("size=32768k"), "{shown}");
        return;
    }
    let lacks = |option| {
        format!("`~app` has `{option}`, and this engine lacks the capability `build-limits`")
    };
    let ended = project.rebuild("").run().exits(2);
    ended.says(&[&lacks("shm_size"), &lacks("ulimits")]).never_says(&["built"]);
}

#[test]
fn named_contexts_are_images_and_folders_on_every_engine() {
    let project = Project::empty();
    project.write_os();
    project.write(
        "hierarchy.yaml",
        "version: 1\nimages:
  ~os: { context: os, tags: [\"1\"] }
  ~tool: { context: tool }
  ~app:
    context: app
    contexts: { base: docker-image://~os:1, from-elsewhere: docker-image://~tool, assets: assets, empty: none }
    dockerfile_inline: |
      FROM base
      ARG WHERE=/srv
      COPY --from=assets . ${WHERE}/
      COPY --from=from-elsewhere /tool /tool
      RUN --mount=type=bind,from=assets,target=/mnt cat /mnt/page >/copy
      COPY . /own/
  ~root: { context: app, dockerfile_inline: \"FROM assets\", contexts: { assets: assets } }\n",
    );
    project.write("tool/Dockerfile", "FROM ~os:1\nRUN echo tool >/tool\n");
    project.write("app/own", "own\n");
    project.write("assets/page", "one\n");
    project.write("assets/left-out", "x\n");
    project.write("assets/.dockerignore", "left-out\n.dockerignore\n");
    std::fs::create_dir(project.path("none")).unwrap();
    let ended = project.rebuild("").run().exits(0);
    assert!(ended.result().ends_with(": 4 built"), "{ended}");
    let find = "find /srv /own -type f | sort; cat /srv/page /tool /copy";
    let shown = project.output_in("~app", &["sh", "-c", find]);
    assert_eq!(shown, "/own/own\n/srv/page\none\ntool\none\n");
    assert_eq!(project.under_way(), [""; 0]);
    let again = project.rebuild("").run().exits(0);
    assert_eq!(again.result(), "nothing to do: all 4 images are up to date", "{again}");
    // A file of a context is a file of the image, and an image of a context is a parent.
    project.write("assets/page", "two\n");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("assets/page"), "{plan}");
    let tree = project.rebuild("tree").run().exits(0);
    assert!(tree.stdout.contains("takes from ~tool"), "{tree}");
    project.rebuild("").run().exits(0);
    assert_eq!(project.output_in("~app", &["cat", "/copy"]), "two\n");
    // A step that fails is shown as it is written.
    project.edit("hierarchy.yaml", "COPY . /own/", "COPY --from=assets /missing /x");
    let ended = project.rebuild("--only ~app").run().exits(10);
    ended.says(&["hierarchy.yaml#~app:6"]).never_says(&["rebuild.invalid"]);
}

#[test]
fn contexts_of_git_repositories_are_the_files_of_one_commit() {
    let project = Project::empty();
    let git = |script: &str| project.shell(&project.path("repository"), script).run().exits(0);
    project.write_os();
    let dockerfile = "FROM ~os\nCOPY . /app/\nCOPY --from=more name /more\n";
    project.write("repository/sub/Dockerfile", dockerfile);
    project.write("repository/sub/name", "~one\n");
    project.write("repository/sub/program", "#!/bin/sh\n");
    let identity = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b";
    let commit = |message: &str| {
        git(&format!("{identity}; git add -A && git commit -q -m {message}"));
    };
    git("umask 077; git init -q -b main . && chmod 700 sub && chmod 700 sub/program");
    commit("one");
    git("git tag v1");
    let url = format!("file://{}", project.path("repository").display());
    project.write(
        "hierarchy.yaml",
        &format!(
            "version: 1\nimages:
  ~os: {{ context: os }}
  ~app: {{ context: \"{url}#main:sub\", contexts: {{ more: \"{url}#v1:sub\" }} }}\n"
        ),
    );
    project.rebuild("").run().exits(0);
    // The same files in another commit are the same image.
    git(&format!("{identity}; git commit -q --allow-empty -m two"));
    project.rebuild("").run().exits(0).says(&["nothing to do"]);
    project.write("repository/sub/name", "~two\n");
    commit("three");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("name"), "{plan}");
    // Nothing is left of the checkouts.
    let folder = project.path("tmp");
    std::fs::create_dir(&folder).unwrap();
    project.rebuild("").env("TMPDIR", &folder).run().exits(0);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    let shown = project.output_in("~app", &["sh", "-c", "cat /app/name /more; ls -l /app"]);
    assert!(shown.starts_with("~two\n~one\n"), "{shown}");
    let modes: Vec<&str> =
        shown.lines().skip(2).filter_map(|line| line.split(' ').next()).collect();
    assert!(modes.contains(&"-rwxr-xr-x") && modes.contains(&"-rw-r--r--"), "{shown}");
    for (address, told) in [
        (format!("{url}#none:sub"), "cannot be checked out"),
        (format!("{url}#v1:none"), "it has no folder `none`"),
    ] {
        project.edit("hierarchy.yaml", &format!("{url}#main:sub"), &address);
        project.rebuild("plan").run().exits(2).says(&[told, "hierarchy.yaml:4"]);
        project.edit("hierarchy.yaml", &address, &format!("{url}#main:sub"));
    }
    let ended = project.rebuild("plan --untrusted").run().exits(2);
    ended.says(&["is fetched with the git logins of this machine: refused"]);
}

#[test]
fn a_build_works_without_an_optional_secret() {
    if crate::support::engine::lacks(Capability::Secrets) {
        return;
    }
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, secrets: { a: { env: NOT_SET_A, required: false }, b: { file: none, required: false } } }\n";
    project.write("hierarchy.yaml", file);
    let run =
        "RUN --mount=type=secret,id=a --mount=type=secret,id=b ls /run/secrets >/list || true";
    project.write("app/Dockerfile", &format!("FROM ~os\n{run}\n"));
    project.rebuild("").run().exits(0);
    assert_eq!(project.output_in("~app", &["cat", "/list"]), "");
    // With a value, the build gets it; the fingerprint is the same.
    project.rebuild("").env("NOT_SET_A", "x").run().exits(0).says(&["nothing to do"]);
    project.edit("hierarchy.yaml", "required: false }, b", "required: true }, b");
    let ended = project.rebuild("--refresh").run().exits(2);
    ended.says(&["needs the secret `a`, and the environment variable `NOT_SET_A` is not set"]);
}
