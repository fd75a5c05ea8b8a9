//! "Did you mean": the known word that is nearest to an unknown one, and matching with gaps.

/// The nearest of the known words, if it is near enough to be a slip of the keyboard. `build_args` is nearest to
/// `args`, since other tools have shorter names.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let is_part = |known: &str| known.split('_').any(|part| part == word);
    let near = known
        .into_iter()
        .filter_map(|known| Some((if is_part(known) { 0 } else { slips(word, known)? }, known)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// How many slips of the keyboard make one of the other, if they are near enough.
pub fn slips(word: &str, known: &str) -> Option<usize> {
    let [a, b] = [word, known].map(|text| text.to_lowercase().chars().collect::<Vec<char>>());
    // One slip in a word of three letters, two in one of six, and so on.
    let limit = a.len().div_ceil(3);
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    // Any word of one or two letters is one slip from any other: only swapped letters are one.
    let is_short = a.len().max(b.len()) < 3;
    if is_short && (a.len() != b.len() || a.iter().any(|letter| !b.contains(letter))) {
        return None;
    }
    Some(distance(&a, &b)).filter(|distance| *distance <= limit)
}

/// Letters to insert, delete, replace or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Whether the text is these pieces in this order, at its start, at its end, and with at least
/// `gap` bytes of anything between two of them.
pub fn glob(pieces: &[&str], text: &str, gap: usize) -> bool {
    let (first, rest) = match pieces {
        [] => return text.is_empty(),
        [only] => return *only == text,
        [first, rest @ ..] => (first, rest),
    };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (last, middle) = rest.split_last().expect("there are two pieces at least");
    for piece in middle {
        let Some(after) = text.get(gap..) else { return false };
        let Some(at) = after.find(piece) else { return false };
        text = &after[at + piece.len()..];
    }
    text.len() >= gap + last.len() && text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["context", "dockerfile", "tags", "test", "os-base", "build_args"];
        for (word, expected) in [
            ("args", Some("build_args")),
            ("contxt", Some("context")),
            ("cnotext", Some("context")),
            ("tag", Some("tags")),
            ("Tags", Some("tags")),
            ("os-bsae", Some("os-base")),
            ("python", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }

    #[test]
    fn short_words_are_not_near() {
        for (word, known, expected) in [
            ("z", "x", None),
            ("ab", "ac", None),
            ("so", "os", Some(1)),
            ("A", "a", Some(0)),
            ("pi", "pip", Some(1)),
        ] {
            assert_eq!(slips(word, known), expected, "{word} {known}");
        }
    }

    #[test]
    fn pieces_match_with_gaps() {
        for (pieces, text, gap, expected) in [
            (&["12-", "-", ""][..], "12-20261123-abc", 1, true),
            (&["12-", "-", ""], "12--abc", 1, false),
            (&["12-", "-", ""], "12-x-", 1, false),
            (&["a", "", "b"], "axyb", 1, true),
            (&["a", "", "b"], "axb", 1, false),
            (&["a", "b"], "ab", 0, true),
            (&["a", "ab"], "ab", 0, false),
            (&["latest"], "latest", 1, true),
            (&["latest"], "later", 1, false),
            (&["é", ""], "éü", 1, true),
        ] {
            assert_eq!(glob(pieces, text, gap), expected, "{pieces:?} {text}");
        }
    }
}
