//! What stands beside the file: contexts and Dockerfiles.

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
        title: "there is no build context",
        why: "A context is a folder, relative to the folder of `hierarchy.yaml`. Without `context` it is `images/<name>`, else `<name>`.",
        bad: "images:\n  os-base: { context: image/os-base }   # the folder is images/os-base",
        good: "images:\n  os-base: {}",
        language: Yaml,
    },
    Rule {
        code: Code::NoDockerfile,
        severity: Error,
        title: "there is no Dockerfile",
        why: "It is `Dockerfile` in the context, or what `dockerfile` names, relative to the context.",
        bad: "images:\n  os-base: { context: os }   # there is only os/Containerfile",
        good: "images:\n  os-base: { context: os, dockerfile: Containerfile }",
        language: Yaml,
    },
    Rule {
        code: Code::BrokenDockerfile,
        severity: Error,
        title: "the builder would refuse this Dockerfile",
        why: "An instruction that does not exist, something before the first `FROM`, a variable that is empty where an image is named, a heredoc without an end, or bytes that are not UTF-8 outside a comment. It is read as the builder reads it, so that you hear of it before a build.",
        bad: "ARG VERSION\nFROM debian:$VERSION",
        good: "ARG VERSION=12\nFROM debian:$VERSION",
        language: Dockerfile,
    },
    Rule {
        code: Code::UnknownTarget,
        severity: Error,
        title: "there is no stage of that name",
        why: "`target` names a stage: `FROM image AS name`.",
        bad: "images:\n  app: { target: rntime }",
        good: "images:\n  app: { target: runtime }",
        language: Yaml,
    },
    Rule {
        code: Code::WrongReference,
        severity: Error,
        title: "this cannot be the name of an image",
        why: "What a `FROM` or a `--from` names, with its variables expanded, is not a name that a registry could have.",
        bad: "FROM Debian:12",
        good: "FROM debian:12",
        language: Dockerfile,
    },
    Rule {
        code: Code::PrepareOutside,
        severity: Error,
        title: "a `prepare` command leads out of the build context",
        why: "The command runs in a copy of the context. A path with `..` leads into the temporary folder of the machine, where other users can put files. A link out of the context, or an absolute path into the checkout, names a file that is not a part of the fingerprint. Name files by a path relative to the context.",
        bad: "images:\n  app: { prepare: [sh, ../gen.sh] }",
        good: "images:\n  app: { prepare: [sh, gen.sh] }   # app/gen.sh",
        language: Yaml,
    },
    Rule {
        code: Code::OnbuildName,
        severity: Error,
        title: "an `ONBUILD` instruction names an image in a way that cannot be pinned",
        why: "The instruction lies in the image, and runs in the builds of the images that are FROM it. Those builds get a stage of the name that it uses, so the name must be one that a stage can have: a letter, then letters, digits, `-`, `_` and `.`. The new stage moves the numbers of the stages after it, so a `--from` that counts must name its stage.",
        bad: "ONBUILD COPY --from=registry.example.com/base/tools:1 /lint /lint",
        good: "ONBUILD COPY --from=tools /lint /lint",
        language: Dockerfile,
    },
];
