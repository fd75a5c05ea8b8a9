//! Who may start and cancel runs, and under which names the server answers.
//!
//! **Invariant:** reading needs no login, and changes nothing. An action needs a token, a session that began with the
//! token, or a user that a proxy on this machine names; and from a browser also the secret of a form of ours.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    host::random,
    image::hmac_sha256,
    serve::{
        ServeOptions, Server,
        webhook::{equal, hex},
    },
};

const COOKIE: &str = "rebuild_session";
/// How long a session lasts, in seconds.
const SESSION: i64 = 12 * 60 * 60;

pub struct AccessControl {
    token: Option<Vec<u8>>,
    trusted_header: Option<HeaderName>,
    /// Signs sessions and forms.
    key: [u8; 32],
}

/// A client that may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUser {
    /// The name that a proxy gives, if one does.
    pub user: Option<String>,
    /// What its forms must hold; `None` for a program that sends the token itself.
    pub form_secret: Option<String>,
}

impl AccessControl {
    pub fn new(token: Option<&str>, trusted_header: Option<HeaderName>) -> Self {
        // A new token ends all sessions. Without one, they end with the server.
        let key = match token {
            Some(token) => hmac_sha256(b"rebuild session key", token.as_bytes()),
            None => hmac_sha256(&random::bits().to_ne_bytes(), &random::bits().to_ne_bytes()),
        };
        Self { token: token.map(|token| token.as_bytes().to_vec()), trusted_header, key }
    }

    /// Whether the server takes actions at all.
    pub fn is_possible(&self) -> bool {
        self.token.is_some() || self.trusted_header.is_some()
    }

    /// Whether a user can log in with a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether this is the token. Takes the same time for each wrong one.
    pub fn is_token(&self, given: &str) -> bool {
        let Some(token) = &self.token else { return false };
        let hash = |text: &[u8]| hmac_sha256(&self.key, text);
        equal(&hash(given.trim().as_bytes()), &hash(token))
    }

    /// The client of a request, if it may act.
    pub fn actor(&self, headers: &HeaderMap, peer: IpAddr) -> Option<WebUser> {
        if let Some(given) = bearer(headers) {
            return self.is_token(given).then_some(WebUser { user: None, form_secret: None });
        }
        // Any other client could send the header too.
        if let Some(name) = self.trusted_header.as_ref().filter(|_| peer.is_loopback())
            && let Some(user) = headers.get(name).and_then(|value| value.to_str().ok())
            && !user.is_empty()
        {
            let form_secret = Some(self.form_secret(user));
            return Some(WebUser { user: Some(user.to_owned()), form_secret });
        }
        let session = session(headers)?;
        self.is_session(session, Timestamp::now())
            .then(|| WebUser { user: None, form_secret: Some(self.form_secret(session)) })
    }

    /// A `Set-Cookie` that begins a session.
    pub fn begin_session(&self, is_secure: bool) -> String {
        let ends = Timestamp::now().as_second() + SESSION;
        let session = format!("{ends}.{:032x}", random::bits());
        let signature = self.signature(&session);
        let secure = if is_secure { "; Secure" } else { "" };
        format!(
            "{COOKIE}={session}.{signature}; Path=/; Max-Age={SESSION}; HttpOnly; SameSite=Strict{secure}"
        )
    }

    /// A `Set-Cookie` that ends it.
    pub fn end_session() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    fn is_session(&self, session: &str, now: Timestamp) -> bool {
        let Some((signed, signature)) = session.rsplit_once('.') else { return false };
        let ends = signed.split('.').next().and_then(|ends| ends.parse::<i64>().ok());
        equal(signature.as_bytes(), self.signature(signed).as_bytes())
            && ends.is_some_and(|ends| ends > now.as_second())
    }

    fn signature(&self, session: &str) -> String {
        hex(&hmac_sha256(&self.key, format!("session {session}").as_bytes()))
    }

    fn form_secret(&self, of: &str) -> String {
        hex(&hmac_sha256(&self.key, format!("form {of}").as_bytes()))
    }
}

impl WebUser {
    /// Whether a request of this client is its own, and not one that another page made the browser send.
    pub fn sent(&self, headers: &HeaderMap, form_secret: Option<&str>) -> bool {
        let Some(expected) = &self.form_secret else { return true };
        is_same_origin(headers)
            && form_secret.is_some_and(|given| equal(given.as_bytes(), expected.as_bytes()))
    }
}

