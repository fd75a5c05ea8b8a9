//! `include` and `extends` of GitLab CI files: <https://docs.gitlab.com/ci/yaml/>.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    bake::list,
    compose::lay,
    evidence::{Values, tidy},
    readers::text_inside,
};
use crate::{check::diagnostic::SourceFile, hierarchy};

/// GitLab's own limits for `extends` and `include`.
const DEEPEST: usize = 11;
const FILES: usize = 150;

/// The variables of a project on gitlab.com that the address of the remote repository says:
/// <https://docs.gitlab.com/ci/variables/predefined_variables/>.
pub(super) fn predefined(remote: Option<&str>) -> Values {
    let path = remote.and_then(|url| {
        let (before, path) = url.split_once("gitlab.com")?;
        let is_host = before.is_empty() || before.ends_with(['/', '@']);
        let path = path.strip_prefix([':', '/']).filter(|_| is_host)?.trim_end_matches('/');
        Some(path.strip_suffix(".git").unwrap_or(path))
    });
    let Some((namespace, name)) = path.and_then(|path| path.rsplit_once('/')) else {
        return Values::new();
    };
    let path = format!("{namespace}/{name}");
    let image = format!("registry.gitlab.com/{}", path.to_ascii_lowercase());
    let all = [
        ("CI_REGISTRY", "registry.gitlab.com"),
        ("CI_REGISTRY_IMAGE", &image),
        ("CI_PROJECT_PATH", &path),
        ("CI_PROJECT_NAMESPACE", namespace),
        ("CI_PROJECT_NAME", name),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The jobs of a file as GitLab runs them: with the local files that it includes, each on top of those that it
/// extends, and without hidden jobs.
pub(super) fn jobs(root: &Path, value: Value) -> Value {
    let all = with_included(root, value, &mut BTreeSet::new(), DEEPEST);
    let Value::Object(all) = all else { return all };
    let mut known = BTreeMap::new();
    let jobs = all.keys().filter(|name| !name.starts_with('.'));
    let jobs = jobs.map(|name| (name.clone(), extended(&all, name, &mut known, DEEPEST)));
    Value::Object(jobs.collect())
}

/// Reads each file once.
fn with_included(root: &Path, value: Value, read: &mut BTreeSet<PathBuf>, depth: usize) -> Value {
    let mut all = Value::Object(Map::new());
    for name in included(value.get("include")).into_iter().filter(|_| depth > 0) {
        let path = tidy(name.trim_start_matches('/'));
        if read.len() >= FILES || !read.insert(path.clone()) {
            continue;
        }
        let is_outside = path.starts_with("..");
        let text = if is_outside { None } else { text_inside(root, &path) };
        let found = text.and_then(|text| hierarchy::value(&SourceFile::new(&path, text)).ok());
        if let Some(found) = found {
            lay(&mut all, with_included(root, found, read, depth - 1));
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

/// A job on top of those that it extends. `known` has the jobs that were read; one of a ring is as it is written.
fn extended(
    jobs: &Map<String, Value>,
    name: &str,
    known: &mut BTreeMap<String, Value>,
    depth: usize,
) -> Value {
    if let Some(job) = known.get(name) {
        return job.clone();
    }
    let own = jobs.get(name).cloned().unwrap_or_default();
    let bases = list(own.get("extends"));
    if bases.is_empty() || depth == 0 {
        return own;
    }
    known.insert(name.to_owned(), own.clone());
    let mut job = Value::Object(Map::new());
    for base in bases {
        lay(&mut job, extended(jobs, &base, known, depth - 1));
    }
    lay(&mut job, own);
    known.insert(name.to_owned(), job.clone());
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_what_they_extend_and_include() {
        let root = tempfile::tempdir().unwrap();
        let write = |name, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        write("t.yml", "include: ring.yml\n.b: { script: [x $N], variables: { N: no, M: m } }");
        write("ring.yml", "include: [t.yml, t.yml, t.yml, ring.yml, ring.yml, ring.yml, ring.yml]");
        let text = "include: [{ local: /t.yml }, 'https://x.org/y.yml', { local: ../z.yml }]
a: { extends: .b, variables: { N: a } }
c: { extends: [a], script: y }
ring: { extends: [ring, ring, ring, other, other, other] }
other: { extends: [ring, ring, ring, other, other, other] }
";
        let value = hierarchy::value(&SourceFile::new(Path::new("x.yml"), text)).unwrap();
        let jobs = jobs(root.path(), value);
        assert_eq!(jobs["a"]["script"], serde_json::json!(["x $N"]));
        assert_eq!(jobs["c"]["variables"], serde_json::json!({ "N": "a", "M": "m" }));
        assert_eq!((&jobs["c"]["script"], jobs.get(".b")), (&"y".into(), None));
    }

    #[test]
    fn variables_of_a_project_on_gitlab_com() {
        for (remote, expected) in [
            (
                "https://gitlab.com/Globex/tools/images.git",
                "registry.gitlab.com/globex/tools/images",
            ),
            ("git@gitlab.com:globex/images", "registry.gitlab.com/globex/images"),
            ("https://x:y@gitlab.com/globex/images/", "registry.gitlab.com/globex/images"),
            ("https://gitlab.com/images", ""),
            ("https://notgitlab.com/a/b", ""),
            ("https://gitlab.com.example.org/a/b", ""),
        ] {
            let all = predefined(Some(remote));
            let image = all.get("CI_REGISTRY_IMAGE").map_or("", String::as_str);
            assert_eq!(image, expected, "{remote}");
        }
        assert_eq!(predefined(None), Values::new());
    }
}
