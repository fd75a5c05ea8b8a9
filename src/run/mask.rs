//! Removes the values of secrets from output.
//!
//! **Invariant:** for output in pieces of any size, no value of four bytes or more passes, and no other byte
//! changes. The time is linear in the output for any number of values: one automaton (Aho-Corasick) reads
//! each byte once.

use std::{collections::VecDeque, fmt, ops::Range, sync::Arc};

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
    nfa::noncontiguous::NFA,
};

/// Replaces one value, or several consecutive ones.
const MASK: &[u8] = b"***";
/// Shorter values occur in many words: masking them would make the output unreadable.
const SHORTEST: usize = 4;

/// The values to hide. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Mask {
    values: Option<Arc<Values>>,
}

struct Values {
    count: usize,
    automaton: NFA,
    start: StateID,
    /// By the automaton's state.
    states: Vec<AutomatonState>,
}

/// Facts about a state of the automaton.
#[derive(Clone, Copy, Default)]
struct AutomatonState {
    /// How many of the last bytes are a value; 0 if they are not.
    ends: usize,
    /// How many of the last bytes may be the beginning of a value, or of a longer one.
    may_become: usize,
}

/// One stream of output through a [`Mask`].
#[derive(Debug, Default)]
pub(super) struct Masked {
    mask: Mask,
    state: Option<StateID>,
    /// Bytes that may become a value.
    held: VecDeque<u8>,
    /// The number of bytes passed before these.
    passed: usize,
    /// The ranges of values in the stream: disjoint and sorted.
    found: VecDeque<Range<usize>>,
    /// Whether the last passed byte was part of a value.
    in_value: bool,
}

impl Mask {
    /// The values, and each of their lines: most programs print line by line.
    pub(super) fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut all: Vec<&[u8]> = Vec::new();
        for value in values {
            let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
            let parts = lines.map(<[u8]>::trim_ascii).chain([value.trim_ascii()]);
            all.extend(parts.filter(|part| part.len() >= SHORTEST));
        }
        all.sort_unstable();
        all.dedup();
        Self { values: (!all.is_empty()).then(|| Arc::new(Values::new(&all))) }
    }

    /// Masks a complete text.
    pub(super) fn text(&self, text: &str) -> String {
        let mut masked = Masked::by(self.clone());
        let mut bytes = masked.take(text.as_bytes());
        bytes.extend(masked.rest());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Values {
    fn new(all: &[&[u8]]) -> Self {
        // Fails only for more than 2 GiB of values.
        let automaton = NFA::new(all).expect("secrets are small");
        let start = automaton.start_state(Anchored::No).expect("searches are not anchored");
        let mut values = Self { count: all.len(), automaton, start, states: Vec::new() };
        // A value leads the automaton through the states of its prefixes. Each state knows the longest prefix
        // that the last bytes form.
        for value in all {
            let mut state = start;
            for (at, byte) in value.iter().enumerate() {
                state = values.next(state, *byte);
                let length = at + 1;
                let ends = values.longest_end(state);
                let known = values.state_mut(state);
                known.ends = ends;
                if length < value.len() {
                    known.may_become = length;
                }
            }
        }
        // No longer value begins with such a value, but its end may be the beginning of another one. That end
        // may be a shorter value of this kind, so those come first.
        let mut by_length = all.to_vec();
        by_length.sort_by_key(|value| value.len());
        for value in by_length {
            let after = |text: &[u8]| text.iter().fold(start, |at, byte| values.next(at, *byte));
            let (whole, rest) = (after(value), after(&value[1..]));
            if values.state(whole).may_become == 0 {
                let length = values.state(rest).may_become;
                values.state_mut(whole).may_become = length;
            }
        }
        values
    }

    fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    fn longest_end(&self, state: StateID) -> usize {
        if !self.automaton.is_match(state) {
            return 0;
        }
        let ends = (0..self.automaton.match_len(state)).map(|index| {
            let pattern = self.automaton.match_pattern(state, index);
            self.automaton.pattern_len(pattern)
        });
        ends.max().unwrap_or(0)
    }

    fn state(&self, state: StateID) -> AutomatonState {
        self.states.get(state.as_usize()).copied().unwrap_or_default()
    }

    fn state_mut(&mut self, state: StateID) -> &mut AutomatonState {
        let at = state.as_usize();
        if self.states.len() <= at {
            self.states.resize(at + 1, AutomatonState::default());
        }
        &mut self.states[at]
    }
}

impl Masked {
    pub(super) fn by(mask: Mask) -> Self {
        Self { mask, ..Self::default() }
    }

    /// The bytes that can be shown now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(values) = self.mask.values.clone() else { return bytes.to_vec() };
        let mut shown = Vec::with_capacity(bytes.len());
        let mut at = self.state.unwrap_or(values.start);
        for byte in bytes {
            at = values.next(at, *byte);
            self.held.push_back(*byte);
            let AutomatonState { ends, may_become } = values.state(at);
            if ends > 0 {
                self.mark(ends);
            }
            self.pass(may_become, &mut shown);
        }
        self.state = Some(at);
        shown
    }

    /// The bytes that were held back, at the end of the stream.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.held.len());
        self.pass(0, &mut shown);
        (self.state, self.in_value) = (None, false);
        shown
    }

    /// The last bytes are a value, which merges with values that it overlaps or follows.
    fn mark(&mut self, length: usize) {
        let end = self.passed + self.held.len();
        let mut start = end - length;
        while let Some(last) = self.found.back().filter(|last| last.end >= start) {
            start = start.min(last.start);
            self.found.pop_back();
        }
        self.found.push_back(start..end);
    }

    /// Passes all but the last bytes.
    fn pass(&mut self, held: usize, shown: &mut Vec<u8>) {
        while self.held.len() > held {
            let Some(byte) = self.held.pop_front() else { break };
            while self.found.front().is_some_and(|first| first.end <= self.passed) {
                self.found.pop_front();
            }
            let is_value = self.found.front().is_some_and(|first| first.start <= self.passed);
            self.passed += 1;
            if !is_value {
                shown.push(byte);
            } else if !self.in_value {
                shown.extend_from_slice(MASK);
            }
            self.in_value = is_value;
        }
    }
}

