//! Checks the boundaries that the map in `src/lib.rs` draws.
//!
//! The lists are exact in both directions: a use that is not listed fails, and so does a listed one
//! that is gone, so that what is written here is what is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Each module in the order of `src/lib.rs`, and those above it that it uses.
const USES: &[(&str, &[&str])] = &[
    ("exit", &[]),
    ("host", &[]),
    ("image", &[]),
    ("layers", &["image"]),
    ("flatten", &["image", "layers"]),
    ("check", &[]),
    ("dockerfile", &["check", "image"]),
    ("hierarchy", &["check", "dockerfile", "host", "image"]),
    ("init", &["check", "dockerfile", "hierarchy", "host", "image"]),
    ("fingerprint", &["hierarchy", "host", "image"]),
    ("plan", &["check", "fingerprint", "hierarchy", "host", "image"]),
    ("export", &["hierarchy", "image", "plan"]),
    ("size", &["flatten", "hierarchy", "image"]),
    ("waste", &["dockerfile", "hierarchy", "image", "layers", "size"]),
    ("audit", &["image"]),
    ("registry", &["image"]),
    ("engine", &["fingerprint", "flatten", "hierarchy", "host", "image", "layers", "registry"]),
    ("event", &["check", "engine", "exit", "fingerprint", "hierarchy", "image", "plan", "size"]),
    (
        "publish",
        &[
            "engine",
            "event",
            "exit",
            "fingerprint",
            "hierarchy",
            "host",
            "image",
            "plan",
            "registry",
            "size",
        ],
    ),
    (
        "run",
        &[
            "audit",
            "check",
            "dockerfile",
            "engine",
            "event",
            "exit",
            "fingerprint",
            "flatten",
            "hierarchy",
            "host",
            "image",
            "layers",
            "plan",
            "publish",
            "registry",
            "size",
            "waste",
        ],
    ),
    (
        "report",
        &[
            "audit",
            "check",
            "event",
            "exit",
            "fingerprint",
            "hierarchy",
            "host",
            "image",
            "plan",
            "publish",
            "size",
            "waste",
        ],
    ),
    ("serve", &["exit", "hierarchy", "host", "image", "plan", "report", "run"]),
    (
        "commands",
        &[
            "audit",
            "check",
            "engine",
            "event",
            "exit",
            "export",
            "fingerprint",
            "flatten",
            "hierarchy",
            "host",
            "image",
            "init",
            "plan",
            "publish",
            "registry",
            "report",
            "run",
            "serve",
            "size",
            "waste",
        ],
    ),
];

/// Crates that few modules may know, and which.
const DOORS: &[(&str, &[&str])] = &[
    ("aho_corasick", &["run"]),
    ("annotate_snippets", &["check"]),
    ("anstream", &["commands"]),
    ("axum", &["serve"]),
    ("backon", &["registry"]),
    ("bollard", &["engine"]),
    ("clap", &["commands"]),
    ("clap_complete", &["commands"]),
    ("clap_mangen", &["commands"]),
    ("flate2", &["engine", "layers"]),
    ("h2", &["engine"]),
    ("http_body_util", &["engine"]),
    ("hyper", &["engine", "serve"]),
    ("hyper_util", &["engine", "serve"]),
    // Modules of ours are called `ignore`, too.
    ("ignore::WalkBuilder", &["init"]),
    (
        "jiff",
        &[
            "audit",
            "commands",
            "engine",
            "event",
            "fingerprint",
            "hierarchy",
            "host",
            "plan",
            "publish",
            "registry",
            "report",
            "run",
            "serve",
        ],
    ),
    ("getrandom", &["host"]),
    ("globset", &["hierarchy", "init"]),
    ("maud", &["report", "serve"]),
    ("notify", &["run"]),
    ("percent_encoding", &["engine"]),
    ("petgraph", &["hierarchy"]),
    ("process_wrap", &["commands", "registry", "run"]),
    ("prost", &["engine"]),
    ("quick_junit", &["report"]),
    ("prometheus_client", &["serve"]),
    ("reqwest", &["registry"]),
    ("rusqlite", &["serve"]),
    ("rustix", &["commands", "engine", "fingerprint", "host", "serve"]),
    ("rustls", &["engine", "registry"]),
    ("ruzstd", &["layers"]),
    ("serde_saphyr", &["hierarchy"]),
    ("sha2", &["image"]),
    ("tar", &["engine", "flatten", "layers"]),
    ("terminal_size", &["report"]),
    ("tokio_rustls", &["engine"]),
    ("tracing_subscriber", &["commands"]),
    ("ulid", &["publish", "run"]),
    ("unicode_width", &["report"]),
];

