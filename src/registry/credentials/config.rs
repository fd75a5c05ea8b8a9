//! The logins in docker's `config.json`.
//!
//! Source: docker/cli `cli/config/configfile/file.go`, `cli/config/credentials/`.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use super::super::{
    LoginSecret,
    endpoint::{HUB, is_hub},
};

/// Docker Hub's key, from version 1 of its API.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Accepts missing padding, because users write this by hand.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Other fields belong to other programs.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    auths: BTreeMap<String, StoredLogin>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredLogin {
    #[serde(rename = "auth")]
    encoded: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// The place of a login.
#[derive(PartialEq, Eq)]
pub(super) enum FoundLogin {
    Secret(LoginSecret),
    /// The program `docker-credential-<suffix>`, and its name for the host.
    Helper {
        suffix: String,
        server: String,
    },
}

impl Config {
    /// # Errors
    /// The text is not valid JSON of this format. The error does not contain the text, which is secret.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Data => format!("an unexpected value at {place}"),
                _ => format!("not JSON at {place}"),
            }
        })
    }

    /// The places to try in order: the host's helper, the store, the file itself.
    pub(super) fn find(&self, host: &str) -> Result<Vec<FoundLogin>, String> {
        let server = if is_hub(host) { HUB_KEY } else { host };
        let helper = |suffix: &String| FoundLogin::Helper {
            suffix: suffix.clone(),
            server: server.to_owned(),
        };
        if let Some((_, suffix)) = entry(&self.cred_helpers, host) {
            return Ok(vec![helper(suffix)]);
        }
        let store = self.creds_store.iter().filter(|suffix| !suffix.is_empty()).map(helper);
        let secret = match entry(&self.auths, host) {
            Some((key, auth)) => auth.secret().map_err(|reason| format!("`{key}`: {reason}"))?,
            None => None,
        };
        Ok(store.chain(secret.map(FoundLogin::Secret)).collect())
    }
}

impl StoredLogin {
    fn secret(&self) -> Result<Option<LoginSecret>, String> {
        if !self.identity_token.is_empty() {
            return Ok(Some(LoginSecret::IdentityToken(self.identity_token.clone())));
        }
        let password = |user: &str, password: &str| LoginSecret::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        if self.encoded.is_empty() {
            // Docker leaves `"ghcr.io": {}` beside a `credsStore`.
            let empty = self.username.is_empty() && self.password.is_empty();
            return Ok((!empty).then(|| password(&self.username, &self.password)));
        }
        let decoded = BASE64
            .decode(self.encoded.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("its `auth` is not base64 of a text")?;
        let (user, secret) =
            decoded.split_once(':').ok_or("its `auth` is not base64 of `user:password`")?;
        // Docker removes the zero bytes that its old versions wrote.
        Ok(Some(password(user, secret.trim_end_matches('\0'))))
    }
}

/// The entry of a host: by its exact name, else by the host in a key such as `https://host/v2/`.
fn entry<'a, T>(entries: &'a BTreeMap<String, T>, host: &str) -> Option<(&'a String, &'a T)> {
    let exact = if is_hub(host) { HUB_KEY } else { host };
    entries.get_key_value(exact).or_else(|| {
        entries.iter().find(|(key, _)| {
            let name = host_of(key);
            name == host || (is_hub(host) && (is_hub(name) || name == HUB))
        })
    })
}

fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}
