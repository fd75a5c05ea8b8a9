//! Programs of other projects that read a registry: `crane` and `skopeo`.
//!
//! They are taken from `PATH`, or from the Debian in which the engines of other releases run (`ENGINES_DIR`).

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::is_installed;

/// Prints what the program answers; `None` if there is no such program.
pub(crate) fn judge(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = if is_installed(program) {
        Command::new(program)
    } else {
        let root = root().filter(|root| root.join("usr/bin").join(program).is_file());
        let Some(root) = root else {
            println!("skipped: there is no `{program}`");
            return None;
        };
        in_root(&root, program)
    };
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn root() -> Option<PathBuf> {
    let cache = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache/rebuild-engines"));
    Some(env::var_os("ENGINES_DIR").map(PathBuf::from).or_else(cache)?.join("sid"))
}

/// With the libraries of that Debian, which are newer.
fn in_root(root: &Path, program: &str) -> Command {
    let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu"));
    command.arg(root.join("usr/bin").join(program));
    command
}
