//! Authenticates after a 401: with a password, or with a token from the server that the registry names.
//!
//! Source: <https://distribution.github.io/distribution/spec/auth/token/> and `…/oauth/`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use tokio::time::Instant;
use url::{Url, form_urlencoded::Serializer};

use super::{
    Credentials, Login, LoginSecret, RegistryError,
    challenge::Challenge,
    endpoint::{Endpoint, authority, is_loopback},
    retry::AttemptFailure,
    transport::{HttpRequest, Transport},
};

const BAD_LOGIN: &str = "it does not accept the login";

/// The caller and the scope of a request, and the words for an error.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub endpoint: &'a Endpoint,
    /// `repository:library/debian:pull`, or `None` for the registry itself.
    pub scope: &'a str,
    pub action: &'static str,
    pub repository: &'a str,
}

pub(super) struct Authenticator {
    credentials: Credentials,
    /// The last challenge of each host, so that later requests answer it in advance.
    challenges: Mutex<HashMap<String, Challenge>>,
    /// By host and scope (which names the repository). With the inner lock, one caller fetches a token for
    /// all callers.
    tokens: Mutex<HashMap<(String, String), Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// The parts of a bearer challenge for a token request.
struct TokenServer<'a> {
    realm: &'a Url,
    service: Option<&'a str>,
    scope: Option<&'a str>,
}

