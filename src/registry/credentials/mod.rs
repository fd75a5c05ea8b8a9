//! Docker's credentials: `config.json`, credential helpers, `DOCKER_AUTH_CONFIG`.
//!
//! Nothing is read before a registry asks for a login, so a broken configuration does not affect runs without
//! logins. A login is cached for [`KEPT`], and dropped earlier if a registry rejects it: the logins of ECR,
//! GAR and others expire.

mod config;
mod helper;

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};

use self::config::{Config, FoundLogin};
use super::{
    Login, RegistryError,
    endpoint::{HUB, is_hub},
    printable,
};

/// How long a credential helper may take: some ask the user for a fingerprint.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// How long a login is used before its helper or file is read again. The shortest common logins are valid for
/// 15 minutes; a helper takes up to a second.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// The sources of logins. Cheap to clone; clones share cached logins.
#[derive(Clone, Default)]
pub struct Credentials {
    sources: Arc<LoginSources>,
    found: Arc<Mutex<HashMap<String, CachedAnswer>>>,
}

/// Errors are cached too: a helper that hangs does so once, not for each image.
#[derive(Clone)]
struct CachedAnswer {
    login: Arc<OnceCell<Result<Option<Login>, RegistryError>>>,
    asked: Instant,
}

impl CachedAnswer {
    fn unasked() -> Self {
        Self { login: Arc::default(), asked: Instant::now() }
    }
}

/// In the order of lookup.
#[derive(Default)]
struct LoginSources {
    /// The text of `DOCKER_AUTH_CONFIG`.
    inline: Option<String>,
    files: Vec<PathBuf>,
    /// `PATH` for helpers, if it differs from that of this process.
    path: Option<OsString>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("files", &self.sources.files).finish_non_exhaustive()
    }
}

impl Credentials {
    /// `DOCKER_AUTH_CONFIG`, then docker's `config.json`, then podman's `auth.json`.
    pub fn from_env() -> Self {
        let docker = match env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
            Some(directory) => Some(PathBuf::from(directory)),
            None => env::home_dir().map(|home| home.join(".docker")),
        };
        let podman = env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let files = docker
            .map(|directory| directory.join("config.json"))
            .into_iter()
            .chain(podman.map(|runtime| Path::new(&runtime).join("containers/auth.json")))
            .collect();
        let inline = env::var("DOCKER_AUTH_CONFIG").ok().filter(|text| !text.trim().is_empty());
        Self::of(LoginSources { inline, files, path: None })
    }

    /// Only a file in the format of docker's `config.json`.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::of(LoginSources { files: vec![path.into()], ..LoginSources::default() })
    }

    /// Anonymous everywhere.
    pub fn none() -> Self {
        Self::default()
    }

    fn of(sources: LoginSources) -> Self {
        Self { sources: Arc::new(sources), found: Arc::default() }
    }

    /// The name of the source of a host's login, for messages. Runs no helper.
    pub fn origin(&self, host: &str) -> Option<String> {
        let host = if is_hub(host) { HUB } else { host };
        self.sources.texts().into_iter().find_map(|(name, text)| {
            let found = Config::read(&text.ok()?).ok()?.find(host).ok()?;
            Some(match found.first()? {
                FoundLogin::Secret(_) => name,
                FoundLogin::Helper { suffix, .. } => {
                    format!("the helper `docker-credential-{}`", printable(suffix))
                }
            })
        })
    }

    /// The login for a host as in image names, `docker.io` for Docker Hub.
    pub(super) async fn get(&self, host: &str) -> Result<Option<Login>, RegistryError> {
        let host = if is_hub(host) { HUB } else { host };
        let answer = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = found.entry(host.to_owned()).or_insert_with(CachedAnswer::unasked);
            if answer.asked.elapsed() > KEPT {
                *answer = CachedAnswer::unasked();
            }
            answer.clone()
        };
        answer.login.get_or_init(|| self.sources.get(host)).await.clone()
    }

    /// The login for a host that rejected `spent`; `None` if no other login exists.
    pub(super) async fn renew(
        &self,
        host: &str,
        spent: Option<&Login>,
    ) -> Result<Option<Login>, RegistryError> {
        {
            let key = if is_hub(host) { HUB } else { host };
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            // Another caller may have renewed it.
            let is_spent = |answer: &CachedAnswer| matches!(answer.login.get(), Some(Ok(login)) if login.as_ref() == spent);
            if found.get(key).is_some_and(is_spent) {
                found.remove(key);
            }
        }
        let login = self.get(host).await?;
        Ok(login.filter(|login| Some(login) != spent))
    }
}

impl LoginSources {
    async fn get(&self, host: &str) -> Result<Option<Login>, RegistryError> {
        let problem = |reason: String| RegistryError::Credentials { host: host.to_owned(), reason };
        let login = |secret| Login { host: host.to_owned(), secret };
        for (name, text) in self.texts() {
            let text = text.map_err(|error| problem(format!("cannot read {name}: {error}")))?;
            let config = Config::read(&text)
                .map_err(|reason| problem(format!("{name} is not valid: {reason}")))?;
            let found =
                config.find(host).map_err(|reason| problem(format!("in {name}: {reason}")))?;
            for found in found {
                let secret = match found {
                    FoundLogin::Secret(secret) => Some(secret),
                    FoundLogin::Helper { suffix, server } => {
                        helper::get(&suffix, &server, self.path.as_deref(), HELPER_LIMIT)
                            .await
                            .map_err(problem)?
                    }
                };
                if let Some(secret) = secret {
                    return Ok(Some(login(secret)));
                }
            }
        }
        Ok(None)
    }

    /// Each source's name and text. Missing files are skipped.
    fn texts(&self) -> Vec<(String, io::Result<String>)> {
        let inline =
            self.inline.iter().map(|text| ("`DOCKER_AUTH_CONFIG`".to_owned(), Ok(text.clone())));
        let files = self.files.iter().filter_map(|path| match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => Some((format!("`{}`", path.display()), text)),
        });
        inline.chain(files).collect()
    }
}

#[cfg(test)]
mod tests;
