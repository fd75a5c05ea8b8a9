//! Registries that stumble, lie or fall silent: what is tried again, how often, and what is said.

use std::{sync::Arc, time::Duration};

use rebuild::{
    image::Digest,
    registry::{Client, Credentials, Manifest, RegistryError, Retry},
};
use tokio::sync::Barrier;

use super::{client, impatient, repository, told};
use crate::support::{
    proxy::{Fault, Proxy},
    registry::Registry,
    scripted::{Act, Scripted, reply},
};

const DIGEST: &str = "docker-content-digest";

/// An answer to HEAD or GET of a manifest.
fn manifest(text: &str) -> Act {
    reply(200)
        .header(DIGEST, Digest::of(text.as_bytes()).as_str())
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(text)
}

/// Asks a registry that fails as told, then answers: the number of requests, and what came of it.
async fn asked(failures: fn(usize) -> Option<Act>) -> (usize, String) {
    let server = Scripted::start(move |n, _| failures(n).unwrap_or_else(|| manifest("fine"))).await;
    let mut options = impatient();
    // Short only where it must run out, for a busy machine may be slow to answer.
    if matches!(failures(0), Some(Act::Silence)) {
        options.idle = Duration::from_millis(200);
    }
    let client = Client::with_options(Credentials::none(), options).unwrap();
    let outcome = match client.manifest(&repository(server.host(), "app"), "1").await {
        Ok(Some(manifest)) => String::from_utf8(manifest.bytes).unwrap(),
        Ok(None) => "none".to_owned(),
        Err(error) => told(&error, &[(server.host(), "HOST")]),
    };
    (server.log().len(), outcome)
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_stays_is_not() {
    type Case = (fn(usize) -> Option<Act>, usize, &'static str);
    let cases: Vec<Case> = vec![
        (|_| None, 1, "fine"),
        (|n| (n < 1).then(|| reply(408)), 2, "fine"),
        (|n| (n < 1).then(|| reply(429).header("retry-after", "0")), 2, "fine"),
        (|n| (n < 1).then(|| reply(500)), 2, "fine"),
        (|n| (n < 4).then(|| reply(503)), 5, "fine"),
        (|n| (n < 1).then_some(Act::Reset), 2, "fine"),
        (|n| (n < 1).then_some(Act::Cut), 2, "fine"),
        (|n| (n < 1).then_some(Act::Silence), 2, "fine"),
        (
            |_| Some(reply(502)),
            5,
            "the registry HOST answered 502 to read `HOST/app`: bad gateway\n\
             hint: the fault is on the registry's side: see the logs of HOST",
        ),
        (
            |_| Some(reply(429)),
            5,
            "the registry HOST answered 429 to read `HOST/app`: too many requests\n\
             hint: a rate limit: wait, or `docker login HOST` as an account with a higher one",
        ),
        (|_| Some(Act::Cut), 5, "cannot reach the registry HOST: the connection broke off"),
        (|_| Some(Act::Silence), 5, "cannot reach the registry HOST: it sent nothing for 200ms"),
        (|_| Some(reply(404)), 1, "none"),
        (
            |_| {
                Some(
                    reply(400)
                        .body(r#"{"errors":[{"code":"NAME_INVALID","message":"a\u001b[2J\nb"}]}"#),
                )
            },
            1,
            "the registry HOST answered 400 to read `HOST/app`: a [2J b (NAME_INVALID)",
        ),
        (
            |_| Some(reply(413).body("<html>nginx")),
            1,
            "the registry HOST answered 413 to read `HOST/app`: payload too large\n\
             hint: a proxy in front of HOST limits the size of a request",
        ),
        (
            |_| Some(reply(401)),
            1,
            "the registry HOST refuses to read `HOST/app`: there is no login for it, and it says: \
             unauthorized\n\
             hint: log in with `docker login HOST`, as an account that may read `HOST/app`",
        ),
        (
            |_| Some(reply(403).body(r#"{"errors":[{"code":"DENIED"}]}"#)),
            1,
            "the registry HOST refuses to read `HOST/app`: there is no login for it, and it says: \
             DENIED\n\
             hint: log in with `docker login HOST`, as an account that may read `HOST/app`",
        ),
    ];
    for (failures, requests, outcome) in cases {
        assert_eq!(asked(failures).await, (requests, outcome.to_owned()));
    }
}

#[tokio::test]
async fn retry_after_replaces_the_pause() {
    let dated = "Wed, 21 Oct 2015 07:28:00 GMT";
    for value in ["0", dated] {
        let answer = move |n, _: &_| match n {
            0 => reply(429).header("retry-after", value),
            _ => manifest("fine"),
        };
        let server = Scripted::start(answer).await;
        let mut options = impatient();
        let hour = Duration::from_secs(3600);
        // If it were not heard, this test would take an hour.
        options.retry = Retry { first: hour, longest: hour, budget: 3 * hour, attempts: 2 };
        let client = Client::with_options(Credentials::none(), options).unwrap();
        let head = client.head(&repository(server.host(), "app"), "1").await.unwrap();
        assert_eq!(head, Some(Digest::of(b"fine")), "{value}");
    }
}

#[tokio::test]
async fn who_is_not_there_is_not_waited_for() {
    let mut options = impatient();
    let hour = Duration::from_secs(3600);
    options.retry = Retry { budget: 3 * hour, ..options.retry };
    let client = Client::with_options(Credentials::none(), options).unwrap();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let error = client.head(&repository(&closed, "app"), "1").await.unwrap_err();
    assert_eq!(
        told(&error, &[(&closed, "HOST")]),
        "cannot reach the registry HOST: connection refused\nhint: is a registry running at HOST?"
    );
    // RFC 2606: this name never exists. A machine without DNS says that it cannot know.
    let error = client.head(&repository("registry.invalid", "app"), "1").await.unwrap_err();
    let allowed = [
        "cannot reach the registry registry.invalid: there is no host `registry.invalid`\n\
         hint: check the spelling of the name, and this machine's DNS",
        "cannot reach the registry registry.invalid: the name `registry.invalid` cannot be looked \
         up right now\nhint: check this machine's network and DNS",
    ];
    assert!(allowed.contains(&told(&error, &[]).as_str()), "{error:?}");
}

#[tokio::test]
async fn bytes_are_believed_only_with_their_digest() {
    let honest = Digest::of(b"honest");
    let lie = Digest::of(b"lie");
    let server = Scripted::start(move |_, seen| match seen.path.rsplit('/').next().unwrap() {
        "lie" => manifest("honest").header(DIGEST, "x").body("lie"),
        "silent" => reply(200).body(r#"{"mediaType":"application/x"}"#),
        "page" => reply(200).header("content-type", "text/html").body("<html>"),
        _ => manifest("lie"),
    })
    .await;
    let app = repository(server.host(), "app");
    let client = client(Credentials::none());
    let message = |error: RegistryError| told(&error, &[(server.host(), "HOST")]);

    let error = client.manifest(&app, "lie").await.unwrap_err();
    assert_eq!(
        message(error),
        format!(
            "the registry HOST answered 200 to read `HOST/app`: it sent bytes of {lie} as {honest}"
        )
    );
    let asked = format!(
        "the registry HOST answered 200 to read `HOST/app`: it sent {lie} when asked for {honest}"
    );
    assert_eq!(message(client.manifest(&app, honest.as_str()).await.unwrap_err()), asked);
    assert_eq!(message(client.head(&app, honest.as_str()).await.unwrap_err()), asked);
    assert_eq!(message(client.blob(&app, &honest).await.unwrap_err()), asked);
    let stored = Manifest {
        media_type: "application/x".into(),
        bytes: b"honest".to_vec(),
        digest: honest.clone(),
    };
    let error = client.put_manifest(&app, &"1".parse().unwrap(), &stored).await.unwrap_err();
    assert_eq!(
        message(error),
        format!(
            "the registry HOST answered 200 to push to `HOST/app`: it stored {honest} as {lie}"
        )
    );
    let error = client.manifest(&app, "page").await.unwrap_err();
    assert_eq!(
        message(error),
        "the registry HOST answered 200 to read `HOST/app`: what it sent is not a manifest"
    );
    // Without the header, the digest is that of the bytes.
    let body = br#"{"mediaType":"application/x"}"#;
    assert_eq!(client.head(&app, "silent").await.unwrap(), Some(Digest::of(body)));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let big = "x".repeat((4 << 20) + 1);
    let server = Scripted::start(move |_, _| reply(200).body(big.clone())).await;
    let app = repository(server.host(), "app");
    let error = client(Credentials::none()).blob(&app, &Digest::of(b"")).await.unwrap_err();
    assert_eq!(
        told(&error, &[(server.host(), "HOST")]),
        "cannot reach the registry HOST: its answer is longer than 4194304 bytes"
    );
}

#[tokio::test]
async fn lists_come_in_pages_of_one_host() {
    let elsewhere = Scripted::start(|_, _| reply(200).body(r#"{"tags":["stolen"]}"#)).await;
    let other = format!("http://[::1]:{}", elsewhere.host().rsplit(':').next().unwrap());
    let link = |target: &str| format!("<{target}>; rel=\"next\"");
    let server = Scripted::start(move |_, seen| {
        let page = |tags: &str| reply(200).body(format!("{{\"name\":\"app\",\"tags\":{tags}}}"));
        match seen.path.as_str() {
            "/v2/app/tags/list?n=1000" => {
                page(r#"["a","b"]"#).header("link", link("/v2/app/tags/list?n=2&last=b"))
            }
            // A registry behind a proxy gives its inner scheme and port; only the path counts.
            "/v2/app/tags/list?n=2&last=b" => page(r#"["c","not a tag"]"#)
                .header("link", link("https://127.0.0.1:1/v2/app/tags/list?last=c")),
            "/v2/app/tags/list?last=c" => page("null"),
            "/v2/away/tags/list?n=1000" => {
                page("[]").header("link", link(&format!("{other}/v2/away/tags/list")))
            }
            "/v2/loop/tags/list?n=1000" => {
                page("[]").header("link", link("/v2/loop/tags/list?n=1000"))
            }
            _ => reply(404),
        }
    })
    .await;
    let client = client(Credentials::none());
    let tags = async |path: &str| match client.tags(&repository(server.host(), path)).await {
        Ok(tags) => tags.into_iter().map(String::from).collect::<Vec<_>>().join(" "),
        Err(error) => told(&error, &[(server.host(), "HOST")]),
    };
    assert_eq!(tags("app").await, "a b c");
    assert_eq!(
        tags("away").await,
        "the registry HOST answered 200 to list `HOST/away`: its next page is on another host, \
         `[::1]`"
    );
    assert_eq!(
        tags("loop").await,
        "the registry HOST answered 200 to list `HOST/loop`: its next page is the same page again"
    );
    assert_eq!(elsewhere.log(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_that_never_ends_has_a_deadline() {
    let server = Scripted::start(|_, _| Act::Trickle).await;
    let mut options = impatient();
    options.whole = Duration::from_millis(400);
    let client = Client::with_options(Credentials::none(), options).unwrap();
    let error = client.manifest(&repository(server.host(), "app"), "1").await.unwrap_err();
    let text = told(&error, &[(server.host(), "HOST")]);
    assert!(text.ends_with("no whole answer within 0.4 seconds"), "{text}");
    assert_eq!(server.log().len(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_list_of_tags_without_end_has_limits() {
    // Pages of one tag, and pages of very many.
    let server = Scripted::start(|n, seen| {
        let many = seen.path.starts_with("/v2/many");
        let first = if many { n * 30_000 } else { n };
        let tags: Vec<String> =
            (0..if many { 30_000 } else { 1 }).map(|tag| format!("t{}", first + tag)).collect();
        let path = seen.path.split('?').next().unwrap();
        reply(200)
            .header("link", format!("<{path}?last=t{n}>; rel=\"next\""))
            .body(serde_json::json!({ "tags": tags }).to_string())
    })
    .await;
    let client = client(Credentials::none());
    for (path, limit) in [("few", "5000 pages"), ("many", "500000 tags")] {
        let error = client.tags(&repository(server.host(), path)).await.unwrap_err();
        let text = told(&error, &[(server.host(), "HOST")]);
        assert!(text.ends_with(&format!("its list of tags goes on after {limit}")), "{text}");
    }
    let many = server.log().iter().filter(|line| line.contains("/v2/many")).count();
    assert_eq!(many, 17);
}

#[tokio::test]
async fn a_host_gets_so_many_requests_at_once_and_no_more() {
    // Two at a time must arrive for any to be answered, and a third never may.
    let barrier = Arc::new(Barrier::new(2));
    let server = Scripted::start(move |_, _| Act::Together(barrier.clone())).await;
    let mut options = impatient();
    options.parallel = 2;
    let client = Client::with_options(Credentials::none(), options).unwrap();
    let app = repository(server.host(), "app");
    let digest = Digest::of(b"{}");
    let asked = (0..8).map(|_| client.blob(&app, &digest));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap().as_deref(), Some(&b"{}"[..]));
    }
    assert_eq!((server.log().len(), server.most_at_once()), (8, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_falls_silent_in_the_middle_is_asked_again() {
    let registry = Registry::start();
    let pushed = registry.push("app", "1", "one");
    let proxy = tokio::task::block_in_place(|| Proxy::to_host(registry.host()));
    for (fault, length) in [(Fault::Silence, 0), (Fault::SilentAfter(40), 40)] {
        proxy.spoil(("GET", "/manifests/1"), 1, fault);
        let mut options = impatient();
        options.idle = Duration::from_millis(300);
        let client = Client::with_options(Credentials::none(), options).unwrap();
        let manifest = client.manifest(&repository(proxy.address(), "app"), "1").await.unwrap();
        assert_eq!(manifest.unwrap().digest, pushed.digest, "silent after {length} bytes");
        proxy.assert_all_spoilt();
    }
}
