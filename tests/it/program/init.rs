//! `rebuild init`: what it makes of repositories as people have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rebuild::hierarchy::{Hierarchy, LoadOptions};

use crate::support::{
    project::{Ended, Project},
    repositories::{Edges, LAYOUTS, Layout, REPOSITORIES, write},
};

/// A project without a hierarchy, with these files: `path: lines with \n`.
fn repository(files: &[(&str, &str)]) -> Option<Project> {
    let project = Project::new()?;
    fs::remove_file(project.path("hierarchy.yaml")).unwrap_or_default();
    for (path, text) in files {
        project.write(path, text);
    }
    Some(project)
}

fn loaded(root: &Path) -> Hierarchy {
    let file = root.join("hierarchy.yaml");
    match Hierarchy::load(&file, &LoadOptions::default()) {
        Ok(loaded) => {
            let warnings: Vec<String> =
                loaded.warnings.iter().map(|warning| warning.message.clone()).collect();
            assert_eq!(warnings, Vec::<String>::new());
            loaded.hierarchy
        }
        Err(error) => panic!("{error:#?}\n{}", fs::read_to_string(file).unwrap()),
    }
}

/// From each Dockerfile to those of its parents.
fn edges(hierarchy: &Hierarchy) -> Edges {
    let path = |path: &Path| path.strip_prefix(hierarchy.root()).unwrap().to_owned();
    hierarchy
        .in_build_order()
        .map(|node| {
            let parents: BTreeSet<PathBuf> =
                hierarchy.parents(&node.name).map(|parent| path(&parent.dockerfile.path)).collect();
            (path(&node.dockerfile.path), parents)
        })
        .collect()
}

/// `name repository:tags < parents`, a line each, in the order of names.
fn shown(project: &Project) -> String {
    let hierarchy = loaded(&project.path("").canonicalize().unwrap());
    let mut lines: Vec<String> = hierarchy
        .in_build_order()
        .map(|node| {
            let tags: Vec<&str> = node.tags.iter().map(|tag| tag.as_str()).collect();
            let parents: Vec<&str> =
                hierarchy.parents(&node.name).map(|parent| parent.name.as_str()).collect();
            let line = format!(
                "{} {}:{} < {}",
                node.name,
                node.repository,
                tags.join(","),
                parents.join(" ")
            );
            project.shown(line.trim_end_matches([' ', '<']))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn unsure(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines().skip_while(|line| *line != "unsure:").skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn six_hundred_dockerfiles_that_share_seven_repositories() {
    for layout in LAYOUTS {
        let Some(project) = repository(&[]) else { return };
        let expected = write(&project.path(""), layout);
        assert!(expected.len() >= 600);
        let ended = project.rebuild("init").run().exits(0);
        let hierarchy = loaded(&project.path("").canonicalize().unwrap());
        let found = edges(&hierarchy);
        let wrong: BTreeMap<_, _> =
            expected.iter().filter(|(path, parents)| found.get(*path) != Some(parents)).collect();
        assert!(
            wrong.is_empty(),
            "{layout:?}: {} are wrong, {:?}\n{}",
            wrong.len(),
            wrong.first_key_value(),
            ended.stdout
        );
        assert_eq!(found.len(), expected.len(), "{layout:?}");
        assert_eq!(unsure(&ended), Vec::<String>::new(), "{layout:?}");
        let repositories: BTreeSet<&str> = hierarchy
            .in_build_order()
            .map(|node| node.repository.as_str().rsplit('/').next().unwrap())
            .collect();
        assert_eq!(repositories, REPOSITORIES.into_iter().collect(), "{layout:?}");
    }
}

#[test]
fn what_is_written_can_be_planned() {
    let Some(project) = repository(&[]) else { return };
    let expected = write(&project.path(""), Layout::Folders);
    let begin = Instant::now();
    project.rebuild("init").run().exits(0);
    let planned = project.rebuild("plan --format json").run().exits(0);
    let took = begin.elapsed();
    let plan: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), expected.len());
    // The goal is two seconds with the release binary; this only shows that nothing is quadratic.
    assert!(took.as_secs() < 60, "{took:?}");
    println!("init and plan of {} images: {took:?}", expected.len());
}
