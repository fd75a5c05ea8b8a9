//! Copies from registry to registry: whole, checked, and continued where a connection broke.

use std::collections::BTreeSet;

use rebuild::{
    image::{Digest, Platform, Tag},
    registry::{Copier, CopyError, Credentials, RegistryError},
};

use super::{client, repository, told};
use crate::support::{
    proxy::{Fault, Proxy},
    registry::{Pushed, Registry, large_layer},
    scripted::{Act, Scripted, reply},
};

fn copier() -> Copier {
    Copier::new(client(Credentials::none()))
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn platforms(names: &[&str]) -> BTreeSet<Platform> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn proxy(registry: &Registry) -> Proxy {
    tokio::task::block_in_place(|| Proxy::to_host(registry.host()))
}

/// Copies `base:1` of `from` to `copy:1` of `to`.
async fn copied(from: &str, to: &str, pushed: &Pushed) -> Result<(u64, u64), CopyError> {
    let (from, to) = (repository(from, "base"), repository(to, "copy"));
    let tag = tag("1");
    let copy = copier().copy((&from, &pushed.digest), (&to, &tag), &platforms(&[])).await;
    copy.map(|copied| (copied.streamed, copied.mounted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_digest_of_its_original() {
    let (source, target) = (Registry::start(), Registry::start());
    let content = large_layer();
    let pushed = source.push("base", "1", &content);
    let all = (content.len() + pushed.config.len()) as u64;
    let copy = copied(source.host(), target.host(), &pushed).await.unwrap();
    assert_eq!(copy, (all, 0));
    assert_eq!(target.head("copy", "1").as_deref(), Some(pushed.digest.as_str()));
    assert_eq!(target.missing("copy", "1"), Vec::<String>::new());
    assert_eq!(target.open_uploads("copy"), 0);
    // A second copy transfers nothing.
    assert_eq!(copied(source.host(), target.host(), &pushed).await.unwrap(), (0, 0));
    // In one registry, blobs are mounted.
    assert_eq!(copied(source.host(), source.host(), &pushed).await.unwrap(), (0, all));
    assert_eq!(source.missing("copy", "1"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_continued() {
    let (source, target) = (Registry::start(), Registry::start());
    let (from, to) = (proxy(&source), proxy(&target));
    let content = large_layer();
    let pushed = source.push("base", "1", &content);
    let blob = format!("base/blobs/{}", Digest::of(content.as_bytes()));
    from.spoil(("GET", &blob), 1, Fault::CutAfter(5_000_000));
    from.spoil(("GET", &blob), 1, Fault::Status(503, &[]));
    from.spoil(("GET", &blob), 1, Fault::CutAfter(9_000_000));
    to.spoil(("PATCH", "copy/blobs/uploads"), 1, Fault::Reset);
    to.spoil_after(1, ("PATCH", "copy/blobs/uploads"), 1, Fault::Status(502, &[]));
    copied(from.address(), to.address(), &pushed).await.unwrap();
    from.assert_all_spoilt();
    to.assert_all_spoilt();
    assert_eq!(target.missing("copy", "1"), Vec::<String>::new());
    assert_eq!(target.head("copy", "1").as_deref(), Some(pushed.digest.as_str()));
    // Not from the first byte again: one answer for each interruption.
    assert_eq!(from.count(("GET", &blob)), 4);
}

/// A chunk that arrives twice, and one that the registry says to have and loses.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_lost_begins_again() {
    let (source, target) = (Registry::start(), Registry::start());
    let content = large_layer();
    let pushed = source.push("base", "1", &content);
    let to = proxy(&target);
    to.spoil_after(1, ("PATCH", "copy/blobs/uploads"), 1, Fault::Status(404, &[]));
    to.spoil(("GET", "copy/blobs/uploads"), 1, Fault::Status(404, &[]));
    copied(source.host(), to.address(), &pushed).await.unwrap();
    to.assert_all_spoilt();
    assert_eq!(target.missing("copy", "1"), Vec::<String>::new());

    // A registry that says it has stored a blob, and has not, takes no manifest of it.
    let other = Registry::start();
    let to = proxy(&other);
    let small = source.push("base", "2", "small");
    to.spoil(("PUT", "copy/blobs/uploads"), 9, Fault::Lost);
    let failed = copied(source.host(), to.address(), &small).await;
    assert!(matches!(failed, Err(CopyError::Target(_))), "{failed:?}");
    assert_eq!(other.head("copy", "1"), None);
}

/// Pushes an index `base:1` of an image for each of two platforms, `linux/amd64` first.
fn push_index(source: &Registry) -> (Digest, [Pushed; 2]) {
    let pushed = ["amd64", "arm64"].map(|name| source.push("base", name, &format!("for {name}")));
    let [amd64, arm64] = &pushed;
    source.push_index(
        "base",
        "1",
        &[("amd64", amd64.digest.as_str()), ("arm64", arm64.digest.as_str())],
    );
    (source.head("base", "1").unwrap().parse().unwrap(), pushed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_copied_with_its_members() {
    let (source, target) = (Registry::start(), Registry::start());
    let (digest, _) = push_index(&source);
    let (from, to) = (repository(source.host(), "base"), repository(target.host(), "copy"));
    let (copier, amd64_only) = (copier(), platforms(&["linux/amd64"]));
    assert!(!copier.has(&to, &digest, &amd64_only).await.unwrap());
    copier.copy((&from, &digest), (&to, &tag("1")), &amd64_only).await.unwrap();
    assert_eq!(target.head("copy", "1").as_deref(), Some(digest.as_str()));
    assert!(copier.has(&to, &digest, &platforms(&["linux/amd64", "linux/arm64"])).await.unwrap());
}

/// A registry that takes an index without all of its members gets those that are used.
#[tokio::test(flavor = "multi_thread")]
async fn members_for_other_platforms_are_left_out_where_that_is_allowed() {
    let source = Registry::start();
    let (digest, [amd64, arm64]) = push_index(&source);
    let target = Scripted::start(|_, seen| match seen.method.as_str() {
        "HEAD" => reply(404),
        "POST" => reply(202).header("location", "/v2/copy/blobs/uploads/1"),
        _ => reply(201),
    })
    .await;
    let (from, to) = (repository(source.host(), "base"), repository(target.host(), "copy"));
    let used = platforms(&["linux/amd64"]);
    copier().copy((&from, &digest), (&to, &tag("1")), &used).await.unwrap();
    let log = target.log();
    let puts = |what: &str| {
        log.iter()
            .filter(|line| line.starts_with(&format!("PUT /v2/copy/manifests/{what}")))
            .count()
    };
    assert_eq!((puts(amd64.digest.as_str()), puts(arm64.digest.as_str()), puts("1")), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_digest_are_refused() {
    let target = Registry::start();
    let (layer, config) = (Digest::of(b"layer"), Digest::of(b"{}"));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 5, "digest": layer }],
    });
    let manifest = manifest.to_string();
    let digest = Digest::of(manifest.as_bytes());
    let (path, name) = (format!("/blobs/{layer}"), digest.clone());
    let source = Scripted::start(move |_, seen| {
        let answer = if seen.path.contains("manifests") {
            reply(200)
                .header("docker-content-digest", name.as_str())
                .header("content-type", "application/vnd.oci.image.manifest.v1+json")
                .body(manifest.clone())
        } else if seen.path.contains(&path) {
            reply(200).body("other")
        } else {
            reply(200).body("{}")
        };
        match answer {
            Act::Reply { .. } => answer,
            _ => unreachable!(),
        }
    })
    .await;
    let (from, to) = (repository(source.host(), "base"), repository(target.host(), "copy"));
    let copy = copier().copy((&from, &digest), (&to, &tag("1")), &platforms(&[])).await;
    let Err(CopyError::Source(error)) = copy else { panic!("{copy:?}") };
    let expected = format!(
        "the registry HOST answered 200 to read `HOST/base`: it sent bytes of {} as {layer}",
        Digest::of(b"other")
    );
    assert_eq!(told(&error, &[(source.host(), "HOST")]), expected);
    assert_eq!((target.head("copy", "1"), target.open_uploads("copy")), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_vanishes_is_an_error_of_its_registry() {
    let (source, target) = (Registry::start(), Registry::start());
    let (from, to) = (repository(source.host(), "base"), repository(target.host(), "copy"));
    let digest = Digest::of(b"gone");
    let copy = copier().copy((&from, &digest), (&to, &tag("1")), &platforms(&[])).await;
    let is_of_source = matches!(&copy, Err(CopyError::Source(RegistryError::Answer { .. })));
    assert!(is_of_source, "{copy:?}");
}
