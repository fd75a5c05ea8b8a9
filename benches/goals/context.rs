//! A build context of 1 GB: how much of it is in memory at once.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
};

const FILES: usize = 8;
const FILE_MB: usize = 128;

pub(crate) fn run() -> Result<()> {
    let nonce = nonce();
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
