//! A build context of 1 GB: how much of it is in memory at once, and how long a plan takes that need not
//! read it again.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
};

const FILES: usize = 8;
const FILE_MB: usize = 128;
const ROUNDS: usize = 5;
/// After this long the hash of a file is kept.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) fn run() -> Result<()> {
    let nonce = nonce();
    unchanged(&format!("bench{nonce}-plan"))?;
    for builder in ["buildkit", "classic"] {
        let name = format!("bench{nonce}-{builder}");
        let folder = tempfile::tempdir()?;
        write(folder.path(), &name)?;
        let ran = rebuild_ending(0, folder.path(), &["--builder", builder, "--progress", "plain"]);
        engine::forget(&name)?;
        let ran = ran?;
        numbers::line(&format!("{} MB of context, {builder}", FILES * FILE_MB), &[ran.took]);
        numbers::memory(ran.peak);
    }
    Ok(())
}

/// A plan that finds the hashes of an unchanged context, and one that has to read it.
fn unchanged(name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    write(folder.path(), name)?;
    let plan = || rebuild_ending(0, folder.path(), &["plan"]);
    // Files that were just written are read once more.
    thread::sleep(SETTLED);
    let (mut known, mut read) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fs::remove_dir_all(folder.path().join(".state")).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        read.push(plan()?.took);
        known.push(plan()?.took);
    }
    numbers::line(&format!("rebuild plan, {} MB of context, read", FILES * FILE_MB), &read);
    numbers::line("  the same, unchanged", &known);
    Ok(())
}

/// One file of the context goes into the image; all of it goes to the engine, as `COPY . .` in an
/// earlier stage asks for it.
fn write(folder: &Path, name: &str) -> Result<()> {
    let context = folder.join(name);
    fs::create_dir(&context)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..FILES {
        let mut file = File::create(context.join(format!("file{number}")))?;
        for _ in 0..FILE_MB {
            // Xorshift: neither a hole in the file nor anything that could be compressed.
            let words = (0..1 << 17).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            });
            file.write_all(&words.flat_map(u64::to_ne_bytes).collect::<Vec<u8>>())?;
        }
    }
    fs::write(context.join("small"), name)?;
    let dockerfile = "FROM scratch AS all\nCOPY . /\nFROM scratch\nCOPY --from=all /small /\n";
    fs::write(context.join("Dockerfile"), dockerfile)?;
    fs::write(
        folder.join("hierarchy.yaml"),
        format!("version: 1\nimages:\n  {name}: {{ context: {name} }}\n"),
    )?;
    Ok(())
}
