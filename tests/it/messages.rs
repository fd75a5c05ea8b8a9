//! The error messages of `rebuild`: compares them with `docs/messages.md`.
//!
//! With `UPDATE_DOCS=1` the page is written instead.

use std::{fmt::Write as _, fs, net::TcpListener, path::Path, process::Command};

use crate::support::project::Project;

/// The head of the page.
const HEAD: &str = "\
# Messages

This page shows error messages of `rebuild`. Each names the problem, its place, and a hint. A test generates the page from real commands. For codes, see
[checks](checks.md). For exit codes, see [exit codes](exit-codes.md). For more errors, see [troubleshooting](troubleshooting.md).
";

/// A small valid hierarchy, in which each case breaks one place.
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

    /// One error: the changed files, and the command.
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

    /// Removes paths that differ from machine to machine.
    fn neutral(&self, text: &str) -> String {
        let folder = self.project.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        text.replace(folder, "/home/me/images")
    }
}

#[test]
fn messages_say_what_and_where_and_what_to_do() {
    let project = Project::empty();
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
    page.case("The folder has no hierarchy.yaml.", &[("hierarchy.yaml", "(gone)")], "plan");
    page.case("`--file` names a file that does not exist.", &[], "plan -f hirarchy.yaml");
    page.case("`-C` names a folder that does not exist.", &[], "plan -C imags");
    page.case("The name of an image is misspelled.", &[], "why shpo");
    page.case("The name of an image resembles no other.", &[], "plan --from database");
    page.case("The command is misspelled.", &[], "paln");
    page.case("A flag is misspelled.", &[], "plan --form shop");
    page.case("A flag of `rebuild` is before another command.", &[], "--from shop plan");
    page.case(
        "The name of a registry is invalid.",
        &[],
        "plan --registry https://registry.example.com/Base",
    );
    page.case("A rule is misspelled.", &[], "explain RB40");
    page.case("`--since` is used outside a git repository.", &[], "plan --since HEAD");
}

fn file(page: &mut Page) {
    let images = |entries: &str| format!("version: 1\nimages:\n{entries}");
    let mut case = |about: &str, text: &str| page.case(about, &[("hierarchy.yaml", text)], "plan");
    case("The file is not valid YAML.", &images("  os-base: { tags: [latest }\n"));
    case(
        "`rebuild` reports all problems at once: a field, a value, a command that is not a list.",
        &images("  os-base: { contxt: x, timeout: 90, prepare: ./make.sh }\n"),
    );
    case("An image occurs twice.", &images("  os-base: {}\n  shop: {}\n  os-base: {}\n"));
    case(
        "A parent is misspelled.",
        &images("  os-base: {}\n  webapp-base: { parents: [os-bsae] }\n  shop: {}\n"),
    );
    case(
        "A key of a matrix is misspelled.",
        &images(
            "  shop-{ruby}:\n    context: images/shop\n    matrix: { ruby: [\"3.3\", \"3.4\"], exclude: [{ rubby: \"3.3\" }] }\n",
        ),
    );
    case(
        "Two images publish the same tag.",
        &images("  os-base: { repository: base }\n  webapp-base: { repository: base }\n"),
    );
    case(
        "A build arg looks like a secret. The message does not show its value.",
        &images("  os-base:\n    build_args: { NPM_TOKEN: hunter2 }\n"),
    );
    case("A context does not exist.", &images("  os-base: { context: images/os-bsae }\n"));
    case("An image has no context.", &images("  database: {}\n"));
}

fn dockerfiles(page: &mut Page) {
    page.heading("Dockerfiles");
    let shop = "images/shop/Dockerfile";
    page.case(
        "Images depend on each other. The message shows each edge with its file and line.",
        &[("images/os-base/Dockerfile", "FROM scratch\nCOPY --from=shop / /\n")],
        "plan",
    );
    page.case("The Dockerfile does not exist.", &[(shop, "(gone)")], "plan");
    page.case(
        "The Dockerfile has a similar name.",
        &[(shop, "(gone)"), ("images/shop/Dockerfle", "FROM webapp-base\n")],
        "plan",
    );
    page.case("The Dockerfile is a folder.", &[(shop, "(a folder)")], "plan");
    page.case(
        "The Dockerfile has podman's name, Containerfile.",
        &[(shop, "(gone)"), ("images/shop/Containerfile", "FROM webapp-base\n")],
        "plan",
    );
    page.case("The Dockerfile is a link to itself.", &[(shop, "(a link to itself)")], "plan");
    page.case("An instruction is misspelled.", &[(shop, "FORM webapp-base\n")], "plan");
    page.case(
        "`target` names a stage that does not exist.",
        &[(
            "hierarchy.yaml",
            "version: 1\nimages:\n  os-base: {}\n  webapp-base: { target: rutnime }\n",
        )],
        "plan",
    );
    page.case("A variable has no value.", &[(shop, "ARG BASE\nFROM ${BASE}\n")], "plan");
    page.case_with(
        "A tag that no image has is only a warning. The tree is shown.",
        &[(shop, "FROM webapp-base:12\n")],
        "tree --no-state",
        &[],
    );
}

fn surroundings(page: &mut Page) {
    page.heading("The engine");
    let nowhere = "unix:///nowhere/docker.sock";
    page.case_with("The socket does not exist.", &[], "plan", &[("DOCKER_HOST", nowhere)]);
    let tcp = &[("DOCKER_HOST", "tcp://127.0.0.1:1")];
    page.case_with("No engine listens there.", &[], "plan", tcp);
    page.case_with(
        "The address is invalid.",
        &[],
        "plan",
        &[("DOCKER_HOST", "ftp://build.example.com")],
    );
    page.case_with("The tree needs no engine.", &[], "tree", &[("DOCKER_HOST", nowhere)]);

    page.heading("The registry");
    // It was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    page.case("No registry listens there.", &[], &format!("plan --registry 127.0.0.1:{free}/base"));
    page.text = page.text.replace(&format!("127.0.0.1:{free}"), "127.0.0.1:5000");
    page.case("The host does not exist.", &[], "plan --registry registry.invalid/base");

    page.heading("Contexts and secrets");
    page.case(
        "A line of the `.dockerignore` is not a valid pattern.",
        &[("images/os-base/.dockerignore", "*.md\n[z-\n")],
        "plan",
    );
    page.case(
        "A file of the context cannot be sent.",
        &[("images/os-base/pipe", "(a fifo)")],
        "plan",
    );
    page.case(
        "A secret is missing.",
        &[(
            "hierarchy.yaml",
            "version: 1\nimages:\n  os-base: { secrets: { npm: { env: NPM_TOKEN }, key: { file: keys/deploy.pem } } }\n",
        )],
        "--no-push",
    );
}
