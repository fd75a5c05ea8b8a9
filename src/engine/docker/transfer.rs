//! Push and pull, by the engine's hand.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Empty;
use serde_json::json;

use super::{
    Docker, ImageStore,
    activity::Activity,
    call::{path_with, request},
    message::{EngineMessage, EngineMessages},
    registry_answer::Transfer,
};
use crate::{
    engine::EngineError,
    image::{Digest, Platform, Repository, Tagged},
    registry::{Delays, Login, LoginSecret, is_loopback},
};

/// Podman's word for a registry that may answer without TLS.
const PLAIN_HTTP: (&str, &str) = ("tlsVerify", "false");
const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");

/// After this time without a message about a transfer, a line says so. Docker prints progress several times a second.
const SILENCE: Duration = Duration::from_secs(10);

impl Docker {
    /// From now on, this hears of pushes and pulls that the engine retries.
    pub fn report_delays(&mut self, delays: Arc<Delays>) {
        self.delays = delays;
    }

    pub(super) async fn push_tag(
        &self,
        name: &Tagged,
        login: Option<&Login>,
    ) -> Result<(), EngineError> {
        let doing = format!("pushing `{name}`");
        let path = format!("/images/{}/push", name.repository);
        let mut query = vec![("tag", name.tag.as_str())];
        query.extend(self.takes_plain_http(&name.repository).then_some(PLAIN_HTTP));
        let post = post(&path_with(&path, &query), login)?;
        let mut pushed = false;
        let transfer = self.of(("push", &name.repository), login);
        self.transfer((&doing, transfer), post, |message| pushed |= is_pushed(message)).await?;
        if pushed {
            return Ok(());
        }
        Err(EngineError::Transfer {
            doing,
            message: "the engine stopped without naming the digest it pushed".to_owned(),
            cause: None,
        })
    }

