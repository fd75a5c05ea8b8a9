//! The promotion of 300 tags: for how long old and new stand side by side in a registry.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    Result, engine, numbers,
    program::{nonce, rebuild_ending},
    registry::Registry,
};

const NODES: usize = 100;
const ROUNDS: usize = 5;

pub(crate) fn run() -> Result<()> {
    let nonce = format!("bench{}", nonce());
    let measured = measure(&nonce);
    engine::forget(&nonce)?;
    measured
}

fn measure(nonce: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registry = Registry::start()?;
    contexts(folder.path(), nonce)?;
    let to = format!("{}/{nonce}", registry.address);
    let mut windows = Vec::new();
    for round in 0..ROUNDS {
        // Tags are no part of what an image is, so only the first round builds any.
        hierarchy(folder.path(), nonce, round)?;
        let ran = rebuild_ending(0, folder.path(), &["--progress", "json", "--registry", &to])?;
        let last = ran.stdout.lines().last().unwrap_or_default();
        let summary: Value = serde_json::from_str(last)?;
        let promotion = &summary["promotion"];
        if promotion["moved"] != 3 * NODES {
            return Err(format!("it did not move every tag: {promotion}").into());
        }
        let seconds = promotion["seconds"].as_f64().ok_or("no time in the summary")?;
        windows.push(Duration::from_secs_f64(seconds));
    }
    numbers::line(&format!("promotion of {} tags, as the program says", 3 * NODES), &windows);
    Ok(())
}

/// Four levels, since tags move level by level.
fn contexts(folder: &Path, nonce: &str) -> Result<()> {
    for number in 0..NODES {
        let context = folder.join(format!("n{number}"));
        fs::create_dir(&context)?;
        let from = match number {
            0 => "scratch".to_owned(),
            number => format!("{nonce}-n{}", (number - 1) / 5),
        };
        fs::write(context.join("Dockerfile"), format!("FROM {from}\nCOPY file /n{number}\n"))?;
        fs::write(context.join("file"), format!("{nonce} {number}"))?;
    }
    Ok(())
}

/// Every round has tags of its own.
fn hierarchy(folder: &Path, nonce: &str, round: usize) -> Result<()> {
    let mut text =
        format!("version: 1\ndefaults: {{ tags: [\"{round}a\", \"{round}b\", \"{round}c\"] }}\n");
    text.push_str("images:\n");
    for number in 0..NODES {
        writeln!(text, "  {nonce}-n{number}: {{ context: n{number} }}")?;
    }
    fs::write(folder.join("hierarchy.yaml"), text)?;
    Ok(())
}
