use std::{collections::BTreeMap, sync::Arc};

use super::{
    index::{IndexedEntry, IndexedFile, IndexedItem},
    packages::PackageDatabase,
    *,
};
use crate::{
    dockerfile::Instruction,
    hierarchy::{Flatten, Hierarchy, NodeName, test_hierarchy},
    image::Digest,
    size::{Facts, MeasuredImage},
};

/// A line an entry: `- path content` is a file of 1000 bytes for each letter of its content, perhaps with
/// `mode=755` or `user=7`; `d path`, `l path`, `h path target`, `x path` for a whiteout and `o path` for an opaque
/// folder. `p gcc libc6` is a database of packages of 1 kB.
fn layer(lines: &str) -> LayerIndex {
    let mut index = LayerIndex::default();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (kind, path) = (words.next().unwrap(), words.next().unwrap_or_default());
        let rest: Vec<&str> = words.collect();
        let value = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key));
        let item = match kind {
            "-" => {
                let mut content = [0; 16];
                content.copy_from_slice(&Digest::of(rest[0].as_bytes()).bytes()[..16]);
                IndexedItem::File(IndexedFile {
                    size: 1000 * rest[0].len() as u64,
                    content,
                    mode: value("mode=")
                        .map_or(0o644, |mode| u32::from_str_radix(mode, 8).unwrap()),
                    user: value("user=").map_or(0, |user| user.parse().unwrap()),
                    group: 0,
                })
            }
            "d" => IndexedItem::Folder,
            "l" => IndexedItem::Special,
            "h" => IndexedItem::HardLink { target: rest[0].into() },
            "x" => IndexedItem::Whiteout,
            "o" => IndexedItem::Opaque,
            "p" => {
                let names = [path].into_iter().chain(rest);
                let packages = names.map(|name| (name.to_owned(), 1000)).collect();
                let path = b"var/lib/dpkg/status".to_vec();
                index.databases.push(PackageDatabase { path: path.clone(), packages });
                let file = IndexedFile { size: 0, content: [0; 16], mode: 0, user: 0, group: 0 };
                index.entries.push(IndexedEntry { path, item: IndexedItem::File(file) });
                continue;
            }
            _ => panic!("{kind}"),
        };
        index.entries.push(IndexedEntry { path: path.into(), item });
    }
    index
}

fn kilobytes(layers: &[&str], from: usize) -> u64 {
    let layers: Vec<LayerIndex> = layers.iter().map(|lines| layer(lines)).collect();
    let parts = wasted_parts(&layers.iter().collect::<Vec<_>>(), from);
    parts.iter().map(|part| part.bytes).sum::<u64>() / 1000
}

#[test]
fn hidden_bytes_are_wasted() {
    for (layers, expected) in [
        (&["- a aaa"][..], 0),
        (&["- a aaa", "- a bb"], 3),
        (&["- a aaa", "- a aaa mode=755"], 3),
        (&["- a aaa", "- a bb", "- a c"], 5),
        (&["- a aaa", "x a"], 3),
        (&["d d\n- d/a aaa\n- d/b b", "x d"], 4),
        (&["d d\n- d/a aaa\n- d/b b", "d d\no d\n- d/a c"], 4),
        (&["- d/a aaa", "l d"], 3),
        (&["- a aaa", "d a\n- a/b b"], 3),
        (&["- a aaa", "x a\n- b aaa"], 3),
        // The other name still shows the file.
        (&["- a aaa\nh b a", "x a"], 0),
        (&["- a aaa\nh b a", "x a", "x b"], 3),
        (&["- a aaa", "h b a", "x a"], 0),
        // Changing the mode of a path copies the file, and the other path keeps the one before.
        (&["- a aaa\nh b a", "- a aaa mode=755"], 3),
        (&["- a aaa\nh b a", "- b aaa"], 3),
        (&["- a aaa\nh b a", "- b bbb"], 0),
        (&["- a aaa\nh b a", "- a aaa mode=755\n- b aaa mode=755"], 6),
        (&["- a aaa\nh b a", "- a aaa mode=755\nh b a"], 3),
        (&["- a aaa\nh b a", "- b aaa", "x a"], 3),
        (&["- a aaa\nh b a", "- b aaa", "x b"], 3),
        (&["- a aaa\nh b a", "- b aaa", "- b bbb"], 3),
        // A whiteout is about the layers below, wherever it stands.
        (&["- a aaa", "- a b\nx a"], 3),
        (&["x nothing\nh b nothing"], 0),
        (&["- var/lib/apt/lists/x aaa"], 3),
        (&["- var/lib/apt/lists/x aaa", "x var/lib/apt/lists/x"], 3),
        (&["- app/.git/x aaa\n- usr/share/doc/x bb"], 3),
    ] {
        assert_eq!(kilobytes(layers, 0), expected, "{layers:?}");
    }
    let layers = ["- a aaa", "- a bb", "- a c"];
    assert_eq!([0, 1, 2, 3].map(|from| kilobytes(&layers, from)), [5, 5, 2, 0]);
}

