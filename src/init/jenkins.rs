//! The commands of a Jenkinsfile, as lines of a shell script.

use std::collections::BTreeMap;

use super::evidence::turns;

/// `sh '…'`, and `docker.build("image", "folder")` of the plugin Docker Pipeline, each in its line and in the folder of
/// its `dir("…")`: <https://www.jenkins.io/doc/book/pipeline/docker/>. Other lines stay, as those of texts of several
/// lines. Comments are empty lines.
pub(super) fn commands(text: &str) -> String {
    let (mut folders, mut depth): (Vec<(usize, String)>, usize) = (Vec::new(), 0);
    let mut is_comment = false;
    let loops = axes(text);
    let line = |(number, line): (usize, &str)| {
        let Some(line) = without_comment(line, &mut is_comment) else { return String::new() };
        let mut rest = line;
        if let Some((folder, after)) = call(line, "dir")
            && after.contains('{')
        {
            folders.push((depth + 1, folder));
            rest = after;
        }
        let in_folder = |command: String| match &folders[..] {
            [] => command,
            all => {
                let folders: Vec<&str> = all.iter().map(|(_, folder)| folder.as_str()).collect();
                format!("(cd {} && {command})", folders.join("/"))
            }
        };
        let command = command(rest).map_or_else(|| line.to_owned(), in_folder);
        depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
        folders.retain(|(inside, _)| *inside <= depth);
        let command = match loops.get(&number) {
            Some(start) => format!("{start} {command}"),
            None => command,
        };
        // Groovy's quotes inside of texts.
        command.replace("\\\"", "\"")
    };
    text.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// A Jenkinsfile with more is not written by hand.
const MOST_MATRICES: usize = 64;

/// The matrices of declarative pipelines as the beginnings of loops, by the number of the line of `axes`:
/// <https://www.jenkins.io/doc/book/pipeline/syntax/#declarative-matrix>.
fn axes(text: &str) -> BTreeMap<usize, String> {
    let mut loops = BTreeMap::new();
    for (at, _) in text.match_indices("axes").take(MOST_MATRICES) {
        let Some((inside, rest)) = block(&text[at..], "axes") else { continue };
        let axes: Vec<(String, Vec<String>)> = axes_in(inside);
        let mut excludes = Vec::new();
        let mut open = block(rest.trim_start(), "excludes").map_or("", |(inside, _)| inside);
        while let Some((one, after)) = block(open.trim_start(), "exclude") {
            excludes.push((axes_in(one), one.contains("notValues")));
            open = after;
        }
        let is_word = |value: &String| !value.is_empty() && !value.contains([' ', '*', '$']);
        let is_known = !axes.is_empty()
            && axes.iter().all(|(_, values)| !values.is_empty() && values.iter().all(is_word))
            && !excludes.iter().any(|(_, is_negated)| *is_negated);
        if !is_known {
            continue;
        }
        let mut rows: Vec<Vec<String>> = vec![Vec::new()];
        for (_, values) in &axes {
            rows = turns(rows, values, |row, value| row.push(value.clone()));
        }
        let has = |row: &[String], (name, values): &(String, Vec<String>)| {
            let mut pairs = axes.iter().zip(row);
            pairs.any(|((axis, _), own)| axis == name && values.iter().any(|value| value == own))
        };
        rows.retain(|row| {
            row.len() == axes.len()
                && !excludes.iter().any(|(all, _)| all.iter().all(|one| has(row, one)))
        });
        let names: Vec<&str> = axes.iter().map(|(name, _)| name.as_str()).collect();
        let line = format!("for {} in {}; do", names.join(" "), rows.concat().join(" "));
        loops.insert(text[..at].matches('\n').count(), line);
    }
    loops
}

/// The names and values of `axis { name 'A'; values 'a', 'b' }`.
fn axes_in(mut text: &str) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    while let Some(at) = text.find("axis") {
        let Some((inside, rest)) = block(&text[at..], "axis") else { break };
        let name = call(inside, "name").map(|(name, _)| name);
        let mut values = Vec::new();
        let mut open = call(inside, "values");
        while let Some((value, rest)) = open {
            values.push(value);
            open = rest.trim_start().strip_prefix(',').and_then(quoted);
        }
        all.extend(name.map(|name| (name, values)));
        text = rest;
    }
    all
}