/// What a module, or a folder or file of it, does without. The longest path that matches counts.
const NEVER: &[(&str, &[&str])] = &[
    // Words: no I/O, no clock.
    ("image", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant"]),
    ("dockerfile", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async "]),
    ("hierarchy", &["std::net", "std::process", "tokio", "async "]),
    // The time is an argument.
    (
        "hierarchy/calendar",
        &["std::fs", "std::env", "std::net", "tokio", "async ", "Instant", "now()"],
    ),
    // Decides, and is pure.
    ("plan", &["std::fs", "std::env", "std::net", "tokio", "async ", "Instant", "SystemTime"]),
    // Asks git.
    ("plan/since", &["std::net", "tokio", "async ", "Instant"]),
    // A plan in, text out.
    ("export", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant"]),
    // Reads what it is given.
    ("layers", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant"]),
    // Computes from what was read.
    ("waste", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant"]),
    (
        "audit",
        &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant", "now()"],
    ),
    ("size", &["std::fs", "std::env", "std::net", "std::process", "tokio", "async ", "Instant"]),
    // Prints, and can reach nothing.
    ("report", &["std::fs", "std::net", "std::process", "tokio", "async "]),
    // Reads files only.
    ("init", &["std::net", "std::process", "tokio", "async ", "fs::write"]),
    ("commands/cli/mod.rs", &["std::fs", "std::env", "std::process"]),
];

/// The longest file that is still one concept.
const LONGEST: usize = 800;

/// A file under `src/`.
struct Source {
    module: String,
    path: String,
    lines: usize,
    /// Without comments, and without tests.
    code: String,
}

#[test]
fn the_order_is_that_of_the_map() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = map.lines().filter_map(|line| line.split_once("mod ")?.1.split(';').next());
    let modules = modules.filter(|name| *name != "testing");
    let listed = USES.iter().map(|(module, _)| *module);
    assert_eq!(listed.collect::<Vec<_>>(), modules.collect::<Vec<_>>());
    for (number, (module, uses)) in USES.iter().enumerate() {
        for used in *uses {
            let above = USES[..number].iter().any(|(above, _)| above == used);
            assert!(above, "`{module}` uses `{used}`, which does not stand above it");
        }
    }
}

#[test]
fn modules_use_what_they_may() {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let sources = sources();
    for source in &sources {
        let is_root =
            matches!(source.path.split('/').count(), 2) || source.path.ends_with("mod.rs");
        let is_root = is_root && source.path.split('/').count() <= 3;
        let outside = if is_root { "super::" } else { "super::super::super::super::" };
        assert!(!source.code.contains(outside), "{} uses `{outside}`: say `crate::`", source.path);
        let uses = used_modules(&source.code).into_iter().filter(|used| *used != source.module);
        found.entry(&source.module).or_default().extend(uses);
    }
    for (module, may) in USES {
        let may: BTreeSet<String> = may.iter().map(|name| (*name).to_owned()).collect();
        let uses = found.remove(module).unwrap_or_default();
        assert_eq!(uses, may, "what `{module}` uses (left) and what the list says (right)");
    }
    assert!(found.is_empty(), "modules that the list does not have: {found:?}");
}

#[test]
fn each_crate_has_its_door() {
    let sources = sources();
    for (name, doors) in DOORS {
        let path = format!("{name}::");
        let users: BTreeSet<&str> = sources
            .iter()
            .filter(|source| has_word(&source.code, &path))
            .map(|source| source.module.as_str())
            .collect();
        let doors: BTreeSet<&str> = doors.iter().copied().collect();
        assert_eq!(users, doors, "who uses `{name}` (left) and who may (right)");
    }
}

#[test]
fn modules_keep_their_promises() {
    for Source { path, code, .. } in sources() {
        let rest = path.trim_start_matches("src/");
        let matching = NEVER.iter().filter(|(name, _)| {
            rest.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
        });
        let Some((name, words)) = matching.max_by_key(|(name, _)| name.len()) else { continue };
        for word in *words {
            assert!(!has_word(&code, word), "{path} has `{word}`, and `{name}` does without");
        }
    }
}

#[test]
fn only_commands_and_reporters_print() {
    for Source { module, path, code, .. } in sources() {
        for print in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            assert!(!has_word(&code, print), "{path} has `{print}`");
        }
        let is_door = path == "src/commands/output.rs" || path == "src/commands/run.rs";
        for stream in ["io::stdout()", "io::stderr()", "anstream::stdout()", "anstream::stderr()"] {
            // What a terminal is may be asked; a reporter is handed where it writes.
            let asks = module == "report" && code.contains("terminal_size_of(io::stderr())");
            let writes = has_word(&code, stream);
            assert!(
                !writes || is_door || asks,
                "{path} has `{stream}`: see src/commands/output.rs"
            );
        }
    }
}

/// Everything that is printed goes through the sanitizer but what these print.
#[test]
fn few_print_around_the_sanitizer() {
    const AROUND: &[(&str, &[&str])] = &[
        // Commands of GitHub, whose texts their writers make harmless.
        ("output::trusted(", &["check.rs", "completions.rs", "man.rs"]),
        ("output::page(", &["audit.rs"]),
        ("output::stderr()", &["reports.rs"]),
        // A program that the user talks to.
        ("output::session(", &["shell.rs"]),
    ];
    for (call, users) in AROUND {
        let sources = sources();
        let found = sources.iter().filter(|source| source.code.contains(call));
        let found: BTreeSet<&str> =
            found.filter_map(|source| source.path.strip_prefix("src/commands/")).collect();
        assert_eq!(found, users.iter().copied().collect(), "who calls `{call}`");
    }
    // Sequences of our own, within what reporters write.
    let sources = sources();
    let ours = sources.iter().filter(|source| source.code.contains(".ours("));
    let ours: BTreeSet<&str> =
        ours.filter_map(|source| source.path.strip_prefix("src/report/")).collect();
    assert_eq!(ours, ["fold.rs", "github.rs", "screen.rs"].into());
    for Source { path, code, .. } in &sources {
        let is_around = code.contains("with_writer(std::io") || code.contains("error.print()");
        assert!(!is_around, "{path} prints around src/commands/output.rs");
    }
    let door = fs::read_to_string(root().join("src/commands/output.rs")).unwrap();
    for (stream, times) in [("anstream::stdout()", 1), ("anstream::stderr()", 1)] {
        assert_eq!(door.matches(stream).count(), times, "`{stream}` has one place");
    }
}

#[test]
fn a_type_name_occurs_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Source { path, code, .. } in sources() {
        for line in code.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(at) = words.iter().position(|word| ["struct", "enum", "trait"].contains(word))
            else {
                continue;
            };
            let is_item = words[..at].iter().all(|word| word.starts_with("pub"));
            if let Some(name) = words.get(at + 1).filter(|_| is_item) {
                places.entry(first_word(name)).or_default().push(path.clone());
            }
        }
    }
    assert!(places.len() > 300, "only {} types were found", places.len());
    places.retain(|_, paths| paths.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// A crate may have another name than its package.
const RENAMED: &[(&str, &str)] = &[("hcl-rs", "hcl")];

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, table) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (table, _) = table.split_once("\n[").unwrap();
    let packages = table.lines().filter_map(|line| Some(line.split_once('=')?.0.trim()));
    let code: String = sources().into_iter().map(|source| source.code).collect();
    let is_used = |package: &&str| {
        let renamed = RENAMED.iter().find(|(name, _)| name == package);
        let name = renamed.map_or(package.replace('-', "_"), |(_, name)| (*name).to_owned());
        let mut after = code.split(&name).skip(1);
        after
            .any(|rest| rest.starts_with("::") || rest.starts_with(" as ") || rest.starts_with(';'))
    };
    let (used, unused): (Vec<&str>, Vec<&str>) = packages.partition(is_used);
    assert!(used.len() > 30, "{used:?}");
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.lines > LONGEST)
        .map(|source| format!("{}: {} lines", source.path, source.lines))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn main_only_exits() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 20, "{main}");
}

