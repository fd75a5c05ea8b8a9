//! Asks the user's own git, so that it behaves as theirs does.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// How many digits of a commit tags and messages have.
const DIGITS: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot run git")]
    Start(#[source] io::Error),
    #[error("git {command}: {message}")]
    Failed { command: String, message: String },
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathChange {
    Added,
    Deleted,
    Modified,
}

/// The commit that is checked out, `-dirty` behind it if anything in this folder differs from it;
/// `None` outside a repository, and before its first commit.
pub fn describe(folder: &Path) -> Result<Option<String>, GitError> {
    let Ok(commit) = git(folder, &["rev-parse", "--verify", "--quiet", "HEAD"]) else {
        return Ok(None);
    };
    let changes = git(folder, &["status", "--porcelain", "-z", "--", "."])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Ok(Some(format!("{}{dirty}", short(&line(&commit)))))
}

/// What is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHead {
    /// In full.
    pub commit: String,
    /// When it was committed, in seconds since 1970. Of two commits of one history the later one has
    /// the greater, but for clocks that were wrong and commits of the same second.
    pub committed: i64,
    /// Nothing in the folder that was asked about differs from it.
    pub is_clean: bool,
}

impl GitHead {
    /// For people: the first digits, `-dirty` behind them if anything differs.
    pub fn short(&self) -> String {
        let commit = short(&self.commit);
        if self.is_clean { commit } else { format!("{commit}-dirty") }
    }
}

/// The first digits of a commit, for people.
pub fn short(commit: &str) -> String {
    commit.chars().take(DIGITS).collect()
}

/// The commit that is checked out; `None` outside a repository, and before its first commit.
pub fn head(folder: &Path) -> Option<GitHead> {
    let commit = line(&git(folder, &["rev-list", "--max-count=1", "--timestamp", "HEAD"]).ok()?);
    let (committed, commit) = commit.split_once(' ')?;
    let changes = git(folder, &["status", "--porcelain", "-z", "--", "."]).ok()?;
    let committed = committed.parse().ok()?;
    Some(GitHead { commit: commit.to_owned(), committed, is_clean: changes.is_empty() })
}

/// The address of the repository that `origin` is, without credentials; `None` if there is none, or if it is
/// a folder of this machine.
pub fn source(folder: &Path) -> Option<String> {
    // Not `remote get-url`: what it prints may hold the password of an `insteadOf`.
    let remote = git(folder, &["config", "--get", "remote.origin.url"]).ok()?;
    address(&line(&remote))
}

/// The name of the repository that holds a folder, which is the same in each clone of it: the address of `origin`
/// without its scheme and without credentials. If `origin` is a folder, its name; without `origin`, the name of
/// the repository's own folder, which worktrees share. `None` outside a repository.
pub fn repository_name(folder: &Path) -> Option<String> {
    let remote = git(folder, &["config", "--get", "remote.origin.url"]).ok().map(|url| line(&url));
    if let Some(address) = remote.as_deref().and_then(address) {
        return address.split_once("://").map(|(_, rest)| rest.to_owned());
    }
    let name = |path: &Path| {
        let name = path.file_name()?.to_string_lossy();
        Some(name.trim_end_matches(".git").to_owned()).filter(|name| !name.is_empty())
    };
    if let Some(name) = remote.and_then(|remote| name(Path::new(&remote))) {
        return Some(name);
    }
    let mut common =
        git(folder, &["rev-parse", "--path-format=absolute", "--git-common-dir"]).ok()?;
    common.pop_if(|last| *last == b'\n');
    let common = PathBuf::from(OsString::from_vec(common));
    if common.ends_with(".git") { name(common.parent()?) } else { name(&common) }
}

/// As a browser takes it: `git@github.com:acme/images.git` is `https://github.com/acme/images`.
fn address(remote: &str) -> Option<String> {
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.to_owned()),
        Some(("ssh" | "git" | "git+ssh", rest)) => {
            let (host, path) = rest.split_once('/')?;
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            ("https", format!("{host}/{path}"))
        }
        Some(_) => return None,
        None => {
            let (host, path) = remote.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            ("https", format!("{host}/{}", path.trim_start_matches('/')))
        }
    };
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.split(['?', '#']).next()?.trim_end_matches('/').trim_end_matches(".git");
    let is_good = !host.is_empty() && !path.is_empty() && !rest.contains(char::is_control);
    is_good.then(|| format!("{scheme}://{host}/{path}"))
}

