//! The author of a pull request against the job of `examples/ci/github-request-prefix.yaml`: may change
//! every file, and may push to the request prefix. Tries to make main publish something else, and to
//! read the login of the runner.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf};

use crate::support::{
    project::{Place, Project, docker},
    registry::Registry,
    running::Ended,
};

/// What the runner's docker configuration holds.
const LOGIN: &str = "cmVhZGVyOmh1bnRlcjItbG9naW4=";

struct Attack {
    project: Project,
    registry: Registry,
}

impl Attack {
    fn new() -> Self {
        let project = Project::empty();
        project.write(
            "hierarchy.yaml",
            "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app }\n",
        );
        project.write_os();
        project.write("app/Dockerfile", "FROM ~os\nCOPY page /page\n");
        project.write("app/page", "good\n");
        project.git("init -q -b main .");
        project.git("add --all");
        project.git("commit -q -m first");
        let attack = Self { project, registry: Registry::start() };
        let login = format!("{{\"auths\":{{\"registry.example.com\":{{\"auth\":\"{LOGIN}\"}}}}}}");
        fs::create_dir_all(attack.project.docker_config()).unwrap();
        fs::write(attack.login(), login).unwrap();
        attack
    }

    fn login(&self) -> PathBuf {
        self.project.docker_config().join("config.json")
    }

    /// The job of a request, as the example has it.
    fn request(&self, arguments: &str) -> Ended {
        let prefix = format!("{}/demo/requests", self.registry.host());
        let start = self.project.rebuild(arguments).env("REBUILD_REGISTRY", prefix);
        let ended = start.env("GITHUB_ACTIONS", "true").run();
        self.keeps_the_login(&ended);
        ended
    }

    fn keeps_the_login(&self, ended: &Ended) {
        assert!(!ended.stdout.contains(LOGIN) && !ended.stderr.contains(LOGIN), "{ended}");
        let logs = self.project.logs();
        assert!(logs.values().all(|log| !log.contains(LOGIN)), "{logs:?}");
        assert!(fs::read_to_string(self.login()).unwrap().contains(LOGIN));
    }

    /// Everything that main has published, by its digest.
    fn published(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for repository in self.registry.repositories() {
            if repository.contains("/requests/") {
                continue;
            }
            for tag in self.registry.tags(&repository) {
                let digest = self.registry.head(&repository, &tag).unwrap();
                all.insert(format!("{repository}:{tag}"), digest);
            }
        }
        all
    }

    fn reset(&self) {
        self.project.git("checkout -q -- .");
        self.project.git("clean -fdq");
    }
}

const REQUEST: &str = "--untrusted --since HEAD --no-promote --keep-going --junit junit.xml";

