//! A plan of 10,000 images that nobody has built yet: time and memory.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, thread, time::Duration};

use crate::{
    Result, numbers,
    program::{nonce, rebuild_ending},
};

const NODES: usize = 10_000;
const ROUNDS: usize = 5;
/// Hashes of files that are older than this are kept.
const SETTLED: Duration = Duration::from_secs(4);

/// The parent of the node of a number.
type Parent = fn(usize) -> usize;

pub(crate) fn run() -> Result<()> {
    let nonce = nonce();
    let prefix = format!("bench{nonce}");
    measure("graph", |folder| write_graph(folder, &prefix))?;
    measure("matrix of 100 × 100", |folder| write_matrix(folder, &prefix))?;
    // Of each image the parent, by its number: bushy, flat, and one below the other.
    let shapes: [(&str, Parent); 3] = [
        ("ten children each", |child| (child - 1) / 10),
        ("all on one base", |_| 0),
        ("chains of 100", |child| if child % 100 == 1 { 0 } else { child - 1 }),
    ];
    for (shape, parent) in shapes {
        measure(shape, |folder| write(folder, &prefix, parent))?;
    }
    Ok(())
}

fn measure(shape: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    write(folder.path())?;
    // Files that were just written are read again; the first run reads them all.
    thread::sleep(SETTLED);
    let (mut times, mut busy, mut peak) = (Vec::new(), Vec::new(), 0);
    for round in 0..=ROUNDS {
        let ran = rebuild_ending(3, folder.path(), &["plan", "--offline", "--exit-code"])?;
        if !ran.stdout.contains(&format!("{NODES} to build")) {
            return Err("the plan does not build everything".into());
        }
        if round > 0 {
            times.push(ran.took);
            busy.push(ran.busy);
            peak = peak.max(ran.peak);
        }
    }
    numbers::line(&format!("rebuild plan, {NODES} images, {shape}"), &times);
    numbers::line("  of the processors", &busy);
    numbers::memory(peak);
    Ok(())
}

/// Each image has up to three parents, a Dockerfile as people write them, and a few files.
fn write_graph(folder: &Path, prefix: &str) -> Result<()> {
    let mut hierarchy = "version: 1\nimages:\n".to_owned();
    for number in 0..NODES {
        let name = format!("{prefix}-n{number}");
        let context = folder.join(format!("images/{name}"));
        fs::create_dir_all(context.join("lib"))?;
        writeln!(hierarchy, "  {name}: {{ tags: [latest, \"1\"] }}")?;
        let parents = match number {
            0 => BTreeSet::new(),
            1 => BTreeSet::from([0]),
            number => BTreeSet::from([(number - 1) / 10, number * 7 / 11, number * 3 / 5]),
        };
        fs::write(context.join("Dockerfile"), dockerfile(prefix, &parents))?;
        fs::write(context.join(".dockerignore"), "node_modules\n*.md\n")?;
        fs::write(context.join("package.json"), &name)?;
        fs::write(context.join("package-lock.json"), "{}")?;
        fs::write(context.join("lib/main.js"), &name)?;
    }
    fs::write(folder.join("hierarchy.yaml"), hierarchy)?;
    Ok(())
}

fn dockerfile(prefix: &str, parents: &BTreeSet<usize>) -> String {
    let base = match parents.first() {
        Some(parent) => format!("{prefix}-n{parent}"),
        None => "debian:bookworm-slim".to_owned(),
    };
    let mut text = format!(
        "# Builds with all that npm needs, and ships only what came of it.\n\
         FROM {base} AS build\nARG VERSION=1.2.3\nENV LANG=C.UTF-8 \\\n    HOME=/srv/app\nWORKDIR /src\n\
         RUN --mount=type=cache,target=/var/cache/apt \\\n    apt-get update && \\\n    \
         apt-get install -y --no-install-recommends ca-certificates curl\n\
         COPY package.json package-lock.json ./\nRUN npm ci\nCOPY . .\n\
         RUN npm run build -- --version ${{VERSION}}\n\nFROM {base}\n"
    );
    for parent in parents.iter().skip(1) {
        _ = writeln!(text, "COPY --from={prefix}-n{parent} /usr/local /opt/n{parent}");
    }
    text += "COPY --from=build /src/out /srv/app\nENV PATH=/srv/app/bin:$PATH\nUSER 1000:1000\n\
             EXPOSE 8080/tcp\nENTRYPOINT [\"/srv/app/bin/main\"]\nCMD [\"serve\", \"--port\", \"8080\"]\n";
    text
}

/// One entry and one Dockerfile for all of them.
fn write_matrix(folder: &Path, prefix: &str) -> Result<()> {
    let context = folder.join("images/app");
    fs::create_dir_all(&context)?;
    let head = "ARG A\nARG B\n";
    let text =
        dockerfile(prefix, &BTreeSet::new()).replace("ARG VERSION", &format!("{head}ARG VERSION"));
    fs::write(context.join("Dockerfile"), text)?;
    fs::write(context.join("package.json"), prefix)?;
    let values: Vec<String> = (0..100).map(|number| format!("\"{number}\"")).collect();
    let values = values.join(", ");
    let hierarchy = format!(
        "version: 1\nimages:\n  {prefix}-{{a}}-{{b}}:\n    context: images/app\n    \
         matrix: {{ a: [{values}], b: [{values}] }}\n    build_args: {{ A: \"{{a}}\", B: \"{{b}}\" }}\n"
    );
    fs::write(folder.join("hierarchy.yaml"), hierarchy)?;
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
