//! What paths say: caches of package managers, repositories of version control, documentation, secrets.

use std::path::Path;

use crate::hierarchy::looks_secret;

/// The files that a program leaves behind, and how a `RUN` leaves none.
#[derive(Debug, PartialEq, Eq)]
pub struct CachedBy {
    /// The program, as people call it.
    pub program: &'static str,
    /// A path with one of these parts, with a `/` before it, is in the cache.
    parts: &'static [&'static str],
    /// The advice.
    pub advice: &'static str,
    /// What to append to the same `RUN`, or the option to install with.
    pub append: &'static str,
}

const CACHES: &[CachedBy] = &[
    CachedBy {
        program: "apt",
        parts: &["/var/lib/apt/lists/", "/var/cache/apt/"],
        advice: "delete package lists and caches in the `RUN` that uses them",
        append: "&& rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
    },
    CachedBy {
        program: "apk",
        parts: &["/var/cache/apk/", "/etc/apk/cache/"],
        advice: "install with `apk add --no-cache`",
        append: "&& rm -rf /var/cache/apk/*",
    },
    CachedBy {
        program: "dnf",
        parts: &["/var/cache/dnf/", "/var/cache/libdnf5/", "/var/cache/yum/"],
        advice: "clean in the `RUN` that installs",
        append: "&& dnf clean all",
    },
    CachedBy {
        program: "zypper",
        parts: &["/var/cache/zypp/"],
        advice: "clean in the `RUN` that installs",
        append: "&& zypper clean --all",
    },
    CachedBy {
        program: "pacman",
        parts: &["/var/cache/pacman/pkg/"],
        advice: "clean in the `RUN` that installs",
        append: "&& rm -rf /var/cache/pacman/pkg/*",
    },
    CachedBy {
        program: "pip",
        parts: &["/.cache/pip/", "/.cache/uv/", "/.cache/pypoetry/"],
        advice: "install with `pip install --no-cache-dir`, or mount a cache at `/root/.cache`",
        append: "&& rm -rf /root/.cache",
    },
    CachedBy {
        program: "npm",
        parts: &["/.npm/_cacache/", "/.npm/_logs/", "/.pnpm-store/", "/share/pnpm/store/"],
        advice: "clean in the `RUN` that installs, or mount a cache at `/root/.npm`",
        append: "&& npm cache clean --force",
    },
    CachedBy {
        program: "yarn",
        parts: &["/.cache/yarn/", "/.yarn/berry/cache/"],
        advice: "clean in the `RUN` that installs",
        append: "&& yarn cache clean",
    },
    CachedBy {
        program: "go",
        parts: &["/.cache/go-build/", "/go/pkg/mod/"],
        advice: "build in a stage of its own, or mount caches at `/root/.cache/go-build` and `/go/pkg/mod`",
        append: "&& go clean -cache -modcache",
    },
    CachedBy {
        program: "cargo",
        parts: &["/.cargo/registry/", "/.cargo/git/", "/cargo/registry/", "/cargo/git/db/"],
        advice: "build in a stage of its own, or mount a cache at the `registry` folder of cargo",
        append: "&& rm -rf \"$CARGO_HOME/registry\" \"$CARGO_HOME/git\"",
    },
    CachedBy {
        program: "maven",
        parts: &["/.m2/repository/"],
        advice: "build in a stage of its own, or mount a cache at `/root/.m2`",
        append: "&& rm -rf /root/.m2/repository",
    },
    CachedBy {
        program: "gradle",
        parts: &["/.gradle/caches/"],
        advice: "build in a stage of its own, or mount a cache at `/root/.gradle`",
        append: "&& rm -rf /root/.gradle/caches",
    },
    CachedBy {
        program: "gem",
        parts: &["/bundle/cache/", "/.bundle/cache/", "/gems/cache/"],
        advice: "delete the downloaded gems in the `RUN` that installs",
        append: "&& rm -rf \"$(gem env gemdir)\"/cache/*",
    },
    CachedBy {
        program: "composer",
        parts: &["/.composer/cache/", "/.cache/composer/"],
        advice: "install with `composer install --no-cache`",
        append: "&& composer clear-cache",
    },
];

