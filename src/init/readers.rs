//! Reads the files that say how images are built, and what they say of each Dockerfile.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    bake::{self, Targets, TargetsError},
    candidate::Given,
    ci, compose,
    evidence::{Evidence, EvidenceRule, FoundBuilds, PublishedImage, Values, tidy},
    find::{BuildFileKind, FoundFiles, LARGEST_SCRIPT},
    image_builder, jenkins, recipes,
    shell::{self, Script, with_dollars},
    skaffold,
    variables::{Syntax, expand},
};
use crate::host::bounded;

/// Files that include each other are read to this depth.
const DEEPEST: usize = 4;

/// All evidence of a folder, the strongest first. `environment` is that of the process. `notes` get
/// what a hierarchy cannot say of targets and services.
pub(super) fn read(
    root: &Path,
    found: &FoundFiles,
    environment: &Values,
    notes: &mut Vec<String>,
) -> Vec<Evidence> {
    let dockerfiles = found.dockerfiles.iter().chain(&found.outside);
    let dockerfiles: BTreeSet<PathBuf> = dockerfiles.cloned().collect();
    let (mut all, mut workflows, mut services) =
        (FoundBuilds { root: root.to_owned(), ..FoundBuilds::default() }, Vec::new(), Vec::new());
    all.scripts.texts = scripts(root, found);
    for (path, kind) in &found.texts {
        let Ok(text) = bounded::text(&root.join(path)) else { continue };
        let is_about_builds = |text: &str| is_about_builds(text) || all.scripts.are_named_in(text);
        match kind {
            BuildFileKind::Bake => {
                let targets = bake_targets(root, (path, &text), &dockerfiles, notes);
                all.known.extend(targets.into_iter().flat_map(|targets| targets.found));
            }
            BuildFileKind::Compose if compose::is_override(&root.join(path)) => {
                let note = "is not used: images are built as without it";
                let is_about_builds = text.contains("build:");
                notes.extend(is_about_builds.then(|| format!("`{}` {note}", path.display())));
            }
            BuildFileKind::Compose => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let targets = compose::targets(&root.join(path), text, folder, environment);
                // Without an `image`, a service is a program to run, not an image to publish.
                let is_image = |one: &Evidence| !one.given.outputs.is_empty();
                match targets {
                    Ok(targets) => {
                        let is_known =
                            |one: &Evidence| is_image(one) && dockerfiles.contains(&one.dockerfile);
                        notes.extend(targets.notes_of(is_known));
                        notes.extend(inline_notes(&targets.found, "--from-compose", path));
                        let (images, others): (Vec<Evidence>, Vec<Evidence>) =
                            targets.found.into_iter().partition(is_image);
                        all.known.extend(images);
                        services.extend(others);
                    }
                    Err(TargetsError::Yaml(problem)) => {
                        notes.push(format!("{}; the file is not used", problem.line(root)));
                    }
                    Err(_) => {}
                }
            }
            BuildFileKind::ImageBuilder if text.contains("\"dockerfile\"") => {
                all.known.extend(image_builder::images(root, path, &text));
            }
            BuildFileKind::Skaffold => skaffold::read(path, &text, &dockerfiles, &mut all),
            BuildFileKind::Workflow
                if is_about_builds(&text)
                    || text.contains("uses:")
                    || path.to_string_lossy().contains(".gitlab-ci") =>
            {
                workflows.extend(ci::Workflow::parse(root, path, text));
            }
            BuildFileKind::Makefile | BuildFileKind::Script | BuildFileKind::PackageScripts
                if text.len() as u64 <= LARGEST_SCRIPT && is_about_builds(&text) =>
            {
                let (rule, syntax) = match kind {
                    BuildFileKind::Makefile => (EvidenceRule::Makefile, Syntax::Make),
                    _ if path.to_string_lossy().contains("Jenkinsfile") => {
                        (EvidenceRule::Ci, Syntax::Shell)
                    }
                    _ => (EvidenceRule::Script, Syntax::Shell),
                };
                let folder = path.parent().unwrap_or(Path::new(""));
                let text = match rule {
                    _ if recipes::is_justfile(path) => with_dollars(&text).replace(" := ", "="),
                    EvidenceRule::Ci => jenkins::commands(&text),
                    _ => text,
                };
                let values = included(root, folder, &text, syntax, DEEPEST);
                let texts = match kind {
                    BuildFileKind::PackageScripts => package_scripts(&text),
                    _ => vec![(1, text)],
                };
                all.begin(path);
                for (first_line, text) in texts {
                    Script { rule, path, text: &text, first_line, folder, values: &values }
                        .read(&dockerfiles, &mut all);
                }
                all.end();
            }
            _ => {}
        }
    }
    let calls: Vec<(PathBuf, Values)> = workflows.iter().flat_map(ci::Workflow::calls).collect();
    for workflow in &workflows {
        let own = calls.iter().filter(|(path, _)| workflow.path.ends_with(path));
        let called: Vec<Values> = own.map(|(_, values)| values.clone()).collect();
        workflow.read(&called, &dockerfiles, &mut all);
    }
    all.drop_called();
    finished(all, (found, services), &dockerfiles, notes)
}

