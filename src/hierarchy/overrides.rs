//! `--set` and `--build-arg`: fields and build arguments of images from the command line.
//!
//! **Invariant:** each has an effect on at least one image, or is an error.

use std::{collections::BTreeSet, ops::Range, path::Path, str::FromStr};

use super::{
    draft::Draft,
    field_table::{FieldShape, IMAGE},
    fields::Problems,
    files::DockerfileRead,
    lints,
    matrix::{Combination, Room},
    schema::Image,
    secrets::looks_secret,
    yaml::{MappingKey, ValueKind, Yaml},
};
use crate::check::{
    diagnostic::{Diagnostic, SourceFile},
    nearest,
    rules::RuleCode,
};

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub fields: Vec<FieldOverride>,
    pub build_args: Vec<BuildArgOverride>,
}

/// `IMAGE.FIELD=value` of `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOverride {
    /// A name, or a glob with `*`.
    pub image: String,
    pub field: &'static str,
    pub value: String,
}

/// `NAME=value` or `IMAGE.NAME=value` of `--build-arg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildArgOverride {
    /// A name, or a glob with `*`. None is each image that declares the argument.
    pub image: Option<String>,
    pub name: String,
    pub value: String,
}

impl FromStr for FieldOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write `IMAGE.FIELD=value`, such as `app.target=debug`".to_owned();
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (image, field) =
            place.rsplit_once('.').filter(|(image, _)| !image.is_empty()).ok_or_else(wrong)?;
        let keys: Vec<&str> = Self::fields().map(|(key, _)| key).collect();
        let known = keys.iter().find(|known| **known == field);
        let field = known.ok_or_else(|| {
            let near = nearest(field, keys.iter().copied());
            let near = near.map(|near| format!("; did you mean `{near}`?"));
            let near = near.unwrap_or_else(|| format!("; it is one of {}", keys.join(", ")));
            format!("`{field}` is not a field of one value{near}")
        })?;
        Ok(Self { image: image.to_owned(), field, value: value.to_owned() })
    }
}

impl FromStr for BuildArgOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write `NAME=value` or `IMAGE.NAME=value`".to_owned();
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (image, name) = match place.rsplit_once('.') {
            Some((image, name)) if !image.is_empty() => (Some(image.to_owned()), name),
            _ => (None, place),
        };
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Self { image, name: name.to_owned(), value: value.to_owned() })
    }
}

impl std::fmt::Display for FieldOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--set {}.{}", self.image, self.field)
    }
}

/// Without the value, which may be a secret.
impl std::fmt::Display for BuildArgOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.image {
            Some(image) => write!(f, "--build-arg {image}.{}", self.name),
            None => write!(f, "--build-arg {}", self.name),
        }
    }
}

impl Overrides {
    /// The image with the fields and arguments that are given for its name.
    pub(super) fn applied(&self, name: &str, image: Image, problems: &mut Problems) -> Image {
        let mut image = image;
        for one in self.fields.iter().filter(|one| matches(&one.image, name)) {
            image = one.applied(image, problems);
        }
        for one in &self.build_args {
            let is_meant = match &one.image {
                Some(pattern) => matches(pattern, name),
                None => image.build_args.contains_key(&one.name),
            };
            if is_meant {
                one.give(&mut image);
            }
        }
        image
    }

    /// Gives the arguments without an image to each image. [`Self::settle`] takes them from those that do not
    /// declare them, which is known when their Dockerfiles were read.
    pub(super) fn offer(&self, drafts: &mut [Draft]) {
        for one in self.build_args.iter().filter(|one| one.image.is_none()) {
            for draft in &mut *drafts {
                if !draft.image.build_args.contains_key(&one.name) {
                    one.give(&mut draft.image);
                    draft.offered.insert(one.name.clone());
                }
            }
        }
    }

