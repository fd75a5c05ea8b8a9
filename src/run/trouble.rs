//! The failure of a step, and what follows from its error: the exit code, the hint, and whether to retry.

use super::{attempts::StepRetry, bases::BaseError};
use crate::{engine::EngineError, event::Phase, exit::Exit, publish::store::StoreError};

/// A failure without its log and its place in the Dockerfile.
pub(super) struct Trouble {
    pub(super) phase: Phase,
    pub(super) message: String,
    pub(super) exit: Exit,
    /// The text of the failed Dockerfile step.
    pub(super) step: Option<String>,
    /// Whether a retry may succeed.
    pub(super) again: StepRetry,
}

/// A stopped engine is the cause of every failure.
pub(super) fn exit_of(error: &EngineError, otherwise: Exit) -> Exit {
    if error.is_gone() { Exit::EngineUnreachable } else { otherwise }
}

/// The hint is the second line.
pub(super) fn with_hint(error: &impl std::fmt::Display, hint: Option<String>) -> String {
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

impl Trouble {
    /// The message without its hint.
    pub(super) fn headline(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    pub(super) fn of_build(error: EngineError) -> Self {
        let exit = exit_of(&error, Exit::BuildFailed);
        let again = StepRetry::after_engine(&error);
        let (message, step) = match error {
            EngineError::Build { step: Some(step), exit_code: Some(code), .. } => {
                (format!("`{step}` ended with exit code {code}"), Some(step))
            }
            EngineError::Build { message, step, .. } => (message, step),
            other => (other.to_string(), None),
        };
        Self { phase: Phase::Build, message, exit, step, again }
    }

    pub(super) fn of_store(phase: Phase, error: &StoreError) -> Self {
        let exit = match error {
            StoreError::Engine(error) => exit_of(error, Exit::PushFailed),
            _ => Exit::PushFailed,
        };
        let again = StepRetry::after_store(error);
        let message = with_hint(error, error.hint());
        Self { phase, message, exit, step: None, again }
    }

    pub(super) fn of_base(error: &BaseError) -> Self {
        let exit = match error {
            BaseError::Engine(error) | BaseError::Store(StoreError::Engine(error)) => match error {
                // No registry was asked.
                EngineError::Refused { .. } | EngineError::Answer { .. } => Exit::EngineUnreachable,
                error => exit_of(error, Exit::RegistryUnreachable),
            },
            BaseError::Files { source, .. } => exit_of(source, Exit::BuildFailed),
            BaseError::Missing { missing, .. } if missing.is_of_registry => {
                Exit::RegistryUnreachable
            }
            BaseError::Store(StoreError::Gone { .. })
            | BaseError::NeverPublished(_)
            | BaseError::Missing { .. } => Exit::BuildFailed,
            BaseError::Store(_) | BaseError::Registry(_) => Exit::RegistryUnreachable,
        };
        let again = match error {
            BaseError::Engine(error) | BaseError::Files { source: error, .. } => {
                StepRetry::after_engine(error)
            }
            BaseError::Store(error) => StepRetry::after_store(error),
            BaseError::Registry(_) | BaseError::NeverPublished(_) | BaseError::Missing { .. } => {
                StepRetry::Never
            }
        };
        let hint = match error {
            BaseError::Missing { missing, .. } => missing.hint.clone(),
            BaseError::Engine(error) | BaseError::Files { source: error, .. } => error.hint(),
            BaseError::Store(error) => error.hint(),
            BaseError::Registry(error) => error.hint(),
            BaseError::NeverPublished(_) => None,
        };
        let message = with_hint(error, hint);
        Self { phase: Phase::Pull, message, exit, step: None, again }
    }
}
