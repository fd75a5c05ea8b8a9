//! Words of paths and tags: what is a version, what a variant, what a processor, and how well a tag
//! says what a path says.

/// What makes a variant of an image rather than another image, behind its name.
const VARIANTS: [&str; 50] = [
    "alma",
    "almalinux",
    "alpine",
    "amazonlinux",
    "azurelinux",
    "bionic",
    "bookworm",
    "bullseye",
    "buster",
    "cbl",
    "centos",
    "chiseled",
    "cuda",
    "debian",
    "distroless",
    "edge",
    "fedora",
    "focal",
    "fpm",
    "glibc",
    "jammy",
    "jdk",
    "jre",
    "jessie",
    "latest",
    "lts",
    "mariner",
    "musl",
    "nanoserver",
    "nightly",
    "noble",
    "onbuild",
    "oracle",
    "oraclelinux",
    "php",
    "python",
    "rhel",
    "rocky",
    "rockylinux",
    "rocm",
    "sid",
    "sle",
    "slim",
    "stable",
    "stretch",
    "trixie",
    "ubi",
    "ubuntu",
    "windowsservercore",
    "zts",
];
/// Folders that say nothing of the image in them.
const WEAK: [&str; 23] = [
    ".devcontainer",
    "build",
    "builds",
    "ci",
    "container",
    "containers",
    "deploy",
    "deployment",
    "docker",
    "dockerfile",
    "dockerfiles",
    "image",
    "images",
    "infra",
    "linux",
    "packaging",
    "recipes",
    "services",
    "src",
    "stacks",
    "tools",
    "variants",
    "versions",
];

/// Docker Hub's official images that others name as their own are rare; these names are theirs.
const OFFICIAL: [&str; 64] = [
    "almalinux",
    "alpine",
    "alt",
    "amazoncorretto",
    "amazonlinux",
    "archlinux",
    "bash",
    "buildpack-deps",
    "busybox",
    "caddy",
    "cassandra",
    "centos",
    "clojure",
    "composer",
    "consul",
    "couchbase",
    "couchdb",
    "debian",
    "docker",
    "drupal",
    "eclipse-temurin",
    "elasticsearch",
    "elixir",
    "erlang",
    "fedora",
    "gcc",
    "golang",
    "gradle",
    "haproxy",
    "haskell",
    "httpd",
    "ibmjava",
    "influxdb",
    "jetty",
    "julia",
    "kibana",
    "logstash",
    "mariadb",
    "maven",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "nginx",
    "node",
    "openjdk",
    "oraclelinux",
    "perl",
    "php",
    "postgres",
    "pypy",
    "python",
    "rabbitmq",
    "redis",
    "rockylinux",
    "ruby",
    "rust",
    "swift",
    "tomcat",
    "traefik",
    "ubuntu",
    "varnish",
    "wordpress",
    "vault",
];

pub(super) fn is_official(name: &str) -> bool {
    OFFICIAL.contains(&name)
}

/// The platform that a folder is for, by docker-library's names and by docker's own.
pub(super) fn platform(segment: &str) -> Option<&'static str> {
    Some(match segment.to_ascii_lowercase().as_str() {
        "amd64" | "x86_64" | "x64" => "linux/amd64",
        "arm64" | "arm64v8" | "aarch64" => "linux/arm64",
        "arm32v7" | "armv7" | "armhf" => "linux/arm/v7",
        "arm32v6" | "armv6" => "linux/arm/v6",
        "arm32v5" | "armv5" => "linux/arm/v5",
        "i386" | "386" => "linux/386",
        "ppc64le" => "linux/ppc64le",
        "s390x" => "linux/s390x",
        "riscv64" => "linux/riscv64",
        "mips64le" => "linux/mips64le",
        _ => return None,
    })
}

pub(super) fn is_weak(segment: &str) -> bool {
    WEAK.contains(&segment.to_ascii_lowercase().as_str())
}

/// `3.11`, `v2`, `8.0-rc`.
pub(super) fn is_version(segment: &str) -> bool {
    let segment = segment.strip_prefix(['v', 'V']).unwrap_or(segment);
    segment.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a folder below an image's own tells a variant of it.
pub(super) fn is_variant(segment: &str) -> bool {
    let small = segment.to_ascii_lowercase();
    let first = small.split(['-', '_', '.']).next().unwrap_or_default();
    let letters = first.trim_end_matches(|c: char| c.is_ascii_digit());
    is_version(segment) || platform(&small).is_some() || VARIANTS.contains(&letters)
}

/// Small words; a `v` before a number is none of it.
pub(super) fn words(text: &str) -> Vec<String> {
    text.to_ascii_lowercase()
        .split(['-', '_', '+', ' ', '/'])
        .filter(|word| !word.is_empty())
        .map(|word| if is_version(word) { word.trim_start_matches('v') } else { word }.to_owned())
        .collect()
}

/// What it costs to take a tag for that of a path: 0 if each says what the other says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Words of the tag that the path does not have.
    pub(super) unexplained: u32,
    pub(super) total: u32,
}