    /// Takes arguments from the images that do not declare them, and reports what is for no image.
    pub(super) fn settle(
        &self,
        drafts: &mut [Draft],
        found: &[Option<DockerfileRead>],
        problems: &mut Problems,
    ) {
        for one in &self.fields {
            if !drafts.iter().any(|draft| matches(&one.image, draft.name.image())) {
                problems.found.push(no_image(one, &one.image, drafts));
            }
        }
        let declared: Vec<Option<BTreeSet<String>>> = found
            .iter()
            .map(|read| {
                let instructions = &read.as_ref()?.scan.instructions;
                Some(lints::arguments::declared(instructions, "ARG "))
            })
            .collect();
        for one in &self.build_args {
            if let Some(image) = &one.image
                && !drafts.iter().any(|draft| matches(image, draft.name.image()))
            {
                problems.found.push(no_image(one, image, drafts));
                continue;
            }
            let (mut is_used, mut others) = (false, BTreeSet::new());
            for (draft, declared) in drafts.iter_mut().zip(&declared) {
                let is_meant = one.image.as_ref().is_none_or(|it| matches(it, draft.name.image()));
                let is_own = draft.image.places.build_args.contains_key(&one.name);
                let has = |all: &BTreeSet<String>| all.contains(&one.name);
                // Of an image whose Dockerfile cannot be read, nothing is known.
                let is_declared = is_own
                    || declared.as_ref().is_none_or(has)
                    || one.image.is_some() && lints::arguments::is_predefined(&one.name);
                others.extend(declared.iter().flatten().filter(|_| is_meant).cloned());
                if is_declared && is_meant {
                    is_used = true;
                    one.refuse_secret(&draft.image, problems);
                } else if one.image.is_none() && draft.offered.contains(&one.name) {
                    draft.image.build_args.remove(&one.name);
                }
            }
            if !is_used {
                let by = one.image.as_ref().map_or_else(
                    || "no image declares".to_owned(),
                    |image| format!("`{image}` does not declare"),
                );
                let message = format!("`{one}`: {by} `ARG {}`", one.name);
                let problem = Diagnostic::of(RuleCode::UnusedArgument, message);
                let near = nearest(&one.name, others.iter().map(String::as_str));
                let hint = near.map_or_else(
                    || format!("write `ARG {}` into the Dockerfile", one.name),
                    |near| format!("did you mean `{near}`?"),
                );
                let severity = crate::check::diagnostic::Severity::Error;
                problems.found.push(Diagnostic { severity, ..problem.hint(hint) });
            }
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    crate::check::glob(&pattern.split('*').collect::<Vec<_>>(), name, 0)
}

fn no_image(one: &impl std::fmt::Display, image: &str, drafts: &[Draft]) -> Diagnostic {
    let problem = Diagnostic::error(format!("`{one}`: no image is called `{image}`"));
    match nearest(image, drafts.iter().map(|draft| draft.name.image())) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("`rebuild tree --no-state` shows all of them"),
    }
}

impl BuildArgOverride {
    fn give(&self, image: &mut Image) {
        image.build_args.insert(self.name.clone(), self.value.clone());
    }

    fn refuse_secret(&self, image: &Image, problems: &mut Problems) {
        let is_allowed =
            image.allow_build_args.as_ref().is_some_and(|names| names.contains(&self.name));
        // The file's own entry is refused at its place.
        if looks_secret(&self.name)
            && !is_allowed
            && !image.places.build_args.contains_key(&self.name)
        {
            let message = format!(
                "the build arg `{}` looks like a secret, and build args can be read from the image",
                self.name
            );
            let problem = Diagnostic::of(RuleCode::SecretArgument, message).hint(format!(
                "give it under `secrets`, or write `allow_build_args: [{}]` if it is not a secret",
                self.name
            ));
            problems.found.push(problem);
        }
    }
}

impl FieldOverride {
    /// The fields that it can give, and what they take.
    pub fn fields() -> impl Iterator<Item = (&'static str, String)> {
        let rows = IMAGE.iter().filter(|row| row.shape == FieldShape::Value);
        rows.map(|row| (row.key, row.takes()))
    }

    fn applied(&self, image: Image, problems: &mut Problems) -> Image {
        let text = format!("{}.{}={}", self.image, self.field, self.value);
        let value = text.len() - self.value.len()..text.len();
        let span = problems.span_in_flag(&SourceFile::new(Path::new("--set"), text), &value);
        let before = problems.found.len();
        let given = self.read(span, problems);
        if problems.found.len() > before {
            return Image { is_broken: true, ..image };
        }
        let (flatten, default_flatten) = (image.flatten.clone(), image.default_flatten);
        let mut merged = given.over(&image);
        // `over` takes a field of an image for one of `defaults`.
        if self.field != "flatten" {
            (merged.flatten, merged.default_flatten) = (flatten, default_flatten);
        }
        merged.check_build(problems);
        merged
    }

    /// An image with this field only.
    fn read(&self, span: Range<usize>, problems: &mut Problems) -> Image {
        let kind = match self.value.as_str() {
            "true" => ValueKind::Bool(true),
            "false" => ValueKind::Bool(false),
            _ => ValueKind::Text(self.value.clone()),
        };
        let key = MappingKey { name: self.field.to_owned(), span: span.clone() };
        let value = Yaml { kind, span: span.clone() };
        let entry = Yaml { kind: ValueKind::Map(vec![(key, value)]), span };
        let mut image = Image::read("an image", &self.image, &entry, problems);
        let later = std::mem::take(&mut image.later);
        image.set_all(&later, (&Combination::new(), &Room::new()), problems);
        image.check_build(problems);
        image
    }
}

#[cfg(test)]
mod tests;
