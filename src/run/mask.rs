//! Takes the values of secrets out of what is printed.
//!
//! **Invariant:** in whatever pieces output comes, no value of four bytes or more passes as it is;
//! and nothing else is changed or lost.

use std::{fmt, sync::Arc};

/// What stands in the place of a value.
const MASK: &[u8] = b"***";
/// A shorter value is in half of all words; to take it out would leave nothing to read.
const SHORTEST: usize = 4;

/// What is not to be seen. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Mask {
    /// The longest first, so that a value is not left half by another that begins alike.
    values: Arc<[Vec<u8>]>,
}

/// One stream of output on its way through a [`Mask`].
#[derive(Debug, Default)]
pub(super) struct Masked {
    mask: Mask,
    /// The beginning of what may become a value.
    held: Vec<u8>,
}

impl Mask {
    /// Of each value the whole, and each of its lines: most programs print one at a time.
    pub(super) fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
            let parts = lines.map(<[u8]>::trim_ascii).chain([value.trim_ascii()]);
            all.extend(parts.filter(|part| part.len() >= SHORTEST).map(<[u8]>::to_vec));
        }
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self { values: all.into() }
    }

    /// A text that is whole.
    pub(super) fn text(&self, text: &str) -> String {
        let mut masked = Masked::by(self.clone());
        let mut bytes = masked.take(text.as_bytes());
        bytes.extend(masked.rest());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How long the value is that `bytes` begin with.
    fn value(&self, bytes: &[u8]) -> Option<usize> {
        self.values.iter().find(|value| bytes.starts_with(value)).map(Vec::len)
    }

    /// Whether more bytes could make a value, or a longer one, of these.
    fn may_become_value(&self, bytes: &[u8]) -> bool {
        self.values.iter().any(|value| value.len() > bytes.len() && value.starts_with(bytes))
    }
}

impl Masked {
    pub(super) fn by(mask: Mask) -> Self {
        Self { mask, held: Vec::new() }
    }

    /// What can be shown now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.mask.values.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        self.pass(Mask::may_become_value)
    }

    /// What was held back, once nothing more comes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.pass(|_, _| false)
    }

    fn pass(&mut self, waits: impl Fn(&Mask, &[u8]) -> bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(held.len());
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            if waits(&self.mask, rest) {
                self.held = rest.to_vec();
                break;
            }
            if let Some(length) = self.mask.value(rest) {
                shown.extend_from_slice(MASK);
                at += length;
            } else {
                shown.push(held[at]);
                at += 1;
            }
        }
        shown
    }
}

/// Says how many values there are, and none of them.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("values", &self.values.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(values: &[&str], pieces: &[&[u8]]) -> String {
        let mut stream = Masked::by(Mask::new(values.iter().map(|value| value.as_bytes())));
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| stream.take(piece)).collect();
        shown.extend(stream.rest());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn values_are_taken_out_wherever_the_output_is_cut() {
        let text = "a hunter2 b: hunter2hunter2 hunter hunter22\nline-two, line-twx\nhun";
        let expected = "a *** b: ****** hunter ***2\n***, line-twx\nhun";
        let values = ["hunter2\n", "first line\nline-two\nabc\n", "abc"];
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let (start, rest) = text.as_bytes().split_at(first);
                let (middle, end) = rest.split_at(second - first);
                assert_eq!(masked(&values, &[start, middle, end]), expected, "{first}, {second}");
            }
        }
    }

    #[test]
    fn the_longest_value_wins() {
        for (values, pieces, expected) in [
            (&["abcd", "abcdef"][..], &["abcdef abcde abcd"][..], "*** ***e ***"),
            (&["abcd", "abcdef"], &["abcd", "ef"], "***"),
            (&["abcd", "abcdef"], &["abcd"], "***"),
            (&["aaaa"], &["aaaaaaa"], "***aaa"),
            (&["abc", " x ", ""], &["abc x"], "abc x"),
            (&[], &["abc"], "abc"),
            (&["one\ntwo2"], &["one\ntwo2 one two2"], "*** one ***"),
            (&["päss"], &["p\u{e4}ss"], "***"),
        ] {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(masked(values, &pieces), expected, "{values:?}");
        }
    }

    #[test]
    fn nothing_shows_a_value() {
        let mask = Mask::new([&b"hunter2"[..]]);
        assert_eq!(mask.text("RUN echo hunter2"), "RUN echo ***");
        assert_eq!(format!("{mask:?}"), "Mask { values: 1 }");
    }
}
