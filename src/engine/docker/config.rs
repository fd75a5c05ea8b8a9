//! An image's configuration as canonical JSON: equal text means equal behaviour, whichever builder
//! or engine made it.

use serde_json::{Map, Value};

/// Facts about how it was built, not about what it does.
const OF_THE_BUILD: [&str; 11] = [
    "Labels",
    "Image",
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    // Only Windows reads it; there it is kept.
    "ArgsEscaped",
];

/// Takes the `config` of an image's configuration blob, or the `Config` of `docker inspect`: they
/// are written alike. `os` is the image's.
pub fn canonical(config: &Map<String, Value>, os: &str) -> String {
    let kept = config.iter().filter(|(name, value)| {
        let of_the_build = OF_THE_BUILD.contains(&name.as_str());
        let kept = !of_the_build || (name.as_str() == "ArgsEscaped" && os == "windows");
        // BuildKit writes down the working directory that everything else leaves out.
        kept && !(name.as_str() == "WorkingDir" && *value == "/")
    });
    let kept: Map<_, _> = kept.map(|(name, value)| (name.clone(), sorted(value))).collect();
    let mut kept = without_nothings(kept);
    if let Some(Value::Object(check)) = kept.get_mut("Healthcheck") {
        *check = without_nothings(std::mem::take(check));
    }
    sorted(&Value::Object(kept)).to_string()
}

/// Null, empty and not there at all are the same to an engine. Not deeper: `ExposedPorts` maps to
/// empty objects that mean something.
fn without_nothings(map: Map<String, Value>) -> Map<String, Value> {
    let is_something = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_i64() != Some(0),
        Value::String(value) => !value.is_empty(),
        Value::Array(value) => !value.is_empty(),
        Value::Object(value) => !value.is_empty(),
    };
    map.into_iter().filter(|(_, value)| is_something(value)).collect()
}

/// Sorted keys, whether or not some dependency makes `serde_json` keep their order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| name.as_str());
            let sorted = |(name, value): (&String, &Value)| (name.clone(), sorted(value));
            Value::Object(entries.into_iter().map(sorted).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn builders_agree_on_what_an_image_does() {
        // Both were recorded from Docker 20.10, of one Dockerfile.
        let classic = json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false,
            "ExposedPorts": {"80/tcp": {}}, "Tty": false, "Env": ["PATH=/bin", "A=1"],
            "Cmd": ["/bin/sh", "-c", "echo hi"], "Healthcheck": {"Test": ["CMD-SHELL", "true"]},
            "Image": "sha256:79955dd15cd9", "Volumes": {"/x": {}}, "WorkingDir": "",
            "Entrypoint": null, "OnBuild": null, "Labels": {"a.b": "c"},
        });
        let buildkit = json!({
            "Hostname": "", "User": "", "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/bin", "A=1"],
            "Cmd": ["/bin/sh", "-c", "echo hi"], "ArgsEscaped": true,
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 0}, "Image": "",
            "Volumes": {"/x": {}}, "WorkingDir": "/", "Entrypoint": [], "Labels": null,
        });
        let text = |value: &Value| canonical(value.as_object().unwrap(), "linux");
        assert_eq!(
            text(&classic),
            r#"{"Cmd":["/bin/sh","-c","echo hi"],"Env":["PATH=/bin","A=1"],"ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD-SHELL","true"]},"Volumes":{"/x":{}}}"#
        );
        assert_eq!(text(&buildkit), text(&classic));
        let other = json!({"Cmd": ["/bin/sh", "-c", "echo ho"]});
        assert_ne!(text(&other), text(&classic));
    }
}
