//! Upstreams in the mirror: copied before they are used, and used when their registries fail.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{
    engine,
    project::{Place, Project, docker},
    proxy::{Fault, Proxy},
    registry::{Registry, Setup, large_layer},
};

/// `~web` is based on an upstream of its own registry; the mirror is in the registry of the hierarchy.
struct Mirrored {
    project: Project,
    /// Of the upstream; dropped when it fails.
    upstream: Option<Registry>,
    own: Registry,
    name: String,
}

impl Mirrored {
    fn new() -> Self {
        let (upstream, own) =
            (Registry::with(&Setup { delete: true, ..Setup::default() }), Registry::start());
        let project = Project::empty();
        let name = format!("{}/upstream/~base:1", upstream.host());
        let mirrored = Self { project, upstream: Some(upstream), own, name };
        let (project, name) = (&mirrored.project, &mirrored.name);
        mirrored.hierarchy(true);
        project.write("web/Dockerfile", &format!("FROM {name}\nRUN cat /etc/name >/web\n"));
        project.write_os();
        mirrored.push("~ first");
        mirrored
    }

    fn hierarchy(&self, has_mirror: bool) {
        let mirror = format!("mirror: {}/mirror\n", self.own.host());
        let mirror = if has_mirror { &mirror } else { "" };
        let text = format!("version: 1\n{mirror}images:\n  ~web: {{ context: web }}\n");
        self.project.write("hierarchy.yaml", &text);
    }

    /// Publishes an upstream with this content, and leaves nothing of it in the engine.
    fn push(&self, content: &str) -> String {
        self.project.write("os/name", content);
        let name = self.project.name(&self.name);
        engine::build(&self.project.path("os"), &name);
        engine::push(&name);
        self.forget();
        self.upstream.as_ref().unwrap().head(&self.project.name("upstream/~base"), "1").unwrap()
    }

    fn forget(&self) {
        self.project.forget_images();
    }

    /// The repository of the copy, without the host.
    fn copy(&self) -> String {
        let host = self.name.split('/').next().unwrap().replace(':', "_");
        self.project.name(&format!("mirror/{host}/upstream/~base"))
    }

    fn place(&self) -> Place<'_> {
        Place::Registry(&self.own)
    }

    /// What `rebuild mirror` finds, as `state` and the row.
    fn asked(&self, flags: &str, exit: i32) -> (String, Value) {
        let ended =
            self.project.rebuild(&format!("mirror --format json {flags}")).run().exits(exit);
        let object: Value = serde_json::from_str(&ended.stdout).unwrap();
        let row = object["upstreams"][0].clone();
        (row["state"].as_str().unwrap_or_default().to_owned(), row)
    }
}

