//! Push and pull, with Debian's `docker-registry` and a password.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use rebuild::{
    engine::{BuilderChoice, Engine},
    image::Repository,
    registry::{Login, LoginSecret},
};

use super::{Bench, wait_until};

/// Its base64 has both characters in which the two alphabets differ.
const PASSWORD: &str = "abc>>>???";

struct Registry {
    process: Child,
    host: String,
}

impl Registry {
    fn start(folder: &Path) -> Option<Self> {
        let hashed = Command::new("htpasswd").args(["-Bbn", "me", PASSWORD]).output().ok()?;
        fs::write(folder.join("htpasswd"), hashed.stdout).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let path = folder.display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \
             {path}/data}}}}\nhttp: {{addr: {host}}}\nauth: {{htpasswd: {{realm: test, path: \
             {path}/htpasswd}}}}\n"
        );
        let file = folder.join("config.yml");
        fs::write(&file, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, host })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled_by_its_digest() {
    let Some(bench) = Bench::new("transfer", BuilderChoice::Auto).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(folder.path()) else {
        println!("skipped: no docker-registry or htpasswd");
        return bench.clean().await;
    };
    let listens = || std::net::TcpStream::connect(&registry.host).is_ok();
    wait_until("the registry listens", listens).await;
    let login = |password: &str| {
        let secret = LoginSecret::Password { user: "me".to_owned(), password: password.to_owned() };
        Some(Login { host: registry.host.clone(), secret })
    };
    let docker = &bench.docker;
    let repository: Repository = format!("{}/{}", registry.host, bench.name).parse().unwrap();
    let name = repository.tagged("1".parse().unwrap());
    let id = bench.build("1", "RUN echo transferred > file").await;
    docker.tag(&id, &name).await.unwrap();

    for refused in [None, login("wrong")] {
        let error = docker.push(&name, refused).await.unwrap_err().to_string();
        assert!(
            error == format!("pushing `{name}`: no basic auth credentials")
                || error.contains("unauthorized"),
            "{error}"
        );
    }
    docker.push(&name, login(PASSWORD)).await.unwrap();
    let pushed = docker.inspect(id.as_str()).await.unwrap().unwrap().repo_digests;
    let digest = match &pushed[..] {
        [one] if one.repository == repository => one.digest.clone().unwrap(),
        other => panic!("{other:?}"),
    };

    docker.untag(&name).await.unwrap();
    docker.untag(&bench.tagged("1")).await.unwrap();
    assert_eq!(docker.inspect(id.as_str()).await.unwrap(), None, "it must come from the registry");
    let platform = bench.info.platform.clone();
    let pulled = docker.pull(&repository, &digest, Some(&platform), login(PASSWORD)).await.unwrap();
    assert_eq!(pulled, id);
    docker.tag(&id, &name).await.unwrap();

    let missing = rebuild::image::Digest::of(b"nothing");
    let error = docker.pull(&repository, &missing, None, login(PASSWORD)).await.unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with(&format!("pulling `{repository}@{missing}`: ")), "{error}");
    bench.clean().await;
}
