//! Push and pull, with Debian's `docker-registry` and a password.

use rebuild::{
    engine::{Docker, Engine, EngineOptions},
    image::{Digest, Repository},
    registry::{Login, LoginSecret},
};

use super::Bench;
use crate::support::registry::{Registry, Setup};

/// Its base64 has both characters in which the two alphabets differ.
const PASSWORD: &str = "abc>>>???";

#[tokio::test]
async fn what_is_pushed_can_be_pulled_by_its_digest() {
    let bench = Bench::new("transfer").await;
    let setup = Setup { login: Some(("me", PASSWORD)), ..Setup::default() };
    let registry = Registry::with(&setup);
    let login = |password: &str| {
        let secret = LoginSecret::Password { user: "me".to_owned(), password: password.to_owned() };
        Some(Login { host: registry.host().to_owned(), secret })
    };
    let docker = &bench.docker;
    let repository: Repository = format!("{}/{}", registry.host(), bench.name).parse().unwrap();
    let name = repository.tagged("1".parse().unwrap());
    let id = bench.build("1", "RUN echo transferred > file").await;
    docker.tag(&id, &name).await.unwrap();

    for (refused, reason) in [
        (None, "it requires a login, and none is configured"),
        (login("wrong"), "it does not accept the login"),
    ] {
        let error = docker.push(&name, refused).await.unwrap_err().to_string();
        let host = registry.host();
        assert_eq!(error, format!("the registry {host} refuses to push `{repository}`: {reason}"));
    }
    docker.push(&name, login(PASSWORD)).await.unwrap();
    let digest: Digest = registry.head(&bench.name, "1").unwrap().parse().unwrap();
    // Podman names the digest that the manifest has in its own store.
    let named = docker.inspect(id.as_str()).await.unwrap().unwrap().repo_digests;
    assert!(named.iter().any(|one| one.repository == repository), "{named:?}");

    docker.untag(&name).await.unwrap();
    docker.untag(&bench.tagged("1")).await.unwrap();
    assert_eq!(docker.inspect(id.as_str()).await.unwrap(), None, "it must come from the registry");
    let platform = bench.info.platform.clone();
    let pulled = docker.pull(&repository, &digest, Some(&platform), login(PASSWORD)).await.unwrap();
    assert_eq!(pulled, id);
    docker.tag(&id, &name).await.unwrap();

    let missing = Digest::of(b"nothing");
    let error = docker.pull(&repository, &missing, None, login(PASSWORD)).await.unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with(&format!("pulling `{repository}@{missing}`: ")), "{error}");
    bench.clean().await;
}

#[tokio::test]
async fn an_image_streams_from_one_engine_to_another() {
    let bench = Bench::new("stream").await;
    // Without a second engine, an engine gets its own image back.
    let host = std::env::var("REBUILD_TEST_SECOND_ENGINE").ok();
    let options = EngineOptions { host, ..EngineOptions::default() };
    let (other, _) = Docker::connect(&options).await.unwrap();
    let name = bench.tagged("1");
    let id = bench.build("1", "RUN echo streamed > file").await;
    let image = bench.docker.inspect(id.as_str()).await.unwrap().unwrap();
    let copy = bench.docker.stream_to(&name, &other).await.unwrap();
    assert_eq!(copy.layers, image.layers);
    assert_eq!((copy.config, copy.labels), (image.config, image.labels));
    let missing = bench.tagged("missing");
    let error = bench.docker.stream_to(&missing, &other).await.unwrap_err().to_string();
    assert!(error.contains("it has no such image"), "{error}");
    if options.host.is_some() {
        other.untag(&name).await.unwrap();
    }
    bench.clean().await;
}
