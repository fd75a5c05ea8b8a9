//! Debian's `docker-registry` on a free port of the loopback device.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::Result;

/// Ends with this value.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) address: String,
    child: Child,
    _folder: TempDir,
}

impl Registry {
    pub(crate) fn start() -> Result<Self> {
        let program = ["docker-registry", "registry"].iter().find_map(|name| find(name));
        let program =
            program.ok_or("`docker-registry` is needed (Debian's package of that name)")?;
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \"{address}\" }}\n",
            storage.display()
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config)?;
        let quiet = Stdio::null;
        let child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stdout(quiet())
            .stderr(quiet())
            .spawn()?;
        let registry = Self { address, child, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return Err("the registry does not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}
