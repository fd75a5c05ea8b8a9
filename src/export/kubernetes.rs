//! What the jobs of Argo, Tekton and Kubernetes have in common: pods that clone the checkout and start `rebuild`.

use std::collections::BTreeSet;

use super::{
    ExportOptions, Pipeline, variables,
    yaml::{YamlMap, YamlValue},
};

/// The secret with the login, of type `kubernetes.io/dockerconfigjson`. Optional.
pub(super) const LOGIN_SECRET: &str = "rebuild-registry";
/// As in the GitLab component, `templates/rebuild.yml`.
const ENGINE: &str =
    "docker:27.5.1-dind@sha256:aa3df78ecf320f5fafdce71c659f1629e96e9de0968305fe1de670e0ca9176ce";
const OWN_ENGINE: &str = "tcp://127.0.0.1:2375";

/// Clones the commit of the plan into the working folder.
pub(super) fn clone(options: &ExportOptions) -> Vec<String> {
    let mut lines = vec![
        "git init --quiet source".to_owned(),
        "cd source".to_owned(),
        "git fetch --quiet --depth 1 \"$REPOSITORY\" \"$COMMIT\"".to_owned(),
        "git checkout --quiet FETCH_HEAD".to_owned(),
    ];
    if options.submodules {
        lines.push("git submodule --quiet update --init --recursive --depth 1".to_owned());
    }
    lines
}

/// A whole script: setup, checkout, and the command of the job.
pub(super) fn script(options: &ExportOptions, command: &str) -> Vec<String> {
    options.setup.iter().cloned().chain(clone(options)).chain([command.to_owned()]).collect()
}

/// The environment of a container, as Kubernetes writes it.
pub(super) fn environment(
    pipeline: &Pipeline,
    options: &ExportOptions,
    (more, secrets): (&[(&str, YamlValue)], &BTreeSet<String>),
) -> Vec<YamlMap> {
    let engine = options.docker_host.clone().unwrap_or_else(|| OWN_ENGINE.to_owned());
    let set = |name: &str, value: YamlValue| YamlMap::new().with("name", name).with("value", value);
    let mut environment = vec![
        set("REBUILD_REGISTRY", (&pipeline.registry).into()),
        set("REPOSITORY", options.repository.clone().unwrap_or_default().into()),
        set("COMMIT", pipeline.commit.clone().unwrap_or_default().into()),
        set("DOCKER_HOST", engine.into()),
        set("DOCKER_CONFIG", "/docker".into()),
    ];
    environment.extend(more.iter().map(|(name, value)| set(name, value.clone())));
    environment.extend(variables::in_kubernetes(secrets));
    environment
}

/// The login of the registry, and a folder for the checkout.
pub(super) fn volumes() -> Vec<YamlMap> {
    let key = YamlMap::new().with("key", ".dockerconfigjson").with("path", "config.json");
    let secret = YamlMap::new()
        .with("secretName", LOGIN_SECRET)
        .with("optional", true)
        .with("items", vec![YamlValue::Flow(Box::new(key.into()))]);
    vec![
        YamlMap::new().with("name", "login").with("secret", secret),
        YamlMap::new().with("name", "work").with("emptyDir", YamlMap::new()),
    ]
}

pub(super) fn mounts() -> Vec<YamlValue> {
    let mount = |name: &str, path: &str| {
        let map = YamlMap::new().with("name", name).with("mountPath", path);
        YamlValue::Flow(Box::new(map.into()))
    };
    vec![mount("login", "/docker"), mount("work", "/work")]
}

/// An engine for the pod, if no address of another one was given.
pub(super) fn engine(options: &ExportOptions) -> Option<YamlMap> {
    let security = YamlMap::new().with("privileged", true);
    let tls = YamlMap::new().with("name", "DOCKER_TLS_CERTDIR").with("value", "");
    options.docker_host.is_none().then(|| {
        YamlMap::new()
            .with("name", "engine")
            .with("image", ENGINE)
            .with("args", vec!["--host=tcp://127.0.0.1:2375"])
            .with("env", vec![YamlValue::Flow(Box::new(tls.into()))])
            .flow("securityContext", security)
    })
}

/// The nodes of a platform: <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-arch>.
pub(super) fn node_selector(runner: Option<&String>) -> Option<YamlMap> {
    runner.map(|runner| match runner.split_once('=') {
        Some((key, value)) => YamlMap::new().with(key, value),
        None => YamlMap::new().with("kubernetes.io/arch", runner),
    })
}
