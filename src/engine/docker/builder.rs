//! Which builder a run uses: BuildKit wherever the engine has it.

use super::capabilities::BuilderKind;
use crate::engine::{EngineError, connect::Environment};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuilderChoice {
    /// `DOCKER_BUILDKIT` if it is set, else the engine's own.
    #[default]
    Auto,
    BuildKit,
    Classic,
}

/// Refuses a request for a builder other than the engine's.
pub(super) fn check(
    choice: BuilderChoice,
    environment: Environment,
    builder: BuilderKind,
) -> Result<(), EngineError> {
    let has_buildkit = builder == BuilderKind::BuildKit;
    let refuse = |message: String, hint: String| Err(EngineError::Builder { message, hint });
    let (wants_buildkit, by, without) = match choice {
        BuilderChoice::BuildKit => (true, "`--builder buildkit`", "leave `--builder` out"),
        BuilderChoice::Classic => (false, "`--builder classic`", "leave `--builder` out"),
        BuilderChoice::Auto => match environment("DOCKER_BUILDKIT").as_deref() {
            None => return Ok(()),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => {
                (true, "`DOCKER_BUILDKIT`", "unset `DOCKER_BUILDKIT`")
            }
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {
                (false, "`DOCKER_BUILDKIT=0`", "unset `DOCKER_BUILDKIT`")
            }
            Some(other) => {
                let message = format!("`DOCKER_BUILDKIT` is 0 or 1, not `{other}`");
                return refuse(message, "unset it".to_owned());
            }
        },
    };
    match (wants_buildkit, has_buildkit) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => refuse(
            format!("{by} asks for BuildKit, and this engine builds with {builder}"),
            without.to_owned(),
        ),
        (false, true) => refuse(
            format!("{by} asks for Docker's classic builder, and this engine has BuildKit"),
            format!("{without}: `rebuild` builds with BuildKit wherever the engine has it"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_builder_that_the_engine_has_can_be_asked_for() {
        use BuilderChoice::{Auto, BuildKit, Classic};

        let check = |choice, variable: &str, builder| {
            let environment = |_: &str| Some(variable.to_owned()).filter(|value| !value.is_empty());
            check(choice, &environment, builder).map_or_else(|e| e.to_string(), |()| String::new())
        };
        for (choice, variable, builder, expected) in [
            (Auto, "", BuilderKind::BuildKit, ""),
            (Auto, "", BuilderKind::Buildah, ""),
            (Auto, "1", BuilderKind::BuildKit, ""),
            (Auto, "false", BuilderKind::Buildah, ""),
            (BuildKit, "0", BuilderKind::BuildKit, ""),
            (Classic, "1", BuilderKind::Classic, ""),
            (
                Auto,
                "0",
                BuilderKind::BuildKit,
                "`DOCKER_BUILDKIT=0` asks for Docker's classic builder, and this engine has BuildKit",
            ),
            (
                Classic,
                "1",
                BuilderKind::BuildKit,
                "`--builder classic` asks for Docker's classic builder, and this engine has BuildKit",
            ),
            (
                Auto,
                "1",
                BuilderKind::Buildah,
                "`DOCKER_BUILDKIT` asks for BuildKit, and this engine builds with buildah",
            ),
            (
                BuildKit,
                "",
                BuilderKind::Classic,
                "`--builder buildkit` asks for BuildKit, and this engine builds with the classic builder",
            ),
            (Auto, "maybe", BuilderKind::BuildKit, "`DOCKER_BUILDKIT` is 0 or 1, not `maybe`"),
        ] {
            assert_eq!(check(choice, variable, builder), expected, "{choice:?} {variable}");
        }
    }
}
