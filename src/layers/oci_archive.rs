//! Rewrites the archive of an exported image as an OCI archive, which scanners and `skopeo` read.
//!
//! Format: <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>. Layers are not compressed.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
};

use serde_json::{Value, json};

use super::{ArchivedFile, Hashed, each_file, malformed};
use crate::image::Digest;

const BLOCK: usize = 512;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Reads an exported archive with one image, and writes the same image to `out`, which is at its start.
pub fn oci_archive(archive: impl Read, out: &mut (impl Write + Seek)) -> io::Result<()> {
    let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut documents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    add(out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    each_file(archive, &mut |file| {
        match file {
            ArchivedFile::Layer(layer) => {
                let (digest, size) = add_layer(out, layer)?;
                sizes.insert(digest, size);
            }
            ArchivedFile::Document { path, content } => _ = documents.insert(path, content),
        }
        Ok(())
    })?;
    let parsed = |path: &str| -> io::Result<Value> {
        let text = documents.get(path).ok_or_else(|| malformed(format!("no `{path}`")))?;
        serde_json::from_slice(text).map_err(io::Error::other)
    };
    let list = parsed("manifest.json")?;
    let config_path = list[0]["Config"].as_str().unwrap_or_default();
    let config = parsed(config_path)?;
    let layers = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    let layers = layers.iter().map(|id| {
        let digest: Option<Digest> = id.as_str().and_then(|id| id.parse().ok());
        let size = digest.as_ref().and_then(|digest| sizes.get(digest));
        let size = size.ok_or_else(|| malformed(format!("an archive without the layer {id}")))?;
        Ok(json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": id, "size": size }))
    });
    let layers = layers.collect::<io::Result<Vec<Value>>>()?;
    let text = &documents[config_path];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": add_blob(out, text)?.as_str(),
            "size": text.len(),
        },
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": add_blob(out, &manifest)?.as_str(),
            "size": manifest.len(),
            "platform": { "architecture": config["architecture"], "os": config["os"] },
        }],
    });
    add(out, "index.json", &serde_json::to_vec(&index)?)?;
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

fn add_blob(out: &mut impl Write, content: &[u8]) -> io::Result<Digest> {
    let digest = Digest::of(content);
    add(out, &blob(&digest), content)?;
    Ok(digest)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn add(out: &mut impl Write, path: &str, content: &[u8]) -> io::Result<()> {
    out.write_all(&header(path, content.len() as u64)?)?;
    out.write_all(content)?;
    out.write_all(padding(content.len() as u64))
}

/// The name and the size of a layer are known at its end, so its header is written last.
fn add_layer(out: &mut (impl Write + Seek), layer: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let start = out.stream_position()?;
    out.write_all(&[0; BLOCK])?;
    let mut hashed = Hashed::new(layer);
    let size = io::copy(&mut hashed, out)?;
    let digest = hashed.finish()?;
    out.write_all(padding(size))?;
    let end = out.stream_position()?;
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&header(&blob(&digest), size)?)?;
    out.seek(SeekFrom::Start(end))?;
    Ok((digest, size))
}

fn header(path: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    Ok(*header.as_bytes())
}

fn padding(size: u64) -> &'static [u8] {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    &[0; BLOCK][..(BLOCK - over) % BLOCK]
}
