//! Certificates that are good, expired, or for somebody else: made by openssl, for one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{is_installed, missing};

/// `openssl ca` is the one command of OpenSSL 3.0 that sets both dates.
const CONFIG: &str = "[ca]
default_ca = ours
[ours]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
";

pub(crate) struct Authority {
    directory: TempDir,
}

pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        if !is_installed("openssl") {
            missing("openssl is not installed");
        }
        let authority = Self { directory: tempfile::tempdir().unwrap() };
        authority.write("ca.cnf", CONFIG);
        authority.write("index.txt", "");
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj /CN=test-authority -keyout ca.key -out ca.crt",
        );
        authority
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// A certificate for `san` (`IP:127.0.0.1`), valid between two days such as `20200101`.
    pub(crate) fn issue(&self, san: &str, from: &str, to: &str) -> Certificate {
        let name = format!("{}-{to}", san.replace([':', '.'], "-"));
        self.write(&format!("{name}.ext"), &format!("subjectAltName = {san}\n"));
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test \
             -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -extfile {name}.ext \
             -startdate {from}000000Z -enddate {to}000000Z -in {name}.csr -out {name}.crt"
        ));
        let file = |extension: &str| self.directory.path().join(format!("{name}.{extension}"));
        Certificate { certificate: file("crt"), key: file("key") }
    }

    /// A directory as `/etc/docker/certs.d` in which `host` is trusted by this authority.
    pub(crate) fn certs_for(&self, host: &str) -> PathBuf {
        let certs = self.directory.path().join("certs.d");
        fs::create_dir_all(certs.join(host)).unwrap();
        fs::copy(self.root(), certs.join(host).join("ca.crt")).unwrap();
        certs
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
