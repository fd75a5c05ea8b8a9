//! What the program says when it cannot go on: `docs/messages.md` shows it, and is compared here.
//!
//! With `UPDATE_DOCS=1` the page is written instead.

use std::{fmt::Write as _, fs, net::TcpListener, path::Path, process::Command};

use crate::support::project::Project;

/// What stands before the messages.
const HEAD: &str = "\
# Messages

What `rebuild` says when something is in its way: what, where, and what to do. The page is made by a test that brings all of it about, so it is what you see. What the codes
mean: [checks](checks.md); how commands end: [exit codes](exit-codes.md); more by error: [troubleshooting](troubleshooting.md).
";

/// A nice small hierarchy, to be broken in one place.
const FILES: &[(&str, &str)] = &[
    ("hierarchy.yaml", "version: 1\nimages:\n  os-base: {}\n  webapp-base: {}\n  shop: {}\n"),
    ("images/os-base/Dockerfile", "FROM scratch\nCOPY . /\n"),
    ("images/webapp-base/Dockerfile", "FROM os-base AS runtime\n"),
    ("images/shop/Dockerfile", "FROM webapp-base\n"),
];

struct Page {
    text: String,
    project: Project,
}

impl Page {
    fn heading(&mut self, heading: &str) {
        _ = write!(self.text, "\n## {heading}\n");
    }

    /// One thing that goes wrong: what differs in the files, and the command.
    fn case(&mut self, about: &str, files: &[(&str, &str)], command: &str) {
        self.case_with(about, files, command, &[]);
    }

