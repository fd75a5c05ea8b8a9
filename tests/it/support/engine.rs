//! What the engine under test can do: a test that needs more is skipped for that capability, by its name.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock, thread, time::Duration};

use rebuild::{
    engine::{
        BuildRequest, BuildSecrets, Capabilities, Capability, Docker, Engine as _, EngineOptions,
    },
    fingerprint::{
        context::{Context, Modes},
        ignore::Ignore,
    },
    hierarchy::BuildSettings,
    image::{Reference, Tagged},
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

/// Builds an image that no hierarchy has, with the engine's own builder, and returns its ID. Docker's classic builder
/// would share layers with tests that remove theirs at the same time.
pub(crate) fn build(folder: &Path, name: &str) -> String {
    let name = tagged(name);
    let dockerfile_path = folder.join("Dockerfile");
    let request = BuildRequest {
        context: Context { root: folder.to_owned(), ignore: Ignore::default(), modes: Modes::Git },
        context_digest: None,
        dockerfile: fs::read_to_string(&dockerfile_path).unwrap(),
        dockerfile_path,
        build_args: BTreeMap::new(),
        secrets: BuildSecrets::default(),
        labels: BTreeMap::new(),
        settings: BuildSettings::default(),
        repository: name.repository.clone(),
        target: None,
        named: BTreeMap::new(),
        platform: None,
        no_cache: false,
        timeout: Duration::from_secs(300),
        run: String::new(),
    };
    wait_for(async move || {
        let (docker, _) = Docker::connect(&EngineOptions::default()).await.unwrap();
        let id = docker.build(request, |_| ()).await.unwrap().id;
        docker.tag(&id, &name).await.unwrap();
        id.to_string()
    })
}

fn tagged(name: &str) -> Tagged {
    let name: Reference = name.parse().unwrap();
    name.repository.tagged(name.tag.unwrap())
}

/// Pushes an image to a registry on this machine that has no TLS, which the docker command does with Docker only.
pub(crate) fn push(name: &str) {
    let name = tagged(name);
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
