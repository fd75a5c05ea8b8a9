//! What the author of a pull request, another user of the machine and a repository of someone else may
//! try, and do not achieve: docs/security.md.

use std::{fs, process::Command};

use crate::support::{
    project::{Place, Project, docker},
    registry::Registry,
};

/// An image that keeps its secret, so that the image says which one it was built with.
fn with_mirror() -> Project {
    let project = Project::empty();
    let secrets = "secrets: { mirror: { file: mirrors/good } }";
    project.write(
        "hierarchy.yaml",
        &format!(
            "version: 1\nimages:\n  ~os: {{ context: os }}\n  ~app: {{ context: app, {secrets} }}\n"
        ),
    );
    project.write_os();
    project.write(
        "app/Dockerfile",
        "FROM ~os\nRUN --mount=type=secret,id=mirror cat /run/secrets/mirror >/mirror\n",
    );
    project.write("mirrors/good", "https://mirror.example.com/good\n");
    project.write("mirrors/evil", "https://mirror.example.com/evil\n");
    project.git("init -q -b main .");
    project.git("add --all");
    project.git("commit -q -m first");
    project
}

#[test]
fn an_image_built_with_another_secret_is_another_image() {
    type Edit<'e> = (&'e str, &'e str, &'e str);
    // Another file, and the same file with other content. Git tracks both, so neither is a secret.
    let other_name: Edit<'_> = ("hierarchy.yaml", "mirrors/good", "mirrors/evil");
    let other_content: Edit<'_> = ("mirrors/good", "good", "evil");
    for (path, good, evil) in [other_name, other_content] {
        let (project, registry) = (with_mirror(), Registry::start());
        let place = Place::Registry(&registry);
        let is_supported = project.rebuild("--only ~os").to(place).run().exits(0);
        if is_supported.stderr.contains("classic builder") {
            return;
        }
        project.edit(path, good, evil);
        project.rebuild("--no-promote").to(place).run().exits(0);
        project.edit(path, evil, good);
        project.forget_images();
        let merged = project.rebuild("").to(place).run().exits(0);
        assert!(merged.result().contains("1 built"), "{merged}");
        let image = format!("{}/demo/{}:latest", registry.host(), project.name("~app"));
        docker(&["pull", "-q", &image]).unwrap();
        let mirror = docker(&["run", "--rm", &image, "cat", "/mirror"]);
        assert_eq!(mirror.unwrap().trim(), "https://mirror.example.com/good");
    }
}

/// `volatile` decides whether a build tag names the new image or the published one.
#[test]
fn an_image_compared_with_other_volatile_paths_is_another_image() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    // The request hides its own change, and takes the field back before the merge.
    project.write("os/name", "fixed\n");
    project.edit("hierarchy.yaml", "{ context: os,", "{ context: os, volatile: [etc/name],");
    let request = project.rebuild("--no-promote").to(place).run().exits(0);
    assert!(request.result().contains("unchanged"), "{request}");
    project.edit("hierarchy.yaml", " volatile: [etc/name],", "");
    let merged = project.rebuild("").to(place).run().exits(0);
    assert!(merged.result().contains("4 built"), "{merged}");
    let image = project.name(&format!("{}/demo/~os:latest", registry.host()));
    docker(&["pull", "-q", &image]).unwrap();
    assert_eq!(docker(&["run", "--rm", &image, "cat", "/etc/name"]).unwrap().trim(), "fixed");
}

#[test]
fn prepare_runs_nothing_that_lies_outside_the_context() {
    let project = Project::new();
    let temporary = project.path("../temporary");
    fs::create_dir_all(&temporary).unwrap();
    let marker = project.path("../ran");
    let script = format!("#!/bin/sh\ntouch {}\n", marker.display());
    // Another user can write it, beside the copies of contexts.
    fs::write(temporary.join("gen.sh"), &script).unwrap();
    project.write_script("gen.sh", &script);
    std::os::unix::fs::symlink("../gen.sh", project.path("tool/link.sh")).unwrap();
    let checkout = project.path("gen.sh").display().to_string();
    let mut before = "{ context: tool }".to_owned();
    for word in ["../gen.sh", "x/../../gen.sh", "link.sh", &checkout] {
        let entry = format!("{{ context: tool, prepare: [sh, '{word}'] }}");
        project.edit("hierarchy.yaml", &before, &entry);
        before = entry;
        for command in ["check", "plan", ""] {
            let ended = project.rebuild(command).env("TMPDIR", &temporary).run().exits(2);
            let told = format!("`{word}` of `prepare` leads out of the build context");
            let all = format!("{}{}", ended.stdout, ended.stderr);
            assert!(all.contains("RB025") && all.contains(&told), "{command}: {ended}");
        }
        assert!(!marker.exists(), "{word} was run");
    }
}

