//! Oracle: the containers that the engine has.

use super::project::docker;

/// In docker's format, one for each container that has a label, or for every container if that is empty.
///
/// Docker 20.10 may list a container that it has removed until it is restarted: without its name, and it does not know
/// its ID. Those are left out.
pub(crate) fn containers(label: &str, format: &str) -> Vec<String> {
    let filter = if label.is_empty() { String::new() } else { format!("label={label}") };
    let format = format!("{{{{.ID}}}}\t{{{{.Names}}}}\t{format}");
    let listed =
        docker(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format]).unwrap();
    let shown = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        let [id, name, shown] = [(); 3].map(|()| parts.next().unwrap());
        let is_there = !name.is_empty() || docker(&["container", "inspect", id]).is_ok();
        is_there.then(|| shown.to_owned())
    };
    listed.lines().filter_map(shown).collect()
}