/// What the one layer of a flattened image begins with.
const FLATTENED: &str = "= rebuild: flatten";

/// Images as `os: layers`, a paragraph each: the layers are `=` and an instruction, then their entries. The
/// instructions become the Dockerfile of the image, behind a `FROM`.
pub(crate) fn surveyed(hierarchy: &str, images: &str) -> (Hierarchy, HierarchyWaste) {
    let hierarchy = test_hierarchy(hierarchy);
    let mut dockerfiles: BTreeMap<NodeName, String> = BTreeMap::new();
    let mut facts = Facts::default();
    let mut read: BTreeMap<Digest, ImageLayers> = BTreeMap::new();
    for block in images.split("\n\n") {
        let (name, text) = block.trim().split_once(":\n").unwrap();
        let node = NodeName::from(name);
        let base = hierarchy.base(hierarchy.get(&node).unwrap()).map(|base| base.name.clone());
        let base = base.and_then(|base| facts.published.get(&base).cloned());
        let is_flat = text.starts_with(FLATTENED);
        let (mut digests, mut layers) = match &base {
            Some(base) if !is_flat => (facts.images[base].layers.clone(), read[base].clone()),
            _ => (Vec::new(), ImageLayers::default()),
        };
        let mut dockerfile = "FROM x\n".to_owned();
        for part in text.split("= ").map(str::trim).filter(|part| !part.is_empty()) {
            let (instruction, entries) = part.split_once('\n').unwrap_or((part, ""));
            dockerfile.push_str(instruction);
            dockerfile.push('\n');
            let created_by = format!("{instruction} # buildkit");
            layers.history.push(HistoryEntry { created_by, empty_layer: false });
            layers.layers.push(Arc::new(layer(entries)));
            digests.push(Digest::of(part.as_bytes()));
        }
        dockerfiles.insert(node.clone(), dockerfile);
        let digest = Digest::of(name.as_bytes());
        let image =
            MeasuredImage { layers: digests, stored: None, unpacked: Some(0), base: base.clone() };
        facts.images.insert(digest.clone(), image);
        facts.published.insert(node, digest.clone());
        read.insert(digest, layers);
    }
    let nodes = hierarchy.in_build_order().cloned().map(|mut node| {
        let text = dockerfiles.get(&node.name).map_or("", String::as_str).lines().enumerate();
        let is_flat = images.contains(&format!("{}:\n{FLATTENED}", node.name));
        node.flatten = if is_flat { Flatten::All } else { Flatten::No };
        node.dockerfile.instructions =
            text.map(|(n, text)| Instruction::new(n + 1, text)).collect();
        node
    });
    let hierarchy = Hierarchy::from_nodes(hierarchy.file.clone(), None, nodes.collect()).unwrap();
    let found = survey(&hierarchy, &facts, &read);
    (hierarchy, found)
}

