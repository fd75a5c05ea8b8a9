//! What a run asks the engine about its images: little, and never an old answer.

use rebuild::engine::ImageStore;

use crate::support::{
    engine::capabilities,
    project::{Project, docker},
    proxy::Proxy,
};

const INSPECTS: (&str, &str) = ("GET", "/json");

#[test]
fn a_run_with_nothing_to_do_asks_once_about_an_image_and_sees_what_others_changed() {
    let project = Project::pair();
    let proxy = Proxy::to_engine(project.engine());
    let run = || project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(0);
    let inspects = || proxy.count(INSPECTS) - proxy.count(("GET", "/containers/json"));
    run();
    let before = inspects();
    let again = run();
    assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");
    let asked = inspects() - before;
    match capabilities().unwrap().store {
        // The events of the first run say where its tags are. Other tests may cause more events than the
        // engine keeps: then each image is asked about.
        ImageStore::Containerd => assert!(asked == 0 || asked == 3, "{asked}"),
        // `latest` of each, and `1` of the base.
        ImageStore::StorageDriver | ImageStore::Podman => assert_eq!(asked, 3),
    }

    let (base, app) = (project.name("~base:latest"), project.name("~app:latest"));
    docker(&["tag", &base, &app]).unwrap();
    let moved = run();
    assert!(moved.result().ends_with("1 up to date"), "{moved}");
    assert_eq!(run().result(), "nothing to do: all 2 images are up to date");
    docker(&["rmi", &app]).unwrap();
    let removed = run();
    assert!(removed.result().ends_with("1 up to date"), "{removed}");
    assert_eq!(run().result(), "nothing to do: all 2 images are up to date");
}
