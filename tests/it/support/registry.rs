//! Debian's docker-registry on a free port, with its storage in a directory that goes away.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use rebuild::image::Digest;
use tempfile::TempDir;

use super::{certificates::Certificate, folder, http, is_installed, missing};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const ANY_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                            application/vnd.docker.distribution.manifest.list.v2+json, \
                            application/vnd.oci.image.manifest.v1+json, \
                            application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What the registry is to be like; the default takes everything from everybody, over plain HTTP.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// The only user and the password.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// Whether manifests may be deleted.
    pub(crate) delete: bool,
    pub(crate) tls: Option<&'a Certificate>,
    pub(crate) read_only: bool,
}

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    host: String,
    login: Option<(String, String)>,
    directory: TempDir,
    process: Child,
}

/// An image as the test pushed it.
pub(crate) struct Pushed {
    pub(crate) digest: Digest,
    pub(crate) manifest: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) config: Vec<u8>,
}

/// A layer that a test pushes.
pub(crate) struct LayerUpload {
    pub(crate) media_type: String,
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
}

/// An image that a test pushes; each text is the content of a layer.
#[derive(Clone, Copy)]
pub(crate) struct ImageUpload<'a> {
    pub(crate) layers: &'a [String],
    pub(crate) labels: &'a serde_json::Value,
    pub(crate) created: Option<&'a str>,
    pub(crate) architecture: &'a str,
}

