//! A Dockerfile of which nobody has said yet what image it makes: what it names, what it copies,
//! and what it says of itself.

use std::collections::BTreeMap;

use super::{
    DockerfileProblem, ScanError, Settings, flags,
    lex::{Lex, Variables},
    lines, scan, split_instruction, stages,
};
use crate::image::Platform;

/// What a Dockerfile says.
#[derive(Debug, Default)]
pub struct DockerfileSurvey {
    pub images: Vec<Mention>,
    /// What `COPY` and `ADD` take from the build context, variables left out.
    pub copies: Vec<String>,
    /// The values of `LABEL`s, and of `ENV`s and `ARG`s with a value in the last stage.
    pub values: Vec<(String, String)>,
    /// Names of its stages.
    pub stages: Vec<String>,
}

/// An image that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// With its variables expanded; not yet known to be a good reference.
    pub image: String,
    /// As it is written.
    pub written: String,
    pub line: usize,
    /// Whether the image itself is based on it.
    pub is_base: bool,
}

/// Why it cannot be built, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableDockerfile {
    pub line: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Reads a Dockerfile as a build with these arguments would.
pub fn survey(
    text: &str,
    build_args: &BTreeMap<String, String>,
    target: Option<&str>,
    platform: &Platform,
) -> Result<DockerfileSurvey, UnreadableDockerfile> {
    let settings = Settings { build_args, target, platform, build_platform: platform };
    let scan = scan(text, settings).map_err(|error| first(text, target, error))?;
    let lines = lines::read(text).map_err(|problem| unreadable(text, &problem))?;
    let images = scan.uses.into_iter().map(|one| Mention {
        written: text[one.span].to_owned(),
        image: one.image,
        line: one.line,
        is_base: one.is_final,
    });
    let mut survey = DockerfileSurvey { images: images.collect(), ..DockerfileSurvey::default() };
    let lex = Lex::new(lines.escape);
    for line in &lines.all {
        let (name, rest) = split_instruction(&line.text);
        match name.to_ascii_uppercase().as_str() {
            "COPY" | "ADD" => survey.copies.extend(copied(rest)),
            "LABEL" | "ENV" => {
                for word in stages::words(rest, lines.escape) {
                    let Some((key, value)) = word.split_once('=') else { continue };
                    if let Ok(value) = lex.expand(value, &Variables::new()) {
                        survey.values.push((key.trim_matches('"').to_owned(), value));
                    }
                }
            }
            "FROM" => {
                let mut words = rest.split_whitespace().rev();
                if let (Some(name), Some(word)) = (words.next(), words.next())
                    && word.eq_ignore_ascii_case("as")
                {
                    survey.stages.push(name.to_ascii_lowercase());
                }
            }
            _ => {}
        }
    }
    Ok(survey)
}

/// A text with `$X`, `${X}` and `${X:-d}` filled in.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    // No text has this character, and so nothing is taken for an escape.
    Lex { raw_quotes: true, raw_escapes: true, ..Lex::new('\u{1}') }.expand(text, variables)
}

fn copied(arguments: &str) -> Vec<String> {
    let flags = flags::read(arguments);
    if flags.values("from").next().is_some() {
        return Vec::new();
    }
    let mut words: Vec<String> = serde_json::from_str(flags.rest.trim())
        .unwrap_or_else(|_| flags.rest.split_whitespace().map(str::to_owned).collect());
    words.pop();
    words.retain(|word| !word.contains('$') && !word.contains("<<") && !word.contains("://"));
    words
}

fn first(text: &str, target: Option<&str>, error: ScanError) -> UnreadableDockerfile {
    match error {
        ScanError::Problems(problems) => match problems.first() {
            Some(problem) => unreadable(text, problem),
            None => UnreadableDockerfile {
                line: 1,
                message: "it cannot be read".to_owned(),
                hint: None,
            },
        },
        ScanError::UnknownTarget { stages } => UnreadableDockerfile {
            line: 1,
            message: format!("it has no stage `{}`", target.unwrap_or_default()),
            hint: (!stages.is_empty()).then(|| format!("its stages are `{}`", stages.join("`, `"))),
        },
    }
}

fn unreadable(text: &str, problem: &DockerfileProblem) -> UnreadableDockerfile {
    let before = text.get(..problem.span.start).unwrap_or_default();
    UnreadableDockerfile {
        line: before.matches('\n').count() + 1,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}
