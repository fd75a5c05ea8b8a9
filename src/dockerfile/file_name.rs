//! Which files are Dockerfiles, by their names.

/// Between `Dockerfile` and the rest of a file's name.
const SEPARATORS: [char; 3] = ['.', '-', '_'];
/// Endings of files that a Dockerfile is made from.
const TEMPLATES: [&str; 9] =
    ["template", "tmpl", "tpl", "j2", "jinja", "jinja2", "erb", "in", "m4"];
/// Endings of what was a Dockerfile, goes with one, or is the source of a program about Dockerfiles.
const OTHERS: [&str; 22] = [
    "bak",
    "c",
    "cs",
    "dockerignore",
    "go",
    "html",
    "java",
    "js",
    "json",
    "kt",
    "md",
    "orig",
    "php",
    "py",
    "rb",
    "rs",
    "sh",
    "swp",
    "toml",
    "ts",
    "txt",
    "xml",
];

/// `Dockerfile`, `Dockerfile.x`, `x.Dockerfile`, also with `-` or `_`, and the same with `Containerfile`.
pub fn is_dockerfile(name: &str) -> bool {
    let ending = ending(name);
    let is_other = TEMPLATES.contains(&ending.as_str()) || OTHERS.contains(&ending.as_str());
    !name.ends_with('~') && !is_other && stem(name).is_some()
}

pub fn is_template(name: &str) -> bool {
    stem(name).is_some() && TEMPLATES.contains(&ending(name).as_str())
}

/// The name without its `Dockerfile` and the separator; `None` if it is not a Dockerfile's.
pub fn stem(name: &str) -> Option<&str> {
    let small = name.to_ascii_lowercase();
    ["dockerfile", "containerfile"].iter().find_map(|kind| {
        let rest = if let Some(rest) = small.strip_prefix(kind) {
            if rest.is_empty() {
                return Some("");
            }
            name[name.len() - rest.len()..].strip_prefix(SEPARATORS)
        } else {
            let rest = small.strip_suffix(kind)?;
            name[..rest.len()].strip_suffix(SEPARATORS)
        };
        rest.filter(|rest| !rest.is_empty())
    })
}

fn ending(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dockerfiles() {
        let good = "Dockerfile dockerfile Containerfile Dockerfile.web=web Dockerfile.3.11-slim=3.11-slim \
                    web.Dockerfile=web web.dockerfile=web Containerfile.web=web Dockerfile-alpine=alpine \
                    web-Dockerfile=web dockerfile_web=web";
        for line in good.split(' ') {
            let (name, expected) = line.split_once('=').unwrap_or((line, ""));
            assert!(is_dockerfile(name), "{name}");
            assert_eq!(stem(name), Some(expected), "{name}");
        }
        let bad = "Dockerfile.dockerignore web.Dockerfile.dockerignore Dockerfile.j2 Dockerfile.web.j2 \
                   Dockerfile~ Dockerfile-linux.template .Dockerfile Makefile Dockerfile- Dockerfiles \
                   Dockerfile-run.sh dockerfile.rs dockerfile_test.go";
        for name in bad.split(' ') {
            assert!(!is_dockerfile(name), "{name}");
        }
        for name in ["Dockerfile.j2", "Dockerfile-linux.template"] {
            assert!(is_template(name), "{name}");
        }
    }
}
