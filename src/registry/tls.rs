//! Trusted certificates: the system's certificate authorities, and docker's `certs.d/<host>/`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Makes ring the process's TLS provider, unless another one is set.
pub(super) fn install_provider() {
    // An error means that another thread set it first, which is fine.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// The configuration for one host.
///
/// # Errors
/// A sentence that names the unusable file in `certs`.
pub(super) fn config(certs: &Path, authority: &str) -> Result<ClientConfig, String> {
    let mut roots = system_roots().clone();
    let mut identity = None;
    for file in files(&certs.join(authority)) {
        let problem = |what: &str| format!("{what} in `{}`", file.display());
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                let authorities = certificates(&file).map_err(|e| problem(&e))?;
                if authorities.is_empty() {
                    return Err(problem("there is no certificate"));
                }
                for authority in authorities {
                    roots.add(authority).map_err(|e| problem(&e.to_string()))?;
                }
            }
            Some("cert") => {
                let chain = certificates(&file).map_err(|e| problem(&e))?;
                let key = PrivateKeyDer::from_pem_file(file.with_extension("key"))
                    .map_err(|e| problem(&format!("no private key beside it ({e})")))?;
                identity = Some((chain, key));
            }
            _ => {}
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| format!("the client certificate of {authority} is not usable: {e}")),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| error.to_string())
}

/// In alphabetical order; empty if the directory does not exist.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut files = entries.unwrap_or_default();
    files.sort();
    files
}

/// Read once: some hundred certificates take about ten milliseconds.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::debug!(%error, "a system certificate cannot be read");
        }
        let mut roots = RootCertStore::empty();
        // Skips a broken certificate: only the host that needs it fails.
        roots.add_parsable_certificates(loaded.certs);
        roots
    })
}
