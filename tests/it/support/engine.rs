//! What the engine under test can do: a test that needs more is skipped for that capability, by its name.

use std::{sync::OnceLock, thread};

use rebuild::engine::{Capabilities, Capability, Docker, EngineOptions, Sizes};

/// As the program finds it when it connects; `None` if no engine answers.
pub(crate) fn capabilities() -> Option<Capabilities> {
    static FOUND: OnceLock<Option<Capabilities>> = OnceLock::new();
    // A test may itself be inside a runtime, which cannot block.
    let ask = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let connected = runtime.block_on(Docker::connect(&EngineOptions::default()));
        connected.ok().map(|(_, info)| info.capabilities)
    };
    *FOUND.get_or_init(|| thread::spawn(ask).join().unwrap())
}

/// Whether the engine lacks a capability; says that the test is skipped for it.
pub(crate) fn lacks(capability: Capability) -> bool {
    let lacks = capabilities().is_some_and(|engine| !engine.has(capability));
    if lacks {
        println!("skipped: the engine lacks the capability `{capability}`");
    }
    lacks
}

/// Whether the engine gives the sizes of images as they are unpacked.
pub(crate) fn sizes_are_unpacked() -> bool {
    capabilities().is_none_or(|engine| engine.sizes() == Sizes::Unpacked)
}
