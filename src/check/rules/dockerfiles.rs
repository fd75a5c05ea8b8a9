//! Contexts and Dockerfiles.

use super::{
    Code,
    Language::{Dockerfile, Yaml},
    Rule,
    Severity::Error,
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: Code::NoContext,
        severity: Error,
        title: "the build context does not exist",
        why: "A context is a folder, relative to the folder of `hierarchy.yaml`. The default is `images/<name>` if it exists, else `<name>`.",
        bad: "images:\n  os-base: { context: image/os-base }   # the folder is images/os-base",
        good: "images:\n  os-base: {}",
        language: Yaml,
    },
    Rule {
        code: Code::NoDockerfile,
        severity: Error,
        title: "the Dockerfile does not exist",
        why: "The default is `Dockerfile` in the context. `dockerfile` names another file, relative to the context.",
        bad: "images:\n  os-base: { context: os }   # there is only os/Containerfile",
        good: "images:\n  os-base: { context: os, dockerfile: Containerfile }",
        language: Yaml,
    },
    Rule {
        code: Code::BrokenDockerfile,
        severity: Error,
        title: "the builder refuses this Dockerfile",
        why: "It has an unknown instruction, an instruction before the first `FROM`, an empty variable in an image name, a heredoc without an end, or bytes that are not UTF-8 outside a comment. `rebuild` parses it like the builder, to report the problem before the build.",
        bad: "ARG VERSION\nFROM debian:$VERSION",
        good: "ARG VERSION=12\nFROM debian:$VERSION",
        language: Dockerfile,
    },
    Rule {
        code: Code::UnknownTarget,
        severity: Error,
        title: "`target` names a stage that does not exist",
        why: "`target` names a stage of the Dockerfile: `FROM image AS name`.",
        bad: "images:\n  app: { target: rntime }",
        good: "images:\n  app: { target: runtime }",
        language: Yaml,
    },
    Rule {
        code: Code::WrongReference,
        severity: Error,
        title: "an image name is invalid",
        why: "After expanding variables, a `FROM` or a `--from` names an image that cannot exist in a registry.",
        bad: "FROM Debian:12",
        good: "FROM debian:12",
        language: Dockerfile,
    },
    Rule {
        code: Code::PrepareOutside,
        severity: Error,
        title: "a `prepare` command names a file outside the build context",
        why: "The command runs in a copy of the context. A path with `..` leads to the machine's temporary folder, where other users can write files. A link out of the context, or an absolute path into the checkout, names a file that is not part of the fingerprint. Use a path relative to the context.",
        bad: "images:\n  app: { prepare: [sh, ../gen.sh] }",
        good: "images:\n  app: { prepare: [sh, gen.sh] }   # app/gen.sh",
        language: Yaml,
    },
    Rule {
        code: Code::OnbuildName,
        severity: Error,
        title: "an `ONBUILD` instruction names an image in a way that cannot be pinned",
        why: "The instruction runs in the builds of images that are FROM this one. `rebuild` adds a stage with that name to those builds, so the name must be valid for a stage: a letter, then letters, digits, `-`, `_` and `.`. The new stage changes the numbers of later stages, so a `--from` must use the name of a stage instead of a number.",
        bad: "ONBUILD COPY --from=registry.example.com/base/tools:1 /lint /lint",
        good: "ONBUILD COPY --from=tools /lint /lint",
        language: Dockerfile,
    },
];
