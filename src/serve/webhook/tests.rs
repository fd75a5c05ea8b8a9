use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::json;

use super::{signature::HookRefusal, *};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn check(
    secret: &str,
    pairs: &[(&'static str, &str)],
    body: &[u8],
    token: Option<&str>,
) -> Result<HookCredential, HookRefusal> {
    let now = Timestamp::from_second(1_614_265_330).unwrap();
    authenticate(secret, &headers(pairs), (body, token), now)
}

/// The example of <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
#[test]
fn the_signature_of_github_is_checked() {
    const SECRET: &str = "It's a Secret to Everybody";
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let of = |header: &'static str, value: &str, body: &[u8]| {
        check(SECRET, &[(header, value)], body, None)
    };
    let github = format!("sha256={HEX}");
    let good = Ok(HookCredential::Signature);
    assert_eq!(of("x-hub-signature-256", &github, b"Hello, World!"), good);
    assert_eq!(of("x-gitea-signature", HEX, b"Hello, World!"), good);
    assert_eq!(of("x-forgejo-signature", HEX, b"Hello, World!"), good);
    let wrong = Err(HookRefusal::WrongSignature);
    assert_eq!(of("x-hub-signature-256", &github, b"Hello, World?"), wrong);
    assert_eq!(of("x-hub-signature-256", HEX, b"Hello, World!"), wrong);
    assert_eq!(of("x-hub-signature-256", "sha256=", b"Hello, World!"), wrong);
    assert_eq!(of("x-gitea-signature", &HEX[1..], b"Hello, World!"), wrong);
}

/// The example of the libraries of Standard Webhooks.
#[test]
fn the_signature_of_standard_webhooks_is_checked_with_its_time() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let of = |id: &str, time: &str, signature: &str, now: i64| {
        let pairs =
            [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
        let now = Timestamp::from_second(now).unwrap();
        authenticate(SECRET, &headers(&pairs), (br#"{"test": 2432232314}"#, None), now)
    };
    let good = Ok(HookCredential::Timestamped { id: ID.to_owned() });
    assert_eq!(of(ID, "1614265330", SIGNATURE, 1_614_265_330), good);
    assert_eq!(of(ID, "1614265330", &format!("v1,AAAA {SIGNATURE}"), 1_614_265_330), good);
    for (now, expected) in [
        (1_614_265_330 + 300, good),
        (1_614_265_330 + 301, Err(HookRefusal::WrongTime)),
        (1_614_265_330 - 301, Err(HookRefusal::WrongTime)),
    ] {
        assert_eq!(of(ID, "1614265330", SIGNATURE, now), expected, "{now}");
    }
    let wrong = Err(HookRefusal::WrongSignature);
    assert_eq!(of("other", "1614265330", SIGNATURE, 1_614_265_330), wrong);
    assert_eq!(of(ID, "1614265331", SIGNATURE, 1_614_265_330), wrong);
    assert_eq!(of(ID, "1614265330", "v1a,AAAA", 1_614_265_330), wrong);
}

#[test]
fn a_token_is_the_secret_itself() {
    let good = Ok(HookCredential::Token);
    assert_eq!(check("abc", &[("x-gitlab-token", "abc")], b"", None), good);
    assert_eq!(check("abc", &[("authorization", "Bearer abc")], b"", None), good);
    assert_eq!(check("abc", &[("authorization", "abc")], b"", None), good);
    assert_eq!(check("abc", &[], b"", Some("abc")), good);
    let wrong = Err(HookRefusal::WrongToken);
    assert_eq!(check("abc", &[("x-gitlab-token", "abcd")], b"", Some("abc")), wrong);
    assert_eq!(check("abc", &[("authorization", "Basic abc")], b"", None), wrong);
    assert_eq!(check("abc", &[], b"", Some("")), wrong);
    assert_eq!(check("abc", &[], b"", None), Err(HookRefusal::NoCredential));
    // A wrong signature is not made good by a token.
    let both = [("x-hub-signature-256", "sha256=00"), ("x-gitlab-token", "abc")];
    assert_eq!(check("abc", &both, b"", None), Err(HookRefusal::WrongSignature));
}

fn event(name: &str, pairs: &[(&'static str, &str)], body: &Value) -> Result<HookEvent, String> {
    let body = body.to_string();
    let format = HookFormat::of(name);
    let read = read((name, format), &headers(pairs), (body.as_bytes(), &HookCredential::Token));
    read.map(|(event, _)| event)
}

#[test]
fn pushes_of_the_forges_say_the_same() {
    let commits = json!([
        { "added": ["a"], "removed": ["b"], "modified": ["c", "a"] },
        { "added": [], "removed": [], "modified": ["d"] },
    ]);
    let (before, after) = ("1".repeat(40), "2".repeat(40));
    let github = json!({
        "ref": "refs/heads/main", "before": before, "after": after, "commits": commits,
        "pusher": { "name": "jane", "email": "jane@example.com" },
        "repository": {
            "full_name": "acme/images", "clone_url": "https://user:pw@h/acme/images.git",
            "ssh_url": "git@h:acme/images.git",
        },
    });
    let gitlab = json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": before, "after": after,
        "commits": commits, "user_name": "Jane", "user_username": "jane",
        "project": {
            "path_with_namespace": "acme/images", "git_http_url": "https://h/acme/images.git",
            "git_ssh_url": "git@h:acme/images.git",
        },
    });
    let expected = HookEvent::Push(PushEvent {
        repository: "acme/images".to_owned(),
        urls: vec!["https://h/acme/images.git".to_owned(), "git@h:acme/images.git".to_owned()],
        reference: "refs/heads/main".to_owned(),
        before,
        after,
        pusher: Some("jane".to_owned()),
        files: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
    });
    let push = |event| [("x-github-event", event)];
    assert_eq!(event("github", &push("push"), &github), Ok(expected.clone()));
    assert_eq!(event("gitea", &[("x-gitea-event", "push")], &github), Ok(expected.clone()));
    assert_eq!(event("forgejo", &[("x-forgejo-event", "push")], &github), Ok(expected.clone()));
    assert_eq!(event("gitlab", &[("x-gitlab-event", "Push Hook")], &gitlab), Ok(expected));
    let ping = HookEvent::Other { event: "ping".to_owned() };
    assert_eq!(event("github", &push("ping"), &json!({ "zen": "…" })), Ok(ping));
    let mut wrong = github.clone();
    wrong["before"] = json!("--upload-pack=evil");
    let error = "`--upload-pack=evil` is not a commit".to_owned();
    assert_eq!(event("github", &push("push"), &wrong), Err(error));
    let missing = "the body has no `ref`".to_owned();
    let no_reference = json!({ "repository": { "full_name": "a/b" } });
    assert_eq!(event("github", &push("push"), &no_reference), Err(missing));
}

#[test]
fn pushed_images_of_registries_have_one_form() {
    let images = |names: &[&str]| {
        Ok(HookEvent::Images { images: names.iter().map(|name| (*name).to_owned()).collect() })
    };
    let distribution = json!({ "events": [
        { "action": "push", "target": { "repository": "base/debian", "tag": "12" }, "request": { "host": "r.example.com" } },
        { "action": "push", "target": { "repository": "base/debian", "tag": "12" }, "request": { "host": "r.example.com" } },
        { "action": "push", "target": { "repository": "base/debian" } },
        { "action": "pull", "target": { "repository": "x", "tag": "1" } },
    ] });
    assert_eq!(event("registry", &[], &distribution), images(&["r.example.com/base/debian:12"]));
    let harbor = json!({ "type": "PUSH_ARTIFACT", "event_data": { "resources": [
        { "tag": "12", "resource_url": "harbor.example.com/base/debian:12" },
    ] } });
    assert_eq!(event("harbor", &[], &harbor), images(&["harbor.example.com/base/debian:12"]));
    let hub =
        json!({ "push_data": { "tag": "12" }, "repository": { "repo_name": "library/debian" } });
    assert_eq!(event("docker-hub", &[], &hub), images(&["docker.io/library/debian:12"]));
    let package = json!({ "registry_package": {
        "name": "Base", "namespace": "Acme", "package_type": "CONTAINER",
        "package_version": { "container_metadata": { "tag": { "name": "v1" } } },
    } });
    let header = [("x-github-event", "registry_package")];
    assert_eq!(event("ghcr", &header, &package), images(&["ghcr.io/acme/base:v1"]));
    for (name, body) in [("registry", json!([])), ("harbor", json!({})), ("docker-hub", json!({}))]
    {
        assert!(event(name, &[], &body).is_err(), "{name}");
    }
}

#[test]
fn a_copy_of_a_signed_delivery_has_its_key_whatever_its_headers_say() {
    let key = |pairs: &[(&'static str, &str)], body: &[u8], credential: HookCredential| {
        let format = HookFormat::of("github");
        read(("github", format), &headers(pairs), (body, &credential)).unwrap().1
    };
    let ping = [("x-github-event", "ping")];
    let copied = [("x-github-event", "ping"), ("x-request-id", "other")];
    let signed = || HookCredential::Signature;
    assert_eq!(key(&ping, b"{}", signed()), key(&copied, b"{}", signed()));
    assert_ne!(key(&ping, b"{}", signed()), key(&ping, b"{ }", signed()));
    let of_id = |id: &str| HookCredential::Timestamped { id: id.to_owned() };
    assert_eq!(key(&ping, b"{}", of_id("1")), key(&ping, b"{ }", of_id("1")));
    let generic = || {
        let format = HookFormat::of("app");
        read(("app", format), &HeaderMap::new(), (b"", &HookCredential::Token)).unwrap().1
    };
    assert_ne!(generic(), generic(), "each request of a script counts");
}

#[test]
fn no_body_makes_it_panic() {
    use proptest::prelude::*;
    proptest!(|(body in "[\\[{:\",}\\]a-z0-9]{0,80}", name in "github|gitlab|registry|harbor|docker-hub|x")| {
        let format = HookFormat::of(&name);
        _ = read((&name, format), &HeaderMap::new(), (body.as_bytes(), &HookCredential::Token));
    });
}
