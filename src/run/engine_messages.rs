//! Recognises registry errors and conflicts with other clients in an engine's text, if it reports only text.
//!
//! Builds, pushes and pulls report an error within a stream, as `{"errorDetail": {"message": …}}` without a
//! status or a code. Only complete known messages match, never text that a command, a parser or a registry
//! may have written. `docs/recovery.md` has the table.

use std::sync::LazyLock;

use regex::Regex;

use crate::{
    dockerfile::Instruction,
    image::{Platform, Reference},
};

/// The expected result of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// The network or the registry had a temporary error.
    Passing,
    /// Another client of the engine removed an image that this one uses.
    Race,
    /// A disk is full.
    Full,
}

/// The hint for a build that failed before its first step because the image of `# syntax=` cannot be pulled.
pub(super) fn frontend_hint(named: &str, message: &str) -> Option<String> {
    let image: Reference = named.parse().ok()?;
    message.contains(&image.repository.path()).then(|| {
        format!(
            "`# syntax={named}` in the Dockerfile makes the engine pull this image; without the line, the engine uses its own builder"
        )
    })
}

/// The instruction that a message of the Dockerfile's parser is about. The engine sends no line with it: `ENV must have
/// two arguments`, `unsupported mount type "chache"`, `invalid containerPort: abc`.
pub(super) fn refused_instruction<'d>(
    message: &str,
    instructions: &'d [Instruction],
) -> Option<&'d Instruction> {
    let quoted = message.split('"').nth(1);
    let last = message.rsplit_once(": ").map(|(_, last)| last);
    let word = quoted.or(last).map(str::trim).filter(|word| word.len() > 1);
    let is_keyword =
        |word: &&str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let firsts = [Some(message), last].into_iter().flatten();
    let keyword = firsts.filter_map(|text| text.split_whitespace().next()).find(is_keyword);
    let words = |one: &Instruction| one.text.split_whitespace().count();
    let is_it = |one: &&Instruction| match (keyword, word) {
        (Some(keyword), _) => {
            one.text.split_whitespace().next().is_some_and(|own| own.eq_ignore_ascii_case(keyword))
        }
        (None, Some(word)) => one.text.contains(word),
        (None, None) => false,
    };
    let found: Vec<&Instruction> = instructions.iter().filter(is_it).collect();
    // Too few arguments.
    let is_short = |one: &&Instruction| words(one) < 3 && !one.text.contains('=');
    let short: Vec<&Instruction> = found.iter().copied().filter(is_short).collect();
    [found, short].into_iter().find_map(|found| match found[..] {
        [only] => Some(only),
        _ => None,
    })
}

/// What running a program of another platform than the engine's prints, in small letters. Linux, ENOEXEC.
pub(super) const FOREIGN_PROGRAM: &str = "exec format error";

pub(super) fn emulation_hint(platform: &Platform) -> String {
    format!(
        "the engine cannot run programs for {platform}: it needs emulation, or an engine of that platform: docs/platforms.md"
    )
}

/// The message of a step whose source is missing, without what BuildKit calls its cache. github.com/moby/buildkit,
/// cache/contenthash/checksum.go: the path stands in quotes, with a `/` before it.
pub(super) fn missing_source(message: &str, step: Option<&str>) -> Option<String> {
    static MISSING: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = concat!(
            "^failed to compute cache key: (?:failed to calculate checksum of ref [^ ]+: |failed to walk [^ ]+: )?",
            r#""/(?<path>[^"]*)":? not found(?:: not found)?$"#,
        );
        Regex::new(pattern).expect("a valid pattern")
    });
    let found = MISSING.captures(message)?;
    let path = &found["path"];
    let mut words = step.into_iter().flat_map(|step| step.split([' ', ',']));
    let from = words.find_map(|word| word.trim_start_matches("--").strip_prefix("from="));
    Some(match from {
        Some(from) => format!("`/{path}` is not in `{from}`"),
        None => format!(
            "`{path}` is not in the build context\nhint: paths are relative to the context, and `.dockerignore` may exclude them: `rebuild check`"
        ),
    })
}

