//! Edits of a text that keep every other byte, and how they read as a unified diff.

use std::{fmt::Write as _, ops::Range};

/// Lines around a change, as `diff -u` has them.
const CONTEXT: usize = 3;

#[derive(Debug)]
pub(super) struct Edits<'t> {
    text: &'t str,
    /// Bytes, and what replaces them. In order; those at one place in the order in which they came.
    all: Vec<(Range<usize>, String)>,
    /// The line break of the file.
    line_break: &'static str,
}

impl<'t> Edits<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Self { text, all: Vec::new(), line_break }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn replace(&mut self, range: Range<usize>, with: &str) {
        let with = with.replace('\n', self.line_break);
        let after = self.all.partition_point(|(other, _)| other.start <= range.start);
        self.all.insert(after, (range, with));
    }

    /// Whole lines, at the beginning of a line or at the end of the text.
    pub(super) fn insert_lines(&mut self, at: usize, lines: &str) {
        if at == self.text.len() && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.replace(at..at, &format!("\n{}", lines.trim_end_matches('\n')));
        } else {
            self.replace(at..at, lines);
        }
    }

    pub(super) fn applied(&self) -> String {
        self.of_bytes(0..self.text.len(), &self.all)
    }

    fn of_bytes(&self, bytes: Range<usize>, edits: &[(Range<usize>, String)]) -> String {
        let (mut out, mut at) = (String::new(), bytes.start);
        for (range, with) in edits {
            out.push_str(&self.text[at..range.start]);
            out.push_str(with);
            at = range.end;
        }
        out + &self.text[at..bytes.end]
    }

    /// What `diff -u` would print.
    pub(super) fn diff(&self, name: &str) -> String {
        let mut out = String::new();
        if self.is_empty() {
            return out;
        }
        _ = writeln!(out, "--- {name}\n+++ {name}");
        let lines: Vec<&str> = self.text.split_inclusive('\n').collect();
        let mut starts = vec![0];
        for line in &lines {
            starts.push(starts.last().copied().unwrap_or(0) + line.len());
        }
        let changes = self.changes(&starts);
        let mut shift = 0isize;
        let mut rest = &changes[..];
        while let Some((first, _)) = rest.first() {
            let near =
                rest.windows(2).take_while(|pair| pair[1].0.start <= pair[0].0.end + 2 * CONTEXT);
            let (hunk, others) = rest.split_at(near.count() + 1);
            rest = others;
            let last = hunk.last().map_or(first.end, |(range, _)| range.end);
            let old = first.start.saturating_sub(CONTEXT)..(last + CONTEXT).min(lines.len());
            let (mut body, mut added, mut removed, mut at) = (String::new(), 0, 0, old.start);
            for (range, new) in hunk {
                lines[at..range.start].iter().for_each(|line| marked(&mut body, ' ', line));
                lines[range.clone()].iter().for_each(|line| marked(&mut body, '-', line));
                new.split_inclusive('\n').for_each(|line| marked(&mut body, '+', line));
                removed += range.len();
                added += new.split_inclusive('\n').count();
                at = range.end;
            }
            lines[at..old.end].iter().for_each(|line| marked(&mut body, ' ', line));
            let new = old.len() + added - removed;
            let begin = |start: usize, length: usize| start + usize::from(length > 0);
            let new_start = old.start.saturating_add_signed(shift);
            _ = write!(
                out,
                "@@ -{},{} +{},{new} @@\n{body}",
                begin(old.start, old.len()),
                old.len(),
                begin(new_start, new)
            );
            shift += added.cast_signed() - removed.cast_signed();
        }
        out
    }

    /// The lines that change, and what they become.
    fn changes(&self, starts: &[usize]) -> Vec<(Range<usize>, String)> {
        let line = |at: usize| starts.partition_point(|&start| start <= at) - 1;
        let count = starts.len() - 1;
        let mut groups: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for (index, (range, with)) in self.all.iter().enumerate() {
            let first = line(range.start);
            let is_line = starts[first] == range.start;
            let lines = if range.is_empty() && is_line && with.ends_with('\n') {
                first..first
            } else {
                first.min(count.saturating_sub(1))
                    ..(line(range.end.max(range.start + 1) - 1) + 1).min(count)
            };
            match groups.last_mut() {
                Some((last, edits)) if lines.start < last.end || *last == lines => {
                    last.end = last.end.max(lines.end);
                    edits.end = index + 1;
                }
                _ => groups.push((lines, index..index + 1)),
            }
        }
        let text = |(lines, edits): (Range<usize>, Range<usize>)| {
            let new = self.of_bytes(starts[lines.start]..starts[lines.end], &self.all[edits]);
            (lines, new)
        };
        groups.into_iter().map(text).collect()
    }
}

fn marked(out: &mut String, mark: char, line: &str) {
    out.push(mark);
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `patch` makes the new text of the old one.
    #[test]
    fn the_diff_is_one_that_patch_understands() {
        type Change = fn(&mut Edits<'_>);
        let whole = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\n";
        let changes: [(&str, Change); 7] = [
            (whole, |edits| edits.insert_lines(4, "new\n")),
            (whole, |edits| {
                edits.insert_lines(28, "end\n");
                edits.insert_lines(0, "first\n");
                edits.insert_lines(28, "end 2\n");
            }),
            (whole, |edits| {
                edits.replace(2..3, "# b");
                edits.replace(4..4, "# ");
                edits.insert_lines(6, "x\ny\n");
                edits.replace(24..26, "");
            }),
            ("a\nb", |edits| edits.insert_lines(3, "c\n")),
            ("a\nb", |edits| {
                edits.insert_lines(3, "c\n");
                edits.insert_lines(3, "d\n");
            }),
            ("a\r\nb\r\n", |edits| edits.insert_lines(3, "c\n")),
            ("", |edits| edits.insert_lines(0, "a\n")),
        ];
        for (text, change) in changes {
            let mut edits = Edits::of(text);
            change(&mut edits);
            let (new, diff) = (edits.applied(), edits.diff("file"));
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("file"), text).unwrap();
            std::fs::write(folder.path().join("diff"), &diff).unwrap();
            let patched = std::process::Command::new("git")
                .args(["apply", "--whitespace=nowarn", "-p0", "diff"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(patched.status.success(), "{patched:?}\n{diff}");
            assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), new, "{diff}");
        }
        assert_eq!(Edits::of("a\n").diff("file"), "");
    }
}