/// Not needed to run a program. The licences in `copyright` stay.
const DOCUMENTATION: [&str; 8] = [
    "usr/share/doc/",
    "usr/share/gtk-doc/",
    "usr/share/help/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/local/share/doc/",
    "usr/local/share/man/",
];

/// Where files of packages are, whose names mean nothing.
const OF_PACKAGES: [&str; 17] = [
    "bin/",
    "etc/pam.d/",
    "etc/ssl/certs/",
    "lib/",
    "lib64/",
    "opt/conda/",
    "proc/",
    "sbin/",
    "sys/",
    "usr/bin/",
    "usr/include/",
    "usr/lib/",
    "usr/lib64/",
    "usr/sbin/",
    "usr/share/",
    "var/cache/",
    "var/lib/",
];
const LIBRARIES: [&str; 6] =
    ["/.cargo/registry/", "/gems/", "/go/pkg/", "/node_modules/", "/site-packages/", "/vendor/"];
/// Every system has them.
const ACCOUNTS: [&str; 10] = [
    "etc/gshadow",
    "etc/gshadow-",
    "etc/passwd",
    "etc/passwd-",
    "etc/security",
    "etc/shadow",
    "etc/shadow-",
    "etc/subgid",
    "etc/subuid",
    "etc/default/passwd",
];
/// The ends of paths, with a `/` before them.
const SECRETS: [&str; 22] = [
    "/.aws/credentials",
    "/.azure/accessTokens.json",
    "/.cargo/credentials.toml",
    "/.docker/config.json",
    "/.dockercfg",
    "/.env",
    "/.gem/credentials",
    "/.git-credentials",
    "/.kube/config",
    "/.my.cnf",
    "/.netrc",
    "/.npmrc",
    "/.pgpass",
    "/.pypirc",
    "/.vault-token",
    "/application_default_credentials.json",
    "/id_dsa",
    "/id_ecdsa",
    "/id_ed25519",
    "/id_rsa",
    "/kubeconfig",
    "/terraform.tfstate",
];
const SECRET_EXTENSIONS: [&str; 6] = [".jks", ".keystore", ".kdbx", ".p12", ".pfx", ".ppk"];
/// Other files with such a name are programs or pictures.
const TEXTS: [&str; 15] = [
    "",
    "cfg",
    "conf",
    "env",
    "ini",
    "json",
    "key",
    "pem",
    "properties",
    "secret",
    "token",
    "toml",
    "txt",
    "yaml",
    "yml",
];
/// No secret is longer, in bytes.
const LONGEST_SECRET: u64 = 256 * 1024;

/// The program whose cache a file is in. Paths are relative to the root.
pub fn cached_by(path: &str) -> Option<&'static CachedBy> {
    let is_gem = Path::new(path).extension().is_some_and(|extension| extension == "gem");
    let path = format!("/{path}");
    CACHES.iter().find(|cache| {
        // Gradle and others have a lock file there; it is as useless as the rest.
        cache.parts.iter().any(|part| path.contains(part))
            // The folder has the version of Ruby in its path.
            || cache.program == "gem" && is_gem && path.contains("/cache/")
    })
}

/// The cache of a program.
pub fn cache_of(program: &str) -> Option<&'static CachedBy> {
    CACHES.iter().find(|cache| cache.program == program)
}

/// Whether a file belongs to a repository of git, Mercurial or Subversion.
pub fn is_version_control(path: &str) -> bool {
    let path = format!("/{path}");
    ["/.git/", "/.hg/", "/.svn/"].iter().any(|part| path.contains(part))
}

