//! A plan of 10,000 images that nobody has built yet: time and memory.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    Result, numbers,
    program::{nonce, rebuild_ending},
};

const NODES: usize = 10_000;
const ROUNDS: usize = 5;

/// The parent of the node of a number.
type Parent = fn(usize) -> usize;

pub(crate) fn run() -> Result<()> {
    let nonce = nonce();
    // Of each image the parent, by its number: bushy, flat, and one below the other.
    let shapes: [(&str, Parent); 3] = [
        ("ten children each", |child| (child - 1) / 10),
        ("all on one base", |_| 0),
        ("chains of 100", |child| if child % 100 == 1 { 0 } else { child - 1 }),
    ];
    for (shape, parent) in shapes {
        let folder = tempfile::tempdir()?;
        write(folder.path(), &format!("bench{nonce}"), parent)?;
        let (mut times, mut busy, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let ran = rebuild_ending(3, folder.path(), &["plan", "--exit-code"])?;
            if !ran.stdout.contains(&format!("{NODES} to build")) {
                return Err("the plan does not build everything".into());
            }
            times.push(ran.took);
            busy.push(ran.busy);
            peak = peak.max(ran.peak);
        }
        numbers::line(&format!("rebuild plan, {NODES} images, {shape}"), &times);
        numbers::line("  of the processors", &busy);
        numbers::memory(peak);
    }
    Ok(())
}

fn write(folder: &Path, prefix: &str, parent: fn(usize) -> usize) -> Result<()> {
    let mut hierarchy = "version: 1\nimages:\n".to_owned();
    for number in 0..NODES {
        let name = format!("{prefix}-n{number}");
        let context = folder.join(format!("images/{name}"));
        fs::create_dir_all(&context)?;
        writeln!(hierarchy, "  {name}: {{}}")?;
        let from = match number {
            0 => "scratch".to_owned(),
            number => format!("{prefix}-n{}", parent(number)),
        };
        fs::write(context.join("Dockerfile"), format!("FROM {from}\nCOPY file /{name}\n"))?;
        fs::write(context.join("file"), &name)?;
    }
    fs::write(folder.join("hierarchy.yaml"), hierarchy)?;
    Ok(())
}
