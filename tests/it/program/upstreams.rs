//! Images from outside of the hierarchy: resolved once, pinned, and the reason for a rebuild.

use std::{fmt::Write as _, io::Write as _};

use flate2::{Compression, write::GzEncoder};

use super::waste::{gzip, tar};
use crate::support::{
    engine,
    project::{Place, Project, docker},
    registry::{LayerUpload, Registry, Setup},
};

/// `~web` stands on `upstream`, `~app` on it, and `~os` is an image of the engine that is in no hierarchy.
fn project(upstream: &str) -> Project {
    let project = Project::empty();
    let hierarchy = "version: 1\nimages:\n  ~web: { context: web }\n  ~app: { context: app }\n";
    project.write("hierarchy.yaml", hierarchy);
    project.write("web/Dockerfile", &format!("FROM {upstream}\nRUN cat /etc/name >/web\n"));
    project.write("app/Dockerfile", "FROM ~web\nRUN echo app >/app\n");
    project
}

/// Makes an image outside of the hierarchy, and returns its ID.
fn make(project: &Project, tag: &str, name: &str) -> String {
    if !project.path("os").exists() {
        project.write_os();
    }
    project.write("os/name", name);
    engine::build(&project.path("os"), &project.name(tag))
}

fn push(project: &Project, tag: &str) {
    engine::push(&project.name(tag));
}

const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn an_image_that_only_the_engine_has() {
    let project = project("~mine:1");
    let first = make(&project, "~mine:1", "~ first");
    project.rebuilt(Place::Engine);
    let label = |name| project.shown(&project.label(Place::Engine, "~web:latest", name));
    assert_eq!((label(BASE_DIGEST), label(BASE_NAME)), (first.clone(), "~mine:1".to_owned()));
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ first");

    let second = make(&project, "~mine:1", "~ second");
    let short = |id: &str| id["sha256:".len()..][..12].to_owned();
    let (was, now) = (short(&first), short(&second));
    let ended = project.rebuild("").run().exits(0);
    let ended = ended.says(&[&format!("`~mine:1` moved from {was} to {now}")]);
    assert_eq!(label(BASE_DIGEST), second, "{ended}");
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ second");
    let again = project.rebuilt(Place::Engine);
    assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn an_image_in_a_registry_that_moves() {
    let registry = Registry::start();
    let upstream = format!("{}/upstream/~base:1", registry.host());
    let project = project(&upstream);
    let repository = project.name("upstream/~base");
    let digest = || registry.head(&repository, "1").unwrap();
    make(&project, &upstream, "~ first");
    push(&project, &upstream);
    let first = digest();
    project.rebuilt(Place::Engine);
    let label = || project.label(Place::Engine, "~web:latest", BASE_DIGEST);
    assert_eq!(label(), first);

    // Somebody else publishes a new one, which this engine has not seen.
    make(&project, &upstream, "~ second");
    push(&project, &upstream);
    let second = digest();
    assert_ne!(first, second);
    docker(&["rmi", &project.name(&upstream)]).unwrap();
    let reason = project.rebuild("plan").run().exits(0);
    let moved = format!("`{}` moved from ", project.shown(&project.name(&upstream)));
    assert!(reason.stdout.contains(&moved), "{reason}");
    project.rebuilt(Place::Engine);
    assert_eq!(label(), second);
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ second");

    // Pinned by its digest, it is what it is, whatever the tag says.
    project.write("web/Dockerfile", &format!("FROM {upstream}@{first}\nRUN cat /etc/name >/web\n"));
    project.rebuilt(Place::Engine);
    assert_eq!(label(), first);
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ first");
}

#[test]
fn a_registry_that_is_down_is_a_warning_if_the_engine_has_the_image() {
    let registry = Registry::start();
    let upstream = format!("{}/upstream/~base:1", registry.host());
    let project = project(&upstream);
    make(&project, &upstream, "~ first");
    push(&project, &upstream);
    project.rebuilt(Place::Engine);
    drop(registry);

    project.edit("app/Dockerfile", "echo app", "echo other");
    let ended = project.rebuilt(Place::Engine);
    let ended =
        ended.says(&["warning: cannot ask whether `", "using the image that the engine has"]);
    assert!(ended.result().ends_with(": 1 built, 1 up to date"), "{ended}");

    docker(&["rmi", &project.name(&upstream)]).unwrap();
    project.rebuild("").run().exits(21).says(&["cannot resolve `"]);
    project.rebuild("plan").run().exits(21).says(&["cannot resolve `"]);
}

#[test]
fn a_plan_of_images_that_were_never_built_needs_no_registry() {
    let project = project("127.0.0.1:1/upstream/base:1");
    for flags in ["plan", "plan --offline"] {
        let plan = project.rebuild(flags).run().exits(0);
        let plan = plan.says(&["warning: cannot resolve `127.0.0.1:1/upstream/base:1`: "]);
        assert!(plan.stdout.contains("2 to build"), "{plan}");
    }
    project.rebuild("").run().exits(21).says(&["cannot resolve `"]);
}

#[test]
fn an_upstream_that_is_unreachable_concerns_the_images_that_need_it() {
    let project = project("127.0.0.1:1/upstream/base:1");
    project.write_os();
    let images = "~web: { context: web, on_failure: hold }\n  ~os: { context: os }\n";
    project.write("hierarchy.yaml", &format!("version: 1\nimages:\n  {images}"));
    let sentence =
        "cannot resolve `127.0.0.1:1/upstream/base:1`: cannot reach the registry 127.0.0.1:1";
    let ended = project.rebuild("").run().exits(21).says(&[sentence, "needed by `~web` "]);
    assert!(ended.result().contains("1 failed, 1 built"), "{ended}");
    assert!(project.tags(Place::Engine).contains_key("~os:latest"), "{ended}");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("1 to build, 1 up to date"), "{plan}");
}