/// Whether a commit came before another; `false` also where this clone does not know.
pub fn is_ancestor(folder: &Path, earlier: &str, later: &str) -> bool {
    // A name that begins with a dash would be an option.
    let is_commit = |name: &str| name.bytes().all(|digit| digit.is_ascii_hexdigit());
    earlier != later
        && is_commit(earlier)
        && is_commit(later)
        && run(folder, &["merge-base", "--is-ancestor", earlier, later])
            .is_ok_and(|output| output.status.success())
}

/// The folder of the work tree that holds this one, with symbolic links resolved.
pub fn work_tree(folder: &Path) -> Result<PathBuf, GitError> {
    let mut path = git(folder, &["rev-parse", "--show-toplevel"])?;
    path.pop_if(|last| *last == b'\n');
    Ok(OsString::from_vec(path).into())
}

/// The commit that a revision names; `None` if this clone has no such commit.
pub fn commit(folder: &Path, revision: &str) -> Result<Option<String>, GitError> {
    let revision = format!("{revision}^{{commit}}");
    let output = run(folder, &["rev-parse", "--verify", "--quiet", &revision])?;
    let commit = line(&output.stdout);
    // Of `^main` it would make `^` and a commit.
    let is_commit = commit.len() >= 40 && commit.bytes().all(|digit| digit.is_ascii_hexdigit());
    Ok((output.status.success() && is_commit).then_some(commit))
}

/// The best common ancestor of two commits, if this clone has one.
pub fn merge_base(folder: &Path, a: &str, b: &str) -> Result<Option<String>, GitError> {
    let arguments = ["merge-base", a, b];
    let output = run(folder, &arguments)?;
    match output.status.code() {
        Some(0) => Ok(Some(line(&output.stdout))),
        Some(1) => Ok(None),
        _ => Err(failed(&arguments, &output)),
    }
}

/// How many commits a clone goes back that does not go back to the first; `None` if it does.
pub fn depth_of_shallow(folder: &Path) -> Result<Option<usize>, GitError> {
    if line(&git(folder, &["rev-parse", "--is-shallow-repository"])?) != "true" {
        return Ok(None);
    }
    let count = line(&git(folder, &["rev-list", "--count", "--first-parent", "HEAD"])?);
    Ok(Some(count.parse().unwrap_or(0)))
}

/// Every tracked path that differs between a commit and the work tree, relative to the latter's
/// root. A renamed file is one that is gone and one that is new; a submodule is one path.
pub fn changed_since(
    work_tree: &Path,
    commit: &str,
) -> Result<Vec<(PathChange, PathBuf)>, GitError> {
    // What the user's configuration could leave out or put in another form is said here.
    let output = git(
        work_tree,
        &[
            "-c",
            "diff.relative=false",
            "diff",
            "--name-status",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--ignore-submodules=none",
            commit,
            "--",
        ],
    )?;
    let mut changes = Vec::new();
    let mut words = output.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    while let (Some(status), Some(path)) = (words.next(), words.next()) {
        let change = match status {
            b"A" => PathChange::Added,
            b"D" => PathChange::Deleted,
            _ => PathChange::Modified,
        };
        changes.push((change, Path::new(OsStr::from_bytes(path)).to_owned()));
    }
    Ok(changes)
}

/// The files below a folder that git tracks, relative to the folder.
pub fn tracked(folder: &Path) -> Result<Vec<PathBuf>, GitError> {
    let list = git(folder, &["ls-files", "--cached", "-z"])?;
    Ok(paths(&list))
}

/// What git's index has for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexMode {
    File,
    Executable,
    Link,
    Submodule,
}

/// Every path of the index, relative to the root of this work tree. A path with conflicts comes
/// several times.
pub fn index(work_tree: &Path) -> Result<Vec<(PathBuf, IndexMode)>, GitError> {
    let list = own_git(work_tree, &["ls-files", "--stage", "-z"])?;
    let entries = list.split(|byte| *byte == 0).filter_map(|line| {
        // `MODE OBJECT STAGE<tab>PATH`
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mode = match line.get(..6)? {
            b"100755" => IndexMode::Executable,
            b"120000" => IndexMode::Link,
            b"160000" => IndexMode::Submodule,
            _ => IndexMode::File,
        };
        Some((OsStr::from_bytes(&line[tab + 1..]).into(), mode))
    });
    Ok(entries.collect())
}

