//! The same lines given to hadolint 2.15.1. Its codes here are what it printed for `FROM debian:12` and the line.

use super::tests::package_codes;

/// Both find the same.
const AGREE: &str = "";
const FIND: &str = "hadolint knows `rm` of the lists, not `find -delete`.";
const SAME_RUN: &str = "hadolint wants the option: a cache that the same `RUN` deletes is in no layer, so that `rebuild` accepts it.";
const NESTED: &str = "hadolint does not read the text of `bash -c` and of a list, and no command behind `sudo` or `xargs`.";
const EFFECT: &str = "`rm` before the installation deletes nothing, and `/bin/sh` of Debian and Alpine expands no `{a,b}`.";
const INSTALL: &str = "`apt-get install` alone leaves packages and `apk update` leaves an index: hadolint reads `update` of apt and `add` of apk only.";
const NODE: &str = "hadolint has no rule for npm, and does not know that `yarn` alone installs.";
const APT: &str = "hadolint reads `apt-get`, not `apt`, for recommended packages.";

/// A `RUN`, our codes, those of hadolint (DL3009, DL3015, DL3019, DL3032, DL3036, DL3040, DL3042, DL3060), and why they differ.
#[rustfmt::skip]
const LINES: &[(&str, &str, &str, &str)] = &[
    ("apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*", "", "", AGREE),
    ("apt-get update && apt-get install -y --no-install-recommends curl", "RB061", "DL3009", AGREE),
    ("apt-get update && apt-get install --no-install-recommends curl && rm -rf /var/lib/apt/lists/*", "", "", AGREE),
    ("apt-get update && apt-get install curl && rm -rf /var/lib/apt/lists/*", "RB063", "DL3015", AGREE),
    ("apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*", "RB063", "DL3015", AGREE),
    ("apt-get update && apt-get install -y -o APT::Install-Recommends=false curl && rm -rf /var/lib/apt/lists/*", "", "", AGREE),
    ("apt-get -o Dpkg::Use-Pty=0 install -y --no-install-recommends curl", "RB061", "", INSTALL),
    ("apt-get update && apt-get install -y --no-install-recommends curl && ls /var/lib/apt/lists", "RB061", "DL3009", AGREE),
    ("apt-get update && apt-get install -y --no-install-recommends curl # && rm -rf /var/lib/apt/lists/*", "RB061", "DL3009", AGREE),
    (r#"echo "rm -rf /var/lib/apt/lists/*" && apt-get update && apt-get install -y --no-install-recommends curl"#, "RB061", "DL3009", AGREE),
    ("rm -rf /var/lib/apt/lists/* && apt-get update && apt-get install -y --no-install-recommends curl", "RB061", "", EFFECT),
    ("apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt", "", "", AGREE),
    ("apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists", "", "", AGREE),
    ("apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/{apt,dpkg}", "RB061", "", EFFECT),
    ("apt-get update && apt-get install -y --no-install-recommends curl && find /var/lib/apt/lists -mindepth 1 -delete", "", "DL3009", FIND),
    ("apt-get update && apt-get install -y --no-install-recommends curl && apt-get clean", "RB061", "DL3009", AGREE),
    ("--mount=type=cache,target=/var/lib/apt/lists --mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y --no-install-recommends curl", "", "", AGREE),
    (r#"["apt-get", "install", "-y", "curl"]"#, "RB061 RB063", "DL3015", INSTALL),
    (r#"["bash", "-c", "apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*"]"#, "", "", AGREE),
    ("bash -c 'apt-get update && apt-get install -y curl'", "RB061 RB063", "", NESTED),
    ("echo apt-get install -y curl", "", "", AGREE),
    ("if true; then apt-get update; apt-get install -y --no-install-recommends curl; fi; rm -rf /var/lib/apt/lists/*", "", "", AGREE),
    ("sudo -E apt-get install -y curl && rm -rf /var/lib/apt/lists/*", "RB063", "", NESTED),
    ("apt update && apt install -y --no-install-recommends curl", "RB061", "DL3009", AGREE),
    ("cat list | xargs apt-get install -y && rm -rf /var/lib/apt/lists/*", "RB063", "", NESTED),
    ("apk add curl", "RB061", "DL3019", AGREE),
    ("apk add --no-cache curl", "", "", AGREE),
    ("apk add curl && rm -rf /var/cache/apk/*", "", "DL3019", SAME_RUN),
    ("apk add curl && rm -rf /var/cache/*", "", "DL3019", SAME_RUN),
    ("apk --no-cache add curl", "", "", AGREE),
    ("apk --update add curl", "RB061", "DL3019", AGREE),
    ("apk update && apk add --no-cache curl", "RB061", "", INSTALL),
    ("--mount=type=cache,target=/var/cache/apk apk add curl", "", "", AGREE),
    ("dnf install -y curl", "RB061", "DL3040", AGREE),
    ("dnf install -y curl && dnf clean all", "", "", AGREE),
    ("dnf install -y curl && dnf -y clean all", "", "", AGREE),
    ("dnf install -y curl && rm -rf /var/cache/{dnf,yum}", "", "", AGREE),
    ("dnf install -y curl && rm -rf /var/cache/dnf/*", "", "", AGREE),
    ("microdnf install -y curl", "RB061", "DL3040", AGREE),
    ("yum install -y curl", "RB061", "DL3032", AGREE),
    ("yum -y install curl && yum clean all", "", "", AGREE),
    ("yum install -y curl && rm -rf /var/cache/yum/*", "", "", AGREE),
    ("yum install -y curl && echo yum clean all", "RB061", "DL3032", AGREE),
    ("zypper -n in curl", "RB061", "DL3036", AGREE),
    ("zypper install -y curl && zypper clean", "", "", AGREE),
    ("zypper install -y curl && zypper --non-interactive clean -a", "", "", AGREE),
    ("zypper install -y curl && zypper cc -a", "", "", AGREE),
    ("pip install requests", "RB061", "DL3042", AGREE),
    ("pip install --no-cache-dir requests", "", "", AGREE),
    ("pip3 install requests", "RB061", "DL3042", AGREE),
    ("pip3.11 install requests", "RB061", "DL3042", AGREE),
    ("python3.11 -m pip install requests", "RB061", "DL3042", AGREE),
    ("pip install requests && rm -rf ~/.cache/pip", "", "DL3042", SAME_RUN),
    ("pip install requests && pip cache purge", "", "DL3042", SAME_RUN),
    ("PIP_NO_CACHE_DIR=1 pip install requests", "", "", AGREE),
    ("export PIP_NO_CACHE_DIR=1 && pip install requests", "", "", AGREE),
    ("--mount=type=cache,target=/root/.cache/pip pip install requests", "", "", AGREE),
    (r#"["pip", "install", "requests"]"#, "RB061", "DL3042", AGREE),
    ("npm ci", "RB061", "", NODE),
    ("npm ci && npm cache clean --force", "", "", AGREE),
    ("yarn install", "RB061", "DL3060", AGREE),
    ("yarn install && yarn cache clean", "", "", AGREE),
    ("yarn", "RB061", "", NODE),
    ("yarn --version", "", "", AGREE),
    ("--mount=type=cache,target=/usr/local/share/.cache/yarn yarn install", "", "", AGREE),
    ("apt install -y curl && rm -rf /var/lib/apt/lists/*", "RB063", "", APT),
];

#[test]
fn lines_are_judged_as_by_hadolint_or_docs_say_why() {
    let docs = include_str!("../../../docs/diet.md");
    for (run, ours, hadolint, why) in LINES {
        assert_eq!(package_codes(run), *ours, "{run}");
        let mut same: Vec<&str> = hadolint
            .split_whitespace()
            .map(|code| if code == "DL3015" { "RB063" } else { "RB061" })
            .collect();
        same.sort_unstable();
        assert_eq!(same.join(" ") == *ours, why.is_empty(), "{run}");
        assert!(why.is_empty() || docs.contains(&format!("- {why}\n")), "{why}");
    }
}