#[test]
fn an_index_that_changes_for_other_platforms_is_no_change() {
    let registry = Registry::start();
    let upstream = format!("{}/upstream/~base:1", registry.host());
    let project = project(&upstream);
    let repository = project.name("upstream/~base");
    let pushed = |name: &str| {
        make(&project, &upstream, name);
        push(&project, &upstream);
        let digest = registry.head(&repository, "1").unwrap();
        docker(&["rmi", &project.name(&upstream)]).unwrap();
        digest
    };
    let (ours, other, newer) = (pushed("~ ours"), pushed("~ other"), pushed("~ newer"));
    let here = docker(&["version", "--format", "{{.Server.Arch}}"]).unwrap().trim().to_owned();
    let index = |ours: &str, others: &[&str]| {
        let others = others.iter().map(|architecture| (*architecture, other.as_str()));
        let members: Vec<_> = std::iter::once((here.as_str(), ours)).chain(others).collect();
        registry.push_index(&repository, "1", &members);
    };
    // A tag that was no index at first, too.
    registry.by_hand(&repository, "1", &ours)();
    project.rebuilt(Place::Engine);
    for others in [&["s390x"][..], &["s390x", "riscv64"]] {
        index(&ours, others);
        let again = project.rebuilt(Place::Engine);
        assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");
    }
    // A change of our own is built, and so is what changed for our platform.
    project.edit("web/Dockerfile", "/web", "/web ");
    let ended = project.rebuilt(Place::Engine);
    assert!(!ended.stderr.contains(" moved from "), "{ended}");
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ ours");
    index(&newer, &["s390x", "riscv64"]);
    project.rebuilt(Place::Engine).says(&["moved from"]);
    assert_eq!(project.output_in("~app", &["cat", "/web"]), "~ newer");
}

#[test]
fn an_upstream_that_is_gone_concerns_the_images_that_need_it() {
    let setup = Setup { delete: true, ..Setup::default() };
    let registry = Registry::with(&setup);
    let pushed = registry.push("upstream/base", "1", "layer");
    let upstream = format!("{}/upstream/base:1", registry.host());
    let project = project(&upstream);
    let hierarchy = "version: 1\nimages:\n  ~web: { context: web }\n  ~app: { context: app }\n  \
                     ~pinned: { context: pinned }\n  ~os: { context: os }\n";
    project.write_os();
    project.write("hierarchy.yaml", hierarchy);
    project.write("pinned/Dockerfile", &format!("FROM {upstream}@{}\nLABEL x=1\n", pushed.digest));
    registry.delete("upstream/base", pushed.digest.as_str());

    let sentence =
        format!("`{upstream}` does not exist: neither the engine nor its registry has it");
    let needed = "; needed by `~web` (web/Dockerfile:1)";
    let plan = project.rebuild("plan").run().exits(0).says(&[&format!("{sentence}{needed}")]);
    assert!(plan.stdout.contains("4 to build") && plan.stdout.contains(&sentence), "{plan}");
    let why = project.rebuild(&project.name("why ~web")).run().exits(0);
    assert!(why.stdout.contains(&sentence), "{why}");
    project.rebuild("status").run().exits(0);

    let place = |file: &str| format!("{}:1: FROM {upstream}", project.path(file).display());
    let ended = project.rebuild("--keep-going").run().exits(10);
    let ended = ended.says(&[&sentence, &place("web/Dockerfile"), &place("pinned/Dockerfile")]);
    assert!(ended.result().contains("2 failed"), "{ended}");
    assert!(ended.result().contains("1 built"), "{ended}");
}

/// Two upstreams have the same layer in other compressions: containerd's image store pulls the files once.
#[test]
fn an_upstream_whose_files_are_here_in_another_compression() {
    let registry = Registry::start();
    let project = Project::empty();
    let layer = tar(&[("name", project.name("~").repeat(5000).as_bytes())]);
    let mut smaller = GzEncoder::new(Vec::new(), Compression::best());
    smaller.write_all(&layer).unwrap();
    let mut hierarchy = "version: 1\nimages:\n".to_owned();
    for (name, blob) in [("one", gzip(&layer)), ("two", smaller.finish().unwrap())] {
        let repository = project.name(&format!("~up-{name}"));
        let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
        let diff_id = rebuild::image::Digest::of(&layer);
        registry.push_layers(&repository, "1", &[LayerUpload { media_type, blob, diff_id }]);
        let upstream = format!("{}/{repository}:1", registry.host());
        writeln!(hierarchy, "  ~{name}: {{ context: {name} }}").unwrap();
        let dockerfile = format!("# rebuild ignore=RB041\nFROM {upstream}\nCOPY file /\n");
        project.write(&format!("{name}/Dockerfile"), &dockerfile);
        project.write(&format!("{name}/file"), name);
    }
    project.write("hierarchy.yaml", &hierarchy);
    // The engine has the files of the first one before it pulls the second one.
    project.rebuild("--only ~one").run().exits(0);
    project.rebuilt(Place::Engine);
    for name in ["~one", "~two"] {
        assert_eq!(crate::support::saved::Saved::of(&project.name(name)).layers.len(), 2, "{name}");
    }
}
