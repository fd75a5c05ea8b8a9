//! The proxies that docker's `config.json` gives to builds.
//!
//! github.com/docker/cli, `cli/config/configfile/file.go`, `ParseProxyConfig`.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use super::{Environment, context::config_dir};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProxyConfigFile {
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "docker calls them so")]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

/// The build arguments that `docker build` sends to the engine at this address: each variable in
/// upper and in lower case. Builders predefine them, so they are in no history and no layer's key.
///
/// An unreadable file gives none: reading a login from it fails with the reason.
pub(in crate::engine) fn proxies(environment: Environment, url: &str) -> BTreeMap<String, String> {
    let text = config_dir(environment).and_then(|folder| fs::read(folder.join("config.json")).ok());
    let config: ProxyConfigFile =
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let Some(proxies) = config.proxies.get(url).or_else(|| config.proxies.get("default")) else {
        return BTreeMap::new();
    };
    [
        ("HTTP_PROXY", &proxies.http_proxy),
        ("HTTPS_PROXY", &proxies.https_proxy),
        ("NO_PROXY", &proxies.no_proxy),
        ("FTP_PROXY", &proxies.ftp_proxy),
        ("ALL_PROXY", &proxies.all_proxy),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .flat_map(|(name, value)| [name.to_owned(), name.to_lowercase()].map(|n| (n, value.clone())))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_of_its_own_entry_does_not_get_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"auths": {}, "proxies": {
            "default": {"httpProxy": "http://p:1", "noProxy": "a,b"},
            "tcp://e:2375": {"allProxy": "socks5://q:2"}}}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let path = folder.path().to_str().unwrap();
        let environment = |name: &str| (name == "DOCKER_CONFIG").then(|| path.to_owned());
        let of = |url: &str| {
            let sent = proxies(&environment, url).into_iter();
            sent.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            of("unix:///var/run/docker.sock"),
            "HTTP_PROXY=http://p:1 NO_PROXY=a,b http_proxy=http://p:1 no_proxy=a,b"
        );
        assert_eq!(of("tcp://e:2375"), "ALL_PROXY=socks5://q:2 all_proxy=socks5://q:2");
        assert!(proxies(&|_: &str| None, "tcp://e:2375").is_empty());
    }
}
