//! Forty tiny images, 1-3-9-27: what the program adds to the engine's own time.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Result, bare, engine, numbers,
    program::{busybox, jobs, nonce, rebuild_ending},
    registry::Registry,
};

/// Each side builds the whole tree so often, taking turns.
const ROUNDS: usize = 3;
/// A run with nothing to do takes a moment, so it can be run more often.
const IDLE_ROUNDS: usize = 11;

/// A tree of images, each with a file of its own and one `RUN`.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Every image's name begins with it.
    prefix: String,
    /// Parents before children.
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) folder: String,
    pub(crate) parent: Option<usize>,
}

impl Tree {
    /// `widths`: how many children each image of a level has.
    pub(crate) fn new(prefix: &str, widths: &[usize]) -> Self {
        let mut nodes = vec![Node { folder: "n".to_owned(), parent: None }];
        let mut level = 0..1;
        for width in widths {
            for parent in level.clone() {
                for number in 0..*width {
                    let folder = format!("{}-{number}", nodes[parent].folder);
                    nodes.push(Node { folder, parent: Some(parent) });
                }
            }
            level = level.end..nodes.len();
        }
        Self { prefix: prefix.to_owned(), nodes }
    }

    pub(crate) fn name(&self, index: usize) -> String {
        format!("{}-{}", self.prefix, self.nodes[index].folder)
    }

    pub(crate) fn children(&self, index: usize) -> impl Iterator<Item = usize> {
        let is_child = move |child: &usize| self.nodes[*child].parent == Some(index);
        (0..self.nodes.len()).filter(is_child)
    }

    /// Writes every context, and the hierarchy file. No layer of it can be in a cache: each
    /// image copies a file that holds the prefix.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut hierarchy = "version: 1\nimages:\n".to_owned();
        for (index, node) in self.nodes.iter().enumerate() {
            let context = folder.join(&node.folder);
            let name = self.name(index);
            writeln!(hierarchy, "  {name}: {{ context: {} }}", node.folder)?;
            let dockerfile = if let Some(parent) = node.parent {
                fs::create_dir_all(&context)?;
                fs::write(context.join("file"), &name)?;
                let parent = self.name(parent);
                format!("FROM {parent}\nCOPY file /{name}\nRUN echo {name} >/made-{name}\n")
            } else {
                fs::create_dir_all(context.join("bin"))?;
                fs::write(context.join("bin/busybox"), busybox()?)?;
                fs::write(context.join("bin/name"), &name)?;
                executable(&context.join("bin/busybox"))?;
                let install = r#"RUN ["/bin/busybox", "--install", "-s", "/bin"]"#;
                format!("FROM scratch\nCOPY bin /bin\n{install}\n")
            };
            fs::write(context.join("Dockerfile"), dockerfile)?;
        }
        fs::write(folder.join("hierarchy.yaml"), hierarchy)?;
        Ok(())
    }
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

pub(crate) fn run() -> Result<()> {
    let nonce = format!("bench{}", nonce());
    let measured = measure(&nonce);
    engine::forget(&nonce)?;
    measured
}

fn measure(nonce: &str) -> Result<()> {
    let number = jobs().to_string();
    let arguments = ["--progress", "plain", "--jobs", &number];
    let registry = Registry::start()?;
    let (mut ours, mut bare, mut docker, mut pushed) = (vec![], vec![], vec![], vec![]);
    let (mut idle, mut idle_pushed) = (vec![], vec![]);
    for round in 0..ROUNDS {
        bare.push(turn(nonce, &format!("b{round}"), |tree, folder| {
            bare::api(tree, folder, jobs())
        })?);
        ours.push(turn(nonce, &format!("r{round}"), |_, folder| {
            let took = rebuild_ending(0, folder, &arguments)?.took;
            for _ in 0..IDLE_ROUNDS / ROUNDS {
                idle.push(rebuild_ending(0, folder, &arguments)?.took);
            }
            Ok(took)
        })?);
        docker.push(turn(nonce, &format!("d{round}"), bare::docker)?);
        pushed.push(turn(nonce, &format!("p{round}"), |_, folder| {
            let to = format!("{}/{nonce}", registry.address);
            let arguments = [&arguments[..], &["--registry", &to]].concat();
            let took = rebuild_ending(0, folder, &arguments)?.took;
            for _ in 0..IDLE_ROUNDS / ROUNDS {
                idle_pushed.push(rebuild_ending(0, folder, &arguments)?.took);
            }
            Ok(took)
        })?);
    }
    numbers::line(&format!("bare API calls, {number} at once"), &bare);
    numbers::line(&format!("rebuild --jobs {number}"), &ours);
    numbers::line("docker build, one after the other", &docker);
    numbers::line("rebuild, pushed and promoted in a registry", &pushed);
    numbers::line("rebuild with nothing to do", &idle);
    numbers::line("rebuild with nothing to do, registry", &idle_pushed);
    let ratio = |other: Vec<Duration>| {
        numbers::median(ours.clone()).as_secs_f64() / numbers::median(other).as_secs_f64()
    };
    println!(
        "  rebuild is {:.2} of the bare calls, {:.2} of docker build",
        ratio(bare),
        ratio(docker)
    );
    Ok(())
}

/// A whole tree with names of its own, built once, and taken away again.
fn turn(
    nonce: &str,
    who: &str,
    build: impl FnOnce(&Tree, &Path) -> Result<Duration>,
) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let prefix = format!("{nonce}-{who}");
    let tree = Tree::new(&prefix, &[3, 3, 3]);
    tree.write(folder.path())?;
    let began = Instant::now();
    let took = build(&tree, folder.path())?;
    engine::forget(&prefix)?;
    println!(
        "  # {who}: {:.2} s, {:.1} s with all",
        took.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(took)
}
