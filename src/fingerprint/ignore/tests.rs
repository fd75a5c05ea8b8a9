use std::{ffi::OsStr, fmt::Write as _};

use super::*;

/// Which of the paths are left out, one a line.
fn left_out(ignore: &str, paths: &[&str]) -> String {
    let ignore = Ignore::parse(ignore.as_bytes()).unwrap();
    let mut text = String::new();
    for path in paths.iter().filter(|path| ignore.excludes(Path::new(path))) {
        _ = writeln!(text, "{path}");
    }
    text
}

/// One pattern, one path: does it leave it out? The cases of `patternmatcher_test.go`, and more.
#[test]
fn one_pattern() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "dir/dir/file", true),
        ("**file", "dir/myfile", true),
        ("**/file", "dir/myfile", false),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abc/def", false),
        (r"a\\", r"a\", true),
        (r"a\*b", "a*b", true),
        (r"a\*b", "axb", false),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def/ghi", true),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("a?b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        (r"[\]a]", "]", true),
        (r"[\-x]", "-", true),
        // The expression shows: a class is not a class any more once it holds a star.
        ("[a*]", "a]", true),
        ("[a*]", "^/a]", true),
        ("[a*]", "b", false),
        ("[[:digit:]]", "7", true),
        (r"v\d", "v7", true),
        ("a&&[b&&c]", "a&&&", true),
        ("[a~~b]", "~", true),
        // `.` of the expression is no newline, `[^/]` may be one.
        ("a/**/b*", "a/x\ny/b", false),
        ("a*b", "a\nb", true),
        ("a]*", "a]b", true),
        ("^a*", "^ab", false),
        ("^a", "^a", true),
    ] {
        let expected = if expected { format!("{path}\n") } else { String::new() };
        assert_eq!(left_out(pattern, &[path]), expected, "pattern {pattern:?}, path {path:?}");
    }
}

