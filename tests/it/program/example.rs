//! The example at the root of the repository, from nothing to nothing to do.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use super::assert_edges_agree;
use crate::support::{
    project::{Place, Project},
    registry::Registry,
};

const IMAGES: [&str; 8] = [
    "awk-base",
    "manual",
    "nightly-report",
    "os-base",
    "shop",
    "toolbox",
    "webapp-base",
    "worker-base",
];

const EDGES: &[(&str, &str)] = &[
    ("~webapp-base:12", "~os-base:12"),
    ("~toolbox:latest", "~os-base:latest"),
    ("~awk-base:1", "~webapp-base:12"),
    ("~shop:latest", "~awk-base:1"),
    ("~manual:latest", "~webapp-base:latest"),
    ("~worker-base:12", "~os-base:12"),
    ("~nightly-report:latest", "~worker-base:12"),
];

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn in_the_engine() {
    let project = Project::empty();
    check(&project, Place::Engine);
    let name = project.output_in("~webapp-base:12", &["id", "-un"]);
    assert_eq!(name, "www\n");
}

#[test]
fn in_a_registry() {
    check(&Project::empty(), Place::Registry(&Registry::start()));
}

fn check(project: &Project, place: Place<'_>) {
    copy(project);
    let built = project.rebuilt(place);
    assert!(built.result().ends_with(": 8 built"), "{built}");

    let tags = project.tags(place);
    let (names, today) = (tags.keys().cloned().collect::<Vec<_>>(), today(project, place));
    assert_eq!(names, expected_tags(&today), "{built}");
    // Tags of one image stand together.
    assert_eq!(tags["~os-base:12"], tags["~os-base:latest"]);
    assert_edges_agree(project, place, EDGES);

    let again = project.rebuilt(place);
    assert_eq!(again.result(), "nothing to do: all 8 images are up to date", "{again}");
    assert_eq!(project.tags(place), tags);
    assert_eq!(project.under_way(), [""; 0]);
}

fn expected_tags(today: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for image in IMAGES {
        let of_image: &[&str] = match image {
            "shop" | "manual" | "nightly-report" => &["latest", "{date}"],
            "awk-base" => &["latest", "1", "1-{date}"],
            _ => &["latest", "12", "12-{date}"],
        };
        tags.extend(
            of_image.iter().map(|tag| format!("~{image}:{}", tag.replace("{date}", today))),
        );
    }
    tags.sort();
    tags
}

/// The date in the tags: that of the run, which may have begun before midnight.
fn today(project: &Project, place: Place<'_>) -> String {
    let tags = project.tags(place);
    let shop = tags.keys().find_map(|tag| tag.strip_prefix("~shop:2"));
    let date = format!("2{}", shop.unwrap());
    let now = Command::new("date").args(["-u", "+%Y%m%d"]).output().unwrap();
    let now = String::from_utf8(now.stdout).unwrap();
    let days = now.trim().parse::<u64>().unwrap() - date.parse::<u64>().unwrap();
    // Across the end of a month the difference is larger, across that of a year larger still.
    assert!(days <= 1 || days >= 70, "{date} is not today");
    date
}

/// The file as it is, but for repositories of its own; the images' names are those in the Dockerfiles.
fn copy(project: &Project) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir(project.path("examples")).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([root.join("examples/webstack"), project.path("examples")])
        .status()
        .unwrap();
    assert!(copied.success());
    let mut text = String::new();
    for line in fs::read_to_string(root.join("hierarchy.yaml")).unwrap().lines() {
        text.push_str(line);
        text.push('\n');
        let image = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'));
        if let Some(image) = image.filter(|image| IMAGES.contains(image)) {
            writeln!(text, "    repository: {}{image}", project.name("~")).unwrap();
        }
    }
    assert_eq!(text.matches("repository: it").count(), IMAGES.len());
    fs::write(project.path("hierarchy.yaml"), text).unwrap();
}
