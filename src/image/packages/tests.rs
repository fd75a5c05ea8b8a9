//! Captured from real managers: apt 2.6, apk 2.14 and dnf 4.14, each asked in a container with a
//! repository of its own. apt 3.0 printed the same.

use super::*;

const APT: &str = include_str!("testdata/apt.txt");
const APK: &str = include_str!("testdata/apk.txt");
const DNF: &str = include_str!("testdata/dnf.txt");
/// What dnf 5 prints in place of dnf 4's list: no empty lines between.
const DNF5: &str = "= epoch noarch 2:1.1-1.el9\n= plain noarch 1.0-3.el9\n";

fn told(updates: &[PackageUpdate]) -> Vec<String> {
    updates.iter().map(ToString::to_string).collect()
}

/// With other text in a section, and another exit code.
fn with(printed: &str, name: &str, text: &str, code: i32) -> String {
    let (before, rest) = printed.split_once(&format!("rebuild: begin {name}\n")).unwrap();
    let (_, rest) = rest.split_once(&format!("rebuild: end {name} ")).unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    format!("{before}rebuild: begin {name}\n{text}\nrebuild: end {name} {code}\n{after}")
}

/// The updates, or what is wrong.
fn outcome(manager: Manager, printed: &str) -> String {
    match manager.read_updates(printed.as_bytes()) {
        Ok(offer) => told(&offer.updates).join("; "),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn what_is_installed() {
    let listed = |manager: Manager, printed: &str| {
        let installed = manager.read_installed(printed.as_bytes()).unwrap();
        installed.iter().map(|(package, version)| format!("{package} {version}")).collect()
    };
    let lists: [Vec<String>; 3] =
        [listed(Manager::Apt, APT), listed(Manager::Apk, APK), listed(Manager::Dnf, DNF)];
    let [apt, apk, dnf] = lists.map(|list| list.join("; "));
    assert_eq!(
        apt,
        "adduser 3.134; down 2.0; epoch 1:2.0; foreign:i386 1.0; gone 1.0; held 1.0; \
         libc6 2.36-9+deb12u14; multi 1.0; multi:i386 1.0; needs 1.0; plain 1.0-1; same 1.0"
    );
    assert_eq!(
        apk,
        "down 2.0-r0; needs 3.2.1_git20240101-r4; pinned 1.0-r0; plain 1.0-r0; same 1.0-r0"
    );
    assert_eq!(
        dnf,
        "a-package-with-quite-a-long-name-that-makes-dnf-wrap-its-lines 1.0-1.el9; \
         epoch 2:1.0-1.el9; old 1.0-1.el9; plain 1.0-1.el9; same 1.0-1.el9"
    );
    let several = "= kernel x86_64 0:5.14-2\n= gpg-pubkey (none) 0:8483c65d-5ccc5b19\n\
                   = kernel x86_64 0:5.14-1\n= glibc i686 0:2.34-1\n";
    let printed = with(DNF, "installed", several, 0);
    let list: Vec<String> = listed(Manager::Dnf, &printed);
    assert_eq!(list, ["glibc.i686 2.34-1", "kernel 5.14-1, 5.14-2"]);
}

/// Not what is held, pinned, newly installed, removed, obsoleted or downgraded.
#[test]
fn what_is_newer() {
    for (manager, printed, expected) in [
        (
            Manager::Apt,
            APT,
            "epoch 1:2.0 → 1:2.1~rc1; foreign:i386 1.0 → 1.1; multi 1.0 → 1.1; \
             multi:i386 1.0 → 1.1; needs 1.0 → 1.1; plain 1.0-1 → 1.0-2",
        ),
        (Manager::Apk, APK, "needs 3.2.1_git20240101-r4 → 3.2.2-r0; plain 1.0-r0 → 1.0-r1"),
        (
            Manager::Dnf,
            DNF,
            "a-package-with-quite-a-long-name-that-makes-dnf-wrap-its-lines 1.0-1.el9 → \
             1.1-20250101gitabcdef123456.el9_4; epoch 2:1.0-1.el9 → 2:1.1-1.el9; \
             plain 1.0-1.el9 → 1.0-3.el9",
        ),
        (
            Manager::Dnf,
            &with(DNF, "updates", DNF5, 0),
            "epoch 2:1.0-1.el9 → 2:1.1-1.el9; plain 1.0-1.el9 → 1.0-3.el9",
        ),
    ] {
        assert_eq!(outcome(manager, printed), expected, "{manager}");
    }
    // From an issue of sourcegraph's: apk updates itself first. The rest is made up.
    let apk = "Upgrading critical system libraries and apk-tools:\n\
               (1/1) Upgrading apk-tools (2.10.1-r0 -> 2.10.3-r1)\n\
               ( 1/12) Upgrading musl@edge (1.1.19-r10 -> 1.1.20-r3)\n\
               ( 2/12) Installing libtls-standalone (2.7.4-r6)\n\
               ( 3/12) Downgrading down (2.0-r0 -> 1.9-r0)\n\
               ( 4/12) Replacing same (1.0-r0 -> 1.0-r0)\n\
               (12/12) Purging libressl2.7-libtls (2.7.4-r0)\n\
               OK: 318 MiB in 60 packages\n";
    assert_eq!(
        outcome(Manager::Apk, &with(APK, "updates", apk, 0)),
        "apk-tools 2.10.1-r0 → 2.10.3-r1; musl 1.1.19-r10 → 1.1.20-r3"
    );
}

#[test]
fn nothing_newer_is_said_in_so_many_words() {
    let apt = "Reading package lists...\nCalculating upgrade...\n\
               0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n";
    let dnf = with(DNF, "refresh", "Unable to detect release version\n", 0);
    let obsoleting =
        "\nObsoleting packages\nnew.noarch 2.0-1.el9 two\n    old.noarch 1.0-1.el9 @System\n";
    for (manager, printed) in [
        (Manager::Apt, with(APT, "updates", apt, 0)),
        (Manager::Apk, with(APK, "updates", "OK: 0 MiB in 6 packages\n", 0)),
        (Manager::Dnf, with(&dnf, "updates", "", 0)),
        (Manager::Dnf, with(&with(DNF, "refresh", obsoleting, 100), "updates", "", 0)),
    ] {
        assert_eq!(outcome(manager, &printed), "", "{manager}");
    }
}

/// Each of these would have been "nothing newer", or a part of it, to a careless reader.
#[test]
fn what_is_not_known_is_an_error() {
    let old_apt = "Err:5 http://127.0.0.1:1 ./ InRelease\n\
                   W: Failed to fetch http://127.0.0.1:1/./InRelease  Could not connect\n\
                   W: Some index files failed to download. They have been ignored, or old ones used instead.\n";
    let new_apt = old_apt.replace("W: ", "E: ");
    let apk = "WARNING: opening http://127.0.0.1:1/x: could not connect to server\n\
               2 unavailable, 0 stale; 11 distinct packages available\n";
    let dnf = "Unable to detect release version\n\
               Error: Failed to download metadata for repo 'two': Cannot download repomd.xml\n";
    let unmet = "E: Unable to correct problems, you have held broken packages.\n";
    let fewer = "Inst a [1] (2 x [all])\n2 upgraded, 0 newly installed, 0 to remove\n";
    let stray = "(1/1) Upgrading musl to 1.2\nOK: 8 MiB in 15 packages\n";
    for (manager, printed, expected) in [
        (
            Manager::Apt,
            with(APT, "refresh", &new_apt, 100),
            "`apt-get update` failed with exit code 100: E: Failed to fetch \
             http://127.0.0.1:1/./InRelease  Could not connect",
        ),
        (
            Manager::Apt,
            with(APT, "refresh", old_apt, 0),
            "`apt-get update` did not reach all its sources: W: Failed to fetch \
             http://127.0.0.1:1/./InRelease  Could not connect",
        ),
        (
            Manager::Apt,
            with(APT, "sources", "", 0),
            "`apt-get` has no package sources in the image",
        ),
        (
            Manager::Apt,
            with(APT, "refresh", "sh: 6: apt-get: not found\n", 127),
            "the image has no `apt-get`",
        ),
        (
            Manager::Apt,
            with(APT, "updates", unmet, 100),
            "`apt-get dist-upgrade` failed with exit code 100: E: Unable to correct problems, you \
             have held broken packages.",
        ),
        (
            Manager::Apt,
            with(APT, "updates", "Calculating upgrade...\n", 0),
            "what `apt-get dist-upgrade` printed is cut off",
        ),
        (
            Manager::Apt,
            with(APT, "updates", fewer, 0),
            "`apt-get dist-upgrade` printed `2 upgraded, 0 newly installed, 0 to remove`, which says \
             nothing about a package",
        ),
        (
            Manager::Apt,
            with(APT, "installed", "= installed a\n", 0),
            "`dpkg-query` printed `= installed a`, which says nothing about a package",
        ),
        (
            Manager::Apk,
            with(APK, "refresh", apk, 2),
            "`apk update` failed with exit code 2: 2 unavailable, 0 stale; 11 distinct packages \
             available",
        ),
        (
            Manager::Apk,
            with(APK, "refresh", apk, 0),
            "`apk update` did not reach all its sources: 2 unavailable, 0 stale; 11 distinct \
             packages available",
        ),
        (Manager::Apk, with(APK, "sources", "", 0), "`apk` has no package sources in the image"),
        (Manager::Apk, with(APK, "installed", "", 127), "the image has no `apk`"),
        (Manager::Apk, with(APK, "installed", "P:a\n", 0), "what `apk` printed is cut off"),
        (
            Manager::Apk,
            with(APK, "updates", "(1/1) Installing fresh (1-r0)\n", 0),
            "what `apk upgrade` printed is cut off",
        ),
        (
            Manager::Apk,
            with(APK, "updates", stray, 0),
            "`apk upgrade` printed `(1/1) Upgrading musl to 1.2`, which says nothing about a package",
        ),
        (
            Manager::Dnf,
            with(DNF, "refresh", dnf, 1),
            "`dnf check-update` failed with exit code 1: Error: Failed to download metadata for \
             repo 'two': Cannot download repomd.xml",
        ),
        (Manager::Dnf, with(DNF, "refresh", "", 127), "the image has no `dnf`"),
        (
            Manager::Dnf,
            with(&with(DNF, "refresh", "plain.noarch 1.0-3.el9 two\n", 100), "updates", "", 0),
            "what `dnf repoquery` printed is cut off",
        ),
    ] {
        assert_eq!(outcome(manager, &printed), format!("error: {expected}"));
    }
}

#[test]
fn whatever_is_cut_off_is_an_error() {
    for (manager, printed) in [(Manager::Apt, APT), (Manager::Apk, APK), (Manager::Dnf, DNF)] {
        // The last line end may be missing only together with what stands before it.
        for end in 0..printed.trim_end().len() {
            let Some(part) = printed.get(..end) else { continue };
            let outcome = outcome(manager, part);
            assert!(outcome.contains("cut off"), "{manager} {end}: {outcome}");
        }
    }
}

#[test]
fn only_its_own_packages_count() {
    let installed = |text: &'static str| -> Installed {
        text.split("; ").filter_map(|package| package.split_once(' ')).collect()
    };
    let (parent, child) = ("libc6 1; curl 1; bash 1", "libc6 1; curl 2; nginx 5; bash 1");
    let own = installed(child).beyond(&installed(parent));
    assert_eq!(own, installed("curl 2; nginx 5"));

    let update = |package: &str| PackageUpdate {
        package: package.to_owned(),
        from: "1".to_owned(),
        to: "2".to_owned(),
    };
    let offer = Offer {
        installed: installed(child),
        updates: ["bash", "curl", "libc6", "nginx"].map(update).into(),
    };
    assert_eq!(told(&offer.clone().own(&installed(parent))), ["curl 1 → 2", "nginx 1 → 2"]);
    assert_eq!(offer.own(&Installed::default()).len(), 4);
}

#[test]
fn what_became_of_updates() {
    let installed = |text: &'static str| -> Installed {
        text.split("; ").filter_map(|package| package.split_once(' ')).collect()
    };
    let update = |package: &str, to: &str| PackageUpdate {
        package: package.to_owned(),
        from: "3.0.15-1".to_owned(),
        to: to.to_owned(),
    };
    let mut verified = Verified::default();
    let promised = [update("libssl3", "3.0.16-1"), update("curl", "3.1-1"), update("vim", "9")];
    // curl has moved on since it was looked for, and vim is no longer installed.
    let got = verified.node("os", &promised, &installed("libssl3 3.0.16-1; curl 3.2-1"));
    assert_eq!(got, [update("libssl3", "3.0.16-1"), update("curl", "3.2-1")]);
    verified.descendant("web", &got, &installed("libssl3 3.0.16-1; curl 3.2-1; vim 8"));
    verified.descendant("app", &got, &installed("libssl3 3.0.15-1; curl 3.2-1"));
    verified.descendant("job", &got, &installed("libssl3 3.0.15-1"));
    verified.descendant("old", &got, &installed("libssl3 1.1.1-1"));
    // Below two nodes with the same update.
    verified.descendant("web", &got, &installed("libssl3 3.0.16-1"));
    let other =
        verified.node("sql", &[update("libssl3", "3.0.16-1")], &installed("libssl3 3.0.16-1"));
    assert_eq!(other.len(), 1);
    let still = verified.node("dns", &[update("bind", "9")], &installed("bind 3.0.15-1"));
    assert_eq!(still, [update("bind", "9")]);
    let lines: Vec<String> = verified.lines().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "curl 3.0.15-1 → 3.2-1 in 3 images",
            "libssl3 3.0.15-1 → 3.0.16-1 in 3 images",
            "bind is still 3.0.15-1 in `dns`, not 9",
            "libssl3 is 1.1.1-1 in `old`, not 3.0.16-1",
            "libssl3 is still 3.0.15-1 in `app`, `job`, not 3.0.16-1",
        ]
    );
}

#[test]
fn several_updates_are_counted() {
    let update = |package: &str| PackageUpdate {
        package: package.to_owned(),
        from: "1".to_owned(),
        to: "2".to_owned(),
    };
    for (packages, expected) in [
        (&[][..], ""),
        (&["a"], "a 1 → 2"),
        (&["a", "b"], "a 1 → 2 and 1 more"),
        (&["a", "b", "c"], "a 1 → 2 and 2 more"),
    ] {
        let updates: Vec<PackageUpdate> = packages.iter().map(|name| update(name)).collect();
        assert_eq!(PackageUpdate::several(&updates), expected);
    }
}

#[test]
fn managers_have_names() {
    for manager in [Manager::Apt, Manager::Apk, Manager::Dnf] {
        assert_eq!(manager.to_string().parse(), Ok(manager));
    }
    assert!("pip".parse::<Manager>().is_err());
}
