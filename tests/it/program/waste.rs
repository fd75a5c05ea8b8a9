//! `rebuild waste`: finds what was planted, names the owner and the line, and after the proposed edit it is gone.

use std::{
    fs::{self, File},
    io::Write as _,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use super::in_both_places;
use crate::support::{
    project::{Place, Project},
    registry::{LayerUpload, Registry},
};

const MEGABYTE: u64 = 1_000_000;

/// An image for each story, all on one base.
fn stories() -> Project {
    let project = Project::empty();
    let entries = [
        "os", "chmod", "chown", "three", "one", "cache", "copied", "git", "twice", "secret",
        "base", "leaf",
    ];
    let entries = entries.map(|name| format!("  ~{name}: {{ context: {name} }}\n"));
    project.write("hierarchy.yaml", &format!("version: 1\nimages:\n{}", entries.concat()));
    project.write_os();
    let large = |path: &str, bytes: u64| {
        fs::create_dir_all(project.path(path).parent().unwrap()).unwrap();
        File::create(project.path(path)).unwrap().set_len(bytes).unwrap();
    };
    let dockerfile = |name: &str, lines: &str| {
        project.write(&format!("{name}/Dockerfile"), &format!("FROM ~os\n{lines}\n"));
    };
    dockerfile("chmod", "COPY big /opt/big\nRUN chmod 755 /opt/big");
    large("chmod/big", 50 * MEGABYTE);
    dockerfile("chown", "COPY tree /opt/tree\nRUN chown -R 7:8 /opt/tree");
    for n in 0..20 {
        large(&format!("chown/tree/{n}/file"), MEGABYTE / 10 + n);
    }
    let make = "head -c 20000000 /dev/zero >/compiler";
    dockerfile("three", &format!("RUN {make}\nRUN sha256sum /compiler >/result\nRUN rm /compiler"));
    let one = format!("RUN {make} && sha256sum /compiler >/result && rm /compiler");
    dockerfile("one", &one);
    let fill = "mkdir -p /var/lib/apt/lists && head -c 3000000 /dev/zero >/var/lib/apt/lists/x";
    dockerfile("cache", &format!("RUN {fill}\nRUN rm -rf /var/lib/apt/lists"));
    dockerfile("copied", "COPY big /tmp/big\nRUN sha256sum /tmp/big >/result\nRUN rm /tmp/big");
    large("copied/big", 2 * MEGABYTE);
    dockerfile("git", "COPY . /app/");
    large("git/.git/pack", 4 * MEGABYTE);
    dockerfile("twice", "COPY a /a\nCOPY a /b");
    large("twice/a", 5 * MEGABYTE);
    dockerfile("secret", "COPY .env /app/.env\nRUN rm /app/.env");
    project.write("secret/.env", "TOKEN=1\n");
    dockerfile("base", "COPY big /opt/big\nCOPY docs /usr/share/doc/x");
    large("base/big", 6 * MEGABYTE);
    large("base/docs/manual", MEGABYTE);
    project.write("leaf/Dockerfile", "FROM ~base\nRUN rm /opt/big\n");
    project
}

fn found(project: &Project, place: Place<'_>, arguments: &str) -> Value {
    let ended = project.rebuild(&format!("waste --format json {arguments}")).to(place).run();
    serde_json::from_str(&ended.exits(0).stdout).unwrap()
}

/// A line for each finding of at least 100 kB, and for each secret.
fn told(project: &Project, found: &Value) -> String {
    let place = |layer: &Value| {
        let line = layer["line"].as_u64().map_or("?".to_owned(), |line| line.to_string());
        format!("{}:{line}", layer["owner"]["name"].as_str().unwrap())
    };
    let mut lines: Vec<String> = Vec::new();
    for one in found["findings"].as_array().unwrap() {
        let [owner, kind, path] =
            [&one["owner"]["name"], &one["kind"], &one["path"]].map(|it| it.as_str().unwrap());
        let bytes = one["bytes"].as_u64().unwrap();
        if bytes < 100_000 && kind != "secret" {
            continue;
        }
        let by =
            if one["by"].is_null() { String::new() } else { format!(" by {}", place(&one["by"])) };
        let carried = one["carried_by"].as_u64().unwrap();
        lines.push(format!(
            "{owner} {kind} {path} {bytes} in {}{by}, {carried} more\n",
            place(&one["layer"])
        ));
    }
    lines.sort();
    project.shown(&lines.concat())
}

const PLANTED: &str = "\
~base documentation /usr/share/doc/x/manual 1000000 in ~base:3, 1 more
~cache deleted /var/lib/apt/lists/x 3000000 in ~cache:2 by ~cache:3, 0 more
~chmod rewritten /opt/big 50000000 in ~chmod:2 by ~chmod:3, 0 more
~chown rewritten /opt/tree/ 2000190 in ~chown:2 by ~chown:3, 0 more
~copied deleted /tmp/big 2000000 in ~copied:2 by ~copied:4, 0 more
~git version-control /app/.git/ 4000000 in ~git:2, 0 more
~leaf deleted /opt/big 6000000 in ~base:2 by ~leaf:2, 0 more
~secret secret /app/.env 8 in ~secret:2 by ~secret:3, 0 more
~three deleted /compiler 20000000 in ~three:2 by ~three:4, 0 more
~twice duplicate /b 5000000 in ~twice:3, 0 more
";

#[test]
fn planted_waste_is_found_and_the_proposed_edit_removes_it() {
    in_both_places(stories, |project, place| {
        project.rebuilt(place);
        let first = project.rebuild("waste --format json").to(place).run().exits(0);
        assert!(
            first.stderr.starts_with("read ") && first.stderr.ends_with(" layers\n"),
            "{first}"
        );
        let first: Value = serde_json::from_str(&first.stdout).unwrap();
        assert_eq!(told(project, &first), PLANTED);
        let again = project.rebuild("waste --format json").to(place).run().exits(0);
        assert!(!again.stderr.contains("read "), "{again}");
        assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap(), first);

        // Every proposed line of these images, at its place.
        let mut edits = 0;
        for one in first["findings"].as_array().unwrap() {
            let [file, text] = ["file", "text"].map(|key| one["write"][key].as_str());
            let (Some(file), Some(text)) = (file, text) else { continue };
            if text.contains('…') || one["bytes"].as_u64().unwrap() < 100_000 {
                continue;
            }
            let path = project.path(file);
            let old = fs::read_to_string(&path).unwrap_or_default();
            let mut lines: Vec<&str> = old.lines().collect();
            match one["write"]["line"].as_u64() {
                Some(line) => lines[usize::try_from(line).unwrap() - 1] = text,
                None => lines.push(text),
            }
            fs::write(path, lines.join("\n") + "\n").unwrap();
            edits += 1;
        }
        assert_eq!(edits, 6, "{first}");
        // What the joined and changed instructions do is left out below.
        for (image, gone) in [
            ("chmod", "RUN chmod 755 /opt/big\n"),
            ("chown", "RUN chown -R 7:8 /opt/tree\n"),
            ("three", "RUN sha256sum /compiler >/result\nRUN rm /compiler\n"),
            ("cache", "RUN rm -rf /var/lib/apt/lists\n"),
        ] {
            project.edit(&format!("{image}/Dockerfile"), gone, "");
        }
        project.rebuilt(place);
        let ended = project.rebuild("waste --format json").to(place).run().exits(0);
        let after: Value = serde_json::from_str(&ended.stdout).unwrap();
        let left = told(project, &after);
        for line in left.lines() {
            assert!(
                ["~base ", "~copied ", "~leaf ", "~secret "]
                    .iter()
                    .any(|image| line.starts_with(image)),
                "{left}"
            );
        }
        let ended = project.rebuild("waste").to(place).run().exits(0);
        assert!(ended.stdout.contains("looks like a secret"), "{ended}");
    });
}