/// What is between the brackets behind a word that the text begins with, and what follows them.
fn block<'t>(text: &'t str, word: &str) -> Option<(&'t str, &'t str)> {
    let inside = text.strip_prefix(word)?.trim_start().strip_prefix('{')?;
    let mut depth = 1;
    let end = inside.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map(|(end, _)| (&inside[..end], &inside[end + 1..]))
}

/// The line without comments that begin in it or before it.
fn without_comment<'l>(line: &'l str, is_comment: &mut bool) -> Option<&'l str> {
    let begun = line.trim_start();
    if begun.starts_with("//") {
        return None;
    }
    if !*is_comment && !begun.starts_with("/*") {
        return Some(line);
    }
    let end = line.find("*/");
    *is_comment = end.is_none();
    Some(&line[end? + 2..])
}

/// The command that a line runs.
fn command(line: &str) -> Option<String> {
    if let Some((image, rest)) = call(line, "docker.build") {
        let folder = rest.trim_start().strip_prefix(',').and_then(quoted);
        let folder = folder.map_or_else(|| ".".to_owned(), |(folder, _)| folder);
        return Some(format!("docker build -t {image} {folder}"));
    }
    Some(call(line, "sh")?.0)
}

/// The first argument of a call, a text in quotes, and what follows it.
fn call<'l>(line: &'l str, name: &str) -> Option<(String, &'l str)> {
    line.match_indices(name).find_map(|(at, _)| {
        let is_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-".contains(c));
        let rest = line[at + name.len()..].strip_prefix(['(', ' ']).filter(|_| is_word)?;
        quoted(rest.trim_start().strip_prefix("script:").unwrap_or(rest))
    })
}

/// A text in quotes at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let mut ends = text.match_indices(quote).skip(1).map(|(at, _)| at);
    let end = ends.find(|at| !text[..*at].ends_with('\\')).unwrap_or(text.len());
    let (inside, rest) = (&text[1..end], text.get(end + 1..).unwrap_or_default());
    (!inside.is_empty()).then(|| (inside.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_lines_of_a_script() {
        let text = r#"node {
  // sh "docker build -t no/a a"
  /* sh "docker build -t no/b b"
  sh "docker build -t no/c c" */ sh 'docker build -t r.x/d d'
  docker.build("r.x/n/why:1", './y').push('latest')
  sh(script: "docker build --label 'a' \"b\" $A")
  dir("app") {
    docker.build("r.x/app:${env.T}")
    dir('sub') { sh "make" }
    sh """
      docker push x
    """
  }
  sh 'ls'; push "x"
  sh 'é
}"#;
        let expected = r#"node {



docker build -t r.x/n/why:1 ./y
docker build --label 'a' "b" $A
  dir("app") {
(cd app && docker build -t r.x/app:${env.T} .)
(cd app/sub && make)
    sh """
      docker push x
    """
  }
ls
é
}"#;
        let shown = commands(text);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[3], "docker build -t r.x/d d");
        let others = [&lines[..3], &[""], &lines[4..]].concat();
        assert_eq!(others.join("\n"), expected);
    }

    #[test]
    fn a_matrix_is_a_loop_over_its_combinations() {
        let text = "matrix {
  axes { axis { name 'IMG'; values 'f', 'g' }
    axis {
      name \"V\"
      values '1',
        '2'
    }
  }
  excludes { exclude { axis { name 'IMG'; values 'f' }; axis { name 'V'; values '2', '3' } } }
  stages { sh 'docker build -t x/$IMG:$V img/$IMG' }
 }
axes { axis { name 'A'; values a } }
axes { axis { name 'A'; values 'a' }; axis { name 'B'; values } }";
        let expected = [(1, "for IMG V in f 1 g 1 g 2; do".to_owned())];
        assert_eq!(axes(text), expected.into());
        let shown = commands("axes { axis { name 'A'; values 'a', 'b' } }; sh 'x $A'");
        assert_eq!(shown, "for A in a b; do x $A");
    }

    #[test]
    fn fuzz_jenkins() {
        const WORDS: [&str; 13] = [
            "dir(",
            "docker.build(",
            "sh ",
            "'",
            "\"",
            "{",
            "}",
            "/*",
            "*/",
            "\\",
            "axes {",
            "axis { name 'a' values 'b', ",
            "excludes { exclude { ",
        ];
        crate::testing::fuzz::each(&[b"dir('a') { sh 'x' }\n"], &WORDS, |text| {
            _ = commands(&String::from_utf8_lossy(text));
        });
    }
}
