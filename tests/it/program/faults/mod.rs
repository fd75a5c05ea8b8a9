//! Faults between the program and a real registry, and between it and the real engine: whatever happens,
//! the promises hold, and the next run is right.

mod engine;
mod registry;
mod tags;

use crate::support::{
    invariants::{End, Tags, assert_invariants},
    project::Project,
    proxy::Proxy,
    registry::Registry,
    running::Start,
};

/// A small project that publishes to a registry through a proxy.
struct Disturbed {
    project: Project,
    registry: Registry,
    proxy: Proxy,
}

impl Disturbed {
    /// Published once, with nothing in the way, and then changed from the base on.
    fn new() -> (Self, Tags) {
        let (project, registry) = (Project::pair(), Registry::start());
        let proxy = Proxy::to_host(registry.host());
        let disturbed = Self { project, registry, proxy };
        disturbed.rebuild().run().exits(0);
        let before = disturbed.holds(&Tags::new(), End::Success);
        disturbed.project.edit("base/name", "~base", "~base, the second");
        (disturbed, before)
    }

    fn rebuild(&self) -> Start<'_> {
        let registry = format!("{}/demo", self.proxy.address());
        self.project.rebuild("").env("REBUILD_REGISTRY", registry)
    }

    #[track_caller]
    fn holds(&self, before: &Tags, end: End) -> Tags {
        assert_invariants(&self.project, &self.registry, before, end)
    }

    /// Without faults, the next run does what the one before could not.
    #[track_caller]
    fn heals(&self, before: &Tags) {
        self.proxy.behave();
        self.rebuild().run().exits(0);
        let after = self.holds(before, End::Success);
        assert!(after.iter().all(|(tag, to)| before.get(tag) != Some(to)), "{after:#?}");
    }
}
