//! Artifacts that refer to an image, with and without the referrers API.

use rebuild::{
    image::Digest,
    registry::{Credentials, Manifest},
};
use serde_json::{Value, json};

use super::{client, repository};
use crate::support::{
    registry::{Registry, Setup},
    scripted::{Scripted, reply},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &[u8] = b"{}";

fn artifact(subject: &Digest, name: &str) -> Manifest {
    let empty = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(EMPTY), "size": EMPTY.len(),
    });
    let document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example",
        "config": empty, "layers": [empty], "annotations": { "name": name },
        "subject": { "mediaType": MANIFEST, "digest": subject, "size": 1 },
    });
    Manifest::new(MANIFEST, &document)
}

#[tokio::test]
async fn without_the_api_a_tag_lists_the_artifacts_of_an_image() {
    let registry = Registry::with(&Setup { delete: true, ..Setup::default() });
    let image = registry.push("base/os", "12", "one").digest;
    let (os, client) = (repository(registry.host(), "base/os"), client(Credentials::none()));
    assert_eq!(client.referrers(&os, &image).await.unwrap(), [Value::Null; 0]);
    client.put_blob(&os, EMPTY).await.unwrap();
    let [first, second] = ["first", "second"].map(|name| artifact(&image, name));
    // A second time changes nothing.
    for one in [&first, &second, &first] {
        client.put_referrer(&os, (&image, one)).await.unwrap();
    }
    let tag = image.as_str().replace(':', "-");
    let index: Value = serde_json::from_slice(&registry.manifest("base/os", &tag)).unwrap();
    let entry = |one: &Manifest, name: &str| {
        json!({
            "mediaType": MANIFEST, "digest": one.digest, "size": one.bytes.len(),
            "artifactType": "application/vnd.example", "annotations": { "name": name },
        })
    };
    let expected = [entry(&first, "first"), entry(&second, "second")];
    assert_eq!(index["manifests"], json!(expected));
    assert_eq!(client.referrers(&os, &image).await.unwrap(), expected);

    // An entry that does not refer to the image stays.
    let stranger = registry.push("base/os", "13", "two");
    let strange = json!({
        "mediaType": stranger.media_type, "digest": stranger.digest, "size": stranger.manifest.len(),
    });
    let mut with_stranger = index;
    with_stranger["manifests"].as_array_mut().unwrap().push(strange);
    let with_stranger = Manifest::new("application/vnd.oci.image.index.v1+json", &with_stranger);
    client.put_manifest(&os, &tag.parse().unwrap(), &with_stranger).await.unwrap();
    client.delete_referrers(&os, &image).await.unwrap();
    assert_eq!(registry.tags("base/os"), ["12", "13"]);
    for one in [&first, &second] {
        assert_eq!(registry.head("base/os", one.digest.as_str()), None);
    }
    client.delete_referrers(&os, &image).await.unwrap();

    // A tag of that name that is not an index is left alone.
    let other = registry.push("base/os", &tag, "other").digest;
    assert!(client.put_referrer(&os, (&image, &first)).await.is_err());
    assert_eq!(registry.head("base/os", &tag), Some(other.to_string()));
}

#[tokio::test]
async fn with_the_api_no_tag_is_written() {
    let entries = json!([{ "digest": Digest::of(b"artifact") }]);
    let body = json!({ "manifests": entries }).to_string();
    let registry = Scripted::start(move |_, seen| match seen.method.as_str() {
        "PUT" => reply(201).header("oci-subject", Digest::of(b"image").as_str()),
        _ => reply(200).body(body.clone()),
    })
    .await;
    let (os, client) = (repository(registry.host(), "base/os"), client(Credentials::none()));
    let image = Digest::of(b"image");
    let one = artifact(&image, "first");
    client.put_referrer(&os, (&image, &one)).await.unwrap();
    assert_eq!(json!(client.referrers(&os, &image).await.unwrap()), entries);
    let paths: Vec<String> = registry.seen().into_iter().map(|seen| seen.path).collect();
    let expected =
        [format!("/v2/base/os/manifests/{}", one.digest), format!("/v2/base/os/referrers/{image}")];
    assert_eq!(paths, expected);
}