#[test]
fn what_init_writes_runs_no_program_that_the_repository_names() {
    let project = Project::empty();
    let evil = "notify: [touch, ran]";
    for end in ["\r", "\n", "\u{85}", "\u{2028}"] {
        let name = format!("web{end}{evil}{end}#");
        project.write(&format!("{name}/Dockerfile"), "FROM scratch\n");
    }
    project
        .write("os/Dockerfile", &format!("ARG X\rFROM scratch\r{evil}\r\n# acme/os:1\r{evil}\n"));
    project.write("os/Makefile", &format!("all:\n\tdocker build -t acme/os:1\r{evil}\r .\n"));
    project.write("fine/Dockerfile", "FROM scratch\n");
    project.rebuild("init").run();
    let text = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
    let hidden = text.chars().filter(|c| c.is_control() && *c != '\n');
    assert_eq!(hidden.count(), 0, "{text:?}");
    let lines: Vec<&str> = text.split(['\n', '\u{2028}']).collect();
    assert!(lines.iter().all(|line| !line.trim_start().starts_with("notify")), "{text}");
    assert!(!text.contains('\u{2028}'), "{text}");
}

/// The journals of the project's hierarchy.
fn journals(project: &Project) -> std::path::PathBuf {
    let folders = fs::read_dir(project.state().join("rebuild")).unwrap().flatten();
    folders.map(|entry| entry.path().join("journal")).find(|path| path.is_dir()).unwrap()
}

#[test]
fn a_forged_record_moves_no_tag_of_another_repository() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let old = registry.push("victim", "old", "old").digest;
    let new = registry.push("victim", "latest", "new").digest;
    let folder = journals(&project);
    let journal = fs::read_dir(&folder).unwrap().flatten().next().unwrap().path();
    let text = fs::read_to_string(&journal).unwrap();
    let run = journal.file_stem().unwrap().to_str().unwrap();
    let moves = serde_json::json!([{
        "node": project.name("~os"), "tag": format!("{}/victim:latest", registry.host()),
        "from": old.as_str(), "to": new.as_str(), "wave": 0,
    }]);
    let began = text.lines().next().unwrap();
    let ended = text.lines().last().unwrap();
    let committed = format!("{{\"committed\":{{\"moves\":{moves}}}}}");
    // One that has ended, to be taken back, and one that was cut off, to be finished; then names that
    // are no names of runs.
    let later = |last: char| format!("7{}{last}", &run[1..run.len() - 1]);
    let records = [
        (later('0'), format!("{{\"moved\":0}}\n{ended}\n")),
        (later('1'), String::new()),
        ("../../../escaped".to_owned(), format!("{{\"moved\":0}}\n{ended}\n")),
        ("\\u001b]52;c;eA==\\u0007".to_owned(), format!("{{\"moved\":0}}\n{ended}\n")),
    ];
    for (number, (id, rest)) in records.iter().enumerate() {
        let began = began.replace(run, id);
        let path = folder.join(format!("zz{number}.jsonl"));
        fs::write(path, format!("{began}\n{committed}\n{rest}")).unwrap();
    }
    // And a file that would be waited for.
    let fifo = Command::new("mkfifo").arg(folder.join("zzz.jsonl")).status().unwrap();
    assert!(fifo.success());
    let forged = later('0');
    for command in ["history", "rollback --dry-run", &format!("rollback {forged}"), "rollback", ""]
    {
        let ended = project.rebuild(command).to(place).run();
        assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'), "{ended}");
        assert!(!ended.stdout.contains("escaped"), "{ended}");
        let now = registry.head("victim", "latest");
        assert_eq!(now.as_deref(), Some(new.as_str()), "after `{command}`: {ended}");
    }
}

