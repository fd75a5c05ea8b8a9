//! How a command that could not do its work ends: a text for people, and an exit code.

use std::{fmt, io};

use crate::{
    engine::EngineError,
    exit::Exit,
    hierarchy::NamingError,
    plan::since::SinceError,
    publish::store::StoreError,
    registry::RegistryError,
    run::{
        LackedOption, SecretError,
        observe::{ObserveError, UpstreamError},
        state::LockError,
    },
};

/// More causes are not in a report.
const SHOWN_CAUSES: usize = 5;

#[derive(Debug)]
pub(super) struct CommandError {
    pub(super) exit: Exit,
    message: String,
    hint: Option<String>,
    /// What was printed before it, for the reports of a run.
    causes: Vec<String>,
    /// The registry of the images does not answer.
    is_unreachable: bool,
}

impl CommandError {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let (message, hint, causes) = (message.into(), None, Vec::new());
        Self { exit, message, hint, causes, is_unreachable: false }
    }

    /// Its causes were printed already.
    pub(super) fn caused_by(mut self, causes: Vec<String>) -> Self {
        self.causes = causes;
        self
    }

    /// For a report, which has nothing that was printed before.
    pub(super) fn with_causes(&self) -> String {
        let shown = self.causes.iter().take(SHOWN_CAUSES).map(String::as_str);
        let more = self.causes.len().saturating_sub(SHOWN_CAUSES);
        let more = (more > 0).then(|| format!("and {more} more"));
        let causes = shown.chain(more.as_deref()).collect::<Vec<_>>().join("; ");
        let separator = if causes.is_empty() { "" } else { ": " };
        format!("{self}{separator}{causes}")
    }

    /// Says what had been done before it.
    pub(super) fn after(mut self, done: &str) -> Self {
        self.message = format!("{} ({done})", self.message);
        self
    }

    /// For a command that can do its work with the images of the engine.
    pub(super) fn or_without_registry(mut self) -> Self {
        if self.is_unreachable {
            let hint = "`--no-registry` uses the images in the engine instead";
            self.hint = Some(match self.hint {
                Some(first) => format!("{first}\n  hint: {hint}"),
                None => hint.to_owned(),
            });
        }
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        let exit = match &error {
            EngineError::Builder { .. } => Exit::Usage,
            EngineError::Transfer { cause: Some(_), .. } => Exit::RegistryUnreachable,
            _ => Exit::EngineUnreachable,
        };
        let hint = error.hint();
        Self { hint, ..Self::new(exit, error.to_string()) }
    }
}

impl From<RegistryError> for CommandError {
    fn from(error: RegistryError) -> Self {
        let hint = error.hint();
        let is_unreachable = matches!(error, RegistryError::Unreachable { .. });
        let error = Self::new(Exit::RegistryUnreachable, error.to_string());
        Self { hint, is_unreachable, ..error }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Registry(error) => error.into(),
            StoreError::Engine(error) => error.into(),
            other => Self::new(Exit::RegistryUnreachable, other.to_string()),
        }
    }
}

impl From<ObserveError> for CommandError {
    fn from(error: ObserveError) -> Self {
        let message = error.to_string();
        match error {
            ObserveError::Context { .. }
            | ObserveError::Tag { .. }
            | ObserveError::Volatile { .. } => Self::new(Exit::Usage, message),
            ObserveError::Unreachable { source, .. } => {
                Self { hint: hint_of(&source), ..Self::new(Exit::RegistryUnreachable, message) }
            }
            ObserveError::Upstream(error) => match *error {
                UpstreamError::Engine(error) => error.into(),
                error => {
                    let hint = hint_of(&error);
                    Self { hint, ..Self::new(Exit::RegistryUnreachable, message) }
                }
            },
            ObserveError::Store(error) => error.into(),
        }
    }
}

fn hint_of(error: &UpstreamError) -> Option<String> {
    match error {
        UpstreamError::Registry { source, .. } | UpstreamError::Mirror { source, .. } => {
            source.hint()
        }
        UpstreamError::NotHere { .. } => {
            Some("`docker pull` it, or leave `--offline` out".to_owned())
        }
        UpstreamError::Several { several } => several.iter().find_map(hint_of),
        UpstreamError::Engine(_) => None,
    }
}

/// All of them at once: who sets one variable had better hear of the other too.
impl From<Vec<SecretError>> for CommandError {
    fn from(errors: Vec<SecretError>) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let message = match &lines[..] {
            [only] => only.clone(),
            lines => format!("{} secrets cannot be had:\n  {}", lines.len(), lines.join("\n  ")),
        };
        let error = Self::new(Exit::Usage, message);
        match errors.first() {
            Some(first) => error.hint(first.hint()),
            None => error,
        }
    }
}

impl From<Vec<LackedOption>> for CommandError {
    fn from(options: Vec<LackedOption>) -> Self {
        let lines: Vec<String> = options.iter().map(ToString::to_string).collect();
        Self::new(Exit::Usage, lines.join("\n  "))
            .hint("docs/engines.md lists the capabilities of each engine")
    }
}

impl From<NamingError> for CommandError {
    fn from(error: NamingError) -> Self {
        Self::new(Exit::Usage, error.to_string()).hint(error.hint())
    }
}

impl From<SinceError> for CommandError {
    fn from(error: SinceError) -> Self {
        let hint = error.hint();
        Self { hint, ..Self::new(Exit::Usage, error.to_string()) }
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { .. } => Self::new(Exit::Locked, error.to_string())
                .hint("nothing was changed; run the command again when that run has ended"),
            LockError::Io { ref source, .. } => {
                let message = format!("{error}: {source}");
                let hint = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free disk space",
                    io::ErrorKind::PermissionDenied => "let this user write to it",
                    _ => "",
                };
                let name = "name another folder for the state of runs with `XDG_STATE_HOME`";
                let or = if hint.is_empty() { "" } else { ", or " };
                Self::new(Exit::Internal, message).hint(format!("{hint}{or}{name}"))
            }
        }
    }
}
