//! Steps of GitHub Actions that build without a shell: `docker/build-push-action`, with the tags of
//! `docker/metadata-action`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    build_command::BuildCommand,
    evidence::{Open, unknown},
};

/// Inputs of `docker/build-push-action`, and the options that they stand for.
const INPUTS: [(&str, &str); 15] = [
    ("add-hosts", "--add-host"),
    ("allow", "--allow"),
    ("annotations", "--annotation"),
    ("build-args", "--build-arg"),
    ("build-contexts", "--build-context"),
    ("labels", "--label"),
    ("network", "--network"),
    ("no-cache", "--no-cache"),
    ("platforms", "--platform"),
    ("secret-envs", "--secret"),
    ("secret-files", "--secret"),
    ("secrets", "--secret"),
    ("shm-size", "--shm-size"),
    ("ssh", "--ssh"),
    ("target", "--target"),
];

/// The images that `docker/metadata-action` steps make, by what stands for them: `steps.meta.outputs.tags`.
pub(super) type MetadataImages = BTreeMap<String, Vec<Open>>;

/// The build of a `docker/build-push-action` step. `field` has the values of its inputs.
pub(super) fn build(
    field: impl Fn(&str) -> Option<Open>,
    metadata: &MetadataImages,
) -> BuildCommand {
    let mut command = BuildCommand {
        dockerfile: field("file"),
        context: field("context").or_else(|| field("path")).map(without_default_context),
        ..BuildCommand::default()
    };
    for tag in field("tags").iter().flat_map(Open::items) {
        match metadata.iter().find(|(output, _)| tag.0.contains(output.as_str())) {
            Some((_, images)) => command.tags.extend(images.iter().cloned()),
            None => command.tags.push(tag),
        }
    }
    for (input, option) in INPUTS {
        let text = field(input).map(|text| text.0).unwrap_or_default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let is_off = option == "--no-cache" && line == "false";
            if !is_off {
                command.options.take(option, Open(line.to_owned()));
            }
        }
    }
    let is = |input: &str, value: &str| field(input).is_some_and(|text| text.0 == value);
    let is_pushed = field("push").is_some() && !is("push", "false");
    command.is_local = !is_pushed && field("outputs").is_none();
    command
}

/// `{{defaultContext}}:folder` of `docker/build-push-action` is a folder of the repository.
fn without_default_context(context: Open) -> Open {
    match context.0.strip_prefix("{{defaultContext}}") {
        Some(rest) => Open(rest.strip_prefix(':').unwrap_or(".").to_owned()),
        None => context,
    }
}

/// The images of a `docker/metadata-action` step. `field` has the values of its inputs.
pub(super) fn metadata_images(field: impl Fn(&str) -> Option<Open>) -> Option<Vec<Open>> {
    let lines = |name: &str| field(name).iter().flat_map(Open::lines).collect::<Vec<Open>>();
    let tags = MetadataTags { rules: lines("tags"), flavor: lines("flavor") }.all();
    let images = field("images")?.lines().into_iter().flat_map(|line| match line.field("name") {
        Some(_) if line.field("enable").is_some_and(|one| one.0 == "false") => Vec::new(),
        Some(name) => vec![name],
        None => line.items(),
    });
    let named = |image: Open| tags.iter().map(move |tag| Open(format!("{}:{tag}", image.0)));
    Some(images.flat_map(named).collect())
}

/// <https://github.com/docker/metadata-action#tags-input>
struct MetadataTags {
    rules: Vec<Open>,
    flavor: Vec<Open>,
}

impl MetadataTags {
    /// Tags of a branch or of a version are not known.
    fn all(&self) -> BTreeSet<String> {
        match &self.rules[..] {
            [] => BTreeSet::from([unknown("tag")]),
            rules => rules.iter().filter_map(|rule| self.tag(rule)).collect(),
        }
    }

    fn tag(&self, rule: &Open) -> Option<String> {
        let (kind, value) = match rule.field("type") {
            Some(kind) => (kind.0, rule.field("value").unwrap_or_default().0),
            None => ("raw".to_owned(), rule.0.clone()),
        };
        let enable = rule.field("enable").unwrap_or_else(|| Open("true".to_owned())).0;
        let tag = match kind.as_str() {
            _ if enable == "false" => return None,
            _ if enable != "true" && !is_default_branch(&enable) => {
                let is_known = Open(enable.clone()).is_known();
                return Some(if is_known { unknown(&enable) } else { enable });
            }
            "sha" => unknown("GITHUB_SHA"),
            "raw" => filled(&value),
            _ => unknown("tag"),
        };
        let usual = if kind == "sha" { "sha-" } else { "" };
        let end = |name: &str, usual: &str| {
            let of_all = || self.flavor.iter().find_map(|line| line.field(name));
            rule.field(name).or_else(of_all).map_or_else(|| usual.to_owned(), |one| one.0)
        };
        Some(format!("{}{tag}{}", end("prefix", usual), end("suffix", "")))
    }
}

/// Whether a condition is that of a build of the default branch, whose tags users pull.
fn is_default_branch(condition: &str) -> bool {
    ["default_branch", "'refs/heads/main'", "'refs/heads/master'", "'main'", "'master'"]
        .iter()
        .any(|one| condition.contains(one))
        && !condition.contains("!=")
}

/// The value of a `raw` tag, which may have templates of Handlebars.
fn filled(value: &str) -> String {
    let date = unknown("date +%Y%m%d");
    let value = value.replace("{{sha}}", &unknown("GITHUB_SHA"));
    let value = value.replace("{{date 'YYYYMMDD'}}", &date);
    let is_template = Open(value.clone()).texts().iter().any(|text| text.contains("{{"));
    if is_template { unknown("tag") } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_metadata_action() {
        let shown = |rules: &str, flavor: &str| {
            let lines = |text: &str| Open(text.to_owned()).lines();
            let tags = MetadataTags { rules: lines(rules), flavor: lines(flavor) }.all();
            let tags = tags.into_iter().map(|tag| Open(tag).shown());
            tags.collect::<Vec<_>>().join(" ")
        };
        let scheduled = "type=raw,value=nightly,enable=\u{1}{{ a == 'x,y' }}\u{2}";
        let main = "type=raw,value=latest,enable=\u{1}{{ github.ref == 'refs/heads/main' }}\u{2}";
        for (rules, flavor, expected) in [
            ("", "", "$tag"),
            (
                "type=sha\ntype=raw,value=latest,enable={{is_default_branch}}",
                "",
                "latest sha-$GITHUB_SHA",
            ),
            ("type=sha,prefix=\n3.1\ntype=raw,value=x,enable=false", "", "$GITHUB_SHA 3.1"),
            ("type=semver,pattern={{version}}\ntype=ref,event=branch", "", "$tag"),
            (scheduled, "", "${{ a == 'x,y' }}"),
            (main, "", "latest"),
            ("1\ntype=raw,value=2,suffix=", "latest=false\nsuffix=-slim", "1-slim 2"),
            ("type=raw,value=1-{{sha}}\ntype=raw,value={{branch}}", "", "$tag 1-$GITHUB_SHA"),
        ] {
            assert_eq!(shown(rules, flavor), expected, "{rules}");
        }
    }
}
