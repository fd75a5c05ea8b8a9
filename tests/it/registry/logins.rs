//! Who gets to see a password or a token: the host it is for, its token server, and nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};

use rebuild::{
    image::Digest,
    registry::{Client, Credentials},
};
use tempfile::TempDir;

use super::{client, repository, told};
use crate::support::scripted::{Act, Scripted, Seen, reply};

/// `me:pw`, as a header has it.
const BASIC: &str = "Basic bWU6cHc=";

/// A client that has a login for one host.
pub(super) fn with_login(host: &str, auth: &serde_json::Value) -> (Client, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, serde_json::json!({"auths": {host: auth}}).to_string()).unwrap();
    (client(Credentials::from_file(path)), directory)
}

pub(super) fn password() -> serde_json::Value {
    serde_json::json!({"username": "me", "password": "pw"})
}

/// Gives out `t0`, `t1`, …
async fn token_server() -> Scripted {
    Scripted::start(|n, _| reply(200).body(format!(r#"{{"token":"t{n}","expires_in":300}}"#))).await
}

/// A registry that wants a token of this server, and takes those that `accepts` likes.
async fn registry_of(
    tokens: &Scripted,
    accepts: impl Fn(usize, &str) -> bool + Send + Sync + 'static,
) -> Scripted {
    let realm = format!("http://{}/token", tokens.host());
    Scripted::start(move |n, seen: &Seen| {
        let token = seen.authorization.as_deref().and_then(|text| text.strip_prefix("Bearer "));
        if token.is_some_and(|token| accepts(n, token)) {
            return reply(200).header("docker-content-digest", Digest::of(b"x").as_str());
        }
        let path = seen.path.strip_prefix("/v2/").unwrap_or_default();
        let name = path.split("/manifests/").next().unwrap();
        reply(401).header(
            "www-authenticate",
            format!(
                r#"Bearer realm="{realm}",service="reg",scope="repository:{name}:pull",error="invalid_token""#
            ),
        )
    })
    .await
}

#[tokio::test]
async fn one_token_serves_a_repository_until_it_expires() {
    let tokens = token_server().await;
    // The first token is taken back after three requests, though its time is not over.
    let registry = registry_of(&tokens, |n, token| token != "t0" || n < 3).await;
    let (client, _config) = with_login(registry.host(), &password());
    for path in ["app", "app", "app", "other"] {
        let head = client.head(&repository(registry.host(), path), "1").await.unwrap();
        assert_eq!(head, Some(Digest::of(b"x")), "{path}");
    }
    assert_eq!(
        registry.log(),
        [
            "HEAD /v2/app/manifests/1",
            "HEAD /v2/app/manifests/1 Bearer t0",
            "HEAD /v2/app/manifests/1 Bearer t0",
            "HEAD /v2/app/manifests/1 Bearer t0",
            "HEAD /v2/app/manifests/1 Bearer t1",
            "HEAD /v2/other/manifests/1 Bearer t2",
        ]
    );
    let asked = |path: &str| {
        format!("GET /token?service=reg&scope=repository%3A{path}%3Apull&account=me {BASIC}")
    };
    assert_eq!(tokens.log(), [asked("app"), asked("app"), asked("other")]);
}

#[tokio::test]
async fn many_callers_share_one_token_and_a_useless_one_is_renewed_once() {
    let tokens = token_server().await;
    let registry = registry_of(&tokens, |_, _| true).await;
    let (client, _config) = with_login(registry.host(), &password());
    let app = repository(registry.host(), "app");
    let asked = (0..12).map(|_| client.head(&app, "1"));
    for head in futures_util::future::join_all(asked).await {
        assert_eq!(head.unwrap(), Some(Digest::of(b"x")));
    }
    assert_eq!(tokens.log().len(), 1);

    let deaf = registry_of(&tokens, |_, _| false).await;
    let (client, _config) = with_login(deaf.host(), &password());
    let error = client.head(&repository(deaf.host(), "app"), "1").await.unwrap_err();
    assert_eq!(
        told(&error, &[(deaf.host(), "HOST")]),
        "the registry HOST refuses to read `HOST/app`: unauthorized\n\
         hint: log in with `docker login HOST`, as an account that may read `HOST/app`"
    );
    assert_eq!((deaf.log().len(), tokens.log().len()), (2, 2));
}

#[tokio::test]
async fn an_expired_password_is_replaced_by_the_new_one() {
    let new = "Basic bWU6bmV3";
    let registry = Scripted::start(move |n, seen: &Seen| {
        let accepted = if n < 2 { BASIC } else { new };
        match seen.authorization.as_deref() {
            Some(password) if password == accepted => {
                reply(200).header("docker-content-digest", Digest::of(b"x").as_str())
            }
            _ => reply(401).header("www-authenticate", "Basic realm=\"lab\""),
        }
    })
    .await;
    let (client, config) = with_login(registry.host(), &password());
    let app = repository(registry.host(), "app");
    assert_eq!(client.head(&app, "1").await.unwrap(), Some(Digest::of(b"x")));
    let login = serde_json::json!({"username": "me", "password": "new"});
    let auths = serde_json::json!({"auths": {registry.host(): login}});
    std::fs::write(config.path().join("config.json"), auths.to_string()).unwrap();
    assert_eq!(client.head(&app, "1").await.unwrap(), Some(Digest::of(b"x")));
    assert_eq!(registry.log().len(), 4);
}

#[tokio::test]
async fn an_identity_token_is_posted_and_not_put_in_an_address() {
    let tokens = token_server().await;
    let registry = registry_of(&tokens, |_, _| true).await;
    let (client, _config) =
        with_login(registry.host(), &serde_json::json!({"identitytoken": "id&1"}));
    client.head(&repository(registry.host(), "app"), "1").await.unwrap();
    assert_eq!(
        tokens.log(),
        ["POST /token grant_type=refresh_token&service=reg&client_id=rebuild&\
          scope=repository%3Aapp%3Apull&refresh_token=id%261"]
    );
}

#[tokio::test]
async fn a_token_server_is_tried_again_and_its_verdict_is_passed_on() {
    let tokens = Scripted::start(|n, _| match n {
        0 => reply(503),
        _ => reply(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"bad password"}]}"#),
    })
    .await;
    let registry = registry_of(&tokens, |_, _| true).await;
    let (logged_in, _config) = with_login(registry.host(), &password());
    let names = [(registry.host(), "HOST"), (tokens.host(), "AUTH")];
    let hint = "hint: log in with `docker login HOST`, as an account that may read `HOST/app`";
    for (client, verdict) in [
        (logged_in, "does not accept the login"),
        (client(Credentials::none()), "gives no token without a login"),
    ] {
        let error = client.head(&repository(registry.host(), "app"), "1").await.unwrap_err();
        let expected = format!(
            "the registry HOST refuses to read `HOST/app`: its token server `AUTH` {verdict}: \
             bad password (UNAUTHORIZED)\n{hint}"
        );
        assert_eq!(told(&error, &names), expected);
        assert!(!format!("{error:?}").contains("pw"));
    }
    assert_eq!(tokens.log().len(), 3);
}

#[tokio::test]
async fn no_password_goes_out_in_the_clear() {
    // 192.0.2.0/24 is nobody's (RFC 5737): a request there would end in a timeout.
    let registry = Scripted::start(|_, _| {
        reply(401).header("www-authenticate", r#"Bearer realm="http://192.0.2.1/token""#)
    })
    .await;
    let (client, _config) = with_login(registry.host(), &password());
    let error = client.head(&repository(registry.host(), "app"), "1").await.unwrap_err();
    assert_eq!(
        told(&error, &[(registry.host(), "HOST")]),
        "the registry HOST refuses to read `HOST/app`: its token server `192.0.2.1` would take the \
         password in the clear\n\
         hint: log in with `docker login HOST`, as an account that may read `HOST/app`"
    );
    assert_eq!(registry.log(), ["HEAD /v2/app/manifests/1"]);
}

/// A registry that wants a password and then does `act`.
async fn behind_password(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |n, seen| match &seen.authorization {
        None => reply(401).header("www-authenticate", "Basic realm=\"r\""),
        Some(_) => act(n, seen),
    })
    .await
}

#[tokio::test]
async fn a_redirect_carries_the_login_to_no_other_host() {
    // The store wants a login as well, which must not make us send ours.
    let wanted = Scripted::start(|_, _| reply(401).header("www-authenticate", "Basic")).await;
    let store = Scripted::start(|_, _| reply(200).body("blob")).await;
    let (to_store, to_wanted) =
        (format!("http://{}/s?sig=1", store.host()), format!("http://{}/", wanted.host()));
    let hops = AtomicUsize::new(0);
    let registry = behind_password(move |_, seen| {
        let digest = seen.path.rsplit('/').next().unwrap();
        if digest == Digest::of(b"wanted").as_str() {
            return reply(307).header("location", &to_wanted);
        }
        match hops.fetch_add(1, Ordering::SeqCst) {
            0 => reply(302).header("location", format!("/v2/app/moved/{digest}")),
            _ => reply(307).header("location", &to_store),
        }
    })
    .await;
    let (client, _config) = with_login(registry.host(), &password());
    let app = repository(registry.host(), "app");
    let blob = Digest::of(b"blob");
    assert_eq!(client.blob(&app, &blob).await.unwrap().as_deref(), Some(&b"blob"[..]));
    assert_eq!(
        registry.log(),
        [
            format!("GET /v2/app/blobs/{blob}"),
            format!("GET /v2/app/blobs/{blob} {BASIC}"),
            format!("GET /v2/app/moved/{blob} {BASIC}"),
        ]
    );
    assert_eq!(store.log(), ["GET /s?sig=1"]);

    let error = client.blob(&app, &Digest::of(b"wanted")).await.unwrap_err();
    assert_eq!(
        told(&error, &[(registry.host(), "HOST")]).lines().next(),
        Some("the registry HOST refuses to read `HOST/app`: unauthorized")
    );
    assert_eq!(wanted.log(), ["GET /"]);
}

#[tokio::test]
async fn redirects_end() {
    let plain = Scripted::start(|_, _| reply(200)).await;
    let to_tls = format!("https://{}/", plain.host());
    let registry = Scripted::start(move |_, seen| match seen.path.as_str() {
        "/v2/tls/manifests/1" => reply(307).header("location", &to_tls),
        "/v2/file/manifests/1" => reply(307).header("location", "file:///etc/passwd"),
        _ => reply(307).header("location", &seen.path),
    })
    .await;
    let client = client(Credentials::none());
    for (path, expected) in [
        ("loop", "it redirects more than 5 times"),
        ("file", "it redirects to no address"),
        ("tls", "`PLAIN`: it speaks plain HTTP where HTTPS is expected"),
    ] {
        let error = client.head(&repository(registry.host(), path), "1").await.unwrap_err();
        let told = told(&error, &[(registry.host(), "HOST"), (plain.host(), "PLAIN")]);
        let expected = format!("cannot reach the registry HOST: {expected}");
        assert_eq!(told.lines().next(), Some(expected.as_str()));
    }
    assert_eq!(registry.log().len(), 6 + 1 + 1);
}

#[tokio::test]
async fn a_trial_upload_elsewhere_is_left_alone() {
    let elsewhere = Scripted::start(|_, _| reply(204)).await;
    let away = format!("http://{}/upload", elsewhere.host());
    let registry = behind_password(move |_, seen| match seen.path.as_str() {
        "/v2/away/blobs/uploads/" => reply(202).header("location", &away),
        "/v2/app/blobs/uploads/" => reply(202).header("location", "//x/../../up?state=1"),
        // The path of the same host may look like the beginning of another.
        "/v2/twice/blobs/uploads/" => {
            reply(202).header("location", "/v2/twice//uploads/1?state=a%2Fb")
        }
        _ => reply(204),
    })
    .await;
    let (client, _config) = with_login(registry.host(), &password());
    for path in ["away", "app", "twice"] {
        client.may_push(&repository(registry.host(), path)).await.unwrap();
    }
    assert_eq!(elsewhere.log(), Vec::<String>::new());
    assert_eq!(
        registry.log(),
        [
            "POST /v2/away/blobs/uploads/".to_owned(),
            format!("POST /v2/away/blobs/uploads/ {BASIC}"),
            format!("POST /v2/app/blobs/uploads/ {BASIC}"),
            format!("POST /v2/twice/blobs/uploads/ {BASIC}"),
            format!("DELETE /v2/twice//uploads/1?state=a%2Fb {BASIC}"),
        ]
    );
}

#[tokio::test]
async fn an_upload_elsewhere_gets_the_blob_and_no_login() {
    let store = Scripted::start(|_, _| reply(201)).await;
    let elsewhere = format!("http://me2:pw2@{}/put?sig=1", store.host());
    for location in [Some(elsewhere), None] {
        let registry = Scripted::start(move |_, seen: &Seen| match seen.method.as_str() {
            _ if seen.authorization.is_none() => {
                reply(401).header("www-authenticate", "Basic realm=\"r\"")
            }
            "HEAD" => reply(404),
            "POST" => reply(202).header("location", location.as_deref().unwrap_or("/upload?a=b")),
            _ => reply(201),
        })
        .await;
        let (client, _directory) = with_login(registry.host(), &password());
        let runs = repository(registry.host(), "base/runs");
        client.put_blob(&runs, b"one").await.unwrap();
        let digest = Digest::of(b"one").to_string().replace(':', "%3A");
        let log = registry.log();
        let last = log.last().unwrap();
        if last.starts_with("PUT") {
            assert_eq!(*last, format!("PUT /upload?a=b&digest={digest} {BASIC} one"));
        } else {
            assert_eq!(store.log(), [format!("PUT /put?sig=1&digest={digest} one")]);
        }
    }
    assert_eq!(store.log().len(), 1);
}
