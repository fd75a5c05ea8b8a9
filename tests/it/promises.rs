//! Every promise and every fault of `docs/promises.md` has tests, and they are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of its tables: what is promised, and the tests that are named for it.
fn rows() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = cells.filter_map(|line| line.split_once(" | ")).filter(|(first, _)| {
        // The head of a table.
        *first != "fault" && *first != "promise"
    });
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|(promise, tests)| (promise.to_owned(), names(tests))).collect()
}

/// The name of every function below `src` and `tests` that is marked as a test, and of every item of a
/// macro that makes tests.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let mut is_test = false;
                for line in text.lines().map(str::trim_start) {
                    is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                    let Some((_, after)) = line.split_once("fn ") else { continue };
                    if std::mem::take(&mut is_test) {
                        found.insert(after.split(['(', '<']).next().unwrap().to_owned());
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_promise_has_tests_and_they_exist() {
    let (rows, tests) = (rows(), tests());
    assert!(rows.len() > 40 && tests.len() > 200, "{} rows, {} tests", rows.len(), tests.len());
    for (promise, named) in rows {
        assert!(!named.is_empty(), "no test is named for: {promise}");
        for name in named {
            assert!(tests.contains(&name), "there is no test `{name}`, named for: {promise}");
        }
    }
}