    pub(super) async fn pull_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
        login: Option<&Login>,
    ) -> Result<Digest, EngineError> {
        let name = format!("{repository}@{digest}");
        let doing = format!("pulling `{name}`");
        let path = if self.takes_plain_http(repository) {
            podmans_pull(&name, platform)
        } else {
            let platform = platform.map(ToString::to_string);
            let mut query = vec![("fromImage", repository.as_str()), ("tag", digest.as_str())];
            query.extend(platform.as_deref().map(|platform| ("platform", platform)));
            path_with("/images/create", &query)
        };
        let post = post(&path, login)?;
        let transfer = self.of(("pull", repository), login);
        self.transfer((&doing, transfer), post, |_| ()).await?;
        match self.inspect_image(&name).await? {
            Some(image) => Ok(image.id),
            None => Err(EngineError::Transfer {
                doing,
                message: "the engine stopped, and does not have it".to_owned(),
                cause: None,
            }),
        }
    }

    /// Whether podman is to be told what Docker assumes: a registry on this machine may have no TLS.
    fn takes_plain_http(&self, repository: &Repository) -> bool {
        self.capabilities.store == ImageStore::Podman && is_loopback(repository.host())
    }

    fn of<'a>(
        &self,
        (action, repository): (&'static str, &'a Repository),
        login: Option<&'a Login>,
    ) -> Transfer<'a> {
        let plain_http = match self.capabilities.store {
            ImageStore::Podman => {
                "name it in /etc/containers/registries.conf with `insecure = true`"
            }
            ImageStore::StorageDriver | ImageStore::Containerd => {
                "name it in the engine's `insecure-registries`"
            }
        };
        Transfer { action, repository, login, plain_http }
    }

    /// Reads a transfer to its end.
    async fn transfer(
        &self,
        (doing, transfer): (&str, Transfer<'_>),
        post: Request<Empty<Bytes>>,
        mut take: impl FnMut(&EngineMessage) + Send,
    ) -> Result<(), EngineError> {
        let failed = |message: String| {
            let cause = transfer.registry_error(&message).map(Box::new);
            EngineError::Transfer { doing: doing.to_owned(), message, cause }
        };
        let activity = Activity::begin();
        let work = async {
            let reply = self.send(post).await?.map_err(|refusal| match refusal.status {
                // What stands before the engine; podman gives what a registry says with 500.
                502..=504 => refusal.while_doing(doing),
                _ => failed(refusal.message),
            })?;
            let mut messages = EngineMessages::new(self, doing, reply, activity.clone());
            while let Some(message) = messages.next().await? {
                if let Some((text, _)) = message.error() {
                    return Err(failed(text));
                }
                if let Some(pause) = message.status.as_deref().and_then(retry_in) {
                    self.delays.engine(transfer.repository.host(), transfer.action, pause);
                }
                take(&message);
            }
            Ok(())
        };
        let (host, action) = (transfer.repository.host(), transfer.action);
        let report_silence = async {
            loop {
                activity.silent_for(SILENCE).await;
                self.delays.silent_engine(host, action, activity.silence());
                tokio::time::sleep(SILENCE).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = activity.silent_for(self.idle) => {
                Err(EngineError::Silent { doing: doing.to_owned(), after: self.idle })
            }
            () = report_silence => unreachable!("it does not end"),
        }
    }
}

/// Docker's words while it waits: `Retrying in 5 seconds`.
fn retry_in(status: &str) -> Option<Duration> {
    let seconds = status.strip_prefix("Retrying in ")?.split(' ').next()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// A pull by podman's own API: its Docker API always wants TLS.
fn podmans_pull(name: &str, platform: Option<&Platform>) -> String {
    let mut query = vec![("reference", name), ("compatMode", "true"), PLAIN_HTTP];
    if let Some(platform) = platform {
        query.extend([("OS", platform.os.as_str()), ("Arch", platform.architecture.as_str())]);
        query.extend(platform.variant.as_deref().map(|variant| ("Variant", variant)));
    }
    path_with("/libpod/images/pull", &query)
}

fn post(path: &str, login: Option<&Login>) -> Result<Request<Empty<Bytes>>, EngineError> {
    let mut post = request(Method::POST, path);
    let mut value = HeaderValue::from_str(&registry_auth(login)).map_err(|error| {
        EngineError::Answer { doing: "logging in".to_owned(), message: error.to_string() }
    })?;
    value.set_sensitive(true);
    post.headers_mut().insert(REGISTRY_AUTH, value);
    Ok(post)
}

/// The engine wants the URL-safe alphabet, and the header even without a login.
fn registry_auth(login: Option<&Login>) -> String {
    let value = match login {
        None => json!({}),
        Some(Login { host, secret: LoginSecret::Password { user, password } }) => {
            json!({"username": user, "password": password, "serveraddress": host})
        }
        Some(Login { host, secret: LoginSecret::IdentityToken(token) }) => {
            json!({"identitytoken": token, "serveraddress": host})
        }
    };
    BASE64_URL_SAFE.encode(value.to_string())
}

/// Docker's last message names the digest in `aux`, Podman's only in `status`.
fn is_pushed(message: &EngineMessage) -> bool {
    let digest = message.aux.as_ref().and_then(|aux| aux.get("Digest")).and_then(|it| it.as_str());
    let status = message.status.as_deref().and_then(|status| status.split_once(": digest: "));
    let in_status = status.and_then(|(_, rest)| rest.split(' ').next());
    digest.or(in_status).is_some_and(|digest| digest.parse::<Digest>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_in_the_alphabet_that_docker_reads() {
        let login = Login {
            host: "r.example".to_owned(),
            secret: LoginSecret::Password {
                user: "me".to_owned(),
                password: "abc>>>???".to_owned(),
            },
        };
        let text = registry_auth(Some(&login));
        assert!(!text.contains(['+', '/']) && text.contains(['-', '_']), "{text}");
        let json = BASE64_URL_SAFE.decode(text).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"password":"abc>>>???","serveraddress":"r.example","username":"me"}"#
        );
        assert_eq!(registry_auth(None), "e30=");
    }

    #[test]
    fn only_a_digest_is_a_push() {
        let digest = Digest::of(b"");
        for (json, expected) in [
            (json!({"status": "Pushed", "id": "5f70bf18a086"}), false),
            (json!({"status": format!("1: digest: {digest} size: 738")}), true),
            (json!({"aux": {"Tag": "1", "Digest": digest, "Size": 738}}), true),
            (json!({"status": "1: digest: none size: 738"}), false),
        ] {
            assert_eq!(
                is_pushed(&serde_json::from_value(json.clone()).unwrap()),
                expected,
                "{json}"
            );
        }
    }
}
