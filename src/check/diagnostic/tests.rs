use super::*;

fn plain(diagnostics: &[Diagnostic], current_dir: &str) -> String {
    render(diagnostics, Rendering { colour: false, current_dir: Path::new(current_dir) })
}

fn source() -> Arc<SourceFile> {
    SourceFile::new("/home/base/hierarchy.yaml", "\u{feff}version: 1\r\nimages:\r\n  café: {}\r\n")
}

#[test]
fn a_problem_shows_its_place() {
    let source = source();
    let at = source.text.find("café").unwrap();
    let problem = Diagnostic::error("`café` is not an image name")
        .at(&source, at..at + "café".len(), "here")
        .hint("use plain letters");
    let warning = Diagnostic::warning("this is nothing").in_file("/home/other/Dockerfile");
    assert_eq!(problem.position(), Some((Path::new("/home/base/hierarchy.yaml"), 3, 3)));
    assert_eq!(
        plain(&[problem, warning], "/home/base/sub"),
        "\
error: `café` is not an image name
 --> ../hierarchy.yaml:3:3
  |
3 |   café: {}
  |   ^^^^ here
  |
  = hint: use plain letters

warning: this is nothing
--> ../../other/Dockerfile"
    );
}

#[test]
fn passwords_of_addresses_are_stars() {
    let source = SourceFile::new(
        "/a/h",
        "registry: https://user:pä/ss@r.example.com\nb: ftp://me:secret@x:1/y@z\n",
    );
    let at = source.text.find("ftp").unwrap();
    let problem =
        Diagnostic::error("`ftp://me:secret@x:1/y@z` is no registry").at(&source, at..at + 24, "");
    let shown = plain(&[problem], "/a");
    assert!(shown.starts_with("error: `ftp://me:******@x:1/y@z` is no registry"), "{shown}");
    assert!(shown.contains("2 | b: ftp://me:******@x:1/y@z\n"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn places_in_several_files_and_far_apart() {
    let one = SourceFile::new("/a/one", format!("first\n{}last\n", "line\n".repeat(500)));
    let two = SourceFile::new("/a/two", "x");
    let end = one.text.find("last").unwrap();
    let problem = Diagnostic::error("these disagree")
        .at(&one, end..end + 4, "this")
        .at(&one, 0..5, "that")
        .at(&two, 0..1, "");
    assert_eq!(
        plain(&[problem], "/a"),
        "\
error: these disagree
   --> one:502:1
    |
  1 | first
    | ----- that
...
502 | last
    | ^^^^ this
    |
   ::: two:1:1
    |
  1 | x
    | ^"
    );
}

/// What a span may be without a panic: anything.
#[test]
fn every_span_renders() {
    let source = source();
    let length = source.text.len() + 3;
    for start in 0..length {
        for end in start..length {
            let problem = Diagnostic::error("x").at(&source, start..end, "y");
            assert!(plain(&[problem], "/").starts_with("error: x\n"), "{start}..{end}");
        }
    }
    let empty = Diagnostic::error("x").at(&SourceFile::new("/f", ""), 0..0, "");
    assert_eq!(plain(&[empty], "/"), "error: x\n --> f:1:1\n  |\n1 |\n  | ^");
}

#[test]
fn lines_and_columns_are_found_both_ways() {
    let source = source();
    for (offset, line, column) in [(3, 1, 1), (15, 2, 1), (26, 3, 3), (31, 3, 7), (99, 4, 1)] {
        assert_eq!(source.position(offset), (line, column), "{offset}");
    }
    for (line, column, offset) in [(2, 1, 15), (3, 3, 26), (3, 7, 31), (9, 9, 37), (0, 0, 0)] {
        assert_eq!(source.offset(line, column), offset, "{line}:{column}");
    }
}

#[test]
fn nothing_in_a_problem_steers_the_terminal() {
    let source = SourceFile::new("/f", "a\x1b[2Jb\u{202e}c\n");
    let problem =
        Diagnostic::error("bad\x1b]0;title\x07").at(&source, 0..1, "x\x1b[1m").hint("\x08");
    let text = plain(&[problem], "/");
    assert!(!text.contains(['\u{9b}', '\x1b', '\x07', '\x08', '\u{202e}']), "{text:?}");
}

#[test]
fn colour_adds_nothing_but_colour() {
    let source = source();
    let problem = Diagnostic::error("x").at(&source, 3..10, "y").hint("z");
    let current_dir = Path::new("/");
    let coloured = problem.render(Rendering { colour: true, current_dir });
    assert!(coloured.contains("\x1b["));
    assert_eq!(
        anstream::adapter::strip_str(&coloured).to_string(),
        problem.render(Rendering { colour: false, current_dir })
    );
}

#[test]
fn a_place_can_be_named_without_what_is_written_there() {
    let source =
        SourceFile::new("/h/hierarchy.yaml", "version: 1\nimages: {a: {secrets: hunter2}}\n");
    let diagnostic = Diagnostic::error("wrong").at_secret(&source, 23..30).hint("do so");
    let rendering = Rendering { colour: false, current_dir: Path::new("/h") };
    let text = diagnostic.render(rendering);
    assert_eq!(text, "error: wrong\n--> hierarchy.yaml:2:13\n = hint: do so");
    assert_eq!(diagnostic.position().map(|(_, line, column)| (line, column)), Some((2, 13)));
}

#[test]
fn a_name_is_shown_without_the_values_beside_it() {
    let lines = "    KEY: hunter2\n    a: { X: hunter2, KEY: hunter2 }\n    KEY\n";
    let source = SourceFile::new("/h/hierarchy.yaml", lines);
    let rendering = Rendering { colour: false, current_dir: Path::new("/h") };
    let shown = |at: usize| {
        let problem = Diagnostic::error("wrong").at_name(&source, at..at + 3);
        problem.render(rendering).lines().skip(3).collect::<Vec<_>>().join("\n")
    };
    let places: Vec<usize> = lines.match_indices("KEY").map(|(at, _)| at).collect();
    let expected = [
        "1 |     KEY …\n  |     ^^^",
        "2 | …                    KEY …\n  |                      ^^^",
        "3 |     KEY\n  |     ^^^",
    ];
    assert_eq!(places.into_iter().map(shown).collect::<Vec<_>>(), expected);
}
