//! What the package managers of a `RUN` leave in its layer.

use globset::Glob;

use crate::dockerfile::shell::ShellCommand;

/// A program that installs packages, and how its cache does not become a part of the layer.
pub(super) struct PackageManager {
    /// The first one is its name. Without the version of `pip3.11`.
    programs: &'static [&'static str],
    /// Subcommands that fill the cache.
    install: &'static [&'static str],
    /// Options that have a value.
    values: &'static [&'static str],
    /// Options that fill no cache.
    no_cache: &'static [&'static str],
    /// Commands that empty the cache: a subcommand, and words that must follow it.
    clean: &'static [&'static [&'static str]],
    /// Deleting or mounting one of these folders is enough. `~` is any home.
    folders: &'static [&'static str],
    /// A variable that does the same for all that follows.
    pub(super) variable: Option<&'static str>,
    /// The shell of the images that have it.
    shell: Shell,
    pub(super) fix: &'static str,
}

/// Whether `{a,b}` is two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    /// `dash` or busybox.
    Posix,
}

pub(super) const APT: PackageManager = PackageManager {
    programs: &["apt-get", "apt", "aptitude"],
    install: &["install", "update", "upgrade", "dist-upgrade", "full-upgrade", "build-dep"],
    values: &["-o", "--option", "-c", "--config-file", "-t", "--target-release", "-a"],
    no_cache: &[],
    clean: &[&["dist-clean"], &["distclean"]],
    folders: &["/var/lib/apt/lists"],
    variable: None,
    shell: Shell::Posix,
    fix: "end the same `RUN` with `&& rm -rf /var/lib/apt/lists/*`",
};

/// Those that install packages of the system, and then those of languages.
pub(super) const MANAGERS: &[PackageManager] = &[
    APT,
    PackageManager {
        programs: &["apk"],
        install: &["add", "update", "upgrade"],
        values: &["-X", "--repository", "-p", "--root", "-t", "--virtual", "--cache-dir"],
        no_cache: &["--no-cache"],
        clean: &[],
        folders: &["/var/cache/apk", "/etc/apk/cache"],
        variable: None,
        shell: Shell::Posix,
        fix: "install with `apk add --no-cache`",
    },
    PackageManager {
        programs: &["dnf", "dnf5", "microdnf", "tdnf", "yum"],
        install: &["install", "update", "upgrade", "groupinstall", "makecache", "reinstall"],
        values: &["-c", "--config", "--installroot", "--releasever", "--setopt", "-x", "--exclude"],
        no_cache: &[],
        clean: &[&["clean", "all"]],
        folders: &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"],
        variable: None,
        shell: Shell::Bash,
        fix: "end the same `RUN` with `&& dnf clean all`",
    },
    PackageManager {
        programs: &["zypper"],
        install: &["install", "in", "refresh", "ref", "update", "up", "dup", "patch"],
        values: &["-R", "--root", "-D", "--reposd-dir", "-C", "--cache-dir"],
        no_cache: &["--no-cache"],
        clean: &[&["clean"], &["cc"]],
        folders: &["/var/cache/zypp"],
        variable: None,
        shell: Shell::Bash,
        fix: "end the same `RUN` with `&& zypper clean --all`",
    },
    PackageManager {
        programs: &["pip"],
        install: &["install", "wheel", "download"],
        values: &["--proxy", "--log", "--cert"],
        no_cache: &["--no-cache-dir", "--no-cache"],
        clean: &[&["cache", "purge"]],
        folders: &["~/.cache/pip"],
        variable: Some("PIP_NO_CACHE_DIR"),
        shell: Shell::Posix,
        fix: "install with `pip install --no-cache-dir`, or mount a cache at `/root/.cache/pip`",
    },
    PackageManager {
        programs: &["npm"],
        install: &["install", "ci", "i", "add"],
        values: &["--prefix", "-C"],
        no_cache: &[],
        clean: &[&["cache", "clean"], &["cache", "rm"], &["cache", "clear"]],
        folders: &["~/.npm/_cacache"],
        variable: None,
        shell: Shell::Posix,
        fix: "end the same `RUN` with `&& npm cache clean --force`, or mount a cache at `/root/.npm`",
    },
    PackageManager {
        programs: &["yarn", "yarnpkg"],
        install: &["install", "add", "global"],
        values: &["--cwd"],
        no_cache: &[],
        clean: &[&["cache", "clean"]],
        folders: &["~/.cache/yarn", "/usr/local/share/.cache/yarn", "~/.yarn/berry/cache"],
        variable: None,
        shell: Shell::Posix,
        fix: "end the same `RUN` with `&& yarn cache clean`",
    },
];