#[test]
fn no_name_and_no_text_of_a_repository_acts_on_a_terminal_or_a_ci_system() {
    let project = Project::empty();
    let evil = "\u{1b}]52;c;eA==\u{7}\u{202e}\r::error::x\r##[command]y";
    project
        .write(&format!("a{evil}/Dockerfile"), &format!("FROM scratch\n{evil} x\nFROM {evil}\n"));
    project.write("b/Dockerfile", "FROM scratch\n");
    let quoted = serde_json::to_string(evil).unwrap();
    let context = serde_json::to_string(&format!("a{evil}")).unwrap();
    let hierarchy = format!(
        "version: 1\n{quoted}: 1\nimages:\n  a: {{ context: {context}, tags: [{quoted}] }}\n  b: {{ context: {quoted} }}\n"
    );
    fs::write(project.path("hierarchy.yaml"), hierarchy).unwrap();
    for command in [
        "check",
        "check --severity note --color always",
        "check --format github",
        "check --format json",
        "check --format sarif",
        "plan",
        "tree --no-state",
        "why a",
        "init --dry-run",
        "init --force",
        "doctor",
        "",
    ] {
        let ended = project.rebuild(command).env("GITHUB_ACTIONS", "true").run();
        for text in [&ended.stdout, &ended.stderr] {
            let is_bad = |c: char| c.is_control() && c != '\n' && c != '\u{1b}' || c == '\u{202e}';
            assert!(!text.contains(is_bad), "{command}: {text:?}");
            assert!(!text.contains("\u{1b}]") && !text.contains("##[c"), "{command}: {text:?}");
            let commands = text.lines().filter(|line| line.trim_start().starts_with("::error::"));
            assert_eq!(commands.count(), 0, "{command}: {text}");
        }
    }
}

/// `rebuild log` prints a long line in pieces.
#[test]
fn no_piece_of_a_long_line_completes_a_command() {
    let project = Project::new();
    let piece = 64 * 1024;
    let split = |begin: &str, end: &str, fill: char| {
        let filled = piece - begin.len();
        format!("{}{begin}{end}\n", fill.to_string().repeat(filled))
    };
    let text = split("::", "error::evil", ' ') + &split("##", "[error]evil", 'x');
    project.write("tool/text", &text);
    project.write("tool/Dockerfile", "FROM ~os\nCOPY text /text\nRUN cat /text\n");
    project.rebuilt(Place::Engine);
    let log = project.rebuild("log ~tool").run().exits(0);
    assert!(log.stdout.contains("error]evil"), "{log}");
    assert!(!log.stdout.contains("##[error") && !log.stdout.contains("::error::"), "{log}");
}

#[test]
fn an_untrusted_hierarchy_is_refused_what_it_may_not_do() {
    let project = Project::new();
    let marker = project.path("../ran");
    let touch = format!("[touch, {}]", marker.display());
    project.edit("hierarchy.yaml", "version: 1\n", &format!("version: 1\nnotify: {touch}\n"));
    project.edit(
        "hierarchy.yaml",
        "{ context: tool }",
        &format!("{{ context: tool, prepare: {touch}, secrets: {{ home: {{ env: HOME }} }} }}"),
    );
    for (command, variable) in [("--untrusted", "0"), ("", "1"), ("plan", "true")] {
        let ended = project.rebuild(command).env("REBUILD_UNTRUSTED", variable).run().exits(2);
        let ended = ended.says(&["`notify` runs a program on this machine: refused"]);
        let ended = ended.says(&["`prepare` runs a program on this machine: refused"]);
        ended.says(&["the secret `home` is a file or a variable of this machine: refused"]);
    }
    assert!(!marker.exists());
    let good = Project::of_files();
    good.rebuild("--untrusted --no-push").run().exits(0);
}

#[test]
fn labels_name_no_file_where_that_is_turned_off() {
    let project = Project::of_files();
    project.edit(
        "hierarchy.yaml",
        "version: 1\n",
        "version: 1\ndefaults: { file_labels: false }\n",
    );
    project.write("os/page", "two\n");
    project.rebuilt(Place::Engine);
    let labels = project.config(Place::Engine, "~web:latest")["Labels"].clone();
    assert!(!labels.to_string().contains("page"), "{labels}");
    project.write("web/page", "three\n");
    let why = project.rebuild("why ~web").run().exits(0);
    assert!(project.shown(&why.stdout).contains("the build context of `~web` changed"), "{why}");
    project.edit("hierarchy.yaml", "defaults: { file_labels: false }\n", "");
    project.rebuilt(Place::Engine);
    let labels = project.config(Place::Engine, "~web:latest")["Labels"].clone();
    assert!(labels.to_string().contains("page"), "{labels}");
}
