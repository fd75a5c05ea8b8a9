//! Words of paths, names and tags.

use crate::image::Reference;

/// Folders that say nothing of the image in them.
const WEAK: &str = "\
    build builds ci container containers context deploy deployment devcontainer docker dockerfile \
    dockerfiles image images infra linux packaging recipes services src variants versions";

/// Docker Hub's official images: a name of these is theirs.
const OFFICIAL: &str = "\
    almalinux alpine alt amazoncorretto amazonlinux archlinux bash buildpack-deps busybox caddy \
    cassandra centos clojure composer consul couchbase couchdb debian docker drupal \
    eclipse-temurin elasticsearch elixir erlang fedora gcc golang gradle haproxy haskell httpd \
    ibmjava influxdb jenkins jetty julia kibana logstash mariadb maven memcached mongo mysql nats \
    nginx node openjdk oraclelinux perl php postgres pypy python r-base rabbitmq redis rockylinux \
    ruby rust swift tomcat traefik ubuntu varnish vault wordpress";

/// Whether a list of words has it.
pub(super) fn is_one_of(word: &str, list: &str) -> bool {
    list.split(' ').any(|one| one == word)
}

pub(super) fn is_official(name: &str) -> bool {
    is_one_of(name, OFFICIAL)
}

pub(super) fn is_weak(word: &str) -> bool {
    is_one_of(word, WEAK)
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

/// `3.11`, `v2`, `8.0-rc`.
pub(super) fn is_version(segment: &str) -> bool {
    let segment = segment.strip_prefix(['v', 'V']).unwrap_or(segment);
    segment.starts_with(|c: char| c.is_ascii_digit())
}

/// Small words, split where the kind of letter changes. A version such as `3.11` is one word, and a
/// processor's name is one.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split(['-', '_', '+', ' ', '/', '@']) {
        if platform(part).is_some() {
            words.push(part.to_ascii_lowercase());
            continue;
        }
        let mut word = String::new();
        let mut before = None::<char>;
        for c in part.chars() {
            let splits = match before {
                None => false,
                Some('.') => {
                    !(c.is_ascii_digit() && word.starts_with(|c: char| c.is_ascii_digit()))
                }
                Some(b) if c == '.' => !b.is_ascii_digit(),
                Some(b) => {
                    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
                    // `s2i` and `c9s` are one word.
                    (!b.is_ascii_digit() && c.is_ascii_digit() && letters > 2)
                        || (b.is_lowercase() && c.is_uppercase())
                }
            };
            if splits {
                push(&mut words, &word);
                word.clear();
            }
            word.push(c);
            before = Some(c);
        }
        push(&mut words, &word);
    }
    words
}

fn push(words: &mut Vec<String>, word: &str) {
    let word = word.trim_matches('.').to_ascii_lowercase();
    // The `v` of `v2`.
    let number =
        word.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let word = number.map_or(word.clone(), str::to_owned);
    if !word.is_empty() && word != "v" {
        words.push(word);
    }
}

/// The distribution that a release is of.
pub(super) fn distribution(release: &str) -> Option<&'static str> {
    const DEBIAN: &str = "jessie stretch buster bullseye bookworm trixie forky";
    const UBUNTU: &str = "trusty xenial bionic focal jammy noble questing resolute";
    let all = [("debian", DEBIAN), ("ubuntu", UBUNTU)];
    all.into_iter().find(|(_, releases)| is_one_of(release, releases)).map(|(name, _)| name)
}

/// Whether two words say the same: `8.0.11` and `8.0`, `36` and `3.6`.
pub(super) fn is_near(one: &str, other: &str) -> bool {
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    // `f44` of Fedora and `44`.
    let short = |long: &str, short: &str| {
        is_version(short)
            && !is_version(long)
            && long.len() <= short.len() + 2
            && long.ends_with(short)
    };
    one == other
        || short(one, other)
        || short(other, one)
        || (is_version(one)
            && is_version(other)
            && (begins(one, other)
                || begins(other, one)
                || one.replace('.', "") == other.replace('.', "")))
}

/// One spelling for each image: `debian:latest` for `docker.io/library/debian`.
pub(super) fn usual(reference: &Reference) -> String {
    let text = reference.repository.as_str();
    let short = if reference.repository.host() == "docker.io" {
        let path = reference.repository.path();
        path.strip_prefix("library/").map_or(path.clone(), str::to_owned)
    } else {
        text.to_owned()
    };
    match reference.tag_or_latest() {
        Some(tag) => format!("{short}:{tag}"),
        None => short,
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

/// `WebNode` is `web-node`.
pub(super) fn kebab(segment: &str) -> String {
    let mut text = String::new();
    let mut before = None::<char>;
    for c in segment.chars() {
        if before.is_some_and(char::is_lowercase) && c.is_uppercase() {
            text.push('-');
        }
        text.push(c);
        before = Some(c);
    }
    name_part(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_into_words() {
        for (text, expected) in [
            ("WebNode", "web node"),
            ("lake-base_2.0", "lake base 2.0"),
            ("alpine3.20", "alpine 3.20"),
            ("php81", "php 81"),
            ("python3.6-v2", "python 3.6 2"),
            ("8.0.11-bookworm-slim-arm64v8", "8.0.11 bookworm slim arm64v8"),
            (".devcontainer", "devcontainer"),
            ("quarkus.io", "quarkus io"),
            ("x86_64", "x86 64"),
            ("s2i-core-c9s", "s2i core c9s"),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn versions_are_near_by_whole_numbers() {
        for (one, other, expected) in [
            ("8.0.11", "8.0", true),
            ("3.1", "3.10", false),
            ("36", "3.6", true),
            ("8", "8.0", true),
            ("f44", "44", true),
            ("a", "b", false),
        ] {
            assert_eq!(is_near(one, other), expected, "{one} {other}");
        }
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
        assert_eq!(kebab("WebNode"), "web-node");
    }
}