/// The folders of the submodules of a folder's work tree.
pub fn submodules(folder: &Path) -> Result<Vec<PathBuf>, GitError> {
    let work_tree = work_tree(folder)?;
    let submodules =
        index(&work_tree)?.into_iter().filter(|(_, mode)| *mode == IndexMode::Submodule);
    Ok(submodules.map(|(path, _)| work_tree.join(path)).collect())
}

/// Whether git trusts this work tree to keep which files can be executed: `core.fileMode`.
pub fn keeps_modes(work_tree: &Path) -> bool {
    let arguments = ["config", "--type=bool", "--get", "core.fileMode"];
    own_git(work_tree, &arguments).map_or(true, |answer| line(&answer) != "false")
}

/// Files that git does not track and does not ignore; of a repository in it, its folder.
pub fn untracked(work_tree: &Path) -> Result<Vec<PathBuf>, GitError> {
    let list = git(work_tree, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    Ok(paths(&list))
}

/// Those of some files that git tracks. Paths are relative to the work tree's root.
pub fn tracked_among<'p>(
    work_tree: &Path,
    files: impl Iterator<Item = &'p PathBuf>,
) -> Result<Vec<PathBuf>, GitError> {
    let mut arguments: Vec<&OsStr> = ["ls-files", "-z", "--"].map(OsStr::new).to_vec();
    arguments.extend(files.map(|file| file.as_os_str()));
    // Without a path, git would list every file.
    if arguments.len() == 3 { Ok(Vec::new()) } else { Ok(paths(&git(work_tree, &arguments)?)) }
}

/// Files that git ignores; of a folder of nothing else, the folder.
pub fn ignored(work_tree: &Path) -> Result<Vec<PathBuf>, GitError> {
    let list = git(
        work_tree,
        &["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"],
    )?;
    Ok(paths(&list))
}

/// A file as it was in a commit; `None` if it was not there. The path is relative to the work
/// tree's root.
pub fn file_at(work_tree: &Path, commit: &str, path: &Path) -> Result<Option<Vec<u8>>, GitError> {
    let mut object = OsString::from(format!("{commit}:"));
    object.push(path);
    let kind = run(work_tree, &[OsStr::new("cat-file"), OsStr::new("-t"), &object])?;
    if line(&kind.stdout) != "blob" {
        return Ok(None);
    }
    git(work_tree, &[OsStr::new("cat-file"), OsStr::new("blob"), &object]).map(Some)
}

/// The text that a file had in the last commit with it, also if a later one deleted it. The path is relative to the
/// folder.
pub fn last_text(folder: &Path, path: &Path) -> Option<String> {
    let arguments = ["rev-list", "--max-count=1", "HEAD", "--"].map(OsStr::new);
    let arguments: Vec<&OsStr> = arguments.into_iter().chain([path.as_os_str()]).collect();
    let commit = line(&git(folder, &arguments).ok()?);
    // Git takes a path that begins so as one of the folder.
    let path = Path::new(".").join(path);
    let mut with_it = [commit.clone(), format!("{commit}^")].into_iter();
    let text = with_it.find_map(|commit| file_at(folder, &commit, &path).ok().flatten());
    text.filter(|_| !commit.is_empty()).and_then(|text| String::from_utf8(text).ok())
}

/// Fetches the commit that a ref of another repository names now, and puts its files into an empty folder, with
/// those of its submodules and without `.git`. Modes are git's: 0755 for folders and programs, else 0644.
pub fn check_out(url: &str, reference: &str, folder: &Path) -> Result<(), GitError> {
    // The same files on each machine, whatever the user's configuration says.
    let same = ["-c", "core.autocrlf=false", "-c", "core.symlinks=true"];
    let steps: [&[&str]; 4] = [
        &["init", "--quiet"],
        &["fetch", "--quiet", "--depth=1", "--", url, reference],
        &["checkout", "--quiet", "--detach", "FETCH_HEAD"],
        &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"],
    ];
    for step in steps {
        own_git(folder, &[&same, step].concat())?;
    }
    as_git_keeps_them(folder).map_err(GitError::Start)
}

