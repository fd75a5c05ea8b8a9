//! Reads the secrets of a run once, before its first build.
//!
//! **Invariant:** only builds of images that name a secret get its value. Messages contain only its ID and
//! its source.

use std::{
    collections::BTreeMap,
    env, fmt, io,
    os::unix::{ffi::OsStringExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use super::mask::Mask;
use crate::{
    engine::{BuildSecrets, Capability, EngineInfo},
    fingerprint::context::Context,
    hierarchy::{Hierarchy, Node, NodeName, SecretSource, Ssh},
    host::bounded,
    plan::{Action, Plan},
};

/// `BuildKit`'s own limit: `session/secrets/secretsprovider`, `MaxSecretSize`.
const LARGEST: usize = 500 * 1024;

/// The secrets for the builds of a run, by image.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    of_nodes: BTreeMap<NodeName, BuildSecrets>,
    mask: Mask,
}

/// Why a secret is not available.
#[derive(Debug, PartialEq, Eq)]
pub struct SecretError {
    pub node: NodeName,
    pub trouble: SecretTrouble,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SecretTrouble {
    /// Only `BuildKit` can pass a value to a build that the image does not contain.
    NeedsBuildKit,
    NotSet {
        id: String,
        variable: String,
    },
    Unreadable {
        id: String,
        path: PathBuf,
        why: String,
    },
    Empty {
        id: String,
        path: PathBuf,
    },
    TooLarge {
        id: String,
    },
    /// `COPY .` would copy it into the image.
    InContext {
        id: String,
        path: PathBuf,
    },
    NoAgent {
        why: String,
    },
}

impl Secrets {
    /// Reads the secrets of every image that the plan may build.
    pub fn read(
        hierarchy: &Hierarchy,
        plan: &Plan,
        engine: &EngineInfo,
    ) -> Result<Self, Vec<SecretError>> {
        let (mut of_nodes, mut troubles) = (BTreeMap::new(), Vec::new());
        let built = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
        for node in built.filter_map(|step| hierarchy.get(&step.node)) {
            if node.secrets.is_empty() && node.ssh == Ssh::None {
                continue;
            }
            let mut trouble = |trouble| {
                troubles.push(SecretError { node: node.name.clone(), trouble });
            };
            if !engine.capabilities.has(Capability::Secrets) {
                trouble(SecretTrouble::NeedsBuildKit);
                continue;
            }
            let mut secrets = BuildSecrets::default();
            for (id, source) in &node.secrets {
                match value((hierarchy, node), id, source) {
                    Ok(value) => drop(secrets.values.insert(id.clone(), value)),
                    Err(error) if node.optional_secrets.contains(id) && error.is_absent() => {}
                    Err(error) => trouble(error),
                }
            }
            match (node.ssh, agent()) {
                (Ssh::None, _) => {}
                (Ssh::Agent, Ok(agent)) => secrets.agent = Some(agent),
                (Ssh::Agent, Err(why)) => trouble(SecretTrouble::NoAgent { why }),
            }
            of_nodes.insert(node.name.clone(), secrets);
        }
        if !troubles.is_empty() {
            return Err(troubles);
        }
        let values = of_nodes.values().flat_map(|secrets| secrets.values.values());
        let mask = Mask::new(values.map(Vec::as_slice));
        Ok(Self { of_nodes, mask })
    }

    /// The secrets for the builds of this image.
    pub(super) fn of(&self, node: &NodeName) -> BuildSecrets {
        self.of_nodes.get(node).cloned().unwrap_or_default()
    }

    /// Removes every value of the run from the output of all steps: a descendant of an image that stored a
    /// secret may print it too.
    pub(super) fn mask(&self) -> Mask {
        self.mask.clone()
    }
}

fn value(
    (hierarchy, node): (&Hierarchy, &Node),
    id: &str,
    source: &SecretSource,
) -> Result<Vec<u8>, SecretTrouble> {
    let id = id.to_owned();
    let value = match source {
        // CI systems set a variable to the empty text if the job may not read the secret.
        SecretSource::Env(variable) => match env::var_os(variable) {
            Some(value) if !value.is_empty() => value.into_vec(),
            _ => return Err(SecretTrouble::NotSet { id, variable: variable.clone() }),
        },
        SecretSource::File(path) => {
            let (path, why) = (hierarchy.secret_path(path), |error: io::Error| error.to_string());
            let value = bounded::read(&path, bounded::TEXT).map_err(|error| {
                SecretTrouble::Unreadable { id: id.clone(), path: path.clone(), why: why(error) }
            })?;
            if value.is_empty() {
                return Err(SecretTrouble::Empty { id, path });
            }
            if is_sent(node, &path) {
                return Err(SecretTrouble::InContext { id, path });
            }
            value
        }
    };
    if value.len() > LARGEST { Err(SecretTrouble::TooLarge { id }) } else { Ok(value) }
}

/// Whether a file is part of the build context. Another check reports an unreadable context.
fn is_sent(node: &Node, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = real(path);
    let named = node.contexts.values().map(|folder| Context::named(folder));
    let all = named.chain([Context::of(node)]);
    let mut all = all.filter_map(Result::ok);
    all.any(|context| {
        let root = real(&context.root);
        let Ok(inside) = path.strip_prefix(&root) else { return false };
        context.entries().is_ok_and(|entries| entries.iter().any(|entry| entry.path == inside))
    })
}

fn agent() -> Result<PathBuf, String> {
    let socket = env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = PathBuf::from(socket.ok_or("`SSH_AUTH_SOCK` is not set")?);
    match UnixStream::connect(&socket) {
        Ok(_) => Ok(socket),
        Err(error) => Err(format!("nobody answers at `{}`: {error}", socket.display())),
    }
}

impl SecretTrouble {
    /// Whether there is no value, so that a build that can do without it may begin.
    fn is_absent(&self) -> bool {
        match self {
            Self::NotSet { .. } | Self::Empty { .. } => true,
            Self::Unreadable { path, .. } => !path.exists(),
            _ => false,
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.node)?;
        match &self.trouble {
            SecretTrouble::NeedsBuildKit => {
                f.write_str("has secrets, which only BuildKit hands to a build, and this engine does not have it")
            }
            SecretTrouble::NotSet { id, variable } => write!(
                f,
                "needs the secret `{id}`, and the environment variable `{variable}` is not set, or empty"
            ),
            SecretTrouble::Unreadable { id, path, why } => {
                write!(f, "needs the secret `{id}`, and `{}` cannot be read: {why}", path.display())
            }
            SecretTrouble::Empty { id, path } => {
                write!(f, "needs the secret `{id}`, and `{}` is empty", path.display())
            }
            SecretTrouble::TooLarge { id } => {
                write!(f, "has a secret `{id}` that is larger than {} KiB", LARGEST / 1024)
            }
            SecretTrouble::InContext { id, path } => write!(
                f,
                "has its secret `{id}` in its build context: `{}` could be copied into the image",
                path.display()
            ),
            SecretTrouble::NoAgent { why } => {
                write!(f, "forwards the SSH agent, but {why}")
            }
        }
    }
}

impl SecretError {
    /// The hint.
    pub fn hint(&self) -> &'static str {
        match self.trouble {
            SecretTrouble::NeedsBuildKit => "build it with Docker: `docs/engines.md`",
            SecretTrouble::NotSet { .. } => {
                "set it where `rebuild` runs; in CI, a job may have to be allowed to see it"
            }
            SecretTrouble::Unreadable { .. } => "a file of a secret is relative to hierarchy.yaml",
            SecretTrouble::Empty { .. } => "write the value into it, or set `required: false`",
            SecretTrouble::TooLarge { .. } => "BuildKit hands over no larger ones",
            SecretTrouble::InContext { .. } => "name it in `.dockerignore`, or keep it elsewhere",
            SecretTrouble::NoAgent { .. } => "start one, `eval $(ssh-agent)`, and `ssh-add` a key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_for_an_empty_file_is_about_its_content() {
        let (id, path) = ("npm".to_owned(), PathBuf::from("/srv/.npmrc"));
        let hint = |trouble| SecretError { node: "app".into(), trouble }.hint();
        let empty = SecretTrouble::Empty { id: id.clone(), path: path.clone() };
        assert_eq!(hint(empty), "write the value into it, or set `required: false`");
        let why = "No such file or directory".to_owned();
        let missing = SecretTrouble::Unreadable { id, path, why };
        assert_eq!(hint(missing), "a file of a secret is relative to hierarchy.yaml");
    }
}
