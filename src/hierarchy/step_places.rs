//! Where the steps of a build stand in their Dockerfile.
//!
//! BuildKit shares equal steps of concurrent builds, and reports a shared step with the stage and the number of the
//! build that had it first. So the place comes from the Dockerfile of the image itself.

use super::Dockerfile;
use crate::dockerfile::Instruction;

/// The place of a step in its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlace {
    /// If the Dockerfile names it.
    pub stage: Option<String>,
    /// Counted from 1.
    pub number: usize,
    pub total: usize,
}

/// Instructions that BuildKit counts, beside the `FROM` of an image: `dockerfile2llb/convert.go`.
const COUNTED: [&str; 4] = ["ADD ", "COPY ", "RUN ", "WORKDIR "];

impl Dockerfile {
    /// The place of a step, and its text, both as this Dockerfile has them. A step that the Dockerfile does not
    /// have, such as one of an `ONBUILD` of its base, stays as it is reported, without a foreign stage.
    pub fn step_place(&self, reported: StepPlace, text: String) -> (StepPlace, String) {
        let places = self.step_places();
        let found = self.lines_of(&text);
        let mut own = places.iter().filter(|(_, one)| found.contains(one));
        let same = own.clone().find(|(place, _)| *place == reported);
        if let Some((place, one)) = same.or_else(|| own.next()) {
            let is_pinned = one.text.starts_with("FROM ") && !one.text.contains('@');
            let pin = text.find("@sha256:").filter(|_| is_pinned);
            return (place.clone(), pin.map_or(text.clone(), |at| text[..at].to_owned()));
        }
        let has_stage =
            |stage: &String| places.iter().any(|(place, _)| place.stage.as_ref() == Some(stage));
        (StepPlace { stage: reported.stage.filter(has_stage), ..reported }, text)
    }

    fn step_places(&self) -> Vec<(StepPlace, &Instruction)> {
        let mut stages: Vec<(Option<String>, Vec<&Instruction>)> = Vec::new();
        for one in &self.instructions {
            if one.text.starts_with("FROM ") {
                let mut words = one.text.split(' ').rev();
                let name = words.next().map(str::to_ascii_lowercase);
                let is_named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
                let is_of_image = self.uses.iter().any(|used| used.line == one.line);
                stages.push((name.filter(|_| is_named), Vec::new()));
                if !is_of_image {
                    continue;
                }
            } else if !COUNTED.iter().any(|name| one.text.starts_with(name)) {
                continue;
            }
            if let Some((_, counted)) = stages.last_mut() {
                counted.push(one);
            }
        }
        let places = stages.into_iter().flat_map(|(stage, counted)| {
            let total = counted.len();
            counted.into_iter().enumerate().map(move |(index, one)| {
                (StepPlace { stage: stage.clone(), number: index + 1, total }, one)
            })
        });
        places.collect()
    }
}