#[test]
fn the_author_of_a_request_neither_reads_the_login_nor_changes_what_main_publishes() {
    let attack = Attack::new();
    let (project, registry) = (&attack.project, &attack.registry);
    let main = Place::Registry(registry);
    project.rebuilt(main);
    let before = attack.published();
    assert!(!before.is_empty());
    let (folder, file) = (project.docker_config(), attack.login());
    let (folder, file) = (folder.display().to_string(), file.display().to_string());

    // What the entry of an image says, and what is refused.
    let outside = "lies outside the folder of hierarchy.yaml: refused";
    for (entry, refused) in [
        (format!("prepare: [cp, {file}, page]"), "`prepare` runs a program on this machine"),
        (format!("secrets: {{ x: {{ file: {file} }} }}"), "the secret `x` is a file"),
        ("secrets: { x: { env: DOCKER_CONFIG } }".to_owned(), "the secret `x` is a file"),
        ("ssh: true".to_owned(), "`ssh` uses the keys"),
        (format!("dockerfile: {file}"), outside),
        ("dockerfile: stolen.json".to_owned(), outside),
    ] {
        symlink(&file, project.path("app/stolen.json")).unwrap();
        let changed = format!("{{ context: app, {entry} }}");
        project.edit("hierarchy.yaml", "{ context: app }", &changed);
        for command in [REQUEST, "plan --untrusted"] {
            attack.request(command).exits(2).says(&[refused]);
        }
        attack.reset();
    }
    for context in [folder.as_str(), "stolen", "app/../../docker"] {
        symlink(&folder, project.path("stolen")).unwrap();
        project.edit("hierarchy.yaml", "{ context: app }", &format!("{{ context: {context} }}"));
        attack.request(REQUEST).exits(2);
        attack.reset();
    }
    project.edit("hierarchy.yaml", "version: 1\n", "version: 1\nnotify: [touch, ran]\n");
    attack.request(REQUEST).exits(2).says(&["`notify` runs a program on this machine"]);
    attack.reset();
    fs::remove_file(project.path("app/Dockerfile")).unwrap();
    symlink(&file, project.path("app/Dockerfile")).unwrap();
    attack.request(REQUEST).exits(2);
    attack.reset();

    // The file itself is a link.
    fs::remove_file(project.path("hierarchy.yaml")).unwrap();
    symlink(&file, project.path("hierarchy.yaml")).unwrap();
    for command in [REQUEST, "plan --untrusted", "history --untrusted"] {
        attack.request(command).exits(2).says(&["this is a link out of its folder"]);
    }
    for command in ["check", "check --format json", "plan", "history", "init --update --dry-run"] {
        attack.request(command).exits(2);
    }
    attack.reset();

    // A link in a context travels as a link; one in the place of a report is not written through.
    symlink(&file, project.path("app/stolen")).unwrap();
    symlink(&file, project.path("junit.xml")).unwrap();
    project.edit("app/Dockerfile", "COPY page /page", "COPY . /all\nRUN cat /all/stolen || true");
    let ended = attack.request(REQUEST);
    ended.says(&["`junit.xml` is a link, which is not followed"]);
    attack.reset();
    assert_eq!(attack.published(), before);

    // A build that the request may push, and another image under the same build tag.
    project.edit("app/page", "good", "better");
    attack.request(REQUEST).exits(0);
    let name = format!("demo/requests/{}", project.name("~app"));
    let tags = registry.tags(&name);
    assert!(tags.iter().any(|tag| tag.starts_with("rb-")), "{tags:?}");
    let evil = tags.iter().map(|tag| registry.push(&name, tag, "evil").digest.to_string());
    let evil: Vec<String> = evil.collect();
    assert_eq!(attack.published(), before);

    // It is merged: main builds what its files say.
    project.git("commit -q -a -m better");
    project.forget_images();
    let merged = project.rebuild("").to(main).run().exits(0);
    assert!(merged.result().contains("1 built"), "{merged}");
    attack.keeps_the_login(&merged);
    let after = attack.published();
    assert!(after.values().all(|digest| !evil.contains(digest)), "{after:?}");
    let image = format!("{}/demo/{}:latest", registry.host(), project.name("~app"));
    docker(&["pull", "-q", &image]).unwrap();
    let page = docker(&["run", "--rm", &image, "cat", "/page"]).unwrap();
    assert_eq!(page.trim(), "better");
    // Records of runs in the request prefix are none of main's.
    let history = project.rebuild("history").to(main).run().exits(0);
    assert!(!history.stdout.contains("requests"), "{history}");
}

/// Git opens a folder with the files of a bare repository, and runs the programs that its configuration names.
#[test]
fn a_repository_among_the_files_of_a_request_runs_no_program() {
    let attack = Attack::new();
    let project = &attack.project;
    fs::create_dir(project.path("images")).unwrap();
    project.git("mv hierarchy.yaml os app images");
    project.edit("images/hierarchy.yaml", "context: app", "context: app, tags: [\"{git}\"]");
    project.git("commit -q -a -m images");
    project.git("clone -q --bare . bare");
    for part in ["HEAD", "objects", "refs", "packed-refs"] {
        fs::rename(project.path("bare").join(part), project.path("images").join(part)).unwrap();
    }
    let marker = project.path("../ran");
    let program = format!("touch {};:", marker.display());
    let config = format!("[core]\nbare = false\nworktree = ..\nfsmonitor = \"{program}\"\n");
    fs::write(project.path("images/config"), config).unwrap();
    for command in ["plan --untrusted", "init --dry-run", "check --untrusted", REQUEST] {
        for place in ["-C images", "-f images/hierarchy.yaml"] {
            let ended = attack.request(&format!("{place} {command}"));
            assert!(!marker.exists(), "{place} {command}: {ended}");
        }
    }
}
