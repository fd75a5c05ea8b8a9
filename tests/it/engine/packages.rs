//! Packages of real Debian images, with a repository of our own inside the image.

use std::{fs, time::Duration};

use rebuild::{
    engine::{BuildRequest, Engine, ImageCommand, Network},
    image::{
        Digest,
        packages::{Manager, Offer, PackageUpdate, Verified},
    },
};

use super::Bench;
use crate::support::debian;

/// Makes two versions of some packages: the old ones to be installed by hand, the new ones in the
/// only repository that the image knows.
const MAKE: &str = r#"set -e
make() {
    mkdir -p /made/DEBIAN "$3"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n' \
        "$1" "$2" >/made/DEBIAN/control
    dpkg-deb -Zgzip -b /made "$3/$1.deb" >/dev/null
    rm -r /made
}
for name in base-tool app-tool held-tool; do
    make "$name" 1:1.0-1 /old
    make "$name" 1:1.0-2 /repo
done
make same-tool 1.0 /old
make same-tool 1.0 /repo
make new-tool 1.0 /repo
cat >/usr/bin/index <<'END'
cd /repo
for file in *.deb; do
    dpkg-deb -f "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
        "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
END
sh /usr/bin/index
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list
dpkg -i /old/base-tool.deb
"#;

/// The image of a node that adds packages to its parent's, and then does all that may get in the way.
const CHILD: &str = "RUN dpkg -i /old/app-tool.deb /old/held-tool.deb /old/same-tool.deb \
                     && apt-mark hold held-tool && dpkg --add-architecture i386\n\
                     USER nobody\nENTRYPOINT [\"/bin/false\"]\nWORKDIR /proc";

struct Debian {
    bench: Bench,
}

impl Debian {
    /// Builds on an image that was built before, and tags it.
    async fn build(&self, tag: &str, from: &str, lines: &str) -> Digest {
        let from =
            if from == "scratch" { from.to_owned() } else { self.bench.tagged(from).to_string() };
        let dockerfile = format!("FROM {from}\nLABEL test={}\n{lines}\n", self.bench.name);
        let request = BuildRequest { dockerfile, ..self.bench.request("") };
        let (_, output, built) = self.bench.told(request).await;
        let id = built.unwrap_or_else(|error| panic!("{error}\n{output}"));
        self.bench.docker.tag(&id, &self.bench.tagged(tag)).await.unwrap();
        id
    }

    async fn printed(&self, image: &Digest, argv: Vec<String>, network: Network) -> Vec<u8> {
        let probe = ImageCommand { argv, network, timeout: Duration::from_secs(120) };
        let printed = self.bench.docker.probe(image, &probe, &self.bench.name).await.unwrap();
        assert_eq!(printed.exit_code, 0, "{printed:?}");
        printed.stdout
    }

    async fn installed(&self, image: &Digest) -> rebuild::image::packages::Installed {
        let printed = self.printed(image, Manager::Apt.list_installed(), Network::None).await;
        Manager::Apt.read_installed(&printed).unwrap()
    }

    /// With the network that builds have, though the sources are inside.
    async fn offer(&self, image: &Digest) -> Result<Offer, String> {
        let printed = self.printed(image, Manager::Apt.list_updates(), Network::Default).await;
        Manager::Apt.read_updates(&printed).map_err(|error| error.to_string())
    }

    /// What is wrong with an image that is the child with something more done to it, as root.
    async fn wrong_after(&self, tag: &str, command: &str) -> String {
        let image = self.build(tag, "child", &format!("USER root\nRUN {command}")).await;
        self.offer(&image).await.unwrap_err()
    }
}

fn told(updates: &[PackageUpdate]) -> Vec<String> {
    updates.iter().map(ToString::to_string).collect()
}

#[tokio::test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
async fn a_debian_image_tells_what_is_newer_for_minutes() {
    let bench = Bench::new("packages").await;
    let rootfs = debian::rootfs();
    fs::copy(rootfs, bench.folder().join("rootfs.tar")).unwrap();
    fs::write(bench.folder().join("make.sh"), MAKE).unwrap();
    let debian = Debian { bench };
    let made = "ADD rootfs.tar /\nCOPY make.sh /\nRUN sh /make.sh";
    let parent = debian.build("parent", "scratch", made).await;
    let child = debian.build("child", "parent", CHILD).await;

    // Of its own packages, and not what is held, what is as new, or what would be installed anew.
    let below = debian.installed(&parent).await;
    assert_eq!(below.version("base-tool"), Some("1:1.0-1"));
    let offer = debian.offer(&child).await.unwrap();
    assert_eq!(told(&offer.updates), ["app-tool 1:1.0-1 → 1:1.0-2", "base-tool 1:1.0-1 → 1:1.0-2"]);
    assert!(offer.installed.version("dpkg").is_some() && below.version("app-tool").is_none());
    let own = offer.own(&below);
    assert_eq!(told(&own), ["app-tool 1:1.0-1 → 1:1.0-2"]);
    let all =
        debian.offer(&parent).await.unwrap().own(&rebuild::image::packages::Installed::default());
    assert_eq!(told(&all), ["base-tool 1:1.0-1 → 1:1.0-2"]);

    // The node is rebuilt; one of its descendants has a version of its own.
    let upgrade = "USER root\nRUN apt-get -q update && apt-get -q -y upgrade";
    let fixed = debian.build("fixed", "child", upgrade).await;
    let lagging = debian.build("lagging", "fixed", "RUN dpkg -i /old/app-tool.deb").await;
    assert_eq!(told(&debian.offer(&fixed).await.unwrap().updates), [""; 0]);
    let mut verified = Verified::default();
    let got = verified.node("fixed", &own, &debian.installed(&fixed).await);
    verified.descendant("lagging", &got, &debian.installed(&lagging).await);
    let lines: Vec<String> = verified.lines().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "app-tool 1:1.0-1 → 1:1.0-2 in 1 image",
            "app-tool is still 1:1.0-1 in `lagging`, not 1:1.0-2",
        ]
    );

    // Nothing newer is known only where the sources were reached.
    let source = "echo 'deb [trusted=yes] http://127.0.0.1:9/ ./' >>/etc/apt/sources.list";
    let unreached = debian.wrong_after("unreached", source).await;
    assert!(unreached.contains("Failed to fetch http://127.0.0.1:9/"), "{unreached}");
    let gone = debian.wrong_after("gone", "rm -r /repo").await;
    assert!(gone.contains("Failed to fetch file:/repo/./Packages"), "{gone}");
    let none = debian.wrong_after("none", "rm /etc/apt/sources.list").await;
    assert_eq!(none, "`apt-get` has no package sources in the image");
    let unmet = "sed -i '/^Package: app-tool$/aDepends: nothing' /var/lib/dpkg/status";
    let unmet = debian.wrong_after("unmet", unmet).await;
    assert!(unmet.contains("E: Unmet dependencies"), "{unmet}");
    let other = debian.bench.build("other", "").await;
    assert_eq!(debian.offer(&other).await.unwrap_err(), "the image has no `dpkg-query`");
    debian.bench.clean().await;
}
