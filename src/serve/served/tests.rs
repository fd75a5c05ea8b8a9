use super::*;
use crate::hierarchy::test_hierarchy;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn an_event_of_a_registry_names_the_upstream_of_a_dockerfile() {
    for (used, pushed, is_same) in [
        ("debian:12", "docker.io/library/debian:12", true),
        ("debian", "docker.io/library/debian:latest", true),
        ("debian:12", "docker.io/library/debian:13", false),
        ("r.example.com/base/debian:12", "r.example.com/base/debian:12", true),
        ("r.example.com/base/debian:12", "other.example.com/base/debian:12", false),
        // An event without a host.
        ("r.example.com/base/debian:12", "base/debian:12", true),
        ("debian:12", "not a reference", false),
    ] {
        assert_eq!(names(&reference(used), pushed), is_same, "{used} {pushed}");
    }
}

#[test]
fn the_cone_of_an_image_has_its_descendants() {
    let hierarchy = test_hierarchy("os\nweb < os\napp < web\ntool < os");
    let cone = |name: &str| cone(&hierarchy, &[name.into()].into()).into_iter().collect::<Vec<_>>();
    assert_eq!(cone("web"), ["app", "web"]);
    assert_eq!(cone("os"), ["app", "os", "tool", "web"]);
}

#[test]
fn an_address_is_shown_without_its_password() {
    let shown = |url: &str| {
        let (branch, path, folder) = (Some("main".to_owned()), "images".into(), PathBuf::new());
        HierarchySource::Clone { url: url.to_owned(), branch, path, folder }.shown()
    };
    assert_eq!(shown("https://me:secret@h/a/b"), "https://h/a/b#main:images");
    assert_eq!(shown("https://token@h/a/b"), "https://h/a/b#main:images");
    assert_eq!(shown("git@h:a/b"), "git@h:a/b#main:images");
}