impl Default for ImageUpload<'_> {
    fn default() -> Self {
        const NONE: &serde_json::Value = &serde_json::Value::Null;
        Self { layers: &[], labels: NONE, created: None, architecture: "amd64" }
    }
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub(crate) fn with(setup: &Setup<'_>) -> Self {
        for program in ["docker-registry", "htpasswd"] {
            if !is_installed(program) {
                missing(&format!("{program} is not installed"));
            }
        }
        let directory = folder();
        let file = directory.path().join("config.yml");
        fs::write(&file, configuration(setup, &directory)).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Port 0 lets the kernel choose, so that two tests never want the same; the log says which.
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let port = log.by_ref().map_while(Result::ok).find_map(|line| {
            let port = port_of(&line);
            seen.push(line);
            port
        });
        // The pipe is read to its end, or the registry would one day wait for us.
        thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let Some(port) = port else {
            _ = process.kill();
            _ = process.wait();
            panic!("docker-registry did not start:\n{}", seen.join("\n"));
        };
        let login = setup.login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Self { host: format!("127.0.0.1:{port}"), login, directory, process }
    }

    /// `127.0.0.1:port`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Oracle: the digest under a tag, as the registry's HTTP API says.
    pub(crate) fn head(&self, repository: &str, tag: &str) -> Option<String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("HEAD", &path, &[("Accept", ANY_MANIFEST)], b"");
        match answer.status {
            200 => Some(answer.header("Docker-Content-Digest").unwrap().to_owned()),
            404 => None,
            status => panic!("HEAD {path}: {status}"),
        }
    }

    /// Oracle: the manifest or the index under a tag or a digest, as it is.
    pub(crate) fn manifest(&self, repository: &str, tag: &str) -> Vec<u8> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("GET", &path, &[("Accept", ANY_MANIFEST)], b"");
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    /// Oracle: a blob.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        let answer = self.send("GET", &format!("/v2/{repository}/blobs/{digest}"), &[], b"");
        assert_eq!(answer.status, 200, "{digest}");
        answer.body
    }

    /// Oracle: the bytes of all blobs.
    pub(crate) fn stored(&self) -> u64 {
        let mut folders = vec![self.directory.path().to_owned()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.metadata().unwrap() {
                    found if found.is_dir() => folders.push(entry.path()),
                    found if entry.file_name() == "data" => bytes += found.len(),
                    _ => {}
                }
            }
        }
        bytes
    }

    /// Oracle: all tags of a repository, sorted; none if there is no such repository.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let answer = self.send("GET", &format!("/v2/{repository}/tags/list"), &[], b"");
        if answer.status == 404 {
            return Vec::new();
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let tags = body["tags"].as_array().cloned().unwrap_or_default();
        let mut tags: Vec<String> =
            tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// Oracle: the names of all repositories.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let answer = self.send("GET", "/v2/_catalog?n=1000", &[], b"");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let names = body["repositories"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Oracle: what is missing of the image under a tag: its manifest, its configuration, its layers.
    pub(crate) fn missing(&self, repository: &str, tag: &str) -> Vec<String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("GET", &path, &[("Accept", MANIFEST)], b"");
        if answer.status != 200 {
            return vec![path];
        }
        let manifest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        let blobs =
            layers.chain([&manifest["config"]]).map(|blob| blob["digest"].as_str().unwrap());
        let paths = blobs.map(|digest| format!("/v2/{repository}/blobs/{digest}"));
        paths.filter(|path| self.send("HEAD", path, &[], b"").status != 200).collect()
    }

    /// Oracle: the digests of the blobs of the layers of the image under a tag.
    pub(crate) fn layers(&self, repository: &str, tag: &str) -> Vec<String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("GET", &path, &[("Accept", MANIFEST)], b"");
        let manifest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
    }

    /// Oracle: the bytes of the tars of an image's layers, by the digests of their blobs.
    pub(crate) fn unpacked(&self, repository: &str, tag: &str) -> Vec<(String, u64)> {
        let layers = self.layers(repository, tag).into_iter();
        let sizes = layers.map(|digest| {
            let blob = self.blob(repository, &digest);
            let mut tar = Vec::new();
            flate2::read::MultiGzDecoder::new(&blob[..]).read_to_end(&mut tar).unwrap();
            (digest, tar.len() as u64)
        });
        sizes.collect()
    }

    /// Oracle: the configuration of the image under a tag.
    pub(crate) fn config(&self, repository: &str, tag: &str) -> serde_json::Value {
        let get = |path: String| -> serde_json::Value {
            let answer = self.send("GET", &path, &[("Accept", MANIFEST)], b"");
            assert_eq!(answer.status, 200, "{path}");
            serde_json::from_slice(&answer.body).unwrap()
        };
        let manifest = get(format!("/v2/{repository}/manifests/{tag}"));
        let config = manifest["config"]["digest"].as_str().unwrap();
        get(format!("/v2/{repository}/blobs/{config}"))
    }

    /// Pushes an image of one layer with this content, over raw HTTP: no engine takes part.
    pub(crate) fn push(&self, repository: &str, tag: &str, content: &str) -> Pushed {
        let (blob, diff_id) = (content.as_bytes().to_vec(), Digest::of(content.as_bytes()));
        let layer = LayerUpload { media_type: LAYER.to_owned(), blob, diff_id };
        let labels = serde_json::json!({ "content": content });
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.as_str()]},
        });
        self.push_image((repository, tag), &config, &[layer])
    }

    /// Pushes an image, with its labels and its time.
    pub(crate) fn push_upload(&self, at: (&str, &str), image: &ImageUpload<'_>) -> Pushed {
        let layer = |content: &String| {
            let (blob, diff_id) = (content.as_bytes().to_vec(), Digest::of(content.as_bytes()));
            LayerUpload { media_type: LAYER.to_owned(), blob, diff_id }
        };
        let layers: Vec<LayerUpload> = image.layers.iter().map(layer).collect();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut config = serde_json::json!({
            "architecture": image.architecture, "os": "linux", "config": {"Labels": image.labels},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        if let Some(created) = image.created {
            config["created"] = created.into();
        }
        self.push_image(at, &config, &layers)
    }

    /// Pushes an image of these layers.
    pub(crate) fn push_layers(&self, repository: &str, tag: &str, layers: &[LayerUpload]) {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Labels": {}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        self.push_image((repository, tag), &config, layers);
    }

    fn push_image(
        &self,
        (repository, tag): (&str, &str),
        config: &serde_json::Value,
        layers: &[LayerUpload],
    ) -> Pushed {
        let config = config.to_string().into_bytes();
        for layer in layers {
            self.upload(repository, &layer.blob);
        }
        self.upload(repository, &config);
        let layer = |LayerUpload { media_type, blob, .. }: &LayerUpload| {
            serde_json::json!({
                "mediaType": media_type, "size": blob.len(), "digest": Digest::of(blob).as_str(),
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": config.len(), "digest": Digest::of(&config).as_str()},
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("PUT", &path, &[("Content-Type", MANIFEST)], &manifest);
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let digest = Digest::of(&manifest);
        Pushed { digest, manifest, media_type: MANIFEST.to_owned(), config }
    }

    /// Puts what a tag shows under another one, too, with an annotation that makes a manifest of its own of it.
    pub(crate) fn copy(&self, repository: &str, from: &str, to: &str) {
        let path = |tag: &str| format!("/v2/{repository}/manifests/{tag}");
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let answer = self.send("GET", &path(from), &[("Accept", accept)], b"");
        let mut manifest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        manifest["annotations"] = serde_json::json!({ "copied-to": to });
        let bytes = manifest.to_string().into_bytes();
        let answer = self.send("PUT", &path(to), &[("Content-Type", accept)], &bytes);
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Points a tag at an image of its repository, as a person does with another tool. To be called from
    /// wherever the tests have it happen.
    pub(crate) fn by_hand(&self, repository: &str, tag: &str, digest: &str) -> impl Fn() + use<> {
        let path = |tag: &str| format!("/v2/{repository}/manifests/{tag}");
        let answer = self.send("GET", &path(digest), &[("Accept", ANY_MANIFEST)], b"");
        assert_eq!(answer.status, 200, "{}", path(digest));
        let media_type = answer.header("Content-Type").unwrap().to_owned();
        let (host, path, login) = (self.host.clone(), path(tag), self.login.clone());
        move || {
            let login = login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
            let headers = [("Content-Type", media_type.as_str())];
            let answer = http::send(&host, login, "PUT", &path, &headers, &answer.body);
            assert_eq!(answer.status, 201, "{path}");
        }
    }

    /// Points a tag at an index of images that the repository has, by platform.
    pub(crate) fn push_index(&self, repository: &str, tag: &str, members: &[(&str, &str)]) {
        let found = |digest: &str| {
            let path = format!("/v2/{repository}/manifests/{digest}");
            let found = self.send("GET", &path, &[("Accept", ANY_MANIFEST)], b"");
            assert_eq!(found.status, 200, "{path}");
            found
        };
        let members = members.iter().map(|(architecture, digest)| {
            // With containerd's image store, an engine pushes an index that begins with the image.
            let pushed: serde_json::Value = serde_json::from_slice(&found(digest).body).unwrap();
            let digest = pushed["manifests"][0]["digest"].as_str().unwrap_or(digest);
            let found = found(digest);
            serde_json::json!({
                "mediaType": found.header("Content-Type").unwrap(), "digest": digest, "size": found.body.len(),
                "platform": {"os": "linux", "architecture": architecture},
            })
        });
        let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "manifests": members.collect::<Vec<_>>(),
        });
        let (index, path) = (index.to_string(), format!("/v2/{repository}/manifests/{tag}"));
        let answer = self.send("PUT", &path, &[("Content-Type", media_type)], index.as_bytes());
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Takes an image away, as a retention rule does.
    pub(crate) fn delete(&self, repository: &str, digest: &str) {
        let answer = self.send("DELETE", &format!("/v2/{repository}/manifests/{digest}"), &[], b"");
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Uploads that were begun and neither finished nor cancelled.
    pub(crate) fn open_uploads(&self, repository: &str) -> usize {
        let uploads = self
            .directory
            .path()
            .join("data/docker/registry/v2/repositories")
            .join(repository)
            .join("_uploads");
        let Ok(uploads) = fs::read_dir(uploads) else { return 0 };
        // A cancelled one leaves an empty skeleton behind (docker-registry 2.8), but no data.
        uploads.filter(|upload| upload.as_ref().unwrap().path().join("data").exists()).count()
    }

    /// A docker `config.json` with a login for this registry.
    pub(crate) fn docker_config(&self, user: &str, password: &str) -> PathBuf {
        let path = self.directory.path().join(format!("{user}-{password}.json"));
        let auth = serde_json::json!({"username": user, "password": password});
        fs::write(&path, serde_json::json!({"auths": {&self.host: auth}}).to_string()).unwrap();
        path
    }

    fn upload(&self, repository: &str, blob: &[u8]) {
        let opened = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(opened.status, 202, "{}", String::from_utf8_lossy(&opened.body));
        let location = opened.header("Location").unwrap();
        let path = location.split_once(&self.host).map_or(location, |(_, path)| path);
        let path = format!("{path}&digest={}", Digest::of(blob));
        let stored = self.send("PUT", &path, &[("Content-Type", "application/octet-stream")], blob);
        assert_eq!(stored.status, 201, "{}", String::from_utf8_lossy(&stored.body));
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http::Answer {
        let login = self.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        http::send(&self.host, login, method, path, headers, body)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // By its own process id; nothing else on the machine is touched.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A layer of 20 MB, which has the same bytes nowhere twice.
pub(crate) fn large_layer() -> String {
    (0..2_800_000).fold(String::new(), |mut text, n| {
        write!(text, "{n:07}").unwrap();
        text
    })
}

/// The registry's configuration is YAML, and JSON is YAML that quotes properly.
fn configuration(setup: &Setup<'_>, directory: &TempDir) -> String {
    let mut config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": true}},
        "storage": {
            "filesystem": {"rootdirectory": directory.path().join("data")},
            "delete": {"enabled": setup.delete},
            "maintenance": {"readonly": {"enabled": setup.read_only}},
        },
        "http": {"addr": "127.0.0.1:0"},
    });
    if let Some((user, password)) = setup.login {
        let file = directory.path().join("htpasswd");
        let made = Command::new("htpasswd").args(["-Bbn", user, password]).output().unwrap();
        assert!(made.status.success(), "htpasswd: {made:?}");
        fs::write(&file, made.stdout).unwrap();
        config["auth"] = serde_json::json!({"htpasswd": {"realm": "test", "path": file}});
    }
    if let Some(Certificate { certificate, key }) = setup.tls {
        config["http"]["tls"] = serde_json::json!({"certificate": certificate, "key": key});
    }
    config.to_string()
}

/// `… msg="listening on 127.0.0.1:35289" …` and `… 127.0.0.1:35289, tls" …`
fn port_of(line: &str) -> Option<u16> {
    let after = line.split_once("listening on 127.0.0.1:")?.1;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
