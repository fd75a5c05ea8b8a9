//! Labels that say where an image comes from.

use super::{everywhere_of_files, older::git};

const LABELS: [&str; 4] = ["revision", "created", "source", "version"];

#[test]
fn an_image_says_which_commit_of_which_repository_it_is() {
    everywhere_of_files(|project, place| {
        let labels = |tag: &str| {
            let labels = project.config(place, tag)["Labels"].clone();
            LABELS.map(|name| {
                let value = &labels[format!("org.opencontainers.image.{name}")];
                value.as_str().map(str::to_owned)
            })
        };
        let some = |text: &str| Some(text.to_owned());

        // Outside git nothing is known but the version, and empty labels are not set.
        project.rebuilt(place);
        assert_eq!(labels("~os:1"), [None, None, None, some("1")]);
        assert_eq!(labels("~web:latest"), [None, None, None, some("latest")]);
        let all = project.config(place, "~os:1")["Labels"].clone();
        let empty =
            |(name, value): (&String, &serde_json::Value)| (value == "").then(|| name.clone());
        let empty: Vec<String> = all.as_object().unwrap().iter().filter_map(empty).collect();
        assert_eq!(empty, [""; 0], "{all}");

        git(project, &["init", "-q", "-b", "main"]);
        git(
            project,
            &["remote", "add", "origin", "https://me:s3cret@git.example.com/acme/images.git"],
        );
        let own = "LABEL org.opencontainers.image.version=7.1 team=a\n";
        project.write("app/Dockerfile", &format!("FROM ~web\n{own}COPY page /app\n"));
        git(project, &["add", "."]);
        git(project, &["commit", "-qm", "one"]);
        let commit = git(project, &["rev-parse", "HEAD"]);
        let before = project.tags(place);
        project.rebuilt(place);
        // Labels of ours make no other image of the same content.
        assert_eq!(project.tags(place)["~os:1"], before["~os:1"]);
        project.edit("os/page", "one", "two");
        git(project, &["commit", "-qam", "two"]);
        let second = git(project, &["rev-parse", "HEAD"]);
        project.rebuilt(place);
        let (created, source) = ("2027-01-15T08:03:20Z", "https://git.example.com/acme/images");
        let expected = |revision: &str, version: Option<&str>| {
            [some(revision), some(created), some(source), version.map(str::to_owned)]
        };
        assert_eq!(labels("~os:1"), expected(&second, Some("1")));
        // What the Dockerfile says wins; what the base says is replaced.
        assert_eq!(labels("~app:latest"), expected(&second, Some("7.1")));
        assert_eq!(labels("~web:latest"), expected(&second, Some("latest")));
        assert_ne!(commit, second);

        // A value of the user's is a part of what the image is.
        let app = project.tags(place)["~app:latest"].clone();
        project.edit("app/Dockerfile", "=7.1", "=7.2");
        project.rebuilt(place);
        assert_ne!(project.tags(place)["~app:latest"], app);
        assert_eq!(labels("~app:latest"), expected(&format!("{second}-dirty"), Some("7.2")));
    });
}