    fn case_with(
        &mut self,
        about: &str,
        files: &[(&str, &str)],
        command: &str,
        env: &[(&str, &str)],
    ) {
        for entry in fs::read_dir(self.project.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        for (path, text) in FILES.iter().chain(files) {
            match *text {
                "(gone)" => fs::remove_file(self.project.path(path)).unwrap(),
                "(a folder)" => {
                    fs::remove_file(self.project.path(path)).unwrap();
                    fs::create_dir(self.project.path(path)).unwrap();
                }
                "(a link to itself)" => {
                    fs::remove_file(self.project.path(path)).unwrap();
                    std::os::unix::fs::symlink("Dockerfile", self.project.path(path)).unwrap();
                }
                "(a fifo)" => {
                    let made =
                        Command::new("mkfifo").arg(self.project.path(path)).status().unwrap();
                    assert!(made.success());
                }
                text => self.project.write(path, text),
            }
        }
        // git has other words for where it would have to leave a file system.
        let mut start = self.project.rebuild(command).env("GIT_DISCOVERY_ACROSS_FILESYSTEM", "1");
        for (name, value) in env {
            start = start.env(name, value);
        }
        let ended = start.run();
        let code = ended.status.code().unwrap();
        assert_ne!(code, 1, "{about}: a bug is no message: {ended}");
        let variables: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let command = format!("rebuild {command}");
        _ = write!(
            self.text,
            "\n{about}\n\n```console\n$ {}{}\n{}\n```\n\nExit code {code}.\n",
            variables.concat(),
            command.trim_end(),
            self.neutral(&ended.stderr).trim_end(),
        );
    }

    /// Without what differs from machine to machine.
    fn neutral(&self, text: &str) -> String {
        let folder = self.project.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        text.replace(folder, "/home/me/images")
    }
}

#[test]
fn messages_say_what_and_where_and_what_to_do() {
    let Some(project) = Project::empty() else { return };
    let mut page = Page { text: HEAD.to_owned(), project };
    command_line(&mut page);
    file(&mut page);
    dockerfiles(&mut page);
    surroundings(&mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page.text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    for (line, (is, was)) in page.text.lines().zip(written.lines()).enumerate() {
        assert_eq!(is, was, "line {} of docs/messages.md; UPDATE_DOCS=1 writes it", line + 1);
    }
    assert_eq!(page.text, written);
}

fn command_line(page: &mut Page) {
    page.heading("The command line");
    page.case("There is no hierarchy here.", &[("hierarchy.yaml", "(gone)")], "plan");
    page.case("The file has another name.", &[], "plan -f hirarchy.yaml");
    page.case("The folder does not exist.", &[], "plan -C imags");
    page.case("The name of an image is mistyped,", &[], "why shpo");
    page.case("or nothing like any.", &[], "plan --from database");
    page.case("The command is mistyped.", &[], "paln");
    page.case("A flag is mistyped.", &[], "plan --form shop");
    page.case("A flag of a run stands before another command.", &[], "--from shop plan");
    page.case(
        "A registry cannot be called that.",
        &[],
        "plan --registry https://registry.example.com/Base",
    );
    page.case("A rule is mistyped.", &[], "explain RB40");
    page.case("There is no git repository.", &[], "plan --since HEAD");
}

fn file(page: &mut Page) {
    let images = |entries: &str| format!("version: 1\nimages:\n{entries}");
    let mut case = |about: &str, text: &str| page.case(about, &[("hierarchy.yaml", text)], "plan");
    case("The file is not YAML.", &images("  os-base: { tags: [latest }\n"));
    case(
        "All problems are told at once: a field, a value, a command that is no list.",
        &images("  os-base: { contxt: x, timeout: 90, prepare: ./make.sh }\n"),
    );
    case("An image stands twice.", &images("  os-base: {}\n  shop: {}\n  os-base: {}\n"));
    case(
        "A parent is mistyped.",
        &images("  os-base: {}\n  webapp-base: { parents: [os-bsae] }\n  shop: {}\n"),
    );
    case(
        "A key of a matrix is mistyped.",
        &images(
            "  shop-{ruby}:\n    context: images/shop\n    matrix: { ruby: [\"3.3\", \"3.4\"], exclude: [{ rubby: \"3.3\" }] }\n",
        ),
    );
    case(
        "Two images would publish one tag.",
        &images("  os-base: { repository: base }\n  webapp-base: { repository: base }\n"),
    );
    case(
        "A build arg looks like a secret; its value is not shown.",
        &images("  os-base:\n    build_args: { NPM_TOKEN: hunter2 }\n"),
    );
    case("A context does not exist.", &images("  os-base: { context: images/os-bsae }\n"));
    case("An image has no context.", &images("  database: {}\n"));
}

fn dockerfiles(page: &mut Page) {
    page.heading("Dockerfiles");
    let shop = "images/shop/Dockerfile";
    page.case(
        "Images are built from each other: each edge with its file and line.",
        &[("images/os-base/Dockerfile", "FROM scratch\nCOPY --from=shop / /\n")],
        "plan",
    );
    page.case("The Dockerfile is not there,", &[(shop, "(gone)")], "plan");
    page.case(
        "or has nearly that name,",
        &[(shop, "(gone)"), ("images/shop/Dockerfle", "FROM webapp-base\n")],
        "plan",
    );
    page.case("or is a folder.", &[(shop, "(a folder)")], "plan");
    page.case(
        "or is called as podman calls it.",
        &[(shop, "(gone)"), ("images/shop/Containerfile", "FROM webapp-base\n")],
        "plan",
    );
    page.case("or leads nowhere.", &[(shop, "(a link to itself)")], "plan");
    page.case("An instruction is mistyped.", &[(shop, "FORM webapp-base\n")], "plan");
    page.case(
        "The stage does not exist.",
        &[(
            "hierarchy.yaml",
            "version: 1\nimages:\n  os-base: {}\n  webapp-base: { target: rutnime }\n",
        )],
        "plan",
    );
    page.case("A variable has no value.", &[(shop, "ARG BASE\nFROM ${BASE}\n")], "plan");
    page.case_with(
        "A tag that nobody makes is only a warning; the tree is shown.",
        &[(shop, "FROM webapp-base:12\n")],
        "tree --no-state",
        &[],
    );
}

fn surroundings(page: &mut Page) {
    page.heading("The engine");
    let nowhere = "unix:///nowhere/docker.sock";
    page.case_with("There is no such socket.", &[], "plan", &[("DOCKER_HOST", nowhere)]);
    let tcp = &[("DOCKER_HOST", "tcp://127.0.0.1:1")];
    page.case_with("Nobody listens there.", &[], "plan", tcp);
    page.case_with(
        "The address is none.",
        &[],
        "plan",
        &[("DOCKER_HOST", "ftp://build.example.com")],
    );
    page.case_with("The tree needs no engine.", &[], "tree", &[("DOCKER_HOST", nowhere)]);

    page.heading("The registry");
    // It was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    page.case("Nobody listens there.", &[], &format!("plan --registry 127.0.0.1:{free}/base"));
    page.text = page.text.replace(&format!("127.0.0.1:{free}"), "127.0.0.1:5000");
    page.case("There is no such host.", &[], "plan --registry registry.invalid/base");

    page.heading("Contexts and secrets");
    page.case(
        "A line of the `.dockerignore` is no pattern.",
        &[("images/os-base/.dockerignore", "*.md\n[z-\n")],
        "plan",
    );
    page.case(
        "A file of the context is none that could be sent.",
        &[("images/os-base/pipe", "(a fifo)")],
        "plan",
    );
    page.case(
        "A secret is not there.",
        &[(
            "hierarchy.yaml",
            "version: 1\nimages:\n  os-base: { secrets: { npm: { env: NPM_TOKEN }, key: { file: keys/deploy.pem } } }\n",
        )],
        "--no-push",
    );
}
