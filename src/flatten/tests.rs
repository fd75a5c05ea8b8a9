//! Layers are written as lines: `d a mode=700`, `- a/b is=text`, `h c to=a/b`, `w a` (whiteout), `o a` (opaque).

use std::{collections::BTreeMap, fmt::Write as _, io::Read as _, sync::Arc};

use ::tar::{Builder, EntryType, Header};

use super::{listing::FlatFile, *};
use crate::{
    image::Digest,
    layers::{Entries, EntryEffect},
};

type Content = Vec<u8>;
/// A file, and every path that is a link to it.
type FileWithLinks = (FlatFile<Content>, Vec<Vec<u8>>);

fn tar(lines: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (kind, path) = (words.next().unwrap(), words.next().unwrap());
        let mut header = Header::new_ustar();
        header.set_mode(if kind == "d" { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let mut content = String::new();
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for (key, value) in words.map(|word| word.split_once('=').unwrap()) {
            match key {
                "is" => value.clone_into(&mut content),
                "to" => header.set_link_name(value).unwrap(),
                "mode" => header.set_mode(u32::from_str_radix(value, 8).unwrap()),
                "user" if value.len() > 7 => records.push(("uid".into(), value.into())),
                "user" => header.set_uid(value.parse().unwrap()),
                "time" if value.contains('.') => records.push(("mtime".into(), value.into())),
                "time" => header.set_mtime(value.parse().unwrap()),
                "major" => header.set_device_major(value.parse().unwrap()).unwrap(),
                "minor" => header.set_device_minor(value.parse().unwrap()).unwrap(),
                "xattr" => {
                    let value = value.replace("\\n", "\n").into_bytes();
                    records.push(("SCHILY.xattr.security.capability".into(), value));
                }
                _ => panic!("{key}"),
            }
        }
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(a, b)| (a, b));
        let slash = if folder.is_empty() { "" } else { "/" };
        let path = match kind {
            "w" => format!("{folder}{slash}.wh.{name}"),
            "o" if path == "." => ".wh..wh..opq".to_owned(),
            "o" => format!("{path}/.wh..wh..opq"),
            _ => path.to_owned(),
        };
        header.set_entry_type(match kind {
            "-" | "w" | "o" => EntryType::Regular,
            "d" => EntryType::Directory,
            "l" => EntryType::Symlink,
            "h" => EntryType::Link,
            "c" => EntryType::Char,
            "p" => EntryType::Fifo,
            other => panic!("{other}"),
        });
        records.push(("path".into(), path.into_bytes()));
        let records = records.iter().map(|(key, value)| (key.as_str(), &value[..]));
        tar.append_pax_extensions(records).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn listing(tar: &[u8]) -> FlatListing<Content> {
    let mut entries = Entries::new(tar);
    let content = |entries: &mut Entries<&[u8]>| {
        let mut content = Vec::new();
        entries.read_to_end(&mut content).map(|_| content)
    };
    FlatListing::read(&mut entries, content).unwrap()
}

/// The tar of the layers above the lowest `kept` as one.
fn flattened(layers: &[Vec<u8>], kept: usize) -> std::io::Result<Vec<u8>> {
    let mut tree = FlatTree::default();
    for (number, layer) in layers.iter().enumerate() {
        if number == kept {
            tree.begin_own();
        }
        tree.add(listing(layer))?;
    }
    let layer = tree.into_layer();
    let mut out = Vec::new();
    layer.write(&mut out, |content, (offset, size), out| {
        let offset = usize::try_from(offset).unwrap();
        out.extend(&content[offset..offset + usize::try_from(size).unwrap()]);
        Ok(())
    })?;
    assert_eq!(out.len() as u64, layer.size(), "the size is known before");
    let read: Vec<FlatLayerRead> =
        layers.iter().map(|layer| FlatLayerRead::new(&layer[..]).unwrap()).collect();
    let measured = measure_flat(&read.iter().collect::<Vec<_>>(), kept).unwrap();
    assert_eq!(measured.flat, layer.size(), "the size is known without content");
    assert_eq!(measured.layers, layers.iter().map(|layer| layer.len() as u64).collect::<Vec<_>>());
    assert_eq!(read[0].digest, Digest::of(&layers[0]));
    Ok(out)
}

/// A tar as lines, without what is as usual.
fn told(tar: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut entries = Entries::new(tar);
    while let Some(header) = entries.next().unwrap() {
        let mut content = String::new();
        entries.read_to_string(&mut content).unwrap();
        let (letter, usual) = match header.kind() {
            EntryType::Directory => ("d", 0o755),
            EntryType::Symlink => ("l", 0o777),
            EntryType::Link => ("h", header.mode().unwrap()),
            EntryType::Char => ("c", 0o644),
            EntryType::Fifo => ("p", 0o644),
            _ => ("-", 0o644),
        };
        let show = |path: &[u8]| path.escape_ascii().to_string();
        let mut line = match EntryEffect::of(&header).unwrap().unwrap() {
            EntryEffect::Whiteout { path } => format!("w {}", show(&path)),
            EntryEffect::Opaque { folder } => format!("o {}", show(&folder)),
            EntryEffect::HardLink { path, target } => {
                format!("h {} to={}", show(&path), show(&target))
            }
            EntryEffect::Put { path } => format!("{letter} {}", show(&path)),
        };
        if header.kind() == EntryType::Symlink {
            write!(line, " to={}", show(&header.target)).unwrap();
        }
        if header.kind() == EntryType::Char {
            write!(line, " device={:?}", header.device().unwrap()).unwrap();
        }
        if !content.is_empty() {
            write!(line, " is={content}").unwrap();
        }
        if header.mode().unwrap() != usual {
            write!(line, " mode={:o}", header.mode().unwrap()).unwrap();
        }
        if header.user != 0 {
            write!(line, " user={}", header.user).unwrap();
        }
        if !["0", "1"].contains(&header.modified.as_str()) {
            write!(line, " time={}", header.modified).unwrap();
        }
        for (key, value) in &header.attributes {
            write!(line, " {}={}", show(key), show(value)).unwrap();
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn flat(layers: &[&str], kept: usize) -> String {
    let layers: Vec<Vec<u8>> = layers.iter().map(|lines| tar(lines)).collect();
    flattened(&layers, kept).map_or_else(|error| format!("error: {error}"), |tar| told(&tar))
}

#[test]
fn the_layers_of_an_image_become_one() {
    let base = "d a\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3\n- a-b is=4";
    for (layers, expected) in [
        (&["- a is=1"][..], "- a is=1"),
        (&["- a is=1", "- b is=2"], "- a is=1\n- b is=2"),
        (&["- b is=1\n- a is=2"], "- a is=2\n- b is=1"),
        (&["- a is=1", "- a is=2"], "- a is=2"),
        (&["- a is=1", "w a"], ""),
        (&["- ./a is=1", "- /a is=2"], "- a is=2"),
        (&[base, "w a"], "- a-b is=4"),
        (&[base, "w a/d"], "d a\n- a-b is=4\n- a/b is=1\n- a/c is=2"),
        (&[base, "o a\nd a mode=700\n- a/f"], "d a mode=700\n- a-b is=4\n- a/f"),
        (&[base, "d a\n- a/f\no a"], "d a\n- a-b is=4\n- a/f"),
        (&[base, "o .\n- z"], "- z"),
        (&[base, "- a is=x"], "- a is=x\n- a-b is=4"),
        (&[base, "w nothing"], "d a\n- a-b is=4\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3"),
        // Metadata of a folder is of its last entry, and its content stays.
        (&["d a mode=700\n- a/b", "d a user=7 time=9"], "d a user=7 time=9\n- a/b"),
        // A folder that no layer describes.
        (&["- a/b is=1"], "d a\n- a/b is=1"),
        (&["- a is=1", "- a/b is=2"], "d a\n- a/b is=2"),
        (&["- a/b is=1", "w a/b"], "d a"),
        // Metadata.
        (
            &["- a is=1 mode=4755 user=3000000000 time=1700000000.25 xattr=x\\ny"],
            "- a is=1 mode=4755 user=3000000000 time=1700000000.25 security.capability=x\\ny",
        ),
        (&["c a major=1 minor=3\np b\nl c to=../x"], "c a device=(1, 3)\np b\nl c to=../x"),
        // Hard links.
        (&["- a is=1\nh b to=a"], "- a is=1\nh b to=a"),
        (&["- b is=1\nh a to=b"], "- a is=1\nh b to=a"),
        (&["- a is=1", "h b to=a"], "- a is=1\nh b to=a"),
        (&["- a is=1\nh b to=a\nh c to=a", "w a"], "- b is=1\nh c to=b"),
        (&["- a is=1\nh b to=a", "- a is=2"], "- a is=2\n- b is=1"),
        (&["- a is=1\nh b to=a", "- a is=2\nh c to=b"], "- a is=2\n- b is=1\nh c to=b"),
        (&["l a to=x\nh b to=a"], "l a to=x\nh b to=a"),
        (&["- a", "w a\n- b\nh c to=b"], "- b\nh c to=b"),
    ] {
        assert_eq!(flat(layers, 0), expected, "{layers:?}");
    }
}

#[test]
fn own_layers_keep_their_whiteouts() {
    let base = "d a\n- a/b is=1\n- a/c is=2\nd a/d\n- a/d/e is=3\n- f is=4";
    for (own, expected) in [
        (&["- x is=1", "- y is=2"][..], "- x is=1\n- y is=2"),
        (&["- x is=1", "w x"], ""),
        (&["w a/b"], "w a/b"),
        (&["w a"], "w a"),
        (&["w a/d", "w a"], "w a"),
        (&["w nothing"], ""),
        (&["w f", "- f is=9"], "- f is=9"),
        (&["- f is=9", "w f"], "w f"),
        // A folder again, with nothing of the one before.
        (&["w a", "d a\n- a/n"], "d a\no a\n- a/n"),
        (&["- a is=1", "d a\n- a/n"], "d a\no a\n- a/n"),
        (&["o a\nd a mode=700\n- a/n"], "d a mode=700\no a\n- a/n"),
        (&["o a\nd a\n- a/b is=7"], "d a\no a\n- a/b is=7"),
        (&["w a", "- a/n"], "d a\no a\n- a/n"),
        (&["w a/d", "d a/d"], "d a/d\nw a/d/e"),
        (&["d a mode=700"], "d a mode=700"),
        (&["- a is=1"], "- a is=1"),
        (&["w f", "- f/x"], "d f\n- f/x"),
        // A link to a file below is the file: engines cannot link to another layer.
        (&["h l to=f", "w f"], "w f\n- l is=4"),
        (&["h l to=f"], "- l is=4"),
        (&["h l to=f\nh m to=f"], "- l is=4\nh m to=l"),
    ] {
        let all: Vec<&str> = [&[base][..], own].concat();
        assert_eq!(flat(&all, 1), expected, "{own:?}");
    }
}

#[test]
fn layers_that_engines_do_not_make() {
    for (layer, expected) in [
        ("h a to=b", "error: `a`, a link to `b`, which is not a file"),
        ("d b\nh a to=b", "error: `a`, a link to `b`, which is not a file"),
        ("- .", "error: a root that is not a folder"),
    ] {
        assert_eq!(flat(&[layer], 0), expected, "{layer}");
    }
}

#[test]
fn long_paths_and_large_numbers_are_in_records() {
    let long = "x/".repeat(60) + "y";
    let lines = format!("- {long} is=1\nl s to={}", "t".repeat(100));
    let told = flat(&[&lines], 0);
    assert!(told.starts_with(&format!("l s to={}\nd x\n", "t".repeat(100))), "{told}");
    assert!(told.ends_with(&format!("- {long} is=1")), "{told}");
    let file = FlatFile::<()>::document(9 << 30);
    let header = file.header(b"a");
    assert!(header.windows(15).any(|bytes| bytes == b"size=9663676416"));
}

/// One file of 32 KiB with two parts of data, in each format of GNU tar.
#[test]
fn files_with_holes_are_whole() {
    const SIZE: usize = 32 << 10;
    let mut whole = vec![0; SIZE];
    whole[4096..4096 + 512].fill(b'a');
    whole[20_480..20_480 + 100].fill(b'b');
    let data = [&whole[4096..4096 + 512], &whole[20_480..20_480 + 100]].concat();
    let entry = |records: &[(&str, &str)], map: &[u8]| {
        let mut tar = Builder::new(Vec::new());
        let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
        tar.append_pax_extensions(records).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("GNUSparseFile.0/f").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let content = [map, &data].concat();
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, &content[..]).unwrap();
        tar.into_inner().unwrap()
    };
    let mut map = b"2\n4096\n512\n20480\n100\n".to_vec();
    map.resize(512, 0);
    let one = entry(
        &[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "f"),
            ("GNU.sparse.realsize", "32768"),
        ],
        &map,
    );
    let older = entry(
        &[
            ("GNU.sparse.size", "32768"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.map", "4096,512,20480,100"),
            ("GNU.sparse.name", "f"),
        ],
        b"",
    );
    let mut header = Header::new_gnu();
    header.set_path("f").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    for (slot, (offset, length)) in gnu.sparse.iter_mut().zip([(4096, 512), (20_480, 100)]) {
        slot.offset[..11].copy_from_slice(format!("{offset:011o}").as_bytes());
        slot.numbytes[..11].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    gnu.realsize[..11].copy_from_slice(format!("{SIZE:011o}").as_bytes());
    header.set_cksum();
    let mut old = Builder::new(Vec::new());
    old.append(&header, &data[..]).unwrap();
    let old = old.into_inner().unwrap();
    for (format, layer) in [("1.0", one), ("0.1", older), ("old", old)] {
        let flat = flattened(&[layer], 0).unwrap();
        let mut entries = Entries::new(&flat[..]);
        let header = entries.next().unwrap().unwrap();
        assert_eq!((&header.path[..], header.size), (&b"f"[..], SIZE as u64), "{format}");
        let mut content = Vec::new();
        entries.read_to_end(&mut content).unwrap();
        assert!(content == whole, "{format}");
    }
}

#[test]
fn the_order_in_a_layer_changes_nothing() {
    let one = flat(&["d a\n- a/b is=1\nd c\n- c/d is=2", "w c\n- a/e"], 0);
    let other = flat(&["d c\n- c/d is=2\nd a\n- a/b is=1", "- a/e\nw c"], 0);
    assert_eq!(one, other);
}

/// What is at each path: equal for equal files, with the hard links of each file.
fn files(layers: &[Vec<u8>]) -> BTreeMap<Vec<u8>, FileWithLinks> {
    let mut tree = FlatTree::default();
    for layer in layers {
        tree.add(listing(layer)).unwrap();
    }
    let files: BTreeMap<Vec<u8>, Arc<FlatFile<Content>>> = tree.files();
    let links = |file: &Arc<FlatFile<Content>>| {
        let same = files.iter().filter(|(_, other)| Arc::ptr_eq(file, other));
        same.map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    files.iter().map(|(path, file)| (path.clone(), ((**file).clone(), links(file)))).collect()
}

/// A random layer of few paths, so that layers have much to say about each other.
fn random_layer(random: &mut fastrand::Rng) -> String {
    let path = |random: &mut fastrand::Rng| {
        let depth = random.usize(1..4);
        (0..depth).map(|_| ["a", "b", "c"][random.usize(..3)]).collect::<Vec<_>>().join("/")
    };
    let (mut lines, mut files) = (Vec::new(), Vec::<String>::new());
    for _ in 0..random.usize(1..6) {
        let path = path(random);
        lines.push(match random.usize(..9) {
            0 | 1 => format!("w {path}"),
            2 => format!("o {path}"),
            3 | 4 => format!("d {path} mode=7{}0", random.usize(..8)),
            5 if !files.is_empty() => format!("h {path} to={}", files[random.usize(..files.len())]),
            6 => format!("l {path} to=x{}", random.usize(..9)),
            _ => {
                files.push(path.clone());
                format!("- {path} is={}", random.usize(..99))
            }
        });
        // Nothing below a file is linked to after it was replaced.
        files.retain(|file| {
            !file.starts_with(&format!("{path}/")) && !path.starts_with(&format!("{file}/"))
        });
        if !lines.last().unwrap().starts_with("- ") {
            files.retain(|file| *file != path);
        }
    }
    lines.join("\n")
}

#[test]
fn one_layer_has_the_effect_of_all() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..1000 {
        let count = random.usize(2..6);
        let text: Vec<String> = (0..count).map(|_| random_layer(&mut random)).collect();
        let layers: Vec<Vec<u8>> = text.iter().map(|lines| tar(lines)).collect();
        let kept = random.usize(..count);
        let flat = flattened(&layers, kept).unwrap();
        let mut result = layers[..kept].to_vec();
        result.push(flat.clone());
        let (before, mut after) = (files(&layers), files(&result));
        // Links to files of the kept layers are copies.
        if kept > 0 {
            for (path, (_, links)) in &before {
                let Some((_, found)) = after.get_mut(path) else { continue };
                assert!(found.iter().all(|link| links.contains(link)), "{round}: {text:#?}");
                links.clone_into(found);
            }
        }
        assert_eq!(before, after, "round {round}, {kept} kept: {text:#?}\n{}", told(&flat));
        assert_eq!(flattened(&layers, kept).unwrap(), flat, "the same each time");
        // One more time changes nothing.
        assert_eq!(flattened(&result, kept).unwrap(), flat, "round {round}");
    }
}

#[test]
fn history_and_layers_of_a_configuration_fit() {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let config = |history: &str| {
        format!(
            r#"{{"created":"2026-11-20T12:00:00Z","config":{{"Labels":{{"a":"<b>"}},"Healthcheck":{{"Test":["CMD","x"],"Interval":30000000000}}}},"moby.buildkit.cache.v0":"x","history":{history},"rootfs":{{"type":"layers","diff_ids":["{}","{}","{}"]}}}}"#,
            digest("1"),
            digest("2"),
            digest("3")
        )
    };
    let steps = r#"[{"created_by":"ADD"},{"created_by":"ENV","empty_layer":true},{"created_by":"RUN 1"},{"created_by":"RUN 2"},{"created_by":"CMD","empty_layer":true}]"#;
    let told = |history: &str, kept: usize| {
        let layer = &digest("flat");
        let (text, layers) =
            flat_config(config(history).as_bytes(), FlatConfig { kept, layer }).unwrap();
        assert_eq!(layers.len(), kept + 1);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["rootfs"]["diff_ids"][kept], layer.as_str());
        assert_eq!(value["config"]["Healthcheck"]["Interval"], 30_000_000_000_u64);
        assert_eq!(value["config"]["Labels"]["a"], "<b>");
        assert_eq!(value["moby.buildkit.cache.v0"], serde_json::Value::Null);
        let history = value["history"].as_array().unwrap().clone();
        let line = |entry: &serde_json::Value| {
            let empty = if entry["empty_layer"] == true { " empty" } else { "" };
            let comment =
                entry["comment"].as_str().map_or(String::new(), |text| format!(" ({text})"));
            format!("{}{empty}{comment}", entry["created_by"].as_str().unwrap_or("?"))
        };
        history.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        told(steps, 0),
        "ADD empty, ENV empty, RUN 1 empty, RUN 2 empty, CMD empty, rebuild: flatten (the 3 layers made one)"
    );
    assert_eq!(
        told(steps, 1),
        "ADD, ENV empty, RUN 1 empty, RUN 2 empty, CMD empty, rebuild: flatten (the 2 layers above its base made one)"
    );
    assert_eq!(told("[]", 1), "?, rebuild: flatten (the 2 layers above its base made one)");
    let error = flat_config(b"{}", FlatConfig { kept: 0, layer: &digest("x") }).unwrap_err();
    assert_eq!(error, "a configuration without `rootfs.diff_ids`");
}
