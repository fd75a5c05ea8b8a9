//! Oracle: an image as `docker save` gives it.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tar::Archive;

use super::{folder, project::docker};

pub(crate) struct Saved {
    pub(crate) config: Value,
    /// The uncompressed tars of its layers, the lowest first.
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Saved {
    pub(crate) fn of(image: &str) -> Self {
        let folder = folder();
        let path = folder.path().join("image.tar");
        docker(&["save", "--output", path.to_str().unwrap(), image]).unwrap();
        let files = files(&path);
        let list: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config = list[0]["Config"].as_str().unwrap();
        let layers = list[0]["Layers"].as_array().unwrap();
        let layer = |name: &Value| unpacked(&files[name.as_str().unwrap()]);
        Self {
            config: serde_json::from_slice(&files[config]).unwrap(),
            layers: layers.iter().map(layer).collect(),
        }
    }

    /// The digests of the layers.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        let all = self.config["rootfs"]["diff_ids"].as_array().unwrap();
        all.iter().map(|digest| digest.as_str().unwrap().to_owned()).collect()
    }

    /// The steps of its history that have a layer.
    pub(crate) fn steps(&self) -> Vec<String> {
        let all = self.config["history"].as_array().unwrap().iter();
        let steps = all.filter(|step| step["empty_layer"] != true);
        steps.map(|step| step["created_by"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// The bytes of the layers of images, each once for each sequence of layers below it.
pub(crate) fn stored_once(images: &[String]) -> u64 {
    let mut found: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for image in images {
        let saved = Saved::of(image);
        let ids = saved.diff_ids();
        for (number, layer) in saved.layers.iter().enumerate() {
            found.insert(ids[..=number].to_vec(), layer.len() as u64);
        }
    }
    found.values().sum()
}

/// The entries of a tar as lines: type, path, mode, owner, time, target, extended attributes and content.
pub(crate) fn entries(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let attributes: Vec<String> =
            entry.pax_extensions().unwrap().map_or_else(Vec::new, |all| {
                let all = all.map(Result::unwrap);
                let named = all.filter(|record| record.key_bytes().starts_with(b"SCHILY.xattr."));
                named
                    .map(|record| {
                        let (key, value) =
                            (record.key().unwrap(), record.value_bytes().escape_ascii());
                        format!(" {key}={value}")
                    })
                    .collect()
            });
        let header = entry.header();
        let kind = char::from(header.entry_type().as_byte());
        let (mode, user, group) =
            (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let time = header.mtime().unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let target = entry.link_name_bytes();
        let target = target.map(|target| format!(" -> {}", String::from_utf8_lossy(&target)));
        let device = if kind == '3' {
            let number = |number: std::io::Result<Option<u32>>| number.unwrap().unwrap();
            let header = entry.header();
            format!(" {}:{}", number(header.device_major()), number(header.device_minor()))
        } else {
            String::new()
        };
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let content = if content.is_empty() { content } else { format!(" {content:?}") };
        format!(
            "{kind} {path}{}{device} {mode:o} {user}:{group} {time}{content}{}",
            target.unwrap_or_default(),
            attributes.concat()
        )
    });
    entries.collect()
}

fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut links = Vec::new();
    let mut archive = Archive::new(File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        if let Some(target) = entry.link_name().unwrap() {
            // Docker 20.10 links a layer to the same one in another folder.
            let target = target.to_str().unwrap().trim_start_matches("../").to_owned();
            links.push((path, target));
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(path, content);
    }
    for (path, target) in links {
        if let Some(content) = files.get(&target).cloned() {
            files.insert(path, content);
        }
    }
    files
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    if !layer.starts_with(&[0x1f, 0x8b]) {
        return layer.to_vec();
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(layer).read_to_end(&mut unpacked).unwrap();
    unpacked
}