#[test]
fn a_run_goes_on_from_the_mirror_when_the_upstream_vanishes() {
    let mut mirrored = Mirrored::new();
    let digest =
        mirrored.upstream.as_ref().unwrap().head(&mirrored.project.name("upstream/~base"), "1");
    // Without a mirror; and then with one, which rebuilds nothing.
    mirrored.hierarchy(false);
    mirrored.project.rebuilt(mirrored.place());
    mirrored.hierarchy(true);
    let again = mirrored.project.rebuilt(mirrored.place()).says(&["copied `"]);
    assert!(again.result().starts_with("nothing to do"), "{again}");
    assert_eq!(mirrored.own.head(&mirrored.copy(), "1"), digest);

    // Its registry is gone, and so is the image in the engine.
    drop(mirrored.upstream.take());
    mirrored.forget();
    mirrored.project.edit("web/Dockerfile", ">/web", ">/web; echo >/new");
    let ended = mirrored.project.rebuilt(mirrored.place());
    let warning = "using the newest copy in the mirror";
    let ended = ended.says(&["warning: cannot ask whether `", warning]);
    assert!(ended.result().ends_with(": 1 built"), "{ended}");
    let base = mirrored.project.label(
        mirrored.place(),
        "~web:latest",
        "org.opencontainers.image.base.digest",
    );
    assert_eq!(Some(base), digest);
    let name = mirrored.project.label(
        mirrored.place(),
        "~web:latest",
        "org.opencontainers.image.base.name",
    );
    assert_eq!(mirrored.project.shown(&name), mirrored.name);
    let plan = mirrored.project.rebuild("plan").to(mirrored.place()).run().exits(0);
    plan.says(&[warning]);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_run_builds_from_the_copy_and_copies_a_tag_that_moved() {
    let mirrored = Mirrored::new();
    mirrored.project.rebuilt(mirrored.place()).says(&["copied `"]);
    let images = docker(&["images", "--digests", "--format", "{{.Repository}}"]).unwrap();
    let copy = format!("{}/{}", mirrored.own.host(), mirrored.copy());
    assert!(images.lines().any(|line| line == copy), "{images}");
    let quiet = mirrored.project.rebuilt(mirrored.place());
    assert!(!quiet.stderr.contains("copied"), "{quiet}");

    let second = mirrored.push("~ second");
    let plan = mirrored.project.rebuild("plan").to(mirrored.place()).run().exits(0);
    assert!(plan.stdout.contains("moved from"), "{plan}");
    assert_ne!(
        mirrored.own.head(&mirrored.copy(), "1").as_ref(),
        Some(&second),
        "a plan copies nothing"
    );
    mirrored.project.rebuilt(mirrored.place()).says(&["copied `"]);
    assert_eq!(mirrored.own.head(&mirrored.copy(), "1"), Some(second.clone()));

    // A digest has a tag, too.
    let (name, _) = mirrored.name.rsplit_once(':').unwrap();
    mirrored
        .project
        .write("web/Dockerfile", &format!("FROM {name}@{second}\nRUN cat /etc/name >/web\n"));
    mirrored.project.rebuilt(mirrored.place());
    let tags = mirrored.own.tags(&mirrored.copy());
    let tag = format!("rb-from-{}", &second["sha256:".len()..][..32]);
    assert!(tags.contains(&tag), "{tags:?}");
}

#[test]
fn upstreams_that_moved_or_vanished_are_listed() {
    let mut mirrored = Mirrored::new();
    let repository = mirrored.project.name("upstream/~base");
    let first = mirrored.upstream.as_ref().unwrap().head(&repository, "1").unwrap();
    assert_eq!(mirrored.asked("--check", 0).0, "new");
    assert_eq!(mirrored.own.head(&mirrored.copy(), "1"), None, "a check copies nothing");
    let (state, row) = mirrored.asked("", 0);
    assert_eq!((state.as_str(), row["mounted"].as_u64()), ("copied", Some(0)));
    assert!(row["streamed"].as_u64().unwrap() > 100_000, "{row}");
    assert_eq!(mirrored.asked("", 0).0, "current");
    assert_eq!(mirrored.asked("--check", 0).0, "current");

    let second = mirrored.push("~ second");
    let (state, row) = mirrored.asked("--check", 0);
    assert_eq!((state.as_str(), &row["copy_digest"]), ("moved", &Value::from(first)));
    let text = mirrored.project.rebuild("mirror --check").run().exits(0);
    assert!(text.stdout.contains("1 upstream for ") && text.stdout.contains(": 1 moved"), "{text}");
    assert_eq!(mirrored.asked("", 0).0, "copied");
    assert_eq!(mirrored.own.head(&mirrored.copy(), "1"), Some(second.clone()));

    mirrored.upstream.as_ref().unwrap().delete(&repository, &second);
    assert_eq!(mirrored.asked("--check", 0).0, "only-copy");
    assert_eq!(mirrored.asked("", 0).0, "only-copy");
    drop(mirrored.upstream.take());
    let (state, row) = mirrored.asked("--check", 0);
    assert_eq!(state, "unconfirmed");
    assert!(row["error"].as_str().unwrap().contains("cannot reach the registry"), "{row}");

    // Neither has it.
    let (name, _) = mirrored.name.rsplit_once(':').unwrap();
    mirrored.project.write("web/Dockerfile", &format!("FROM {name}:2\nRUN cat /etc/name >/web\n"));
    assert_eq!(mirrored.asked("--check", 21).0, "unreachable");
    let own = format!("FROM {}/never/pushed:1\n", mirrored.own.host());
    mirrored.project.write("web/Dockerfile", &own);
    assert_eq!(mirrored.asked("--check", 10).0, "missing");
}

#[test]
fn an_upstream_in_the_registry_of_the_mirror_is_mounted() {
    let registry = Registry::start();
    let project = Project::empty();
    let pushed = registry.push("team/base", "1", "content of a layer");
    let mirror = format!("mirror: {}/mirror", registry.host());
    project.write(
        "hierarchy.yaml",
        &format!("version: 1\n{mirror}\nimages:\n  ~web: {{ context: web }}\n"),
    );
    project.write("web/Dockerfile", &format!("FROM {}/team/base:1\n", registry.host()));
    let ended = project.rebuild("mirror --format json").run().exits(0);
    let row = serde_json::from_str::<Value>(&ended.stdout).unwrap()["upstreams"][0].clone();
    let all = 18 + pushed.config.len() as u64;
    assert_eq!((row["streamed"].as_u64(), row["mounted"].as_u64()), (Some(0), Some(all)), "{row}");
    let copy = format!("mirror/{}/team/base", registry.host().replace(':', "_"));
    assert_eq!(registry.head(&copy, "1").as_deref(), Some(pushed.digest.as_str()));
    // An upstream in the mirror is no copy of itself.
    project.write("web/Dockerfile", &format!("FROM {}/{copy}:1\n", registry.host()));
    let ended = project.rebuild("mirror").run().exits(0);
    assert!(ended.stdout.starts_with("no upstream for "), "{ended}");
}

/// As Docker Hub answers an address that pulled too much.
#[test]
fn a_rate_limited_upstream_is_used_from_the_mirror() {
    let mut mirrored = Mirrored::new();
    let proxy = Proxy::to_host(mirrored.upstream.as_ref().unwrap().host());
    mirrored.name = format!("{}/upstream/~base:1", proxy.address());
    let build = |end: &str| {
        let text = format!("FROM {}\nRUN cat /etc/name >/web{end}\n", mirrored.name);
        mirrored.project.write("web/Dockerfile", &text);
        mirrored.project.rebuilt(mirrored.place())
    };
    build("").says(&["copied `"]);
    for method in ["HEAD", "GET"] {
        proxy.spoil((method, "/v2/"), 1000, Fault::Status(429, &[("retry-after", "3600")]));
    }
    mirrored.forget();
    let ended = build("; echo >/new").says(&["using the newest copy in the mirror", "429"]);
    assert!(ended.result().ends_with(": 1 built"), "{ended}");
    let (state, row) = mirrored.asked("--check", 0);
    assert_eq!(state, "unconfirmed", "{row}");
    assert!(row["error"].as_str().unwrap().contains("429"), "{row}");
}

#[test]
fn a_copy_that_was_killed_begins_again() {
    let source = Registry::start();
    let own = Registry::start();
    let project = Project::empty();
    let pushed = source.push("team/base", "1", &large_layer());
    let proxy = Proxy::to_host(source.host());
    let mirror = format!("mirror: {}/mirror", own.host());
    project.write(
        "hierarchy.yaml",
        &format!("version: 1\n{mirror}\nimages:\n  ~web: {{ context: web }}\n"),
    );
    project.write("web/Dockerfile", &format!("FROM {}/team/base:1\n", proxy.address()));
    proxy.spoil(
        ("GET", "team/base/blobs"),
        9,
        Fault::Dribble(1_000_000, Duration::from_millis(200)),
    );
    let mut running = project.rebuild("mirror").start();
    let copy = format!("mirror/{}/team/base", proxy.address().replace(':', "_"));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while own.open_uploads(&copy) == 0 {
        assert!(std::time::Instant::now() < deadline, "no upload begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("KILL").end();
    assert_eq!(own.head(&copy, "1"), None);
    proxy.behave();
    // The whole layer takes eight seconds.
    let pause = Duration::from_millis(400);
    proxy.spoil(("GET", "team/base/blobs"), 1, Fault::Dribble(1_000_000, pause));
    let progress = format!("copying `{}/team/base:1` to the mirror: ", proxy.address());
    project.rebuild("mirror").run().exits(0).says(&[&progress, " MB so far"]);
    assert_eq!(own.head(&copy, "1").as_deref(), Some(pushed.digest.as_str()));
    assert_eq!(own.missing(&copy, "1"), Vec::<String>::new());
}

#[test]
fn wrong_credentials_end_a_run_before_it_builds() {
    let source = Registry::start();
    let setup = Setup { login: Some(("copier", "right")), ..Setup::default() };
    let own = Registry::with(&setup);
    let project = Project::empty();
    let pushed = source.push("team/base", "1", "content");
    let mirror = format!("mirror: {}/mirror", own.host());
    project.write(
        "hierarchy.yaml",
        &format!("version: 1\n{mirror}\nimages:\n  ~web: {{ context: web }}\n"),
    );
    project.write("web/Dockerfile", &format!("FROM {}/team/base:1\n", source.host()));
    let log_in = |password: &str| {
        let config = own.docker_config("copier", password);
        fs::copy(config, project.docker_config().join("config.json")).unwrap();
    };
    log_in("wrong");
    let sentence = format!("the mirror has no copy of `{}/team/base:1`: ", source.host());
    let hint = format!("log in with `docker login {}`", own.host());
    project.rebuild("mirror").run().exits(21).says(&[&sentence, &hint]);
    let ended = project.rebuild("").run().exits(21).says(&[&sentence, &hint]);
    assert!(!ended.stderr.contains("building"), "{ended}");
    log_in("right");
    project.rebuild("mirror").run().exits(0);
    let copy = format!("mirror/{}/team/base", source.host().replace(':', "_"));
    assert_eq!(own.head(&copy, "1").as_deref(), Some(pushed.digest.as_str()));
}

#[test]
fn an_image_in_the_mirror_and_a_prefix_without_a_host_are_refused() {
    let project = Project::empty();
    project.write("web/Dockerfile", "FROM scratch\n");
    for (text, expected) in [
        (
            "mirror: mirror\nimages: { web: {} }",
            "`mirror` must be the host of a registry and a path",
        ),
        (
            "registry: r.example/m\nmirror: r.example/m\nimages: { web: {} }",
            "`web` would be published in the mirror",
        ),
        ("images: { web: {} }", "hierarchy.yaml has no `mirror`"),
    ] {
        project.write("hierarchy.yaml", &format!("version: 1\n{text}\n"));
        project.rebuild("mirror --check").run().exits(2).says(&[expected]);
    }
}