/// All builds, with those of services without an image, and notes about builds without a known Dockerfile.
fn finished(
    all: FoundBuilds,
    (found, services): (&FoundFiles, Vec<Evidence>),
    dockerfiles: &BTreeSet<PathBuf>,
    notes: &mut Vec<String>,
) -> Vec<Evidence> {
    let FoundBuilds { mut known, unknown, .. } = all;
    known.retain(|one| one.given.inline.is_none() && dockerfiles.contains(&one.dockerfile));
    // That it is built is all that a service without an image says.
    for service in services.into_iter().filter(|one| dockerfiles.contains(&one.dockerfile)) {
        if !known.iter().any(|one| one.dockerfile == service.dockerfile) {
            known.push(Evidence { given: Given::default(), ..service });
        }
    }
    let has_build = |path: &PathBuf| {
        known.iter().any(|one| one.dockerfile == *path && !one.given.outputs.is_empty())
    };
    // Beside a build for every Dockerfile, others are of other repositories.
    if !unknown.is_empty() && !found.dockerfiles.iter().all(has_build) {
        let what =
            "it is not known which Dockerfile is built there; check the images without a build";
        notes.extend(unknown.iter().map(|place| format!("`{place}`: {what}")));
    }
    known
}

/// The scripts that build images, which other files may call.
fn scripts(root: &Path, found: &FoundFiles) -> BTreeMap<PathBuf, String> {
    let scripts = found.texts.iter().filter(|(path, kind)| {
        let is_other = recipes::is_justfile(path) || path.to_string_lossy().contains("Jenkinsfile");
        *kind == BuildFileKind::Script && !is_other
    });
    let texts = scripts.filter_map(|(path, _)| {
        let text = bounded::text(&root.join(path)).ok()?;
        let is_one = text.len() as u64 <= LARGEST_SCRIPT && is_about_builds(&text);
        is_one.then(|| (path.clone(), text))
    });
    texts.collect()
}

/// The targets of a bake file and of the one that overrides it, if one of them has a Dockerfile here.
fn bake_targets(
    root: &Path,
    (path, text): (&Path, &str),
    dockerfiles: &BTreeSet<PathBuf>,
    notes: &mut Vec<String>,
) -> Option<Targets> {
    if path.ends_with(OVERRIDE) && root.join(path.with_file_name(BAKE)).is_file() {
        return None;
    }
    let own = path.parent().unwrap_or(Path::new(""));
    if let Err(error @ TargetsError::Syntax { .. }) = bake::targets(&[text], path, own) {
        notes.push(format!("`{}` is not used: {error}", path.display()));
        return None;
    }
    let over = path.ends_with(BAKE).then(|| overriding(root, path, notes)).flatten();
    let texts: Vec<&str> = std::iter::once(text).chain(over.as_deref()).collect();
    let has_dockerfile = |one: &Evidence| dockerfiles.contains(&one.dockerfile);
    let is_known = |one: &Evidence| one.given.inline.is_some() || has_dockerfile(one);
    // Bake runs in the folder of the file, or in one above it.
    let mut read = own.ancestors().filter_map(|folder| bake::targets(&texts, path, folder).ok());
    let targets = read.find(|targets| targets.found.iter().any(is_known))?;
    notes.extend(targets.notes_of(has_dockerfile));
    notes.extend(inline_notes(&targets.found, "--from-bake", path));
    Some(targets)
}

/// Bake reads it on top of the other file of its folder:
/// <https://docs.docker.com/build/bake/reference/#file-format>.
const OVERRIDE: &str = "docker-bake.override.hcl";
const BAKE: &str = "docker-bake.hcl";