/// The folder of the repository, such as `app/.git/`, if all files are in one.
pub fn repository(folder: &str) -> String {
    let parts: Vec<&str> = folder.split('/').collect();
    let end = parts.iter().position(|part| [".git", ".hg", ".svn"].contains(part));
    let end = end.map_or(parts.len(), |end| end + 1);
    parts[..end].join("/") + "/"
}

pub fn is_documentation(path: &str) -> bool {
    DOCUMENTATION.iter().any(|folder| path.starts_with(folder)) && !path.ends_with("/copyright")
}

/// Whether the name of a file looks like that of a secret, by the rule for build args.
pub fn is_secret(path: &str, size: u64) -> bool {
    let rooted = format!("/{path}");
    let is_foreign = LIBRARIES.iter().any(|part| rooted.contains(part))
        || is_version_control(path)
        || ACCOUNTS.contains(&path);
    if is_foreign || size == 0 || size > LONGEST_SECRET {
        return false;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let is_example = ["example", "sample", "template", "dist"].contains(&extension);
    if SECRETS.iter().any(|end| rooted.ends_with(end)) || name.starts_with(".env.") && !is_example {
        return true;
    }
    if OF_PACKAGES.iter().any(|folder| path.starts_with(folder)) {
        return false;
    }
    SECRET_EXTENSIONS.iter().any(|end| name.ends_with(end))
        || extension == "key"
        || TEXTS.contains(&extension) && looks_secret(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_caches() {
        for (path, expected) in [
            ("var/lib/apt/lists/deb.debian.org_dists", Some("apt")),
            ("var/cache/apt/archives/gcc.deb", Some("apt")),
            ("var/cache/apk/APKINDEX.tar.gz", Some("apk")),
            ("root/.cache/pip/http/1", Some("pip")),
            ("home/me/.npm/_cacache/x", Some("npm")),
            ("usr/local/share/.cache/yarn/v6/x", Some("yarn")),
            ("root/go/pkg/mod/cache/x", Some("go")),
            ("usr/local/cargo/registry/cache/x", Some("cargo")),
            ("root/.m2/repository/x.jar", Some("maven")),
            ("usr/local/bundle/cache/x.gem", Some("gem")),
            ("var/lib/gems/3.1.0/cache/rack-3.gem", Some("gem")),
            ("root/.gradle/caches/x", Some("gradle")),
            ("var/lib/apt/extended_states", None),
            ("srv/cache/x", None),
        ] {
            assert_eq!(cached_by(path).map(|cache| cache.program), expected, "{path}");
        }
    }

    #[test]
    fn paths_of_secrets() {
        for path in [
            "root/.ssh/id_rsa",
            "app/.env",
            "app/deploy.key",
            "etc/app/db_password",
            "run/api-token.txt",
            "app/credentials.json",
            "root/.docker/config.json",
            "app/store.p12",
            "usr/share/nginx/html/.env",
            "var/lib/jenkins/.ssh/id_rsa",
            "app/.env.production",
        ] {
            assert!(is_secret(path, 100), "{path}");
        }
        for path in [
            "etc/passwd",
            "usr/bin/passwd",
            "usr/lib/python3/secrets.py",
            "app/secrets.py",
            "app/node_modules/x/.npmrc",
            "etc/ssl/certs/a.key",
            "app/public_key.pem",
            "app/key.png",
            "app/password.html",
            "root/.ssh/id_rsa.pub",
            "app/monkey",
            "app/.env.example",
        ] {
            assert!(!is_secret(path, 100), "{path}");
        }
        assert!(!is_secret("app/.env", 0));
    }

    #[test]
    fn documentation_without_licences() {
        assert!(is_documentation("usr/share/man/man1/ls.1.gz"));
        assert!(!is_documentation("usr/share/doc/bash/copyright"));
        assert_eq!(repository("app/.git/objects/1f"), "app/.git/");
        assert!(is_version_control("app/.git/HEAD") && !is_version_control("app/.gitignore"));
    }
}
