//! The text of `rebuild explain`: one line for each rule, or one rule in full.

use super::{CheckRule, RuleCode, Severity, all};

/// A line for each rule.
pub fn summary() -> String {
    let line = |rule: &CheckRule| format!("{}  {:7}  {}\n", rule.code, rule.severity, rule.title);
    all().map(line).collect()
}

/// One rule in full, for a terminal.
pub fn explanation(code: RuleCode) -> String {
    let CheckRule { severity, title, why, bad, good, .. } = code.rule();
    let indented =
        |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    let ignored = match severity {
        Severity::Error => String::new(),
        _ => format!(
            "\nTo ignore it, add this on its line or on the line above:\n\n    # rebuild ignore={code}\n"
        ),
    };
    format!(
        "{code}: {title} ({severity})\n\n{}\n\nInstead of\n\n{}\nwrite\n\n{}{ignored}",
        wrapped(why),
        indented(bad),
        indented(good),
    )
}

/// Wraps lines at 80 characters.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 80 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}