/// The file that overrides targets and variables of a bake file.
fn overriding(root: &Path, path: &Path, notes: &mut Vec<String>) -> Option<String> {
    let path = path.with_file_name(OVERRIDE);
    let text = text_inside(root, &path)?;
    match bake::targets(&[&text], &path, Path::new("")) {
        Err(error @ TargetsError::Syntax { .. }) => {
            notes.push(format!("`{}` is not used: {error}", path.display()));
            None
        }
        _ => Some(text),
    }
}

/// A file below a folder that is also there if links are followed.
pub(super) fn text_inside(root: &Path, path: &Path) -> Option<String> {
    let (root, file) = (root.canonicalize().ok()?, root.join(path).canonicalize().ok()?);
    let is_inside = file.starts_with(root) && file.is_file();
    is_inside.then(|| bounded::text(&file).ok()).flatten()
}

/// Of targets and services whose Dockerfile is a text in them: only a file that the user names makes an image of it.
fn inline_notes(found: &[Evidence], option: &str, path: &Path) -> Vec<String> {
    let inline = found.iter().filter(|one| one.given.inline.is_some());
    let named = inline.filter_map(|one| one.given.name.as_ref());
    let line = |name: &String| {
        format!(
            "`{name}`: its Dockerfile is inside of `{0}`, and it is left out; `rebuild init {option} {0}` writes it",
            path.display()
        )
    };
    named.map(line).collect()
}

/// The commands of `scripts`, each with the number of its line: <https://docs.npmjs.com/cli/using-npm/scripts>.
fn package_scripts(text: &str) -> Vec<(usize, String)> {
    let package: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let line = |(key, command): (&String, &serde_json::Value)| {
        // An object may have a key of the same name elsewhere.
        let written = command.to_string();
        let has_both = |line: &str| line.contains(&format!("\"{key}\"")) && line.contains(&written);
        let number = text.lines().position(has_both).map_or(1, |at| at + 1);
        Some((number, command.as_str()?.to_owned()))
    };
    package["scripts"].as_object().into_iter().flatten().filter_map(line).collect()
}

fn is_about_builds(text: &str) -> bool {
    ["docker", "podman", "buildah", "nerdctl", "kaniko", "DOCKER", "PODMAN", "ENGINE"]
        .iter()
        .any(|word| text.contains(word))
}

/// The assignments of the files that a file includes.
fn included(root: &Path, folder: &Path, text: &str, syntax: Syntax, depth: usize) -> Values {
    let mut values = Values::new();
    if depth == 0 {
        return values;
    }
    for name in shell::includes(text) {
        let own = shell::assignments(text, syntax);
        let name = expand(&name, &own, syntax);
        for name in name.split_whitespace() {
            for base in [folder, Path::new("")] {
                let path = tidy(&base.join(name).to_string_lossy());
                let is_outside = path.is_absolute() || path.starts_with("..");
                let text = if is_outside { None } else { text_inside(root, &path) };
                let Some(text) = text else { continue };
                values.extend(included(root, folder, &text, syntax, depth - 1));
                for (key, value) in shell::assignments(&text, syntax) {
                    values.entry(key).or_insert(value);
                }
                break;
            }
        }
    }
    values
}

/// Of several builds of an image, the one that publishes it counts: one that is not for this machine, and whose name
/// has a registry, or at least a path.
fn remoteness(one: &Evidence) -> (bool, bool, bool) {
    let first = one.given.outputs.first();
    let host = first.and_then(|one| Some(one.repository.split_once('/')?.0));
    let has_host = host.is_some_and(|host| host.contains(['.', ':']));
    let is_open = first.is_some_and(|one| !one.is_whole);
    (!one.given.is_local, has_host || is_open, host.is_some())
}

/// What only fits a Dockerfile is a guess, beside a command that names the Dockerfile.
fn demote_matches(evidence: &mut [Evidence]) {
    let named = evidence.iter().filter(|one| {
        one.rule != EvidenceRule::Guess && !one.given.is_only_match && !one.given.outputs.is_empty()
    });
    let named: BTreeSet<PathBuf> = named.map(|one| one.dockerfile.clone()).collect();
    for one in evidence.iter_mut().filter(|one| one.given.is_only_match) {
        if named.contains(&one.dockerfile) {
            one.rule = EvidenceRule::Guess;
        }
    }
}