impl Authenticator {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, challenges: Mutex::default(), tokens: Mutex::default() }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The authorization that this host is known to require; `None` if it has not asked.
    pub(super) async fn known(
        &self,
        transport: &Transport,
        asker: Asker<'_>,
    ) -> Result<Option<HeaderValue>, AttemptFailure> {
        let challenge = {
            let challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
            challenges.get(&asker.endpoint.host).cloned()
        };
        match challenge {
            None => Ok(None),
            Some(challenge) => self.respond(transport, asker, &challenge, None).await.map(Some),
        }
    }

    /// Authenticates after a 401 to a request with `used`.
    ///
    /// # Errors
    /// No other login exists.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        asker: Asker<'_>,
        challenge: Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AttemptFailure> {
        let answer = match used {
            Some(used) if challenge == Challenge::Basic => self.renewed(asker, used).await?,
            used => self.respond(transport, asker, &challenge, used).await?,
        };
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(asker.endpoint.host.clone(), challenge);
        Ok(answer)
    }

    /// The token server that a host named in its last challenge.
    pub(super) fn token_server(&self, host: &str) -> Option<Url> {
        let challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        match challenges.get(host)? {
            Challenge::Bearer { realm, .. } => Some(realm.clone()),
            Challenge::Basic => None,
        }
    }

    /// The login for the API of a registry's product: the password, or the password as a token.
    pub(super) async fn for_api(
        &self,
        endpoint: &Endpoint,
        server: Option<&Url>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if server.is_some_and(|server| !is_safe(endpoint, server)) {
            return Ok(None);
        }
        let login = self.credentials.get(&endpoint.host).await?;
        Ok(login.and_then(|login| match (login.secret, server) {
            (LoginSecret::Password { user, password }, None) => {
                Some(basic_header(&user, &password))
            }
            (LoginSecret::Password { password, .. }, Some(_)) => {
                secret_header(&format!("Bearer {password}"))
            }
            (LoginSecret::IdentityToken(_), _) => None,
        }))
    }

    /// A header that satisfies the challenge, other than `spent`.
    async fn respond(
        &self,
        transport: &Transport,
        asker: Asker<'_>,
        challenge: &Challenge,
        spent: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AttemptFailure> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            return self.basic(asker).await;
        };
        let server = TokenServer { realm, service: service.as_deref(), scope: scope.as_deref() };
        let slot = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (asker.endpoint.host.clone(), asker.scope.to_owned());
            tokens.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().await;
        let usable = |token: &&Token| token.until > Instant::now() && Some(&token.header) != spent;
        if let Some(token) = slot.as_ref().filter(usable) {
            return Ok(token.header.clone());
        }
        let token = self.fetch(transport, asker, &server).await?;
        let header = token.header.clone();
        *slot = Some(token);
        Ok(header)
    }

    async fn basic(&self, asker: Asker<'_>) -> Result<HeaderValue, AttemptFailure> {
        match self.secret(asker).await? {
            None => Err(asker.refused("it requires a login, and none is configured").into()),
            Some(LoginSecret::IdentityToken(_)) => {
                Err(asker.refused("it wants a password, and the login is an identity token").into())
            }
            Some(LoginSecret::Password { user, password }) => Ok(basic_header(&user, &password)),
        }
    }

    /// Another password than the one that the registry rejected.
    async fn renewed(
        &self,
        asker: Asker<'_>,
        used: &HeaderValue,
    ) -> Result<HeaderValue, AttemptFailure> {
        let host = &asker.endpoint.host;
        let mut answer = self.basic(asker).await?;
        if answer == *used {
            let spent = self.credentials.get(host).await?;
            self.credentials.renew(host, spent.as_ref()).await?;
            answer = self.basic(asker).await?;
        }
        if answer == *used { Err(asker.refused(BAD_LOGIN).into()) } else { Ok(answer) }
    }

    async fn secret(&self, asker: Asker<'_>) -> Result<Option<LoginSecret>, RegistryError> {
        Ok(self.credentials.get(&asker.endpoint.host).await?.map(|login| login.secret))
    }

    /// Requests a token, with the login if it exists, else anonymously.
    async fn fetch(
        &self,
        transport: &Transport,
        asker: Asker<'_>,
        server: &TokenServer<'_>,
    ) -> Result<Token, AttemptFailure> {
        let name = authority(server.realm);
        if !is_safe(asker.endpoint, server.realm) {
            let reason = format!("its token server `{name}` would take the password in the clear");
            return Err(asker.refused(&reason).into());
        }
        let host = &asker.endpoint.host;
        let mut login = self.credentials.get(host).await?;
        let send = async |login: Option<&Login>| {
            let (request, authorization) = server.request(asker, login.map(|login| &login.secret));
            transport.send(request, authorization.as_ref()).await
        };
        let mut reply = send(login.as_ref()).await?;
        if matches!(reply.status.as_u16(), 400 | 401 | 403)
            && let Some(newer) = self.credentials.renew(host, login.as_ref()).await?
        {
            reply = send(Some(&newer)).await?;
            login = Some(newer);
        }
        let answer = |reason: String| RegistryError::Answer {
            host: asker.endpoint.host.clone(),
            status: reply.status.as_u16(),
            action: asker.action,
            repository: asker.repository.to_owned(),
            reason: format!("its token server `{name}`: {reason}"),
        };
        match reply.status.as_u16() {
            200 => {}
            400 | 401 | 403 => {
                let verdict = match login {
                    Some(_) => "does not accept the login",
                    None => "gives no token without a login",
                };
                let reason = format!("its token server `{name}` {verdict}: {}", reply.reason());
                return Err(asker.refused(&reason).into());
            }
            _ => {
                return Err(AttemptFailure { error: answer(reply.reason()), again: reply.again() });
            }
        }
        Token::read(&reply.body)
            .ok_or_else(|| answer("there is no token in its answer".to_owned()).into())
    }
}

