//! `include` and `extends` of GitLab CI files: <https://docs.gitlab.com/ci/yaml/>.

use std::path::Path;

use serde_json::{Map, Value};

use super::{bake::list, compose::lay, evidence::tidy};
use crate::{check::diagnostic::SourceFile, hierarchy, host::bounded};

/// GitLab's own limit for `extends`.
const DEEPEST: usize = 11;

/// The jobs of a file as GitLab runs them: with the local files that it includes, each on top of those that it
/// extends, and without hidden jobs.
pub(super) fn jobs(root: &Path, value: Value) -> Value {
    let all = with_included(root, value, DEEPEST);
    let Value::Object(all) = all else { return all };
    let jobs = all.iter().filter(|(name, _)| !name.starts_with('.'));
    let jobs = jobs.map(|(name, _)| (name.clone(), extended(&all, name, DEEPEST)));
    Value::Object(jobs.collect())
}

fn with_included(root: &Path, value: Value, depth: usize) -> Value {
    let mut all = Value::Object(Map::new());
    for name in included(value.get("include")).into_iter().filter(|_| depth > 0) {
        let path = tidy(name.trim_start_matches('/'));
        let file = root.join(&path);
        let is_inside = !path.starts_with("..")
            && file
                .canonicalize()
                .is_ok_and(|file| root.canonicalize().is_ok_and(|root| file.starts_with(root)));
        let text = is_inside.then(|| bounded::text(&file).ok()).flatten();
        let found = text.and_then(|text| hierarchy::value(&SourceFile::new(&file, text)).ok());
        if let Some(found) = found {
            lay(&mut all, with_included(root, found, depth - 1));
        }
    }
    lay(&mut all, value);
    all
}

/// The files of this repository among those that `include` names.
fn included(include: Option<&Value>) -> Vec<String> {
    match include {
        Some(Value::String(name)) if !name.contains("://") => vec![name.clone()],
        Some(Value::Object(one)) => list(one.get("local")),
        Some(Value::Array(all)) => all.iter().flat_map(|one| included(Some(one))).collect(),
        _ => Vec::new(),
    }
}

/// A job on top of those that it extends.
fn extended(jobs: &Map<String, Value>, name: &str, depth: usize) -> Value {
    let own = jobs.get(name).cloned().unwrap_or_default();
    let bases = list(own.get("extends"));
    if bases.is_empty() || depth == 0 {
        return own;
    }
    let mut job = Value::Object(Map::new());
    for base in bases {
        lay(&mut job, extended(jobs, &base, depth - 1));
    }
    lay(&mut job, own);
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_what_they_extend_and_include() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(
            root.path().join("t.yml"),
            ".b: { script: [x $N], variables: { N: no, M: m } }",
        )
        .unwrap();
        let text = "include: [{ local: /t.yml }, 'https://x.org/y.yml', { local: ../z.yml }]
a: { extends: .b, variables: { N: a } }
c: { extends: [a], script: y }
ring: { extends: ring }
";
        let value = hierarchy::value(&SourceFile::new(Path::new("x.yml"), text)).unwrap();
        let jobs = jobs(root.path(), value);
        assert_eq!(jobs["a"]["script"], serde_json::json!(["x $N"]));
        assert_eq!(jobs["c"]["variables"], serde_json::json!({ "N": "a", "M": "m" }));
        assert_eq!((&jobs["c"]["script"], jobs.get(".b")), (&"y".into(), None));
    }
}
