//! The engine's own builder makes of a Dockerfile what it says; another one cannot be asked for.

use rebuild::engine::Capability;

use crate::support::{
    engine::lacks,
    project::{Place, Project},
};

const HIERARCHY: &str = "\
version: 1
images:
  ~os: { context: os, tags: [latest, \"1\"] }
  ~tool: { context: tool }
  ~app:
    context: app
    dockerfile: ../build/app.dockerfile
    build_args: { BASE: \"1\", GREETING: hello }
    target: final
    labels: { org.example.team: \"web ~\" }
    test: [{ run: [cat, /srv/greeting], stdout: \"^hello$\" }]
";

/// A base by an argument, a stage that is not used, one that is, and another image's file.
const APP: &str = "\
ARG BASE=none
FROM ~os:${BASE} AS made
ARG GREETING
RUN echo \"$GREETING\" >/greeting

FROM ~tool AS unused
RUN exit 1

FROM ~os:$BASE AS final
COPY --from=made /greeting /srv/greeting
COPY --from=~tool /tool /srv/tool
COPY . /srv/files/

FROM final AS beyond
RUN exit 1
";

#[test]
fn an_image_is_what_its_dockerfile_and_its_entry_say() {
    let project = Project::empty();
    project.write("hierarchy.yaml", HIERARCHY);
    project.write_os();
    project.write("tool/Dockerfile", "FROM ~os\nRUN echo tool >/tool\n");
    // It ignores its own Dockerfile and itself, and neither may be in the image.
    project.write("tool/.dockerignore", "Dockerfile\n.dockerignore\n");
    project.write("build/app.dockerfile", APP);
    project.write("app/kept", "kept");
    project.write("app/folder/kept too", "kept");
    project.write("app/secret.key", "secret");
    project.write("app/.dockerignore", "*.key\n.dockerignore\n");

    let ended = project.rebuild("").run().exits(0);
    assert!(ended.result().ends_with(": 3 built"), "{ended}");
    let find = ["sh", "-c", "cd /srv && find . -type f | sort && cat greeting tool"];
    let expected = "./files/folder/kept too\n./files/kept\n./greeting\n./tool\nhello\ntool\n";
    assert_eq!(project.output_in("~app", &find), expected, "{ended}");

    let label = |name| project.label(Place::Engine, "~app:latest", name);
    assert_eq!(project.shown(&label("org.example.team")), "web ~");
    let base = label("org.opencontainers.image.base.digest");
    assert_eq!(project.tags(Place::Engine)["~os:1"], base);
    assert_eq!(project.under_way(), [""; 0]);
    let again = project.rebuild("").run().exits(0);
    assert_eq!(again.result(), "nothing to do: all 3 images are up to date", "{again}");
}

#[test]
fn proxies_of_the_docker_config_reach_builds_and_leave_no_trace() {
    const PROXY: &str = "http://proxy.invalid:3128";
    let project = Project::empty();
    project.write(
        "hierarchy.yaml",
        "version: 1\nimages:\n  ~os: { context: os }\n  ~web: {context: web}\n",
    );
    project.write_os();
    let test = format!("test \"$http_proxy $HTTP_PROXY\" = '{PROXY} {PROXY}'");
    project.write("web/Dockerfile", &format!("FROM ~os\nRUN {test}\n"));
    let config = project.docker_config().join("config.json");
    let proxies = |proxy: &str| {
        let proxies = serde_json::json!({"proxies": {"default": {"httpProxy": proxy}}});
        std::fs::write(&config, proxies.to_string()).unwrap();
    };
    proxies(PROXY);
    let run = || project.rebuild("").run().exits(0);
    run();
    let tag = project.name("~web:latest");
    for command in [&["history", "--no-trunc", &tag][..], &["inspect", &tag]] {
        let said = crate::support::project::docker(command).unwrap();
        // The text of the step names it, and its values are not recorded beside it.
        assert!(!said.contains("HTTP_PROXY=http") && !said.contains("http_proxy=http"), "{said}");
    }
    proxies("http://other.invalid:3128");
    assert_eq!(run().result(), "nothing to do: all 2 images are up to date");
}

#[test]
fn the_dockerfile_does_not_leak_into_an_image_that_ignores_it() {
    let project = Project::empty();
    project.write(
        "hierarchy.yaml",
        "version: 1\nimages:\n  ~os: { context: os }\n  ~all: { context: all }\n",
    );
    project.write_os();
    project.write("all/Dockerfile", "FROM ~os\nCOPY . /all/\n");
    project.write("all/.dockerignore", "Dockerfile\n.dockerignore\n");
    project.write("all/file", "");
    let ended = project.rebuild("").run().exits(0);
    let files = project.output_in("~all", &["sh", "-c", "ls -A /all"]);
    assert_eq!(files, "file\n", "{ended}");
}

#[test]
fn an_image_is_never_built_on_what_a_tag_points_at_meanwhile() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let os = project.tags(Place::Engine)["~os:1"].clone();
    // Somebody moves the parent's tag: the hierarchy's own image is put back, and nobody stands on it.
    let (stranger, tag) = (project.name("~tool:latest"), project.name("~os:1"));
    crate::support::project::docker(&["tag", &stranger, &tag]).unwrap();
    project.edit("web/page", "one", "two");
    project.rebuilt(Place::Engine);
    assert_eq!(project.tags(Place::Engine)["~os:1"], os);
    super::assert_edges_agree(&project, Place::Engine, super::EDGES);
}

#[test]
fn a_builder_that_the_engine_does_not_have_is_refused() {
    let project = Project::pair();
    let (other, variable) =
        if lacks(Capability::BuildKit) { ("buildkit", "1") } else { ("classic", "0") };
    for command in ["", "plan", "status"] {
        let ended = project.rebuild(command).env("DOCKER_BUILDKIT", variable).run().exits(2);
        assert_eq!(ended.stderr.lines().count(), 2, "{ended}");
        ended.says(&["error: `DOCKER_BUILDKIT", "  hint: unset `DOCKER_BUILDKIT`"]);
    }
    let ended = project.rebuild(&format!("--builder {other}")).run().exits(2);
    ended.says(&[&format!("error: `--builder {other}` asks for "), "hint: leave `--builder` out"]);
    let doctor = project.rebuild("doctor").env("DOCKER_BUILDKIT", variable).run().exits(2);
    assert!(doctor.stdout.contains("problem  builder"), "{doctor}");
    assert!(project.all_tags(Place::Engine).is_empty());
    let own = if other == "classic" { "buildkit" } else { "classic" };
    project.rebuild(&format!("--builder {own}")).run().exits(0);
}

/// `~runtime` gives its children a file of `~tool`.
#[test]
fn what_onbuild_names_is_a_parent_of_direct_children() {
    let project = Project::empty();
    let entries =
        ["os", "tool", "runtime"].map(|name| format!("  ~{name}: {{ context: {name} }}\n"));
    let tested = ["app", "below"].map(|name| {
        let test = "test: [{ run: [cat, /given, /mounted], inherit: false }]";
        format!("  ~{name}: {{ context: {name}, {test} }}\n")
    });
    let images = entries.concat() + &tested.concat();
    project.write("hierarchy.yaml", &format!("version: 1\nimages:\n{images}"));
    project.write_os();
    for (image, dockerfile) in [
        ("tool", "FROM scratch\nCOPY given /given\n"),
        (
            "runtime",
            "FROM ~os\nONBUILD COPY --from=~tool /given /given\n\
             ONBUILD RUN --mount=type=bind,from=~tool,target=/m cat /m/given >/mounted\n",
        ),
        (
            "app",
            "FROM ~os AS unused\nRUN exit 1\nFROM ~os AS first\nRUN echo first >/first\n\
             FROM ~runtime\nCOPY --from=1 /first /first\n",
        ),
        ("below", "FROM ~app\n"),
    ] {
        project.write(&format!("{image}/Dockerfile"), dockerfile);
    }
    project.write("tool/given", "one\n");
    project.rebuilt(Place::Engine);
    let given = |image| project.output_in(image, &["cat", "/given", "/mounted", "/first"]);
    assert_eq!(given("~app"), "one\none\nfirst\n");
    let again = project.rebuilt(Place::Engine);
    assert!(again.result().starts_with("nothing to do"), "{again}");

    project.edit("tool/given", "one", "two");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("3 to build"), "{plan}");
    project.rebuilt(Place::Engine);
    for image in ["~app", "~below"] {
        assert_eq!(given(image), "two\ntwo\nfirst\n", "{image}");
    }
}