/// The whole file: what each line means, and which of them wins.
#[test]
fn whole_files() {
    let paths = [
        "Dockerfile",
        "README.md",
        "docs",
        "docs/README.md",
        "docs/a/b.md",
        "src/a.rs",
        "# x",
        " s",
    ];
    for (ignore, expected) in [
        ("", ""),
        ("\n  \n# comment\n", ""),
        // Only in column 0 does `#` start a comment.
        (" # x", "# x\n"),
        ("docs", "docs\ndocs/README.md\ndocs/a/b.md\n"),
        ("/docs/", "docs\ndocs/README.md\ndocs/a/b.md\n"),
        ("./docs/../docs//a/.  ", "docs/a/b.md\n"),
        ("../docs\n.\n/", ""),
        ("\u{feff}docs/a\r\nsrc\r\n", "docs/a/b.md\nsrc/a.rs\n"),
        ("docs\n!docs/README.md", "docs\ndocs/a/b.md\n"),
        ("docs\n! /docs/a", "docs\ndocs/README.md\n"),
        ("!docs/README.md\ndocs", "docs\ndocs/README.md\ndocs/a/b.md\n"),
        ("docs\n!docs/a\ndocs/a/b.md", "docs\ndocs/README.md\ndocs/a/b.md\n"),
        // A wildcard in an exception: every ignored folder is looked into.
        ("*\n!**/*.rs", "Dockerfile\nREADME.md\ndocs\ndocs/README.md\ndocs/a/b.md\n# x\n s\n"),
        ("*\n!docs/**", "Dockerfile\nREADME.md\ndocs\nsrc/a.rs\n# x\n s\n"),
        ("*.md\n!README.md", ""),
        ("**/*.md\n!README.md", "docs/README.md\ndocs/a/b.md\n"),
        // The exception is not asked about `docs`, as nothing ignores that yet; its children do
        // not ask about `docs` again, so that `docs/a/b.md` stays out.
        ("!docs\n**/b.md", "docs/a/b.md\n"),
        ("docs/a\n!docs", "docs/a/b.md\n"),
        (r"\#\ x", "# x\n"),
        (r"?s", " s\n"),
    ] {
        assert_eq!(left_out(ignore, &paths), expected, ".dockerignore {ignore:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8() {
    for (pattern, name, expected) in [
        (&b"a\xff"[..], &b"a\xff"[..], true),
        (b"a\xff", b"a\xfe", false),
        (b"*", b"\xff", true),
        (b"a?", b"a\xff", true),
        // The snowman's first two bytes are two characters that are not UTF-8.
        (b"a?", b"a\xe2\x98", false),
        (b"a??", b"a\xe2\x98", true),
        (b"**/\xff", b"d/\xff", true),
        // Through the expression, one broken byte is like another.
        (b"a\xff*", b"a\xfe", true),
    ] {
        let ignore = Ignore::parse(pattern).unwrap();
        let path = Path::new(OsStr::from_bytes(name));
        assert_eq!(ignore.excludes(path), expected, "{pattern:?} {name:?}");
    }
}

#[test]
fn invalid_lines() {
    let long = "x".repeat(70_000);
    for (text, expected) in [
        ("ok\n[", "line 2: `[` is not a pattern: a `[` needs its `]`"),
        ("# c\n\n a[b-\r\n", "line 3: `a[b-` is not a pattern: a `[` needs its `]`"),
        ("[]a]", "line 1: `[]a]` is not a pattern: a `]` needs a `\\` before it here"),
        ("[x-]", "line 1: `[x-]` is not a pattern: a `]` needs a `\\` before it here"),
        ("[z-a]", "line 1: `[z-a]` is not a pattern: `z-a` is no range"),
        ("*[a", "line 1: `*[a` is not a pattern: a `[` needs its `]`"),
        ("a\\", "line 1: `a\\` is not a pattern: it ends in a `\\`"),
        ("a\\b", "line 1: `a\\b` is not a pattern: `\\b` escapes nothing; write `b`"),
        ("!", "line 1: `!` is not a pattern: a `!` needs a pattern after it"),
        ("! /", "line 1: `! /` is not a pattern: a `!` needs a pattern after it"),
        (
            &long,
            "line 1: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is not a pattern: the line is longer than \
             64 KiB",
        ),
    ] {
        assert_eq!(Ignore::parse(text.as_bytes()).unwrap_err().to_string(), expected);
    }
}

/// Any text is either refused or makes a matcher that answers: no panic, no endless work.
#[test]
fn any_bytes_at_all() {
    use proptest::prelude::*;
    let text = proptest::collection::vec(
        prop_oneof![
            8 => proptest::sample::select(&b"ab/*?[]^-!\\.#\n d:"[..]),
            1 => any::<u8>(),
        ],
        0..40,
    );
    proptest!(|(text in text.clone(), path in text)| {
        if let Ok(ignore) = Ignore::parse(&text) {
            ignore.excludes(Path::new(OsStr::from_bytes(&path)));
        }
    });
}

#[test]
fn hostile_patterns_end_soon() {
    let limit = std::time::Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 2 });
    let many = "a\n".repeat(20_000);
    let wild = "*a\n".repeat(9_000) + &"?".repeat(60_000);
    let class = format!("[{}]", "[:x".repeat(20_000));
    let long = format!("[{}]", "a".repeat(60_000));
    let stars = "**/*a".repeat(10_000);
    for (text, is_good) in
        [(many, false), (wild, false), (class, true), (long, true), (stars, false)]
    {
        let started = std::time::Instant::now();
        let read = Ignore::parse(text.as_bytes());
        assert!(started.elapsed() < limit, "{:?} for {}", started.elapsed(), &text[..10]);
        assert_eq!(read.is_ok(), is_good, "{}: {:?}", &text[..10], read.err().map(|e| e.reason));
    }
}

#[test]
fn fuzz_dockerignore() {
    const WORDS: [&str; 16] = [
        "**", "*", "?", "[a-z]", "[^", "]", "!", "\\", "#", "\n", "/", "../", ".", " ", "\u{feff}",
        "{a,b}",
    ];
    let examples: [&[u8]; 2] =
        [b"**/*.o\n!keep/**\n# note\n[a-c]?/x\n", b"a\\*b\n/abs/**/x\n!../y\n"];
    crate::testing::fuzz::each(&examples, &WORDS, |text| {
        if let Ok(ignore) = Ignore::parse(text) {
            for path in [&b"a/b/keep/x.o"[..], b"b1/x", text.get(..20).unwrap_or(b"y")] {
                ignore.excludes(Path::new(OsStr::from_bytes(path)));
            }
        }
    });
}
