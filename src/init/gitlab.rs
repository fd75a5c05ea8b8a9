//! `include` and `extends` of GitLab CI files: <https://docs.gitlab.com/ci/yaml/>.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use globset::GlobBuilder;
use serde_json::{Map, Value, json};

use super::{
    bake::list,
    compose::lay,
    evidence::{Values, tidy},
    readers::text_inside,
    remote,
};
use crate::{check::diagnostic::SourceFile, hierarchy};

/// GitLab's own limits for `extends` and `include`.
const DEEPEST: usize = 11;
const FILES: usize = 150;

/// Hosts of repositories that are not GitLab. A repository there may be a mirror of a project with another name.
const OTHER_HOSTS: [&str; 4] = ["github.com", "bitbucket.org", "dev.azure.com", "codeberg.org"];

/// The variables of a project that the address of the remote repository says, and on gitlab.com also those of its
/// registry: <https://docs.gitlab.com/ci/variables/predefined_variables/>.
pub(super) fn predefined(remote: Option<&str>) -> Values {
    let Some((host, path)) = remote.and_then(remote::host_and_path) else { return Values::new() };
    let Some((namespace, name)) = path.rsplit_once('/') else { return Values::new() };
    if OTHER_HOSTS.contains(&host) {
        return Values::new();
    }
    let root = namespace.split('/').next().unwrap_or(namespace);
    let slug = slug(path);
    let mut all = vec![
        ("CI_PROJECT_PATH", path),
        ("CI_PROJECT_PATH_SLUG", &slug),
        ("CI_PROJECT_NAMESPACE", namespace),
        ("CI_PROJECT_ROOT_NAMESPACE", root),
        ("CI_PROJECT_NAME", name),
    ];
    let image = format!("registry.gitlab.com/{}", path.to_ascii_lowercase());
    if host == "gitlab.com" {
        all.extend([("CI_REGISTRY", "registry.gitlab.com"), ("CI_REGISTRY_IMAGE", &image)]);
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A name as a part of an address: <https://docs.gitlab.com/ci/variables/predefined_variables/>.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let part = lower.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    part[..part.len().min(LONGEST_SLUG)].trim_matches('-').to_owned()
}

const LONGEST_SLUG: usize = 63;

/// The jobs of a file as GitLab runs them: with the local files that it includes, each on top of those that it
/// extends, with the variables of its name, and without hidden jobs.
pub(super) fn jobs(root: &Path, value: Value) -> Value {
    jobs_of(root, value, &mut BTreeSet::new())
}

/// `read` has the files that were read.
fn jobs_of(root: &Path, value: Value, read: &mut BTreeSet<PathBuf>) -> Value {
    let all = with_included(root, value, read, DEEPEST);
    let Value::Object(all) = all else { return all };
    let mut known = BTreeMap::new();
    let names = all.keys().filter(|name| !name.starts_with('.'));
    let jobs = names.map(|name| {
        let mut job = extended(&all, name, &mut known, DEEPEST);
        if let Value::Object(job) = &mut job {
            let include = job.get("trigger").and_then(|trigger| trigger.get("include"));
            let child = include.map(|include| json!({ "include": include }));
            // A child pipeline has the variables of the job that starts it.
            let child = child.map(|child| jobs_of(root, child, read));
            job.extend(child.map(|child| ("child".to_owned(), child)));
            job.extend(variables_of(name, job).map(|own| ("env".to_owned(), own)));
        }
        (name.clone(), job)
    });
    Value::Object(jobs.collect())
}

/// The variables that a job has by its name. Jobs of a matrix have longer names.
fn variables_of(name: &str, job: &Map<String, Value>) -> Option<Value> {
    let is_one = job.contains_key("script") && !job.contains_key("parallel");
    let stage = job.get("stage").and_then(Value::as_str).unwrap_or("test");
    let slug = slug(name);
    is_one.then(|| json!({ "CI_JOB_NAME": name, "CI_JOB_NAME_SLUG": slug, "CI_JOB_STAGE": stage }))
}

/// Reads each file once.
fn with_included(root: &Path, value: Value, read: &mut BTreeSet<PathBuf>, depth: usize) -> Value {
    let mut all = Value::Object(Map::new());
    let names = included(value.get("include")).into_iter().filter(|_| depth > 0);
    for path in names.flat_map(|name| matching(root, name.trim_start_matches('/'))) {
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

/// The files that a name with wildcards means: <https://docs.gitlab.com/ci/yaml/includes/>.
fn matching(root: &Path, name: &str) -> Vec<PathBuf> {
    let Some((fixed, _)) = name.split_once('*') else { return vec![tidy(name)] };
    let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
    let glob = GlobBuilder::new(name).literal_separator(true).build();
    let Ok(glob) = glob.map(|glob| glob.compile_matcher()) else { return Vec::new() };
    if tidy(folder).starts_with("..") {
        return Vec::new();
    }
    let walk = ignore::WalkBuilder::new(root.join(folder)).hidden(false).build();
    let paths =
        walk.flatten().filter_map(|one| one.path().strip_prefix(root).ok().map(Path::to_owned));
    let mut found: Vec<PathBuf> = paths.filter(|path| glob.is_match(path)).take(FILES).collect();
    found.sort();
    found
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
        std::fs::create_dir(root.path().join("more")).unwrap();
        write("more/d.yml", "d: { script: z, stage: s }");
        write("child.yml", "build it: { script: [x $N] }");
        write("t.yml", "include: ring.yml\n.b: { script: [x $N], variables: { N: no, M: m } }");
        write("ring.yml", "include: [t.yml, t.yml, t.yml, ring.yml, ring.yml, ring.yml, ring.yml]");
        let text =
            "include: [{ local: /t.yml }, 'https://x.org/y.yml', { local: ../z.yml }, 'more/*.yml']
start: { trigger: { include: [{ local: child.yml }] }, variables: { N: n } }
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
        let names = |name, slug, stage| json!({ "CI_JOB_NAME": name, "CI_JOB_NAME_SLUG": slug, "CI_JOB_STAGE": stage });
        assert_eq!(jobs["d"]["env"], names("d", "d", "s"));
        let child = &jobs["start"]["child"]["build it"];
        assert_eq!(child["env"], names("build it", "build-it", "test"));
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
        for (remote, expected) in [
            (
                "ssh://git@git.example.com:2222/globex/tools/images.git",
                "globex/tools images globex",
            ),
            ("git@git.example.com:globex/images", "globex images globex"),
            ("https://github.com/globex/images", ""),
            ("/srv/git/globex/images.git", ""),
        ] {
            let all = predefined(Some(remote));
            let names = ["CI_PROJECT_NAMESPACE", "CI_PROJECT_NAME", "CI_PROJECT_ROOT_NAMESPACE"];
            let values = names.iter().filter_map(|name| all.get(*name).map(String::as_str));
            assert_eq!(values.collect::<Vec<_>>().join(" "), expected, "{remote}");
        }
    }
}
