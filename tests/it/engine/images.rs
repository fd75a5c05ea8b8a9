//! Tags and sizes.

use std::fs::File;

use rebuild::engine::{BuildRequest, Engine, SizeMeaning};

use super::Bench;

#[tokio::test]
async fn tags_come_and_go() {
    let bench = Bench::new("tags").await;
    let docker = &bench.docker;
    let id = bench.build("1", "").await;
    let (one, two) = (bench.tagged("1"), bench.tagged("2"));
    docker.tag(&id, &two).await.unwrap();
    let names = vec![one.clone(), two.clone(), bench.tagged("none")];
    let tags = docker.resolve(names.clone()).await.unwrap();
    assert_eq!(docker.tags_of(vec![one.repository.to_string()]).await.unwrap(), tags);
    assert_eq!((tags.get(&one), tags.get(&two)), (Some(&id), Some(&id)));
    assert_eq!(docker.inspect(&two.to_string()).await.unwrap().unwrap().id, id);

    docker.untag(&one).await.unwrap();
    docker.untag(&one).await.unwrap();
    assert_eq!(docker.inspect(&one.to_string()).await.unwrap(), None);
    assert_eq!(docker.inspect(id.as_str()).await.unwrap().unwrap().id, id);

    docker.untag(&two).await.unwrap();
    assert_eq!(docker.inspect(id.as_str()).await.unwrap(), None);
    assert_eq!(docker.resolve(names).await.unwrap(), [].into());
    let error = docker.tag(&id, &one).await.unwrap_err().to_string();
    // Docker says `No such image: ID`, podman `failed to find image ID: …`.
    let begins = error.starts_with(&format!("tagging `{one}`: the engine answered: "));
    assert!(begins && error.contains(id.as_str()), "an image that is gone: {error}");
    bench.clean().await;
}

/// A file of zeros: packed it takes some kilobytes.
const ZEROS: u64 = 20 << 20;

#[tokio::test]
async fn the_size_of_an_image_is_that_of_its_unpacked_files() {
    let bench = Bench::new("size").await;
    if bench.info.capabilities.sizes() == SizeMeaning::Packed {
        println!("skipped: the engine reports packed sizes");
        return;
    }
    File::create(bench.folder().join("zeros")).unwrap().set_len(ZEROS).unwrap();
    for platform in ["linux/amd64", "linux/arm64"] {
        let size = async |tag, lines| {
            let platform = Some(platform.parse().unwrap());
            let request = BuildRequest { platform, ..bench.request(lines) };
            let built = bench.docker.build(request, |_| ()).await.unwrap();
            bench.docker.tag(&built.id, &bench.tagged(tag)).await.unwrap();
            built.size
        };
        let without = size("without", "").await;
        let with = size("with", "COPY zeros /").await;
        // Image stores count the blocks of a disk, or the headers of an archive, too.
        let added = with - without;
        assert!((ZEROS..ZEROS + (1 << 20)).contains(&added), "{platform}: {without} {with}");
    }
    bench.clean().await;
}
