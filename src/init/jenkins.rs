//! The commands of a Jenkinsfile, as lines of a shell script.

/// `sh '…'`, and `docker.build("image", "folder")` of the plugin Docker Pipeline, each in its line and in the folder of
/// its `dir("…")`: <https://www.jenkins.io/doc/book/pipeline/docker/>. Other lines stay, as those of texts of several
/// lines. Comments are empty lines.
pub(super) fn commands(text: &str) -> String {
    let (mut folders, mut depth): (Vec<(usize, String)>, usize) = (Vec::new(), 0);
    let mut is_comment = false;
    let line = |line: &str| {
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
        // Groovy's quotes inside of texts.
        command.replace("\\\"", "\"")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
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
    fn fuzz_jenkins() {
        const WORDS: [&str; 10] =
            ["dir(", "docker.build(", "sh ", "'", "\"", "{", "}", "/*", "*/", "\\"];
        crate::testing::fuzz::each(&[b"dir('a') { sh 'x' }\n"], &WORDS, |text| {
            _ = commands(&String::from_utf8_lossy(text));
        });
    }
}