/// The same for a secret that the image does not declare. BuildKit, session/secrets: `secret npm: not found`.
pub(super) fn missing_secret(message: &str) -> Option<String> {
    let id = message.strip_prefix("secret ")?.strip_suffix(": not found")?;
    // Docker 20.10: `secret npm not found: not found`.
    let id = id.strip_suffix(" not found").unwrap_or(id);
    Some(format!(
        "the image has no secret `{id}`\nhint: name its source in hierarchy.yaml: `secrets: {{ {id}: {{ env: NAME }} }}`"
    ))
}

/// Each pattern with its meaning, and the source of its text.
const SHAPES: &[(Outlook, &str)] = &[
    // Go, syscall/zerrors_linux.go: ENOSPC and EDQUOT, which end messages of the operating system.
    (Outlook::Full, r"(?:^|: )(?:no space left on device|disk quota exceeded)\b"),
    // Go, net/url `Error` around net `OpError`, io and crypto/tls: `Get "https://r/v2/": dial tcp …: connect: …`.
    // Older versions of Go quote no address.
    (
        Outlook::Passing,
        concat!(
            r#"\b(?:Get|Head|Post|Put|Patch|Delete) "?https?://[^\s"]+"?: (?:[^"]*: )?"#,
            r"(?:EOF|unexpected EOF|connection reset by peer|connection refused|broken pipe|i/o timeout",
            r"|no route to host|network is unreachable|server misbehaving",
            r"|Temporary failure in name resolution|TLS handshake timeout",
            r"|http: server closed idle connection",
            r"|(?:context deadline exceeded|net/http: request canceled[^:]*)(?: \(Client\.Timeout exceeded[^)]*\))?",
            r")(?:$|[\s;,)])",
        ),
    ),
    // Go, net `OpError`: `read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer`.
    (
        Outlook::Passing,
        concat!(
            r"\b(?:read|write|dial) tcp [^\s]+: (?:[a-z]+: )?",
            r"(?:connection reset by peer|connection refused|broken pipe|i/o timeout|use of closed network connection)(?:$|[\s;,)])",
        ),
    ),
    // github.com/distribution/distribution, registry/client/errors.go: `UnexpectedHTTPStatusError` and
    // `UnexpectedHTTPResponseError`; also in github.com/containers/image.
    (Outlook::Passing, r"\breceived unexpected HTTP status: (?:5\d\d|408|429)\b"),
    (Outlook::Passing, r"\b(?:error )?parsing HTTP (?:5\d\d|408|429) response body: "),
    // github.com/containers/image, docker/errors.go: `unexpectedHTTPResponseError` and `errUnexpectedStatus…`.
    (Outlook::Passing, r"\bStatusCode: (?:5\d\d|408|429), "),
    // github.com/containerd/containerd, remotes/errors/errors.go: `ErrUnexpectedStatus`.
    (
        Outlook::Passing,
        r"\bunexpected status(?: code)? (?:from [A-Z]+ request to \S+: |\[[^\]]*\]: |https?://\S+: )?(?:5\d\d|408|429)\b",
    ),
    // github.com/distribution/distribution, registry/api/errcode/register.go: the codes of 429 and 503.
    // A message that is the default one is left out.
    (Outlook::Passing, r"(?m)(?:^|: )(?:toomanyrequests|unavailable)(?:: |$)"),
    // github.com/moby/buildkit, solver/scheduler.go and session/manager.go: a step that two clients asked for
    // runs with the session of one of them.
    (
        Outlook::Race,
        r"(?:^|: )(?:context canceled|no active sessions?(?: for \S+)?(?:: context deadline exceeded)?|session healthcheck failed(?: fatally)?)$",
    ),
    (Outlook::Race, r"\bcode = Canceled\b"),
    (Outlook::Race, r"(?:^|: )failed to get session\b"),
    // github.com/containers/storage, errors.go: `ErrNotAContainer` and `ErrLayerUnknown`. Removing an image with
    // force takes along its layers, and the containers of builds that use one.
    (
        Outlook::Race,
        r#"^(?:deleting build container "[0-9a-f]+": )?identifier is not a container(?:$|: )"#,
    ),
    (Outlook::Race, r#": mounting build container "[0-9a-f]+": layer not known$"#),
    // github.com/moby/moby, distribution/push.go and push_v2.go; the registry's `BLOB_UNKNOWN` of a manifest.
    (Outlook::Race, r"^(?:[^:]+: )?An image does not exist locally with the tag: "),
    (Outlook::Race, r"^tag does not exist: "),
    (Outlook::Race, r"\bmanifest blob unknown: blob unknown to registry\b"),
];

/// The pattern of an error text of an engine.
pub(super) fn shape(text: &str) -> Option<Outlook> {
    static PATTERNS: LazyLock<Vec<(Outlook, Regex)>> = LazyLock::new(|| {
        let pattern = |(shape, pattern): &(Outlook, &str)| {
            (*shape, Regex::new(pattern).expect("a valid pattern"))
        };
        SHAPES.iter().map(pattern).collect()
    });
    PATTERNS.iter().find(|(_, pattern)| pattern.is_match(text)).map(|(shape, _)| *shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_instruction_is_found() {
        let line = |(line, text): (usize, &str)| Instruction {
            line,
            text: text.to_owned(),
            heredocs: Vec::new(),
        };
        let all = [
            (1, "FROM x"),
            (2, "ENV A=b"),
            (3, "ENV B c"),
            (4, "ENV C"),
            (5, "RUN --mount=type=chache true"),
            (6, "EXPOSE abc"),
        ]
        .map(line);
        let found = |message| refused_instruction(message, &all).map(|one| one.line);
        assert_eq!(found("ENV must have two arguments"), Some(4));
        // Buildah's.
        assert_eq!(found("parsing main Dockerfile: /x: ENV must have two arguments"), Some(4));
        assert_eq!(found("unsupported mount type \"chache\""), Some(5));
        assert_eq!(found("invalid containerPort: abc"), Some(6));
        assert_eq!(found("LABEL must have two arguments"), None);
        assert_eq!(found("something else"), None);
    }

    #[test]
    fn a_missing_source_is_named_without_the_cache_of_the_builder() {
        let copy = Some("COPY x /x");
        for (message, step, expected) in [
            (
                r#"failed to compute cache key: failed to calculate checksum of ref 5a6553cb-2f74-479e-8cf1-f7498df0b7f0::aznoelvolsc35d72ikgq6heq0: "/app": not found"#,
                Some("COPY --from=build /app /app"),
                Some("`/app` is not in `build`"),
            ),
            // Docker 20.10.
            (
                r#"failed to compute cache key: "/dir/x" not found: not found"#,
                copy,
                Some("`dir/x` is not in the build context"),
            ),
            ("failed to compute cache key: no space left on device", copy, None),
        ] {
            let found = missing_source(message, step);
            assert_eq!(found.as_deref().and_then(|found| found.lines().next()), expected);
        }
    }

    #[test]
    fn a_frontend_that_cannot_be_pulled_is_named() {
        for (message, has_hint) in [
            // Docker 28.5 and 20.10.
            (
                "failed to resolve source metadata for docker.io/docker/dockerfile:1: failed to do request",
                true,
            ),
            (
                "failed to do request: Head \"https://registry-1.docker.io/v2/docker/dockerfile/manifests/1\": EOF",
                true,
            ),
            ("failed to compute cache key: \"/a\": not found", false),
        ] {
            let hint = frontend_hint("docker/dockerfile:1", message);
            assert_eq!(hint.is_some(), has_hint, "{message}");
            assert!(hint.is_none_or(|hint| hint.contains("`# syntax=docker/dockerfile:1`")));
        }
    }
}