/// The modules that stand behind `crate::`, in `use` and in paths.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    used.insert(first_word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether the text occurs, and not as the end of a longer word.
fn has_word(code: &str, text: &str) -> bool {
    code.match_indices(text).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the program. Tests may use what they like.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = name.split(['/', '.']).nth(1).unwrap().to_owned();
            let is_test = name.ends_with("tests.rs")
                || name.contains("/tests/")
                || name.starts_with("src/testing/");
            let is_whole = ["lib", "main"].contains(&module.as_str());
            let text = fs::read_to_string(&path).unwrap();
            // Modules and files that exist for tests only say so where they are declared.
            let only_for_tests = ["src/report/scenario.rs", "src/engine/fake.rs"];
            if is_test || is_whole || only_for_tests.contains(&name.as_str()) {
                continue;
            }
            let lines = text.lines().count();
            found.push(Source { module, path: name, lines, code: without_tests(&text) });
        }
    }
    assert!(found.len() > 50, "{} files are not the whole program", found.len());
    found
}

/// Without comments and without items marked `#[cfg(test)]`, which stand at the end of a file or are
/// declarations and functions.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // Up to the end of the item: a `;`, or the brace at its own indentation.
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let mut is_first = true;
        for line in lines.by_ref() {
            let is_attribute = line.trim_start().starts_with("#[");
            if line == end || (is_first && line.ends_with(';')) {
                break;
            }
            is_first &= is_attribute;
        }
    }
    code
}