/// `like` are words of whoever refers to it: of two that differ only in what the tag leaves open,
/// the one that is alike.
pub(super) fn cost(tag: &str, path: &[String]) -> Cost {
    let tag_words = if tag == "latest" { Vec::new() } else { words(tag) };
    let mut used = vec![false; tag_words.len()];
    let mut cost = Cost::default();
    // Those that are there exactly come first, so that `3` does not take the place of `3.1`.
    let mut left: Vec<&String> = Vec::new();
    for word in path {
        let at = tag_words.iter().zip(&used).position(|(one, used)| one == word && !used);
        match at {
            Some(at) => used[at] = true,
            None => left.push(word),
        }
    }
    for word in left {
        let near = tag_words
            .iter()
            .enumerate()
            .filter(|(at, _)| !used[*at])
            .filter_map(|(at, one)| Some((nearness(one, word)?, at)))
            .min();
        match near {
            Some((price, at)) => {
                used[at] = true;
                cost.total += price;
            }
            None if is_weak(word) => {}
            None if platform(word).is_some() => cost.total += 2,
            None => cost.total += 6,
        }
    }
    let open = tag_words.iter().zip(&used).filter(|(_, used)| !**used);
    for (word, _) in open {
        cost.unexplained += 1;
        let small = ["preview", "rc", "alpha", "beta"].iter().any(|kind| word.starts_with(kind));
        cost.total += if small { 4 } else { 8 };
    }
    cost
}

/// `8.0.11` for a folder `8.0`, `8` for one `8.0`, `alpine` for one `alpine3.20`.
fn nearness(tag: &str, path: &str) -> Option<u32> {
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    let letters =
        |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned();
    if is_version(path) && begins(tag, path) {
        Some(1)
    } else if begins(path, tag) {
        Some(2)
    } else if letters(path) == tag || letters(tag) == path {
        Some(3)
    } else {
        None
    }
}

/// As a part of a name: small letters, digits, and single separators between them.
pub(super) fn name_part(text: &str) -> String {
    let mut name = String::new();
    for c in text.to_ascii_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with(['-', '.', '_']) {
            name.push(if matches!(c, '.' | '_') { c } else { '-' });
        }
    }
    name.trim_end_matches(['-', '.', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the paths a tag is for; `?` if it may be several.
    fn best<'p>(tag: &str, paths: &[&'p str]) -> &'p str {
        let mut costs: Vec<(Cost, &str)> =
            paths.iter().map(|path| (cost(tag, &words(path)), *path)).collect();
        costs.sort_by_key(|(cost, _)| cost.total);
        if costs.len() > 1 && costs[0].0.total == costs[1].0.total { "?" } else { costs[0].1 }
    }

    #[test]
    fn a_tag_is_for_the_path_that_says_the_same() {
        let net = [
            "8.0/bookworm-slim/amd64",
            "8.0/bookworm-slim/arm64v8",
            "8.0/alpine3.20/amd64",
            "8.0/azurelinux3.0/amd64",
            "8.0/azurelinux3.0-distroless/amd64",
            "8.0/azurelinux3.0-distroless-extra/amd64",
            "9.0/bookworm-slim/amd64",
            "10.0/bookworm-slim/amd64",
        ];
        for (tag, expected) in [
            ("8.0-bookworm-slim-amd64", "8.0/bookworm-slim/amd64"),
            ("8.0.11-bookworm-slim-arm64v8", "8.0/bookworm-slim/arm64v8"),
            ("8.0-azurelinux3.0-distroless-amd64", "8.0/azurelinux3.0-distroless/amd64"),
            ("8.0-azurelinux3.0-distroless-extra", "8.0/azurelinux3.0-distroless-extra/amd64"),
            ("8.0-azurelinux3.0", "8.0/azurelinux3.0/amd64"),
            ("8.0-alpine", "8.0/alpine3.20/amd64"),
            ("10.0.100-preview.7-bookworm-slim", "10.0/bookworm-slim/amd64"),
            ("9.0", "9.0/bookworm-slim/amd64"),
            ("8.0-bookworm-slim", "?"),
        ] {
            assert_eq!(best(tag, &net), expected, "{tag}");
        }
        assert_eq!(best("v2", &["v1", "v2"]), "v2");
        assert_eq!(best("3.1.4", &["3", "3.1", "3.1.4"]), "3.1.4");
        assert_eq!(best("latest", &["3", ""]), "");
    }

    #[test]
    fn parts_of_names_are_good_names() {
        for (text, expected) in [
            ("Base_Image", "base_image"),
            ("3.11", "3.11"),
            ("a--b", "a-b"),
            ("-x.", "x"),
            ("Ünicode x", "nicode-x"),
        ] {
            assert_eq!(name_part(text), expected, "{text}");
        }
    }
}