/// Clones a repository into a new folder, with its history. Without a branch, its default branch.
pub fn clone(url: &str, branch: Option<&str>, folder: &Path) -> Result<(), GitError> {
    let parent = folder.parent().unwrap_or(folder);
    let mut arguments = vec![OsStr::new("clone"), OsStr::new("--quiet")];
    if let Some(branch) = branch {
        arguments.extend([OsStr::new("--branch"), OsStr::new(branch)]);
    }
    arguments.extend([OsStr::new("--"), OsStr::new(url), folder.as_os_str()]);
    own_git(parent, &arguments).map(drop)
}

/// Fetches a branch of `origin`. Returns the commit that it names.
pub fn fetch(folder: &Path, branch: &str) -> Result<String, GitError> {
    let refspec = format!("+refs/heads/{branch}:refs/remotes/origin/{branch}");
    own_git(folder, &["fetch", "--quiet", "--no-tags", "origin", &refspec])?;
    let commit = format!("refs/remotes/origin/{branch}^{{commit}}");
    own_git(folder, &["rev-parse", "--verify", &commit]).map(|output| line(&output))
}

/// Checks out a commit, with its submodules. Changes of tracked files are lost.
pub fn switch(folder: &Path, commit: &str) -> Result<(), GitError> {
    own_git(folder, &["checkout", "--quiet", "--force", "--detach", commit, "--"])?;
    own_git(folder, &["submodule", "--quiet", "update", "--init", "--recursive"]).map(drop)
}

/// The branch that is checked out; `None` outside a repository, and for a detached commit.
pub fn branch(folder: &Path) -> Option<String> {
    let branch = git(folder, &["symbolic-ref", "--quiet", "--short", "HEAD"]).ok()?;
    Some(line(&branch)).filter(|branch| !branch.is_empty())
}

/// Removes `.git` and sets the modes, which depend on the umask of the checkout.
fn as_git_keeps_them(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if entry.file_name() == ".git" {
            if kind.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        } else if kind.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            as_git_keeps_them(&path)?;
        } else if kind.is_file() {
            let is_program = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn paths(list: &[u8]) -> Vec<PathBuf> {
    let words = list.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| Path::new(OsStr::from_bytes(word)).to_owned()).collect()
}

fn line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

/// What git prints, if all is well.
fn git<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Result<Vec<u8>, GitError> {
    let output = run(folder, arguments)?;
    if output.status.success() { Ok(output.stdout) } else { Err(failed(arguments, &output)) }
}

/// What git prints about the repository of this folder, whatever repository the environment names, as
/// it does in a hook.
fn own_git<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Result<Vec<u8>, GitError> {
    let mut command = command(folder, arguments);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    let output = command.output().map_err(GitError::Start)?;
    if output.status.success() { Ok(output.stdout) } else { Err(failed(arguments, &output)) }
}

fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Result<Output, GitError> {
    command(folder, arguments).output().map_err(GitError::Start)
}

/// Git without prompts, optional locks or a pager.
///
/// A folder of the checkout can contain the files of a bare repository. Git would open it and run the programs that its
/// `config` names, such as a file system monitor. <https://git-scm.com/docs/git-config#Documentation/git-config.txt-safebareRepository>
fn command<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "safe.bareRepository=explicit", "-c", "core.fsmonitor=false"])
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // A name with a `*` in it is a name.
        .env("GIT_LITERAL_PATHSPECS", "1")
        .stdin(Stdio::null());
    command
}

fn failed<A: AsRef<OsStr>>(arguments: &[A], output: &Output) -> GitError {
    let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    GitError::Failed { command: words.join(" "), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_credentials() {
        for (remote, expected) in [
            ("https://github.com/acme/images.git", Some("https://github.com/acme/images")),
            (
                "https://me:to@ken@git.example.com:8443/a/b?x=1#y",
                Some("https://git.example.com:8443/a/b"),
            ),
            ("http://token@host/a.git/", Some("http://host/a")),
            ("git@github.com:acme/images.git", Some("https://github.com/acme/images")),
            (
                "ssh://git@git.example.com:2222/acme/images.git",
                Some("https://git.example.com/acme/images"),
            ),
            ("host:/srv/git/images", Some("https://host/srv/git/images")),
            ("/srv/git/images.git", None),
            ("../images:1", None),
            ("file:///srv/git/images", None),
            ("https://host", None),
            ("", None),
        ] {
            assert_eq!(address(remote).as_deref(), expected, "{remote}");
        }
    }
}
