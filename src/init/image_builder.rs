//! The manifest of .NET `ImageBuilder`: repositories, their images, and the Dockerfile and tags of each platform.
//!
//! The format: <https://github.com/dotnet/docker-tools/blob/main/src/Microsoft.DotNet.ImageBuilder>, `Models/Manifest`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    bake::{Targets, map, text_of},
    evidence::{Evidence, EvidenceRule, Values, unknown},
};
use crate::host::bounded;

/// More levels of variables in values are not followed.
const DEEPEST: usize = 8;

/// The Linux images of a manifest, in the fields of bake. `root` is the folder of the hierarchy.
pub(super) fn images(root: &Path, file: &Path, text: &str) -> Vec<Evidence> {
    let Ok(manifest) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut values = map(manifest.get("variables"));
    for name in items(&manifest, "includes").iter().filter_map(Value::as_str) {
        let included = bounded::text(&root.join(folder).join(name)).ok();
        let included: Option<Value> = included.and_then(|text| serde_json::from_str(&text).ok());
        values.extend(map(included.as_ref().and_then(|all| all.get("variables"))));
    }
    let registry = text_of(manifest.get("registry")).map(|host| format!("{host}/"));
    let mut targets = Map::new();
    for repository in items(&manifest, "repos") {
        let Some(name) = text_of(repository.get("name")) else { continue };
        let name = format!("{}{name}", registry.as_deref().unwrap_or(""));
        for image in items(repository, "images") {
            let platforms = items(image, "platforms");
            let is_also_amd64 = |platform: &Value| {
                platforms.iter().any(|one| {
                    one.get("dockerfile") == platform.get("dockerfile")
                        && architecture(one) == "amd64"
                })
            };
            for platform in platforms.iter().filter(|one| is_linux(one)) {
                // An image has one platform.
                if architecture(platform) != "amd64" && is_also_amd64(platform) {
                    continue;
                }
                let mut tags = tags(platform, "tags", &name, &values);
                // Shared tags name one index of all platforms. Here a tag has one platform.
                if architecture(platform) == "amd64" || platforms.len() == 1 {
                    tags.splice(0..0, self::tags(image, "sharedTags", &name, &values));
                }
                if let Some((key, target)) = target(platform, &tags, &values) {
                    targets.insert(key, target);
                }
            }
        }
    }
    let read = Targets::read(&targets, EvidenceRule::ImageBuilder, file, folder);
    let mut found = read.map_or_else(|_| Vec::new(), |targets| targets.found);
    for one in &mut found {
        // The names in a hierarchy come from the tags: the keys here are paths.
        one.given.name = None;
        one.place = file.display().to_string();
    }
    found
}

/// A key that occurs once, and the fields of a bake target.
fn target(platform: &Value, tags: &[String], values: &Values) -> Option<(String, Value)> {
    let path = fill(&text_of(platform.get("dockerfile"))?, values, DEEPEST);
    // A folder, or a Dockerfile.
    let (folder, name) = match path.rsplit_once('/') {
        Some((folder, name)) if name.contains("Dockerfile") => (folder, name),
        None if path.contains("Dockerfile") => (".", path.as_str()),
        _ => (path.as_str(), "Dockerfile"),
    };
    let args = map(platform.get("buildArgs")).into_iter();
    let args: Values = args.map(|(key, value)| (key, fill(&value, values, DEEPEST))).collect();
    let variant = text_of(platform.get("variant")).map(|variant| format!("/{variant}"));
    let of = format!("linux/{}{}", architecture(platform), variant.unwrap_or_default());
    let key = format!("{path} {}", tags.first().map_or("", String::as_str));
    let target = json!({
        "context": folder, "dockerfile": name, "tags": tags, "args": args, "platforms": [of],
    });
    Some((key, target))
}

fn tags(of: &Value, field: &str, repository: &str, values: &Values) -> Vec<String> {
    let all = of.get(field).and_then(Value::as_object).into_iter().flat_map(Map::keys);
    all.map(|tag| format!("{repository}:{}", fill(tag, values, DEEPEST))).collect()
}

/// Replaces each `$(name)`. Names contain `|`, `.` and `-`.
fn fill(text: &str, values: &Values, depth: usize) -> String {
    let Some((before, rest)) = text.split_once("$(") else { return text.to_owned() };
    let Some((name, after)) = rest.split_once(')') else { return text.to_owned() };
    let value = match values.get(name) {
        Some(value) if depth > 0 => fill(value, values, depth - 1),
        _ => unknown(name),
    };
    format!("{before}{value}{}", fill(after, values, depth))
}

fn architecture(platform: &Value) -> String {
    text_of(platform.get("architecture")).unwrap_or_else(|| "amd64".to_owned())
}

fn is_linux(platform: &Value) -> bool {
    platform.get("os").and_then(Value::as_str).is_none_or(|os| os.eq_ignore_ascii_case("linux"))
}

fn items<'v>(of: &'v Value, field: &str) -> &'v [Value] {
    of.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_a_manifest_become_images() {
        let folder = tempfile::tempdir().unwrap();
        let versions = r#"{ "variables": { "v|fixed-tag": "1.2", "sdk": "$(v|fixed-tag)-sdk" } }"#;
        std::fs::write(folder.path().join("manifest.versions.json"), versions).unwrap();
        let text = r#"{
          "registry": "example.com",
          "includes": ["manifest.versions.json"],
          "repos": [{ "name": "acme/sdk", "images": [
            { "sharedTags": { "$(v|fixed-tag)": {} }, "platforms": [
              { "dockerfile": "src/amd64", "os": "linux", "tags": { "$(sdk)-amd64": {} } },
              { "dockerfile": "src/arm", "os": "linux", "architecture": "arm", "variant": "v7", "tags": { "$(no)": {} } },
              { "dockerfile": "src/amd64", "os": "linux", "architecture": "arm64", "tags": { "arm": {} } },
              { "dockerfile": "src/win", "os": "windows", "tags": { "win": {} } }
            ] },
            { "platforms": [{ "dockerfile": "src/Dockerfile.one", "buildArgs": { "A": "$(sdk)" }, "tags": { "one": {} } }] }
          ] }]
        }"#;
        let found = images(folder.path(), Path::new("manifest.json"), text);
        let shown = found.iter().map(|one| {
            let platform = one.given.platforms.first().map(ToString::to_string);
            format!("{} {}", one.shown(), platform.unwrap_or_default())
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "src/Dockerfile.one example.com/acme/sdk:one A=1.2-sdk linux/amd64",
                "src/amd64/Dockerfile example.com/acme/sdk:1.2,example.com/acme/sdk:1.2-sdk-amd64 linux/amd64",
                "src/arm/Dockerfile example.com/acme/sdk:? linux/arm/v7",
            ]
        );
    }

    #[test]
    fn fuzz_image_builder() {
        let example: &[u8] = br#"{"variables":{"a":"$(b)","b":"$(a)"},"repos":[{"name":"x","images":[{"sharedTags":{"$(a)":{}},"platforms":[{"dockerfile":"d","tags":{"t":{}}}]}]}]}"#;
        let words = ["$(", ")", "{", "}", "[", "]", "\"", ":", ",", "a", "repos", "null"];
        crate::testing::fuzz::each(&[example], &words, |text| {
            let text = String::from_utf8_lossy(text);
            _ = images(Path::new("none"), Path::new("manifest.json"), &text);
        });
    }
}
