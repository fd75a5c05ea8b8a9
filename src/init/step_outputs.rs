//! What a step of GitHub Actions gives to later steps: `echo "NAME=value" >> $GITHUB_OUTPUT`.
//! <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>

use super::{
    evidence::{Values, unknown},
    path_words::is_one_of,
    shell::assignments,
    variables::{Syntax, expand},
};

/// The values of `steps.ID.outputs.NAME` and of variables that a step sets. One that a condition decides, or that has
/// several values, is not known.
pub(super) fn given(id: Option<&str>, text: &str, values: &Values) -> Values {
    let mut known = assignments(text, Syntax::Shell);
    known.extend(values.clone());
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let is_conditional = text.lines().any(|line| is_one_of(&first(line), "if case for while"));
    let mut given = Values::new();
    for line in text.lines() {
        let Some((name, value)) = output(id, line) else { continue };
        let value = expand(value, &known, Syntax::Shell);
        let is_other = given.get(&name).is_some_and(|own| *own != value);
        let value = if is_conditional || is_other { unknown(&name) } else { value };
        given.insert(name, value);
    }
    given
}

/// The whole name and the value that a line sets.
fn output<'l>(id: Option<&str>, line: &'l str) -> Option<(String, &'l str)> {
    let (command, file) = line.split_once(">>")?;
    let file = file.trim().trim_matches(['"', '\'']).trim_start_matches(['$', '{']);
    let text = command.trim().strip_prefix("echo ")?.trim().trim_matches(['"', '\'']);
    let (name, value) = text.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    let name = match file.trim_end_matches('}') {
        "GITHUB_OUTPUT" => format!("steps.{}.outputs.{name}", id?),
        "GITHUB_ENV" => name.to_owned(),
        _ => return None,
    };
    is_name.then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::{super::evidence::Open, *};

    #[test]
    fn outputs_and_variables_of_steps() {
        for (text, expected) in [
            (
                "echo \"v=1.2\" >> $GITHUB_OUTPUT\necho A=b >> \"${GITHUB_ENV}\"",
                "A=b steps.s.outputs.v=1.2",
            ),
            (
                "V=$(cat VERSION)\necho \"v=$V\" >> \"$GITHUB_OUTPUT\"",
                "steps.s.outputs.v=$(cat VERSION)",
            ),
            (
                "echo v=1 >> $GITHUB_OUTPUT\necho v=2 >> $GITHUB_OUTPUT",
                "steps.s.outputs.v=$steps.s.outputs.v",
            ),
            (
                "if x; then\n  echo v=1 >> $GITHUB_OUTPUT\nfi",
                "steps.s.outputs.v=$steps.s.outputs.v",
            ),
            ("echo v=1 >> log", ""),
        ] {
            let shown = given(Some("s"), text, &Values::new()).into_iter();
            let shown = shown.map(|(name, value)| format!("{name}={}", Open(value).shown()));
            assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{text}");
        }
    }
}
