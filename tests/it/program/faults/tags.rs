//! What moves a tag, or seems to, beside the run: people, runs that are over, old copies, refusals.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::Disturbed;
use crate::support::{
    http,
    invariants::{End, Tags},
    project::Place,
    proxy::Fault,
    running::Start,
};

const BASE: &str = "base/manifests/latest";
const BASE_1: &str = "base/manifests/1";
const APP: &str = "app/manifests/latest";

impl Disturbed {
    /// Of both images several runs are over: what the tags show is of different ones.
    fn after_several() -> (Self, Tags) {
        let (disturbed, _) = Self::new();
        for (file, text) in
            [("base/name", "~base 2\n"), ("base/name", "~base 3\n"), ("app/page", "two\n")]
        {
            disturbed.project.write(file, &disturbed.project.name(text));
            disturbed.rebuild().run().exits(0);
        }
        let before = disturbed.tags();
        disturbed.project.write("base/name", &disturbed.project.name("~base 4\n"));
        (disturbed, before)
    }

    fn tags(&self) -> Tags {
        self.project.tags(Place::Registry(&self.registry))
    }

    /// The same files on a machine that has no state.
    fn elsewhere(&self, arguments: &str) -> Start<'_> {
        self.with(arguments).env("XDG_STATE_HOME", self.project.path("../state-elsewhere"))
    }

    fn with(&self, arguments: &str) -> Start<'_> {
        let registry = format!("{}/demo", self.proxy.address());
        self.project.rebuild(arguments).env("REBUILD_REGISTRY", registry)
    }

    /// A command that is killed before it writes to this path.
    fn killed(&self, arguments: &str, path: &str) {
        let pid = Arc::new(AtomicU32::new(0));
        let shared = pid.clone();
        let kill = move || {
            let pid = shared.load(Ordering::SeqCst).to_string();
            Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        };
        self.proxy.spoil(("PUT", path), 1, Fault::First(Arc::new(kill)));
        let mut run = self.with(arguments).start();
        pid.store(run.id(), Ordering::SeqCst);
        assert_eq!(run.end().status.code(), None);
        self.proxy.wait_until_quiet();
        self.proxy.behave();
    }

    /// As the proxy shows it, which may be behind the registry.
    fn seen(&self, tag: &str) -> Option<String> {
        let (name, short) = tag.split_once(':').unwrap();
        let path = self.project.name(&format!("/v2/demo/{name}/manifests/{short}"));
        let accept = "application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.oci.image.manifest.v1+json";
        let headers = [("Accept", accept)];
        let answer = http::send(self.proxy.address(), None, "HEAD", &path, &headers, b"");
        answer.header("Docker-Content-Digest").map(str::to_owned)
    }
}

#[test]
fn a_write_that_is_lost_puts_every_tag_back_whatever_other_runs_wanted_before() {
    let (disturbed, before) = Disturbed::after_several();
    disturbed.proxy.spoil(("PUT", APP), 1, Fault::Lost);
    let ended = disturbed.rebuild().run().exits(13);
    disturbed.proxy.assert_all_spoilt();
    disturbed.holds(&before, End::Failure);
    ended
        .says(&["~base:latest` is back where it was", "~base:1` is back where it was"])
        .never_says(&["the other run"]);
    disturbed.heals(&before);
}

#[test]
fn one_stale_read_decides_nothing() {
    let (disturbed, before) = Disturbed::after_several();
    // Before the write; after it; in the last look.
    for (path, skip) in [(BASE, 1), (BASE_1, 2), (APP, 2)] {
        disturbed.proxy.spoil_after(skip, ("HEAD", path), 1, Fault::Stale);
    }
    let ended = disturbed.rebuild().run().exits(0);
    disturbed.proxy.assert_all_spoilt();
    let after = disturbed.holds(&before, End::Success);
    assert!(after.iter().all(|(tag, to)| before[tag] != *to), "{ended}");
}

#[test]
fn a_tag_that_a_person_moves_meanwhile_is_left_alone_and_the_others_go_back() {
    // Right after the commit point; and when both tags of the base are moved.
    for path in ["/rebuild-runs/manifests/", APP] {
        let (disturbed, before) = Disturbed::after_several();
        // The newest but two of what an image showed, which a run that is over has published.
        let repository = disturbed.project.name("demo/~base");
        let place = Place::Registry(&disturbed.registry);
        let all = disturbed.project.all_tags(place);
        let old = all.values().find(|digest| {
            all.iter().any(|(tag, to)| tag.starts_with("~base:rb-") && to == *digest)
                && !before.values().any(|to| to == *digest)
        });
        let old = old.unwrap().clone();
        let act = disturbed.registry.by_hand(&repository, "latest", &old);
        disturbed.proxy.spoil(("PUT", path), 1, Fault::First(Arc::new(act)));
        let ended = disturbed.rebuild().run().exits(13);
        disturbed.proxy.assert_all_spoilt();
        let mut expected = before.clone();
        expected.insert("~base:latest".to_owned(), old);
        assert_eq!(disturbed.tags(), expected, "{ended}");
        ended.says(&["~base:latest` was moved by another user or program"]);
    }
}

