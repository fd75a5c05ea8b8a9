//! The files of two images, compared.

use std::time::Duration;

use rebuild::{
    engine::{Engine, EngineError, Volatile},
    image::Digest,
};

use super::{Bench, bench::docker};

/// Everything that an image can hold, made by a `RUN`.
const FILES: &str = "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
    RUN mkdir -p /srv/deep /var/log /tmp && echo one >/srv/deep/one && echo two >/srv/two \
    && ln /srv/two /srv/hard && ln -s two /srv/soft && mkfifo /srv/pipe \
    && chmod 4755 /srv/deep/one && chown 7:8 /srv/two && head -c 20 /dev/urandom >/var/log/built \
    && head -c 20 /dev/urandom >/tmp/random && touch \"/srv/$(printf 'odd\\377')\" \
    && echo \"root:*:$(od -An -tu4 -N4 /dev/urandom | tr -d ' '):0:99999:7:::\" >/etc/shadow";

/// Builds without the cache, and tags as `<name>:<tag>`.
async fn build_anew(bench: &Bench, tag: &str, lines: &str) -> Digest {
    let mut request = bench.request(lines);
    request.no_cache = true;
    let id = bench.docker.build(request, |_| ()).await.unwrap().id;
    bench.docker.tag(&id, &bench.tagged(tag)).await.unwrap();
    id
}

async fn compared(bench: &Bench, old: &Digest, new: &Digest, extra: &[&str]) -> String {
    let extra: Vec<String> = extra.iter().map(|&pattern| pattern.to_owned()).collect();
    let volatile = Volatile::new(&extra).unwrap();
    let found = bench.docker.differences(old, new, &volatile).await.unwrap();
    let found = found.iter().map(|found| format!("{:?} {}", found.what, found.path.display()));
    found.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
#[ignore = "slow: CONTRIBUTING.md"]
async fn a_build_without_the_cache_has_other_layers_and_the_same_files() {
    let bench = Bench::new("same-files").await;
    let old = build_anew(&bench, "old", FILES).await;
    let new = build_anew(&bench, "new", FILES).await;
    let layers =
        |id: &Digest| docker(&["inspect", "--format", "{{json .RootFS.Layers}}", id.as_str()]);
    assert_ne!(layers(&old), layers(&new));
    assert_eq!(compared(&bench, &old, &new, &[]).await, "");
    // What was left aside was there, and was not the same.
    assert_eq!(
        compared(&bench, &old, &new, &["!var/log/**", "!tmp/**"]).await,
        "Changed tmp/random, Changed var/log/built",
    );
    bench.clean().await;
}

#[tokio::test]
async fn each_difference_is_found_and_nothing_else() {
    let bench = Bench::new("other-files").await;
    let old = build_anew(&bench, "old", FILES).await;
    let differences = [
        ("RUN printf 'onE\\n' >/srv/deep/one", "Changed srv/deep/one"),
        ("RUN chmod 755 /srv/deep/one", "Changed srv/deep/one"),
        ("RUN chmod 700 /srv/deep", "Changed srv/deep"),
        ("RUN chown 9 /srv/deep", "Changed srv/deep"),
        ("RUN rm /srv/deep/one", "Gone srv/deep/one"),
        ("RUN rm -r /srv/deep", "Gone srv/deep, Gone srv/deep/one"),
        // In one step, an engine on fuse-overlayfs leaves the file in the layer (moby#42662).
        ("RUN rm -r /srv/deep\nRUN mkdir /srv/deep", "Gone srv/deep/one"),
        ("RUN ln -sf ./two /srv/soft", "Changed srv/soft"),
        ("RUN rm /srv/pipe && (mknod /srv/pipe c 1 3 || touch /srv/pipe)", "Changed srv/pipe"),
        ("RUN echo two >/tmp/two && cat /tmp/two >/srv/new", "New srv/new"),
        // The layers differ and what they come to does not.
        ("RUN cp -a /srv/deep /srv/copy\nRUN rm -r /srv/copy", ""),
        ("RUN cp -a /srv/deep /x && rm -r /srv/deep\nRUN cp -a /x /srv/deep && rm -r /x", ""),
    ];
    for (lines, expected) in differences {
        // On the layers of the old one, which are not made again.
        let new = bench.build("new", &format!("{FILES}\n{lines}")).await;
        let found = compared(&bench, &old, &new, &[]).await;
        assert_eq!(found, expected, "{lines}");
    }
    bench.clean().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_an_error() {
    let bench = Bench::new("no-files").await;
    let old = bench.build("old", "").await;
    let gone = Digest::of(bench.name.as_bytes());
    let volatile = Volatile::new(&[]).unwrap();
    let error = bench.docker.differences(&old, &gone, &volatile).await.unwrap_err();
    let doing = format!("comparing the files of `{}` and `{}`", old.short(), gone.short());
    let message = format!("No such image: {gone}");
    assert_eq!(error, EngineError::Refused { doing, status: 404, message });
    bench.clean().await;
}

#[tokio::test]
#[ignore = "slow: CONTRIBUTING.md"]
async fn a_comparison_that_nobody_wants_any_more_ends() {
    let bench = Bench::new("drop-files").await;
    let large = "RUN head -c 300000000 /dev/zero >/large";
    let old = build_anew(&bench, "old", large).await;
    let new = build_anew(&bench, "new", &format!("{large}\nRUN touch /x")).await;
    let volatile = Volatile::new(&[]).unwrap();
    let comparing = bench.docker.differences(&old, &new, &volatile);
    // Far from enough to export 600 MB, and long enough to have begun. A runtime waits for its threads
    // that block: had the reading not ended, neither would this test.
    tokio::time::timeout(Duration::from_millis(300), comparing).await.unwrap_err();
    bench.clean().await;
}
