//! Both builders of the engine make the same of everything a Dockerfile can say.

use crate::support::{
    is_left_out,
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
fn both_builders_build_the_same() {
    if is_left_out() {
        return;
    }
    for builder in ["classic", "buildkit"] {
        let Some(project) = Project::empty() else { return };
        project.write("hierarchy.yaml", HIERARCHY);
        project.write_os();
        project.write("tool/Dockerfile", "FROM ~os\nRUN echo tool >/tool\n");
        // It ignores its own Dockerfile and itself, and neither may be in the image.
        project.write("tool/.dockerignore", "Dockerfile\n.dockerignore\n");
        // The classic builder builds unused stages too.
        let app =
            if builder == "classic" { APP.replace("RUN exit 1", "RUN true") } else { APP.into() };
        project.write("build/app.dockerfile", &app);
        project.write("app/kept", "kept");
        project.write("app/folder/kept too", "kept");
        project.write("app/secret.key", "secret");
        project.write("app/.dockerignore", "*.key\n.dockerignore\n");

        let run = || project.rebuild(&format!("--builder {builder}")).run().exits(0);
        let ended = run();
        assert!(ended.result().ends_with(": 3 built"), "{builder}: {ended}");
        let find = ["sh", "-c", "cd /srv && find . -type f | sort && cat greeting tool"];
        let expected = "./files/folder/kept too\n./files/kept\n./greeting\n./tool\nhello\ntool\n";
        assert_eq!(project.output_in("~app", &find), expected, "{builder}: {ended}");

        let label = |name| project.label(Place::Engine, "~app:latest", name);
        assert_eq!(project.shown(&label("org.example.team")), "web ~");
        let base = label("org.opencontainers.image.base.digest");
        assert_eq!(project.tags(Place::Engine)["~os:1"], base);
        assert_eq!(project.under_way(), [""; 0]);
        let again = run();
        assert_eq!(again.result(), "nothing to do: all 3 images are up to date", "{again}");
    }
}

#[test]
fn the_dockerfile_does_not_leak_into_an_image_that_ignores_it() {
    for builder in ["classic", "buildkit"] {
        let Some(project) = Project::empty() else { return };
        project.write(
            "hierarchy.yaml",
            "version: 1\nimages:\n  ~os: { context: os }\n  ~all: { context: all }\n",
        );
        project.write_os();
        project.write("all/Dockerfile", "FROM ~os\nCOPY . /all/\n");
        project.write("all/.dockerignore", "Dockerfile\n.dockerignore\n");
        project.write("all/file", "");
        let ended = project.rebuild(&format!("--builder {builder}")).run().exits(0);
        let files = project.output_in("~all", &["sh", "-c", "ls -A /all"]);
        assert_eq!(files, "file\n", "{builder}: {ended}");
    }
}

#[test]
fn an_image_is_never_built_on_what_a_tag_points_at_meanwhile() {
    let Some(project) = Project::new() else { return };
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
