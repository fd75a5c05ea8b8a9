//! The registry client against Debian's docker-registry, judged by an oracle of raw HTTP.

mod copies;
mod faults;
mod lists;
mod logins;
mod referrers;

use std::time::Duration;

use rebuild::{
    image::{Digest, Repository},
    registry::{Client, Credentials, Manifest, Options, RegistryError, Retry},
};

use crate::support::{
    certificates::Authority,
    registry::{Registry, Setup},
};

fn repository(host: &str, path: &str) -> Repository {
    format!("{host}/{path}").parse().unwrap()
}

/// No test waits for a pause: all of them are a millisecond.
fn impatient() -> Options {
    let pause = Duration::from_millis(1);
    let retry = Retry { first: pause, longest: pause, ..Retry::default() };
    Options { retry, certs: "/nonexistent".into(), ..Options::default() }
}

fn client(credentials: Credentials) -> Client {
    Client::with_options(credentials, impatient()).unwrap()
}

/// An error as people see it, with the ports of this run taken out.
fn told(error: &RegistryError, hosts: &[(&str, &str)]) -> String {
    let hint = error.hint().map_or(String::new(), |hint| format!("\nhint: {hint}"));
    let text = format!("{error}{hint}");
    hosts.iter().fold(text, |text, (host, name)| text.replace(host, name))
}

#[tokio::test]
async fn reads_what_is_there() {
    let registry = Registry::start();
    let pushed = registry.push("base/os", "12", "one");
    let os = repository(registry.host(), "base/os");
    let nobody = repository(registry.host(), "base/nobody");
    let missing = Digest::of(b"missing");
    let client = client(Credentials::none());

    client.ping(registry.host()).await.unwrap();
    let expected = Manifest {
        media_type: pushed.media_type.clone(),
        bytes: pushed.manifest.clone(),
        digest: pushed.digest.clone(),
    };
    for reference in ["12", pushed.digest.as_str()] {
        let head = client.head(&os, reference).await.unwrap();
        assert_eq!(head.map(String::from), registry.head("base/os", reference), "{reference}");
        let manifest = client.manifest(&os, reference).await.unwrap();
        assert_eq!(manifest.as_ref(), Some(&expected), "{reference}");
    }
    for (repository, reference) in [(&os, "13"), (&os, missing.as_str()), (&nobody, "12")] {
        assert_eq!(client.head(repository, reference).await.unwrap(), None, "{reference}");
        assert_eq!(client.manifest(repository, reference).await.unwrap(), None, "{reference}");
    }
    let config = Digest::of(&pushed.config);
    assert_eq!(client.blob(&os, &config).await.unwrap(), Some(pushed.config));
    assert_eq!(client.blob(&os, &missing).await.unwrap(), None);
    assert_eq!(client.tags(&nobody).await.unwrap(), []);
}

#[tokio::test]
async fn moves_tags_and_deletes() {
    let registry = Registry::with(&Setup { delete: true, ..Setup::default() });
    let one = registry.push("base/os", "1", "one");
    let two = registry.push("base/os", "2", "two");
    let os = repository(registry.host(), "base/os");
    let client = client(Credentials::none());

    for (from, expected) in [("1", &one.digest), ("2", &two.digest)] {
        let manifest = client.manifest(&os, from).await.unwrap().unwrap();
        client.put_manifest(&os, &"latest".parse().unwrap(), &manifest).await.unwrap();
        assert_eq!(registry.head("base/os", "latest").as_deref(), Some(expected.as_str()));
    }
    let mut tags: Vec<String> =
        client.tags(&os).await.unwrap().into_iter().map(String::from).collect();
    tags.sort();
    assert_eq!(tags, registry.tags("base/os"));
    assert_eq!(tags, ["1", "2", "latest"]);

    assert!(client.delete(&os, two.digest.as_str()).await.unwrap());
    assert!(!client.delete(&os, two.digest.as_str()).await.unwrap());
    assert_eq!(registry.tags("base/os"), ["1"]);
    assert_eq!(registry.head("base/os", "1").as_deref(), Some(one.digest.as_str()));

    // The manifest's blobs are not in this repository.
    let other = repository(registry.host(), "base/other");
    let manifest = client.manifest(&os, "1").await.unwrap().unwrap();
    let error = client.put_manifest(&other, &"1".parse().unwrap(), &manifest).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Answer { status: 400, reason, .. }
        if reason.contains("MANIFEST_BLOB_UNKNOWN")),
        "{error}"
    );
    assert_eq!(registry.tags("base/other"), Vec::<String>::new());
}