impl TokenServer<'_> {
    /// The request, and the header that only the token server may receive.
    fn request<'a>(
        &self,
        asker: Asker<'a>,
        secret: Option<&LoginSecret>,
    ) -> (HttpRequest<'a>, Option<HeaderValue>) {
        let mut request = HttpRequest {
            host: &asker.endpoint.host,
            method: Method::GET,
            url: self.realm.clone(),
            headers: HeaderMap::new(),
            body: None,
            limit: 1 << 20,
            is_secret: false,
        };
        // A user name in the address would override the login. Realms have hosts, so this cannot fail.
        _ = request.url.set_username("");
        _ = request.url.set_password(None);
        if let Some(LoginSecret::IdentityToken(token)) = secret {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.extend_pairs(self.service.map(|service| ("service", service)));
            form.append_pair("client_id", "rebuild");
            form.append_pair("scope", &self.scopes(asker).join(" "));
            form.append_pair("refresh_token", token);
            request.method = Method::POST;
            request.body = Some(Bytes::from(form.finish()));
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(header::CONTENT_TYPE, form_type);
            return (request, None);
        }
        let mut query = request.url.query_pairs_mut();
        query.extend_pairs(self.service.map(|service| ("service", service)));
        query.extend_pairs(self.scopes(asker).into_iter().map(|scope| ("scope", scope)));
        let authorization = match secret {
            Some(LoginSecret::Password { user, password }) => {
                query.append_pair("account", user);
                Some(basic_header(user, password))
            }
            _ => None,
        };
        drop(query);
        (request, authorization)
    }

    /// The necessary scope, and the registry's scope if it differs.
    fn scopes<'a>(&'a self, asker: Asker<'a>) -> Vec<&'a str> {
        // A mount needs two.
        let mut scopes: Vec<&str> = asker.scope.split(' ').collect();
        // A challenge of another repository does not apply to this one.
        let resource = scopes[0].rsplit_once(':').map_or("", |(resource, _)| resource);
        let same = |scope: &&str| scope.rsplit_once(':').is_some_and(|(of, _)| of == resource);
        scopes.extend(self.scope.filter(same).filter(|scope| *scope != asker.scope));
        scopes.retain(|scope| !scope.is_empty());
        scopes
    }
}

impl Token {
    fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct TokenAnswer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
        let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token)?;
        // "at least 60 seconds" and the default: the token specification, for old clients.
        let lives = Duration::from_secs(answer.expires_in.unwrap_or(60).clamp(1, 86_400));
        let header = secret_header(&format!("Bearer {token}"))?;
        // Renewed a little early, so that it does not expire during a request.
        Some(Self { header, until: Instant::now() + lives.mul_f32(0.9) })
    }
}

impl Asker<'_> {
    pub(super) fn refused(&self, reason: &str) -> RegistryError {
        RegistryError::Refused {
            host: self.endpoint.host.clone(),
            action: self.action,
            repository: self.repository.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// HTTPS always; plain HTTP only if the registry itself uses it. A registry on this machine may not send a
/// password into the network.
fn is_safe(endpoint: &Endpoint, realm: &Url) -> bool {
    match realm.scheme() {
        "https" => true,
        "http" if endpoint.is_plain() => {
            is_loopback(&authority(realm)) || !is_loopback(&endpoint.host)
        }
        _ => false,
    }
}

fn basic_header(user: &str, password: &str) -> HeaderValue {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let header = secret_header(&format!("Basic {encoded}"));
    header.unwrap_or_else(|| unreachable!("base64 is fit for a header"))
}

/// Marked as sensitive, so that hyper and `Debug` of the headers do not show it.
fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::endpoint::Scheme;

    #[test]
    fn passwords_are_not_sent_in_the_clear() {
        for (host, scheme, realm, expected) in [
            ("r.example.com", Scheme::Https, "https://auth.example.com/t", true),
            ("r.example.com", Scheme::Https, "http://auth.example.com/t", false),
            ("r.example.com", Scheme::Https, "http://127.0.0.1/t", false),
            ("r.example.com", Scheme::Https, "ftp://r.example.com/t", false),
            ("127.0.0.1:5000", Scheme::Http, "http://127.0.0.1:5001/t", true),
            ("127.0.0.1:5000", Scheme::Http, "http://auth.example.com/t", false),
            ("127.0.0.1:5000", Scheme::Http, "https://auth.example.com/t", true),
            ("lab:5000", Scheme::Http, "http://lab:5001/t", true),
        ] {
            let endpoint = Endpoint::new(host, scheme).unwrap();
            assert_eq!(is_safe(&endpoint, &realm.parse().unwrap()), expected, "{host} {realm}");
        }
    }

    #[test]
    fn reads_the_token_under_both_names() {
        for (body, expected) in [
            (r#"{"token":"a"}"#, Some("Bearer a")),
            (r#"{"access_token":"b","expires_in":300}"#, Some("Bearer b")),
            (r#"{"token":"","access_token":"b"}"#, Some("Bearer b")),
            (r#"{"token":"line\nbreak"}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            let token = Token::read(body.as_bytes());
            assert_eq!(token.as_ref().map(|t| t.header.to_str().unwrap()), expected, "{body}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", basic_header("me", "secret")), "Sensitive");
    }
}
