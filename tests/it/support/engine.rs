//! What the engine under test can do: a test that needs more is skipped for that capability, by its name.

use std::{sync::OnceLock, thread};

use rebuild::{
    engine::{Capabilities, Capability, Docker, Engine as _, EngineOptions},
    image::Reference,
};

/// As the program finds it when it connects; `None` if no engine answers.
pub(crate) fn capabilities() -> Option<Capabilities> {
    static FOUND: OnceLock<Option<Capabilities>> = OnceLock::new();
    let ask = async || {
        let connected = Docker::connect(&EngineOptions::default()).await;
        connected.ok().map(|(_, info)| info.capabilities)
    };
    *FOUND.get_or_init(|| wait_for(ask))
}

/// Pushes an image to a registry on this machine that has no TLS, which the docker command does with Docker only.
pub(crate) fn push(name: &str) {
    let name: Reference = name.parse().unwrap();
    let name = name.repository.tagged(name.tag.unwrap());
    wait_for(async move || {
        let (docker, _) = Docker::connect(&EngineOptions::default()).await.unwrap();
        docker.push(&name, None).await.unwrap();
    });
}

/// A test may itself be inside a runtime, which cannot block.
fn wait_for<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> T {
    let wait = || tokio::runtime::Runtime::new().unwrap().block_on(work());
    thread::spawn(wait).join().unwrap()
}

/// Whether the engine lacks a capability; says that the test is skipped for it.
pub(crate) fn lacks(capability: Capability) -> bool {
    let lacks = capabilities().is_some_and(|engine| !engine.has(capability));
    if lacks {
        println!("skipped: the engine lacks the capability `{capability}`");
    }
    lacks
}
