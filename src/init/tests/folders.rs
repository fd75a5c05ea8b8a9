//! A folder of a repository whose evidence is outside of the folder.

use super::{entries, proposed_in, unsure};

const DEBIAN: &str = "FROM debian:12";

#[test]
fn evidence_of_the_whole_repository_counts_for_a_folder_of_it() {
    let files = [
        ("images/web/Dockerfile", DEBIAN),
        ("images/api/Dockerfile", "FROM debian:12\nCOPY src/api /api"),
        ("images/job/Dockerfile", "FROM debian:12\nCOPY src/api /api"),
        ("other/Dockerfile", DEBIAN),
        ("src/api/main", ""),
        (
            ".github/workflows/w.yml",
            "jobs: { a: { steps: [{ run: 'docker build -t r.io/acme/web:1 images/web' }, { run: 'docker build -t r.io/acme/other:1 other' }] } }",
        ),
        ("build.sh", "docker build -t r.io/acme/api:2 -f images/api/Dockerfile ."),
        (".git/config", "[remote \"origin\"]\n\turl = https://github.com/acme/images.git\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let proposal = proposed_in("images", &files);
    let expected = [
        "api: { context: \"..\", dockerfile: images/api/Dockerfile, tags: [\"2\"] }",
        "job: { context: \"..\", dockerfile: images/job/Dockerfile }",
        "web: { tags: [\"1\"] }",
    ];
    assert_eq!(entries(&proposal), expected, "{}", proposal.text);
    assert!(proposal.text.contains("[ci ../.github/workflows/w.yml:1]"), "{}", proposal.text);
    let unsure = unsure(&proposal);
    let outside = "`api` and `job`: its `context` is outside the folder of hierarchy.yaml, see RB052; run `rebuild init` at the root of the repository instead, or move the image's files";
    assert!(unsure.iter().any(|line| line == outside), "{unsure:?}");
    // The Dockerfile of a build outside of the folder is known.
    assert!(!unsure.iter().any(|line| line.contains("r.io/acme/other")), "{unsure:?}");
    let hierarchy = &proposal.loaded.as_ref().unwrap().hierarchy;
    let api = hierarchy.in_build_order().find(|node| node.name.as_str() == "api").unwrap();
    assert!(api.dockerfile.path.ends_with("images/api/Dockerfile"));
}