#[test]
fn a_set_that_another_machine_has_published_since_is_not_touched() {
    for arguments in ["gc --yes", ""] {
        let (disturbed, before) = Disturbed::after_several();
        // Two of its three tags are moved.
        disturbed.killed("", APP);
        let between = disturbed.tags();
        assert!(between["~base:1"] != before["~base:1"], "{between:#?}");

        // Another machine publishes what was there before.
        disturbed.project.write("base/name", &disturbed.project.name("~base 3\n"));
        disturbed.elsewhere("").run().exits(0);
        let published = disturbed.tags();
        let (code, broken) = if arguments.is_empty() { (10, "COPY no-page /\n") } else { (0, "") };
        let text = fs::read_to_string(disturbed.project.path("app/Dockerfile")).unwrap();
        fs::write(disturbed.project.path("app/Dockerfile"), format!("{text}{broken}")).unwrap();
        let ended = disturbed.with(arguments).run().exits(code);
        let ended = ended.says(&["has published since, so its tags stay where they are"]);
        assert_eq!(disturbed.tags(), published, "{ended}");
        fs::write(disturbed.project.path("app/Dockerfile"), text).unwrap();

        // Every machine sees that it is over.
        let history = disturbed.elsewhere("history").run().exits(0);
        let runs = disturbed.registry.tags("demo/rebuild-runs");
        let begun = runs.iter().filter(|tag| !tag.ends_with("-end"));
        for tag in begun {
            assert!(runs.contains(&format!("{tag}-end")), "{runs:#?}\n{history}");
        }
        assert!(!history.stdout.contains("unfinished"), "{history}");
    }
}

/// Killed while it moves the tags, while it writes the holds, and so is a command that finishes it.
#[test]
fn a_rollback_that_is_killed_is_finished_and_holds_its_images() {
    const HOLDS: &str = "/rebuild-runs/manifests/rb-note-";
    let (disturbed, first) = Disturbed::after_several();
    disturbed.rebuild().run().exits(0);
    let second = disturbed.tags();
    for kills in [
        &[("rollback", BASE)][..],
        &[("rollback", HOLDS)],
        &[("rollback", BASE), ("gc --yes", HOLDS)],
    ] {
        for (arguments, path) in kills {
            disturbed.killed(arguments, path);
        }
        let ended = disturbed.rebuild().run().exits(0).says(&["are held"]);
        assert_eq!(ended.stderr.matches(" held since a rollback").count(), 1, "{ended}");
        assert_eq!(ended.stderr.matches("are held").count(), 1, "{ended}");
        assert_eq!(disturbed.tags(), first, "{kills:?} {ended}");
        disturbed.with("resume").run().exits(0);
        disturbed.rebuild().run().exits(0);
        assert_eq!(disturbed.tags(), second, "{kills:?}");
    }
}

#[test]
fn a_put_back_that_is_refused_is_made_up_for_by_the_next_command_even_if_its_build_fails() {
    let (disturbed, before) = Disturbed::after_several();
    let text = fs::read_to_string(disturbed.project.path("app/Dockerfile")).unwrap();
    for status in [400, 401, 403, 404, 405, 409, 413, 422] {
        disturbed.proxy.behave();
        fs::write(disturbed.project.path("app/Dockerfile"), &text).unwrap();
        // Both tags of the base are moved, and from then on nothing is written, neither forward nor back.
        for (put, passing) in [(BASE, 1), (BASE_1, 1), (APP, 0)] {
            disturbed.proxy.spoil_after(passing, ("PUT", put), 99, Fault::Status(status, &[]));
        }
        let ended = disturbed.rebuild().run().exits(13);
        let between = disturbed.tags();
        assert!(between["~base:1"] != before["~base:1"], "{status}: {ended}");
        ended.says(&["base:latest` could not be put back: ", "; the next `rebuild` tries again"]);
        let stuck = disturbed.with("gc --yes").run();
        assert!(stuck.stderr.contains("could not be put back"), "{status}: {stuck}");
        assert_eq!(disturbed.tags(), between, "{status}: {stuck}");

        disturbed.proxy.behave();
        fs::write(disturbed.project.path("app/Dockerfile"), format!("{text}COPY no-page /\n"))
            .unwrap();
        let next = disturbed.rebuild().run().exits(10);
        assert_eq!(disturbed.tags(), before, "{status}: {next}");
        next.says(&["and they were put back"]);
    }
    fs::write(disturbed.project.path("app/Dockerfile"), &text).unwrap();
    disturbed.heals(&before);
}

#[test]
fn a_write_that_is_seen_three_seconds_later_is_waited_for() {
    let (disturbed, before) = Disturbed::after_several();
    disturbed.proxy.lag(Duration::from_secs(3));
    let began = Instant::now();
    let ended = disturbed.rebuild().run().exits(0);
    for tag in before.keys() {
        assert_ne!(disturbed.seen(tag).as_ref(), Some(&before[tag]), "{tag}: {ended}");
    }
    assert!(began.elapsed() > Duration::from_secs(3), "{ended}");
    disturbed.holds(&before, End::Success);
}
