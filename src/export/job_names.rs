//! Names of jobs that every system accepts: lower-case letters, digits and dashes, at most 50 of them.
//!
//! A name becomes part of the names of pods, which have at most 63 characters (RFC 1123).

use std::collections::BTreeSet;

const LONGEST: usize = 50;
/// Jobs of the pipeline itself, and words that GitLab gives a meaning:
/// <https://docs.gitlab.com/ci/jobs/#job-names>.
const TAKEN: [&str; 16] = [
    "promote",
    "nothing-to-do",
    "level",
    "stage",
    "pipeline",
    "image",
    "services",
    "stages",
    "before-script",
    "after-script",
    "variables",
    "cache",
    "include",
    "default",
    "workflow",
    "pages",
];

#[derive(Debug, Default)]
pub(super) struct JobNames(BTreeSet<String>);

impl JobNames {
    /// The name of the job of an image, different from all before.
    pub(super) fn of(&mut self, image: &str) -> String {
        let mut name: String = image
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .collect();
        name.truncate(LONGEST);
        let mut name = name.trim_matches('-').to_owned();
        // A job of GitHub begins with a letter. Words such as `true` and `null` are no texts in YAML.
        let is_word = matches!(
            name.as_str(),
            "true" | "false" | "null" | "nil" | "yes" | "no" | "on" | "off"
        );
        if is_word
            || TAKEN.contains(&name.as_str())
            || !name.starts_with(|c: char| c.is_ascii_lowercase())
        {
            let longer = format!("image-{name}");
            longer.trim_end_matches('-').clone_into(&mut name);
        }
        let mut unique = name.clone();
        let mut number = 2;
        while !self.0.insert(unique.clone()) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_a_name_of_its_own() {
        let mut names = JobNames::default();
        for (image, expected) in [
            ("webapp-base", "webapp-base"),
            ("ruby-3.4", "ruby-3-4"),
            ("ruby/3_4", "ruby-3-4-2"),
            ("ruby-3-4", "ruby-3-4-3"),
            ("3proxy", "image-3proxy"),
            ("promote", "image-promote"),
            ("pages", "image-pages"),
            ("null", "image-null"),
            ("a".repeat(80).as_str(), &"a".repeat(50)),
            ("a".repeat(90).as_str(), &format!("{}-2", "a".repeat(50))),
        ] {
            assert_eq!(names.of(image), expected, "{image}");
        }
    }
}
