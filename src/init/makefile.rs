//! `define` and `$(call …)` of Makefiles: <https://www.gnu.org/software/make/manual/html_node/Call-Function.html>.

use super::{
    evidence::{Open, Values},
    functions::{Functions, NumberedLine},
    variables::{Syntax, closing, expand},
};

/// Calls in calls are read to this depth.
const DEEPEST: usize = 8;
/// More calls of a line are not read.
const MOST: usize = 256;

/// Takes the texts of `define` out of the lines.
pub(super) fn take(lines: &mut Vec<NumberedLine>, functions: &mut Functions) {
    let mut all = std::mem::take(lines).into_iter();
    while let Some((number, line)) = all.next() {
        let Some(name) = line.strip_prefix("define ") else {
            lines.push((number, line));
            continue;
        };
        let name = name.trim_end_matches(['=', ':', '?', '+', ' ']).trim();
        let body = all.by_ref().take_while(|(_, line)| line.trim() != "endef");
        functions.insert(name, body.collect());
    }
}

/// The name and the arguments of each `$(call name,…)` of a line, once for each word of the `$(foreach …)` around it.
pub(super) fn calls(line: &str, values: &Values) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    find(line, values, &mut all, DEEPEST);
    all
}

fn find(text: &str, values: &Values, all: &mut Vec<(String, Vec<String>)>, depth: usize) {
    let mut rest = text;
    while let Some(at) = rest.find("$(").filter(|_| depth > 0 && all.len() < MOST) {
        let from = &rest[at + 1..];
        let Some(end) = closing(from, '(') else { return };
        let inside = from[1..end].trim_start();
        rest = &from[end + 1..];
        if let Some(arguments) = inside.strip_prefix("call ") {
            let mut arguments = split(arguments).into_iter();
            let name = arguments.next().unwrap_or_default().trim().to_owned();
            let arguments = arguments.map(|one| expand(one.trim(), values, Syntax::Make));
            all.push((name, arguments.collect()));
        } else if let Some(inside) = inside.strip_prefix("foreach ") {
            let [variable, words, body] = split(inside)[..] else { continue };
            let words = expand(words, values, Syntax::Make);
            let words = Some(words).filter(|words| Open(words.clone()).is_known());
            for word in words.iter().flat_map(|words| words.split_whitespace()) {
                let mut values = values.clone();
                values.insert(variable.trim().to_owned(), word.to_owned());
                find(body, &values, all, depth - 1);
            }
        } else {
            find(inside, values, all, depth - 1);
        }
    }
}

/// The arguments between commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let is_between = |c: char| {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(is_between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_line() {
        let values: Values = [("ALL".to_owned(), "a b".to_owned())].into();
        for (line, expected) in [
            (
                "$(foreach i,$(ALL) c,$(eval $(call rule,$(i),x y)))",
                "rule:a,x y|rule:b,x y|rule:c,x y",
            ),
            ("\t@$(call one,$(subst a,b,$(X)))", "one:\u{1}subst a,b,$(X)\u{2}"),
            ("$(foreach i,$(shell ls),$(call rule,$(i)))", ""),
            ("$(if x,$(call one))$(call two,", "one:"),
        ] {
            let all = calls(line, &values).into_iter();
            let shown: Vec<String> =
                all.map(|(name, arguments)| format!("{name}:{}", arguments.join(","))).collect();
            assert_eq!(shown.join("|"), expected, "{line}");
        }
    }

    #[test]
    fn fuzz_makefile() {
        const WORDS: [&str; 8] =
            ["$(call a,", "$(foreach i,a b,", "$(", ")", ",", "$(i)", "define x\n", "\nendef\n"];
        crate::testing::fuzz::each(&[b"$(foreach i,a b,$(call c,$(i)))"], &WORDS, |text| {
            let text = String::from_utf8_lossy(text);
            _ = calls(&text, &Values::new());
            take(
                &mut text.lines().map(str::to_owned).enumerate().collect(),
                &mut Functions::default(),
            );
        });
    }
}
