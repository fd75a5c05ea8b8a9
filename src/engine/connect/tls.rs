//! TLS to an engine: the three PEM files that docker uses, and a rustls configuration of them.
//!
//! **Invariant:** who answers is always verified; docker's `--tls` without verification is refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{Environment, context::config_dir};

/// `ca.pem`, `cert.pem` and `key.pem`, as far as they are there.
#[derive(Clone, Debug, Default)]
pub(super) struct Material {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    /// Whether the system's authorities count beside `ca`: for variables yes, for contexts no.
    system_too: bool,
}

pub(super) fn is_asked_for(environment: Environment) -> bool {
    environment("DOCKER_TLS_VERIFY").is_some() || environment("DOCKER_TLS").is_some()
}

impl Material {
    /// What `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` ask for; `None` is plain TCP.
    pub(super) fn from_environment(environment: Environment) -> Result<Option<Self>, String> {
        if !is_asked_for(environment) {
            return Ok(None);
        }
        if environment("DOCKER_TLS_VERIFY").is_none() {
            return Err("`DOCKER_TLS` alone does not check who answers; \
                        set `DOCKER_TLS_VERIFY=1`"
                .to_owned());
        }
        let folder = environment("DOCKER_CERT_PATH").map(PathBuf::from);
        let folder = folder.or_else(|| config_dir(environment)).unwrap_or_default();
        let material = Self::read(&folder)?;
        Ok(Some(Self { system_too: true, ..material }))
    }

    /// A context without TLS has no such folder.
    pub(super) fn from_context(folder: &Path) -> Result<Option<Self>, String> {
        let material = Self::read(folder)?;
        let some = material.ca.is_some() || material.certificate.is_some();
        Ok(some.then_some(material))
    }

    fn read(folder: &Path) -> Result<Self, String> {
        let file = |name: &str| {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("cannot read `{}`: {error}", path.display())),
            }
        };
        Ok(Self {
            ca: file("ca.pem")?,
            certificate: file("cert.pem")?,
            key: file("key.pem")?,
            system_too: false,
        })
    }
}

pub(super) fn client_config(material: Option<&Material>) -> Result<Arc<ClientConfig>, String> {
    let nothing = Material { system_too: true, ..Material::default() };
    let material = material.unwrap_or(&nothing);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(authorities(material)?);
    let config = match (&material.certificate, &material.key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("`key.pem` is no private key: {error}"))?;
            builder
                .with_client_auth_cert(certificates("cert.pem", certificate)?, key)
                .map_err(|error| format!("`cert.pem` and `key.pem` do not go together: {error}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err("there is a `cert.pem`, but no `key.pem`".to_owned()),
        (None, Some(_)) => return Err("there is a `key.pem`, but no `cert.pem`".to_owned()),
    };
    Ok(Arc::new(config))
}

fn authorities(material: &Material) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &material.ca {
        for certificate in certificates("ca.pem", ca)? {
            roots.add(certificate).map_err(|error| format!("`ca.pem`: {error}"))?;
        }
    }
    if material.system_too || material.ca.is_none() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`{name}` is not PEM: {error}"))?;
    if all.is_empty() { Err(format!("`{name}` has no certificate in it")) } else { Ok(all) }
}