/// The names under which the server answers; `None` for any.
pub struct HostNames(Option<Vec<String>>);

impl HostNames {
    pub fn new(options: &ServeOptions) -> Self {
        // Other machines and proxies have names for it that it does not know.
        let is_limited = options.listen.ip().is_loopback()
            && (options.trusted_header.is_none() || !options.public_hosts.is_empty());
        let names = options.public_hosts.iter().map(|name| name.to_lowercase());
        Self(is_limited.then(|| names.collect()))
    }

    /// Whether a page of another site cannot have this name: <https://en.wikipedia.org/wiki/DNS_rebinding>.
    fn has(&self, authority: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.to_lowercase();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || host == "localhost" || host.ends_with(".localhost") || names.contains(&host)
    }
}

/// Refuses a request to a name that is not the server's. Webhooks are signed, and may come through a tunnel.
pub async fn check_host(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.unwrap_or("localhost").to_owned();
    if request.uri().path().starts_with("/hooks/") || server.web.hosts.has(&host) {
        return next.run(request).await;
    }
    let message = format!("this server does not answer to `{host}`: start it with --public-host");
    (StatusCode::MISDIRECTED_REQUEST, Json(json!({ "error": message }))).into_response()
}

/// What the browser says of the page that sent a request: <https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site>.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_none_or(|site| site == "same-origin" || site == "none")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let scheme = value.get(..7)?;
    scheme.eq_ignore_ascii_case("bearer ").then(|| &value[7..])
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_token_acts_and_a_wrong_one_does_not() {
        let access = AccessControl::new(Some("s3cret"), None);
        let of = |value: &str| access.actor(&headers(&[("authorization", value)]), HERE);
        assert!(of("Bearer s3cret").unwrap().sent(&HeaderMap::new(), None));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "s3cret", "Basic s3cret"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(
            AccessControl::new(None, None).actor(&headers(&[("authorization", "Bearer ")]), HERE),
            None
        );
    }

    #[test]
    fn a_session_acts_with_the_secret_of_a_form_only() {
        let access = AccessControl::new(Some("s3cret"), None);
        let cookie = access.begin_session(false);
        let cookie = cookie.split(';').next().unwrap();
        let actor = access.actor(&headers(&[("cookie", &format!("a=b; {cookie}"))]), HERE).unwrap();
        let secret = actor.form_secret.clone().unwrap();
        assert!(actor.sent(&HeaderMap::new(), Some(&secret)));
        assert!(!actor.sent(&HeaderMap::new(), None));
        assert!(!actor.sent(&HeaderMap::new(), Some("0")));
        let foreign = headers(&[("sec-fetch-site", "cross-site")]);
        assert!(!actor.sent(&foreign, Some(&secret)));
        let other = AccessControl::new(Some("other"), None);
        assert_eq!(other.actor(&headers(&[("cookie", cookie)]), HERE), None, "the token changed");
        let later = Timestamp::from_second(Timestamp::now().as_second() + SESSION + 1).unwrap();
        let session = cookie.split_once('=').unwrap().1;
        assert!(!access.is_session(session, later));
        let longer = format!("9{session}");
        assert!(!access.is_session(&longer, Timestamp::now()), "its end is signed");
    }

    #[test]
    fn a_name_of_another_site_is_none_of_the_server() {
        let hosts = HostNames(Some(vec!["ci.example.com".to_owned()]));
        for (authority, expected) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("rebuild.localhost:80", true),
            ("CI.example.com:8080", true),
            ("evil.example.com", false),
            ("127.0.0.1.evil.example.com:8080", false),
            ("", false),
        ] {
            assert_eq!(hosts.has(authority), expected, "{authority}");
        }
        assert!(HostNames(None).has("evil.example.com"));
    }

    #[test]
    fn the_header_of_a_proxy_counts_on_this_machine_only() {
        let access = AccessControl::new(None, Some(HeaderName::from_static("x-user")));
        let named = headers(&[("x-user", "ann")]);
        assert_eq!(access.actor(&named, HERE).unwrap().user.as_deref(), Some("ann"));
        assert_eq!(access.actor(&named, [192, 0, 2, 1].into()), None);
        assert_eq!(access.actor(&headers(&[("x-user", "")]), HERE), None);
        assert_eq!(AccessControl::new(Some("t"), None).actor(&named, HERE), None);
    }
}
