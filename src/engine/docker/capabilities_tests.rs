use super::*;

fn of(api: &str, os: &str, ping: &[(&'static str, &str)], driver: &[(&str, &str)]) -> Capabilities {
    let mut headers = HeaderMap::new();
    for (name, value) in ping {
        headers.insert(*name, value.parse().unwrap());
    }
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let driver: Vec<_> = driver.iter().map(owned).collect();
    Capabilities::of(&Reported {
        api: ApiVersion::parse(api).unwrap(),
        newest: ApiVersion::parse(api).unwrap(),
        os,
        ping: &headers,
        driver: &driver,
    })
}

/// The engines of `docs/engines.md`, as they answered on 2026-11-28.
fn tried() -> [(&'static str, Capabilities); 4] {
    let overlay = [("Backing Filesystem", "extfs")];
    let containerd = [("driver-type", CONTAINERD_STORE)];
    let podman = [("libpod-api-version", "5.8.6"), ("libpod-buildah-version", "1.43.2")];
    [
        ("Docker 20.10", of("1.41", "linux", &[], &[])),
        ("Docker 28.5, overlay2", of("1.51", "linux", &[("builder-version", "2")], &overlay)),
        ("Docker 28.5, containerd", of("1.51", "linux", &[("builder-version", "2")], &containerd)),
        ("podman 5", of("1.44", "linux", &podman, &overlay)),
    ]
}

#[test]
fn the_documented_table_is_what_the_engines_report() {
    let page = include_str!("../../../docs/engines.md");
    let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |", cells.join(" | "));
    let engines = tried();
    for capability in Capability::ALL {
        let cell = |(_, has): &(_, Capabilities)| {
            (if has.has(capability) { "yes" } else { "no" }).to_owned()
        };
        let expected = row(&format!("`{capability}`"), engines.iter().map(cell).collect());
        assert!(page.contains(&expected), "docs/engines.md lacks the row {expected}");
        let without = format!("| `{capability}` | ");
        assert!(page.matches(&without).count() >= 2, "docs/engines.md: what without {capability}?");
    }
    let of_each = |fact: &dyn Fn(Capabilities) -> String| -> Vec<String> {
        engines.iter().map(|(_, engine)| fact(*engine)).collect()
    };
    for (name, cells) in [
        ("builder", of_each(&|engine| engine.builder.to_string())),
        ("image store", of_each(&|engine| engine.store.to_string())),
        ("size figures", of_each(&|engine| engine.sizes().to_string())),
    ] {
        let expected = row(name, cells);
        assert!(page.contains(&expected), "docs/engines.md lacks the row {expected}");
    }
    let names: Vec<_> = engines.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(page.contains(&row("capability", names)), "docs/engines.md names other engines");
}

#[test]
fn older_and_other_engines_lack_more() {
    let old_podman = [("libpod-api-version", "4.3.1"), ("libpod-buildah-version", "1.28.0")];
    assert!(!of("1.41", "linux", &old_podman, &[]).has(Capability::Heredocs));
    let windows = of("1.51", "windows", &[("builder-version", "1")], &[]);
    assert_eq!(windows.builder, BuilderKind::Classic);
    assert!(!windows.has(Capability::BuildKit) && !windows.has(Capability::CacheMounts));
    // `"features": {"buildkit": false}` is a wish for `docker build`, not a lack.
    let disabled = of("1.51", "linux", &[("builder-version", "1")], &[]);
    assert!(disabled.has(Capability::BuildKit));
}