/// Prints the number of values, not the values.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.values.as_ref().map_or(0, |values| values.count);
        f.debug_struct("Mask").field("values", &count).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let expected = "a *** b: *** hunter ***2\n***, line-twx\nhun";
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
            (&["aaaa"], &["aaaaaaa"], "***"),
            // Two that overlap: of neither a part is left.
            (&["abcdef", "efghij"], &["xabcdefghijx abcdefg"], "x***x ***g"),
            (&["abcdef", "cdeX"], &["abcdeX abcde"], "ab*** abcde"),
            (&["abc", " x ", ""], &["abc x"], "abc x"),
            (&[], &["abc"], "abc"),
            (&["one\ntwo2"], &["one\ntwo2 one two2"], "*** one ***"),
            (&["päss"], &["p\u{e4}ss"], "***"),
        ] {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(masked(values, &pieces), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_passes_and_nothing_else_is_lost(
            values in proptest::collection::vec("[ab]{4,7}", 0..6),
            pieces in proptest::collection::vec("[abc]{0,9}", 0..12),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let text: String = pieces.concat();
            // The oracle: each byte of each occurrence is a part of a value.
            let mut is_value = vec![false; text.len()];
            for value in &values {
                for at in (0..text.len()).filter(|at| text[*at..].starts_with(value)) {
                    is_value[at..at + value.len()].fill(true);
                }
            }
            let mut expected = String::new();
            for (at, c) in text.chars().enumerate() {
                match is_value[at] {
                    false => expected.push(c),
                    true if at > 0 && is_value[at - 1] => {}
                    true => expected.push_str("***"),
                }
            }
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            prop_assert_eq!(masked(&values, &pieces), expected);
        }
    }

    /// Each value was compared at each byte: 10,000 lines of a secret and 1 MiB took minutes.
    #[test]
    fn many_values_and_long_ones_take_no_longer() {
        let lines: Vec<String> =
            (0..10_000).map(|n| "a".repeat(n % 50) + &format!("{n:06}")).collect();
        let secret = lines.join("\n");
        let long = "a".repeat(100_000);
        let mask = Mask::new([secret.as_bytes(), long.as_bytes()]);
        let text = "a".repeat(1 << 20) + "b000001";
        assert_eq!(mask.text(&text), "***b000001");
        let mut stream = Masked::by(mask);
        assert_eq!(stream.take(b"x a000001"), b"x ***");
    }

    #[test]
    fn what_can_be_no_value_is_not_held_back() {
        let mask = Mask::new([&b"hunter2"[..], b"her-majesty"]);
        let mut stream = Masked::by(mask);
        for (piece, shown) in [
            ("abc", "abc"),
            ("hunt", ""),
            ("er2", "***"),
            ("he", ""),
            ("x", "hex"),
            ("hunther", "hunt"),
        ] {
            assert_eq!(String::from_utf8(stream.take(piece.as_bytes())).unwrap(), shown, "{piece}");
        }
        assert_eq!(stream.rest(), b"her");
    }

    #[test]
    fn nothing_shows_a_value() {
        let mask = Mask::new([&b"hunter2"[..]]);
        assert_eq!(mask.text("RUN echo hunter2"), "RUN echo ***");
        assert_eq!(format!("{mask:?}"), "Mask { values: 1 }");
    }
}
