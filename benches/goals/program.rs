//! Runs the real binary, and knows how long it took and how much memory it had.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::Result;

/// What one run of the program took.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// What it used of the processors, itself and in the kernel.
    pub(crate) busy: Duration,
    /// The most memory it had at once, in KiB.
    pub(crate) peak: u64,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    pub(crate) code: i32,
}

/// `rebuild …` in a folder, which also keeps its state. GNU time measures the memory: what a
/// process had at most is known to its parent only.
pub(crate) fn rebuild<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Result<Ran> {
    let (out, err, usage) = (folder.join(".out"), folder.join(".err"), folder.join(".usage"));
    let began = Instant::now();
    let status = Command::new("/usr/bin/time")
        .args(["--quiet", "--format=%M %U %S", "--output"])
        .arg(&usage)
        .arg(env!("CARGO_BIN_EXE_rebuild"))
        .args(arguments)
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join(".state"))
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .status()
        .map_err(|error| format!("`/usr/bin/time` (GNU time) is needed: {error}"))?;
    let took = began.elapsed();
    let usage = fs::read_to_string(&usage)?;
    let mut numbers = usage.split_whitespace();
    let peak = numbers.next().ok_or("no numbers from GNU time")?.parse()?;
    let busy = numbers.map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()?;
    let busy = Duration::from_secs_f64(busy);
    let stdout = fs::read_to_string(&out)?;
    Ok(Ran { took, busy, peak, stdout, code: status.code().unwrap_or(-1) })
}

/// The same, which must end with this exit code.
pub(crate) fn rebuild_ending<S: AsRef<OsStr>>(
    code: i32,
    folder: &Path,
    arguments: &[S],
) -> Result<Ran> {
    let ran = rebuild(folder, arguments)?;
    if ran.code == code {
        return Ok(ran);
    }
    let said = fs::read_to_string(folder.join(".err"))?;
    let tail: Vec<&str> = said.lines().rev().take(20).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(format!("it ended with {}, not {code}:\n{}", ran.code, tail.join("\n")).into())
}

/// Something that no other run of the benchmarks is called.
pub(crate) fn nonce() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:08x}", RandomState::new().hash_one(std::process::id()) >> 32)
}

/// How many jobs everybody gets.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// A static busybox, the one program that the images hold.
pub(crate) fn busybox() -> Result<Vec<u8>> {
    let path = env::var("BUSYBOX").unwrap_or_else(|_| "/usr/bin/busybox".to_owned());
    fs::read(&path).map_err(|error| {
        format!("a static busybox is needed; `$BUSYBOX` says where: {path}: {error}").into()
    })
}