#[test]
fn one_change_reads_one_layer() {
    let registry = Registry::start();
    let project = Project::new();
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    found(&project, place, "");
    project.write("tool/Dockerfile", "FROM ~os\nRUN echo another >/tool\n");
    project.rebuilt(place);
    let ended = project.rebuild("waste --format json").to(place).run().exits(0);
    ended.says(&["read 1 layer\n"]);
    // Without the cache, or with a damaged one, everything is read again.
    let script = project.name("rm -r \"$XDG_STATE_HOME\"/rebuild/*/layers; rebuild waste ~app");
    let waste = project.shell(&project.path(""), &script);
    let ended = waste.to(place).run().exits(0);
    assert!(ended.stderr.contains("layers"), "{ended}");
}

/// A plain run compares the files of a base, but for lists and caches.
#[test]
fn a_base_without_its_lists_is_published() {
    in_both_places(Project::empty, |project, place| {
        let entries = "  ~os: { context: os }\n  ~app: { context: app }\n";
        project.write("hierarchy.yaml", &format!("version: 1\nimages:\n{entries}"));
        project.write_os();
        project.write("app/Dockerfile", "FROM ~os\nCOPY a /a\n");
        project.write("app/a", "a");
        let os = fs::read_to_string(project.path("os/Dockerfile")).unwrap();
        let fill = "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"\
                    b=/bin/busybox; $b mkdir -p /var/lib/apt/lists && \
                    $b head -c 300000 /dev/urandom >/var/lib/apt/lists/x";
        project.write("os/Dockerfile", &format!("{os}\n{fill}\"]\n"));
        project.rebuilt(place);
        let before = found(project, place, "~os");
        assert_eq!(before["nodes"][0]["wasted"], 300_000, "{before}");
        let clean = " && $b rm -r /var/lib/apt/lists/x\"]\n";
        project.write("os/Dockerfile", &format!("{os}\n{fill}{clean}"));
        project.rebuilt(place);
        let after = found(project, place, "~os");
        assert_eq!(after["nodes"][0]["wasted"], 0, "{after}");
    });
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn upload(media_type: &str, blob: Vec<u8>, tar: &[u8]) -> LayerUpload {
    let media_type = format!("application/vnd.oci.image.layer.{media_type}");
    LayerUpload { media_type, blob, diff_id: rebuild::image::Digest::of(tar) }
}

/// A project of one image, which was pushed to the registry by another program.
fn pushed(registry: &Registry, layers: &[LayerUpload]) -> Project {
    let project = Project::empty();
    project.write("hierarchy.yaml", "version: 1\nimages:\n  ~os: { context: os }\n");
    project.write("os/Dockerfile", "FROM scratch\nCOPY a /\n");
    project.write("os/a", "a");
    registry.push_layers(&format!("demo/{}", project.name("~os")), "latest", layers);
    project
}

#[test]
fn compressed_layers_and_layers_that_cannot_be_read() {
    let registry = Registry::start();
    let place = Place::Registry(&registry);
    let base = tar(&[("opt/big", &vec![7; 200_000])]);
    let above = tar(&[("opt/big", &vec![8; 100_000]), (".wh.x", b"")]);
    let zstd =
        ruzstd::encoding::compress_to_vec(&above[..], ruzstd::encoding::CompressionLevel::Fastest);
    let good = |name: &str, blob: Vec<u8>| {
        [upload("v1.tar+gzip", gzip(&base), &base), upload(name, blob, &above)]
    };
    for layers in [
        good("v1.tar", above.clone()),
        good("v1.tar+zstd", zstd.clone()),
        // Its media type is wrong.
        good("v1.tar+gzip", zstd.clone()),
    ] {
        let project = pushed(&registry, &layers);
        let found = found(&project, place, "");
        let lines = "~os replaced /opt/big 200000 in ~os:? by ~os:?, 0 more\n";
        assert_eq!(told(&project, &found), lines);
    }
    let foreign = upload("nondistributable.v1.tar", above.clone(), &above);
    let cut = gzip(&above)[..100].to_vec();
    let xz = b"\xfd7zXZ\0 and so on".to_vec();
    for (layer, problem) in [
        (upload("v1.tar+gzip", cut, &above), "is damaged: "),
        (upload("v1.tar", above[..50_000].to_vec(), &above), "is damaged: the archive is cut off"),
        (upload("v1.tar", b"not a tar".to_vec(), &above), "is damaged: the archive is cut off"),
        (upload("v1.tar+zstd", zstd[..40].to_vec(), &above), "is damaged: "),
        (
            upload("v1.tar", xz, &above),
            "is damaged: a layer compressed with xz, which is not supported",
        ),
        (
            foreign,
            "is of the type `application/vnd.oci.image.layer.nondistributable.v1.tar`, which registries do not store",
        ),
    ] {
        let [first, _] = good("v1.tar", above.clone());
        let project = pushed(&registry, &[first, layer]);
        let ended = project.rebuild("waste").to(place).run().exits(21);
        let said = project.shown(&ended.stderr);
        assert!(
            said.contains("`~os` could not be read: the layer ") && said.contains(problem),
            "{ended}"
        );
        assert!(ended.stdout.contains("no image that could be read is published"), "{ended}");
    }
}

/// A file of 1 GB of zeros is less than 1 MB in the registry, and passes without being in memory.
#[test]
fn a_large_file_passes_in_little_memory() {
    const SIZE: u64 = 1 << 30;
    let registry = Registry::start();
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(SIZE);
    header.set_mode(0o644);
    header.set_cksum();
    // Members of gzip may follow each other.
    let zeros = gzip(&vec![0; 1 << 24]);
    let mut blob = gzip(header.as_bytes());
    (0..SIZE >> 24).for_each(|_| blob.extend_from_slice(&zeros));
    blob.extend(gzip(&[0; 1024]));
    assert!(blob.len() < 8 << 20);
    let layer = upload("v1.tar+gzip", blob, b"any");
    let project = pushed(&registry, &[layer]);
    let limited = project.shell(&project.path(""), "ulimit -v 600000; rebuild waste --format json");
    let ended = limited.to(Place::Registry(&registry)).run().exits(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found["nodes"][0]["files"], SIZE);
}
