//! Names in a sentence.

use std::fmt::Display;

/// Names in backticks, the last few only as a number: `` `a`, `b` and 3 more ``.
pub fn names<T: Display>(names: &[T], at_most: usize) -> String {
    let quoted = |name: &T| format!("`{name}`");
    // A single name takes no more place than "1 more".
    let shown = if names.len() <= at_most + 1 { names.len() } else { at_most };
    let head: Vec<String> = names[..shown].iter().map(quoted).collect();
    match (head.as_slice(), names.len() - shown) {
        ([], 0) => String::new(),
        ([one], 0) => one.clone(),
        ([some @ .., last], 0) => format!("{} and {last}", some.join(", ")),
        (some, more) => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_in_a_number() {
        let all = ["a", "b", "c", "d"];
        assert_eq!(
            [0, 1, 2, 3, 4].map(|n| names(&all[..n], 2)),
            ["", "`a`", "`a` and `b`", "`a`, `b` and `c`", "`a`, `b` and 2 more"]
        );
    }
}
