//! The archives that engines load: `POST /images/load`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    FlatImage, gzipped,
    spool::{Interrupt, SpooledTar},
};
use crate::{
    flatten::FlatFile,
    image::{Digest, Tagged},
    layers::malformed,
};

/// The file that names the version of an OCI layout: <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>.
const LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What an engine reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum LoadFormat {
    /// `docker save` of Docker 1.10 and later: `manifest.json` with uncompressed layers.
    ///
    /// A storage driver of Docker does not read layers that it has. Podman needs all of them.
    Docker { with_kept: bool },
    /// An OCI layout with compressed layers: containerd's image store pushes what was loaded. It has the layers that
    /// stay, compressed as they were pulled or built, so that the archive leaves them out.
    Oci,
}

/// A file of an archive.
enum Member<'a> {
    Tar(String, &'a SpooledTar),
    Document(String, Vec<u8>),
}

impl FlatImage {
    /// Writes the archive that an engine loads under this name.
    pub(in crate::engine) fn write(
        &self,
        (format, name): (LoadFormat, &Tagged),
        interrupt: &Interrupt,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match format {
            LoadFormat::Docker { with_kept } => {
                let mut members = Vec::new();
                let file = |digest: &Digest| format!("{}.tar", digest.hex());
                let kept = self.kept.iter().filter(|_| with_kept);
                for (number, (digest, tar)) in kept.enumerate() {
                    // One layer may be there twice.
                    if self.kept[..number].iter().all(|(before, _)| before != digest) {
                        members.push(Member::Tar(file(digest), tar));
                    }
                }
                members.push(Member::Tar(file(&self.layer.0), &self.layer.1));
                let config = format!("{}.json", Digest::of(&self.config).hex());
                let layers: Vec<String> = self.layers.iter().map(file).collect();
                let list = json!([
                    { "Config": config, "RepoTags": [name.to_string()], "Layers": layers }
                ]);
                members.push(Member::Document(config, self.config.clone()));
                members.push(Member::Document("manifest.json".to_owned(), text(&list)?));
                write(&members, out)
            }
            LoadFormat::Oci => {
                let packed = gzipped(&self.layer.1, interrupt)?;
                let manifest = text(&self.manifest(&packed)?)?;
                let index = self.index(&manifest, name);
                let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
                let members = [
                    Member::Document(LAYOUT.0.to_owned(), LAYOUT.1.to_vec()),
                    Member::Tar(blob(&packed.0), &packed.1),
                    Member::Document(blob(&Digest::of(&self.config)), self.config.clone()),
                    Member::Document(blob(&Digest::of(&manifest)), manifest),
                    Member::Document("index.json".to_owned(), text(&index)?),
                ];
                write(&members, out)
            }
        }
    }

    /// The original's with other layers and another configuration.
    fn manifest(&self, (digest, tar): &(Digest, SpooledTar)) -> io::Result<Value> {
        let missing = || malformed("an archive without the image's manifest");
        let mut manifest = self.manifest.clone().ok_or_else(missing)?;
        let is_docker = manifest["mediaType"].as_str().is_some_and(|kind| kind.contains("docker"));
        let kind = if is_docker { DOCKER_LAYER } else { OCI_LAYER };
        let layers = manifest["layers"].as_array_mut().ok_or_else(missing)?;
        layers.truncate(self.kept.len());
        layers.push(json!({ "mediaType": kind, "digest": digest.as_str(), "size": tar.size() }));
        manifest["config"]["digest"] = Digest::of(&self.config).as_str().into();
        manifest["config"]["size"] = self.config.len().into();
        Ok(manifest)
    }

    fn index(&self, manifest: &[u8], name: &Tagged) -> Value {
        let kind = self.manifest.as_ref().map(|manifest| manifest["mediaType"].clone());
        let kind = kind.filter(Value::is_string).unwrap_or_else(|| OCI_MANIFEST.into());
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{
                "mediaType": kind,
                "digest": Digest::of(manifest).as_str(),
                "size": manifest.len(),
                "annotations": {
                    // containerd's name for the name of an image.
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.tag.as_str(),
                },
            }],
        })
    }
}

fn text(value: &Value) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn write(members: &[Member<'_>], out: &mut impl Write) -> io::Result<()> {
    for member in members {
        let (path, size) = match member {
            Member::Tar(path, tar) => (path, tar.size()),
            Member::Document(path, content) => (path, content.len() as u64),
        };
        out.write_all(&FlatFile::<()>::document(size).header(path.as_bytes()))?;
        match member {
            Member::Tar(_, tar) => tar.copy(0, size, out)?,
            Member::Document(_, content) => out.write_all(content)?,
        }
        let rest = size.next_multiple_of(512) - size;
        out.write_all(&vec![0; usize::try_from(rest).unwrap_or_default()])?;
    }
    out.write_all(&[0; 1024])
}