/// How many of [`MANAGERS`] install packages of the system.
pub(super) const OF_SYSTEM: usize = 4;

const REMOVE: [&str; 6] = ["autoremove", "del", "erase", "purge", "remove", "rm"];

/// A program with its arguments: `python3.11 -m pip install x` is `pip install x`.
pub(super) struct Call<'c> {
    pub(super) program: &'c str,
    pub(super) arguments: &'c [String],
}

impl<'c> Call<'c> {
    pub(super) fn of(command: &'c ShellCommand) -> Self {
        let arguments = command.arguments();
        let name = |program: &'c str| {
            let unversioned = program.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit());
            if ["pip", "python"].contains(&unversioned) { unversioned } else { program }
        };
        let program = name(command.program());
        match arguments {
            [option, module, rest @ ..] if program == "python" && option == "-m" => {
                Self { program: name(module), arguments: rest }
            }
            _ => Self { program, arguments },
        }
    }

    /// The arguments that are neither options nor their values.
    fn plain(&self, values: &[&str]) -> Vec<&'c str> {
        let (mut plain, mut arguments) = (Vec::new(), self.arguments.iter().map(String::as_str));
        while let Some(word) = arguments.next() {
            if values.contains(&word) {
                arguments.next();
            } else if !word.starts_with('-') {
                plain.push(word);
            }
        }
        plain
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.arguments.iter().any(|one| one == word)
    }

    /// The paths that it deletes.
    pub(super) fn deleted(&self, shell: Shell) -> Vec<String> {
        let words: Vec<&str> = match self.program {
            "rm" | "unlink" => self.plain(&[]),
            "find" if self.has("-delete") || self.has("-exec") && self.has("rm") => {
                let paths = self.arguments.iter().map(String::as_str);
                paths.take_while(|word| !word.starts_with(['-', '(', '!'])).collect()
            }
            _ => return Vec::new(),
        };
        let expanded = words.into_iter().flat_map(|word| match shell {
            Shell::Bash => braces(word),
            Shell::Posix => vec![word.to_owned()],
        });
        expanded.collect()
    }
}

impl PackageManager {
    pub(super) fn name(&self) -> &'static str {
        self.programs[0]
    }

    /// What the call installs, if it is an installation that fills the cache. Empty: its lists alone, or packages that
    /// a file names.
    pub(super) fn installs<'c>(&self, call: &Call<'c>) -> Option<Vec<&'c str>> {
        if !self.programs.contains(&call.program) {
            return None;
        }
        let mut plain = call.plain(self.values).into_iter();
        if let Some(subcommand) = plain.next() {
            return self.install.contains(&subcommand).then(|| plain.collect());
        }
        // `yarn` alone installs.
        let is_question = ["--version", "-v", "--help", "-h"].iter().any(|it| call.has(it));
        (self.name() == "yarn" && !is_question).then(Vec::new)
    }

    /// Whether this installation fills no cache.
    pub(super) fn is_without_cache(&self, call: &Call<'_>, command: &ShellCommand) -> bool {
        let has_variable = |name| command.variables.iter().any(|(set, _)| set == name);
        self.no_cache.iter().any(|option| call.has(option))
            || self.variable.is_some_and(has_variable)
    }

    /// Whether the call empties the cache. `shell` is that of the `RUN`.
    pub(super) fn cleans(&self, call: &Call<'_>, shell: Shell) -> bool {
        if self.programs.contains(&call.program) {
            let plain = call.plain(self.values);
            return self.clean.iter().any(|clean| plain.starts_with(clean));
        }
        let shell = if self.shell == Shell::Bash { Shell::Bash } else { shell };
        call.deleted(shell).iter().any(|path| self.is_in(path))
    }

    /// Whether a mount takes the cache out of the layer.
    pub(super) fn is_mounted(&self, options: &[&str]) -> bool {
        let mounts = options.iter().filter_map(|option| option.strip_prefix("--mount="));
        let fields = mounts.flat_map(|mount| mount.split(',')).filter_map(|it| it.split_once('='));
        let mut targets = fields.filter(|(key, _)| ["target", "dst", "destination"].contains(key));
        targets.any(|(_, target)| self.is_in(target.trim_matches('"')))
    }

    /// Whether the call removes packages.
    pub(super) fn removes(&self, call: &Call<'_>) -> bool {
        let plain = call.plain(self.values);
        self.programs.contains(&call.program)
            && plain.first().is_some_and(|first| REMOVE.contains(first))
    }

    fn is_in(&self, path: &str) -> bool {
        self.folders.iter().any(|folder| covers(path, folder))
    }
}