/// The images that each Dockerfile makes: one for each target and set of arguments whose output is
/// another. Evidence of a weaker rule adds nothing that a stronger one says otherwise.
pub(super) fn variants(mut evidence: Vec<Evidence>, dockerfiles: &[PathBuf]) -> Vec<Evidence> {
    demote_matches(&mut evidence);
    evidence.sort_by_key(|one| one.rule);
    let mut kept: BTreeMap<PathBuf, Vec<Evidence>> = BTreeMap::new();
    for mut one in evidence {
        let variants = kept.entry(one.dockerfile.clone()).or_default();
        // A guess adds nothing to what other commands say.
        let is_other = |kept: &Evidence| {
            !kept.given.outputs.is_empty() && (kept.rule, &kept.place) != (one.rule, &one.place)
        };
        if one.rule == EvidenceRule::Guess && variants.iter().any(is_other) {
            continue;
        }
        let same = variants.iter_mut().find(|kept| {
            let shares = kept.given.outputs.iter().any(|output| one.given.outputs.contains(output));
            // Targets of bake and services of compose are images of their own.
            let is_other = kept.given.name.is_some() && one.given.name.is_some();
            let is_same = !is_other
                && kept.given.target == one.given.target
                && kept.given.platforms == one.given.platforms
                && (kept.given.build_args == one.given.build_args || kept.given.outputs.is_empty());
            shares
                || is_same
                || (one.given.outputs.is_empty() && kept.given.target == one.given.target)
        });
        if let Some(kept) = same {
            if kept.given.outputs.is_empty() && !one.given.outputs.is_empty() {
                *kept = one;
            } else if kept.rule == one.rule {
                if remoteness(&one) > remoteness(kept) {
                    std::mem::swap(kept, &mut one);
                }
                kept.given.take_platforms(one.given.platforms);
                for output in one.given.outputs {
                    let is_test = one.given.is_local && !kept.given.is_local;
                    if !is_test && !kept.given.outputs.contains(&output) {
                        kept.given.outputs.push(output);
                    }
                }
                for dropped in one.given.dropped {
                    // Another command may be one for tests.
                    let is_of_other = dropped.is_tag() && kept.place != one.place;
                    if !is_of_other && !kept.given.dropped.contains(&dropped) {
                        kept.given.dropped.push(dropped);
                    }
                }
                if kept.given.labels.is_empty() {
                    kept.given.labels = one.given.labels;
                }
            }
            continue;
        }
        let is_first = variants.is_empty();
        let is_strongest = variants.first().is_none_or(|first| first.rule == one.rule);
        let is_new = |output: &PublishedImage| {
            let mut others = variants.iter().flat_map(|kept| &kept.given.outputs);
            output.is_whole
                && others.all(|one| {
                    one.repository != output.repository
                        || (output.tag.is_some() && one.tag != output.tag)
                })
        };
        let differs = one.given.outputs.iter().any(is_new);
        let is_new_target = variants.iter().all(|kept| kept.given.target != one.given.target);
        if is_first || (differs && (is_strongest || is_new_target)) {
            variants.push(one);
            continue;
        }
        // A build for another platform whose tag is not known.
        let repositories = |one: &Evidence| -> Vec<String> {
            one.given.outputs.iter().map(|output| output.repository.clone()).collect()
        };
        let own = repositories(&one);
        let is_same_build = |kept: &&mut Evidence| {
            (kept.rule, &kept.given.target, &kept.given.build_args)
                == (one.rule, &one.given.target, &one.given.build_args)
                && repositories(kept).iter().any(|name| own.contains(name))
        };
        if let Some(kept) = variants.iter_mut().find(is_same_build) {
            kept.given.take_platforms(one.given.platforms);
        }
    }
    let all = dockerfiles.iter().flat_map(|path| match kept.remove(path) {
        Some(variants) => variants,
        None => vec![Evidence {
            rule: EvidenceRule::Path,
            place: String::new(),
            dockerfile: path.clone(),
            given: Given::default(),
        }],
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_a_package_are_commands_in_their_lines() {
        let text = "{\n  \"build\": \"docker build no\",\n  \"scripts\": {\n    \"build\": \"docker build -t \\\"x/a\\\" a\",\n    \"test\": \"true\"\n  }\n}\n";
        let command = |number, text: &str| (number, text.to_owned());
        let expected = [command(4, "docker build -t \"x/a\" a"), command(5, "true")];
        assert_eq!(package_scripts(text), expected);
        let text = r#"{"name":"x","scripts":{"d":"cd d; make","e":"docker build -t x/e:5 ./e"}}"#;
        let expected = [command(1, "cd d; make"), command(1, "docker build -t x/e:5 ./e")];
        assert_eq!(package_scripts(text), expected);
        assert_eq!(package_scripts("not JSON"), []);
    }
}