#[tokio::test]
async fn says_what_a_registry_does_not_allow() {
    let read_only = Registry::with(&Setup { read_only: true, ..Setup::default() });
    let keeping = Registry::start();
    keeping.push("os", "1", "one");
    let client = client(Credentials::none());
    let names = [(read_only.host(), "HOST"), (keeping.host(), "HOST")];
    let missing = Digest::of(b"");
    for (error, sentence) in [
        (
            client.may_push(&repository(read_only.host(), "os")).await.unwrap_err(),
            "push to `HOST/os`: method not allowed",
        ),
        (
            client.delete(&repository(keeping.host(), "os"), missing.as_str()).await.unwrap_err(),
            "delete from `HOST/os`: The operation is unsupported. (UNSUPPORTED)",
        ),
    ] {
        let expected = format!(
            "the registry HOST answered 405 to {sentence}\nhint: HOST is read-only, or this is \
             switched off there (docker-registry: `storage.maintenance.readonly`, \
             `proxy`; for deletions `storage.delete.enabled`)"
        );
        assert_eq!(told(&error, &names), expected);
    }
}

#[tokio::test]
async fn wants_the_right_password() {
    let login = Some(("ann", "a:b>c"));
    let registry = Registry::with(&Setup { login, ..Setup::default() });
    let pushed = registry.push("app", "1", "one");
    let app = repository(registry.host(), "app");

    let good = client(Credentials::from_file(registry.docker_config("ann", "a:b>c")));
    good.ping(registry.host()).await.unwrap();
    assert_eq!(good.head(&app, "1").await.unwrap(), Some(pushed.digest));
    good.may_push(&app).await.unwrap();
    assert_eq!(registry.open_uploads("app"), 0, "the trial is cancelled");
    assert_eq!(good.login(registry.host()).await.unwrap().unwrap().host, registry.host());

    let nobody = client(Credentials::none());
    let wrong = client(Credentials::from_file(registry.docker_config("ann", "guess")));
    for (client, sentence) in [
        (nobody, "it requires a login, and none is configured"),
        (wrong, "it does not accept the login"),
    ] {
        // Twice: the second time, what the host wants is known beforehand.
        for _ in 0..2 {
            for (error, action) in [
                (client.ping(registry.host()).await.unwrap_err(), "serve `/v2/`"),
                (client.head(&app, "1").await.unwrap_err(), "read `HOST/app`"),
                (client.may_push(&app).await.unwrap_err(), "push to `HOST/app`"),
            ] {
                // Every account may ask for `/v2/`.
                let account = match action {
                    "serve `/v2/`" => String::new(),
                    _ => format!(", as an account that may {action}"),
                };
                let expected = format!(
                    "the registry HOST refuses to {action}: {sentence}\nhint: log in with \
                     `docker login HOST`{account}"
                );
                assert_eq!(told(&error, &[(registry.host(), "HOST")]), expected);
            }
        }
    }
    assert_eq!(registry.open_uploads("app"), 0);
}

#[tokio::test]
async fn each_bad_certificate_has_its_own_sentence() {
    let authority = Authority::new();
    let good = authority.issue("IP:127.0.0.1", "20200101", "20490101");
    let expired = authority.issue("IP:127.0.0.1", "20200101", "20200201");
    let future = authority.issue("IP:127.0.0.1", "20480101", "20490201");
    let other = authority.issue("DNS:registry.example.com", "20200101", "20490301");
    let trusted = Some(&authority);
    for (certificate, trust, expected) in [
        (&good, trusted, ""),
        (
            &good,
            None,
            "its certificate is from an authority that this machine does not know\nhint: put the \
             authority's certificate into `/etc/docker/certs.d/HOST/ca.crt`, or among the system's",
        ),
        (
            &expired,
            trusted,
            "its certificate has expired\nhint: renew the certificate of HOST; or is this \
             machine's clock wrong?",
        ),
        (
            &future,
            trusted,
            "its certificate is not valid yet\nhint: is this machine's clock wrong?",
        ),
        (
            &other,
            trusted,
            "its certificate is for `registry.example.com`, not for `127.0.0.1`\nhint: use the \
             name in the certificate, or have one issued for HOST",
        ),
    ] {
        let setup = Setup { tls: Some(certificate), ..Setup::default() };
        let registry = Registry::with(&setup);
        let mut options = impatient();
        if let Some(authority) = trust {
            options.certs = authority.certs_for(registry.host());
        }
        let client = Client::with_options(Credentials::none(), options).unwrap();
        let answer = client.head(&repository(registry.host(), "app"), "1").await;
        let told = match answer {
            Ok(None) => String::new(),
            Ok(Some(digest)) => panic!("{digest}"),
            Err(error) => told(&error, &[(registry.host(), "HOST")]),
        };
        let prefix = if expected.is_empty() { "" } else { "cannot reach the registry HOST: " };
        assert_eq!(told, format!("{prefix}{expected}"));
    }
}

#[tokio::test]
async fn blobs_are_stored_once() {
    let setup = Setup { login: Some(("me", "pw")), ..Setup::default() };
    let registry = Registry::with(&setup);
    let client = client(Credentials::from_file(registry.docker_config("me", "pw")));
    let runs = repository(registry.host(), "base/runs");
    for bytes in [&b"{}"[..], b"{}", b""] {
        let digest = client.put_blob(&runs, bytes).await.unwrap();
        assert_eq!(digest, Digest::of(bytes));
        assert_eq!(client.blob(&runs, &digest).await.unwrap().as_deref(), Some(bytes));
    }
    assert_eq!(registry.open_uploads("base/runs"), 0);
}
