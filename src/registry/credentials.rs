//! Credentials as docker has them: `config.json`, credential helpers, `DOCKER_AUTH_CONFIG`.

/// Where logins are looked up.
#[derive(Clone, Debug, Default)]
pub struct Credentials {}