/// Whether deleting `path`, which may have `*`, deletes what is in `folder`.
fn covers(path: &str, folder: &str) -> bool {
    let path = match folder.strip_prefix("~/") {
        Some(_) => match path.find("/.") {
            // Whatever the home is.
            Some(at) => &path[at..],
            None => return false,
        },
        None => path,
    };
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    let (written, wanted) = (parts(path), parts(folder.trim_start_matches('~')));
    let is_same = |(written, wanted): (&String, &String)| {
        written == wanted
            || written.contains(['*', '?', '['])
                && Glob::new(written).is_ok_and(|glob| glob.compile_matcher().is_match(wanted))
    };
    let rest = written.get(wanted.len()..).unwrap_or_default();
    // `/` alone would delete the image.
    !written.is_empty()
        && path.starts_with('/')
        && written.iter().zip(&wanted).all(is_same)
        && (rest.is_empty() || rest.len() == 1 && rest[0].starts_with('*'))
}

/// Most words of a brace expansion; more are left as they are.
const MOST: usize = 64;

/// `a{b,c}d` → `abd acd`.
fn braces(word: &str) -> Vec<String> {
    let mut open = vec![word.to_owned()];
    let mut done = Vec::new();
    while let Some(word) = open.pop() {
        let Some((start, parts, end)) = list(&word).filter(|_| open.len() + done.len() < MOST)
        else {
            done.push(word);
            continue;
        };
        open.extend(
            parts.iter().rev().map(|part| format!("{}{part}{}", &word[..start], &word[end..])),
        );
    }
    done
}

/// The first `{a,b}` of a word: where it begins, its parts, and where it ends.
fn list(word: &str) -> Option<(usize, Vec<&str>, usize)> {
    let start = word.find('{').filter(|at| !word[..*at].ends_with('$'))?;
    let (mut level, mut parts, mut from) = (0, Vec::new(), start + 1);
    for (at, c) in word.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => level += 1,
            ',' if level == 1 => {
                parts.push(&word[from..at]);
                from = at + 1;
            }
            '}' if level == 1 => {
                parts.push(&word[from..at]);
                return (parts.len() > 1).then_some((start, parts, at + 1));
            }
            '}' => level -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_the_folders_that_they_cover() {
        let lists = "/var/lib/apt/lists";
        for (path, folder, expected) in [
            ("/var/lib/apt/lists", lists, true),
            ("/var/lib/apt/lists/", lists, true),
            ("/var/lib/apt/lists/*", lists, true),
            ("/var/lib/apt/lists/*_*", lists, true),
            ("/var/lib/apt", lists, true),
            ("/var/lib/a*/lists", lists, true),
            ("/var/*", lists, true),
            ("/var/lib/apt/lists/partial", lists, false),
            ("/var/lib/apt/listsx", lists, false),
            ("/var/lib/[", lists, false),
            ("var/lib/apt/lists", lists, false),
            ("/", lists, false),
            ("/var/cache/*", "/var/cache/apk", true),
            ("/root/.cache", "~/.cache/pip", true),
            ("~/.cache/*", "~/.cache/pip", true),
            ("$HOME/.cache/pip", "~/.cache/pip", true),
            ("/home/me/.cache/yarn", "~/.cache/pip", false),
            ("/var/cache/*", "~/.cache/pip", false),
        ] {
            assert_eq!(covers(path, folder), expected, "{path}");
        }
    }

    #[test]
    fn braces_as_bash_expands_them() {
        for (word, expected) in [
            ("/var/{cache/{dnf,yum},log}/*", "/var/cache/dnf/* /var/cache/yum/* /var/log/*"),
            ("a{b}c", "a{b}c"),
            ("a{b,c", "a{b,c"),
            ("${X,y}", "${X,y}"),
            ("{é,ü}", "é ü"),
        ] {
            assert_eq!(braces(word).join(" "), expected);
        }
        assert!(braces(&"{a,b}".repeat(100)).len() < 1000);
    }
}