fn told(hierarchy: &str, images: &str) -> String {
    let (_, found) = surveyed(hierarchy, images);
    let place = |place: &LayerPlace| {
        let line = place.source.as_ref().map_or("?".to_owned(), |source| source.line.to_string());
        format!("{}:{line}", place.owner.name())
    };
    let findings = found.findings.iter().map(|finding| {
        let by = finding.by.as_ref().map_or(String::new(), |by| format!(" by {}", place(by)));
        format!(
            "{} {} {} ({}) {} kB in {}{by}, {} more\n",
            finding.owner.name(),
            finding.kind.name(),
            finding.path,
            finding.files,
            finding.bytes / 1000,
            place(&finding.layer),
            finding.carried_by
        )
    });
    let images = found.images.iter().map(|image| {
        let [own, inherited] = [image.own, image.inherited].map(|bytes| bytes / 1000);
        format!("{} {own}+{inherited}\n", image.node)
    });
    findings.chain(images).collect()
}

#[test]
fn a_finding_is_at_the_image_that_causes_it() {
    let images = "os:
= COPY big /big
- big aaaaaaaa
= RUN chmod 755 /big
- big aaaaaaaa mode=755
= RUN apt-get update
- var/lib/apt/lists/a aa
- var/lib/apt/lists/b aaa

web:
= RUN rm -rf /var/lib/apt/lists/* /big
x var/lib/apt/lists/a
x var/lib/apt/lists/b
x big

app:
= COPY .npmrc /app/
- app/.npmrc a
= RUN rm /app/.npmrc
x app/.npmrc";
    // The lists are the fault of `os`, and count once; `big` is used there, and hidden by `web`.
    assert_eq!(
        told("os\nweb < os\napp < web", images),
        "app secret /app/.npmrc (1) 1 kB in app:2 by app:3, 0 more\n\
         os rewritten /big (1) 8 kB in os:2 by os:3, 2 more\n\
         web deleted /big (1) 8 kB in os:3 by web:2, 1 more\n\
         os cache /var/lib/apt/lists/ (2) 5 kB in os:4, 2 more\n\
         app deleted /app/.npmrc (1) 1 kB in app:2 by app:3, 0 more\n\
         os 13+0\nweb 8+13\napp 1+21\n"
    );
}

#[test]
fn files_are_grouped_by_folder() {
    let many: Vec<String> = (0..30).map(|n| format!("- opt/app/{n}/x aaaaa{n}")).collect();
    let again: Vec<String> = many.iter().map(|line| format!("{line} user=7")).collect();
    let images = format!(
        "os:\n= COPY . /opt/app\n{}\n- etc/a a\n- etc/b b\n= RUN chown -R 7 /opt /etc\n{}\n- etc/a a user=7\n\
         - etc/b b user=7",
        many.join("\n"),
        again.join("\n")
    );
    let told = told("os", &images);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("os rewritten /opt/app/ (30) 2"), "{told}");
    assert_eq!(lines[1], "os rewritten /etc/a (1) 1 kB in os:2 by os:3, 0 more");
    assert_eq!(lines.len(), 4, "{told}");
}

#[test]
fn duplicates_and_documentation_are_advice() {
    let images = "os:
= COPY a /a
- a aaaaa
- hard aaaaa
= COPY b /b
- b aaaaa
- small a
- small2 a
- usr/share/man/man1/x bbbbbb
- usr/share/doc/x/copyright cc";
    assert_eq!(
        told("os", images),
        "os documentation /usr/share/man/man1/x (1) 6 kB in os:3, 0 more\n\
         os duplicate /hard (1) 5 kB in os:2, 0 more\n\
         os duplicate /b (1) 5 kB in os:3, 0 more\nos 0+0\n"
    );
}

#[test]
fn build_tools_count_in_final_images_only() {
    let images = "os:
= RUN install make
p bash make
= RUN install more
p bash make gcc

web:
= RUN install
p bash make gcc libx-dev

app:
= RUN remove
p bash make libx-dev";
    assert_eq!(
        told("os\nweb < os\napp < web", images),
        "os build-tools make (1) 1 kB in os:2, 2 more\n\
         web build-tools libx-dev (1) 1 kB in web:2, 1 more\n\
         os 0+0\nweb 0+0\napp 0+0\n"
    );
}

/// Its one layer has the files of its parent, whose waste they are.
#[test]
fn a_flattened_image_inherits_the_waste_of_its_parent() {
    let images = "os:
= RUN apt-get update
- var/lib/apt/lists/a aa
- usr/share/doc/x/readme aaaaa
- root/.npmrc a
- old aaaa
= RUN rm old
x old

tool:
= rebuild: flatten
- var/lib/apt/lists/a aa
- usr/share/doc/x/readme aaaaa
- root/.npmrc a
- var/lib/apt/lists/b bbb
- srv aaaaa";
    assert_eq!(
        told("os\ntool < os", images),
        "os secret /root/.npmrc (1) 1 kB in os:2, 0 more\n\
         os documentation /usr/share/doc/x/readme (1) 5 kB in os:2, 0 more\n\
         os deleted /old (1) 4 kB in os:2 by os:3, 0 more\n\
         tool cache /var/lib/apt/lists/b (1) 3 kB in tool:?, 0 more\n\
         os cache /var/lib/apt/lists/a (1) 2 kB in os:2, 0 more\n\
         os 6+0\ntool 3+2\n"
    );
}

/// The parent's Dockerfile has the lines of its `ONBUILD`.
#[test]
fn layers_of_onbuild_have_a_line() {
    let images = "os:
= RUN make
- bin a
= ONBUILD COPY . /app/
= ONBUILD RUN build

web:
= COPY . /app/
- app/.git/x aaa
= RUN build
- root/.cache/pip/x bb
= RUN more
- var/lib/apt/lists/x cccc";
    let (_, waste) = surveyed("os\nweb < os", images);
    let places = waste.findings.iter().map(|finding| {
        let source = finding.layer.source.as_ref().unwrap();
        format!("{}:{} {}", source.file.parent().unwrap().display(), source.line, source.text)
    });
    let places: Vec<String> = places.collect();
    assert_eq!(places.len(), 3, "{places:?}");
    assert!(places[0].ends_with("web:4 RUN more"), "{places:?}");
    assert!(places[1].ends_with("os:3 ONBUILD COPY . /app/"), "{places:?}");
    assert!(places[2].ends_with("os:4 ONBUILD RUN build"), "{places:?}");
}

/// As it comes from a registry: compressed or not.
#[test]
fn fuzz_layer() {
    const WORDS: [&str; 9] = [
        ".wh.",
        ".wh..wh..opq",
        "../",
        "77777777777",
        "\u{80}",
        "Package: gcc\nStatus: install ok installed\nInstalled-Size: 9\n\n",
        "9 path=x\n",
        "13 size=9999\n",
        "(\u{b5}/\u{fd}",
    ];
    let mut tar = tar::Builder::new(Vec::new());
    let files = [
        ("usr/bin/gcc", "gcc"),
        ("usr/.wh.lib", ""),
        ("var/lib/dpkg/status", "Package: gcc\nStatus: install ok installed\nInstalled-Size: 7\n"),
        ("var/cache/apt/x", "deb"),
    ];
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let below = layer("- usr/bin/gcc a\nd usr/lib\n- usr/lib/x b");
    crate::testing::fuzz::each(&[&tar, &gzip.finish().unwrap()], &WORDS, |bytes| {
        _ = decode(bytes);
        let read = crate::layers::decompress(bytes).and_then(|mut tar| LayerIndex::read(&mut tar));
        if let Ok(read) = read {
            assert_eq!(decode(&encode(&read)).as_ref(), Some(&read));
            _ = wasted_parts(&[&below, &read, &below], 1);
        }
        _ = crate::layers::decompress(bytes).and_then(crate::flatten::FlatLayerRead::new);
    });
}
