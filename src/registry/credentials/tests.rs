use std::os::unix::fs::PermissionsExt as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::registry::LoginSecret;

/// A login as a line: `user / password` or `token …`, `none`, or the error's text.
async fn line(credentials: &Credentials, host: &str) -> String {
    match credentials.get(host).await {
        Ok(None) => "none".to_owned(),
        Ok(Some(login)) => match login.secret {
            LoginSecret::Password { user, password } => format!("{user} / {password}"),
            LoginSecret::IdentityToken(token) => format!("token {token}"),
        },
        Err(error) => error.to_string(),
    }
}

fn inline(text: &str) -> Credentials {
    Credentials::of(LoginSources { inline: Some(text.to_owned()), ..LoginSources::default() })
}

#[tokio::test]
async fn reads_what_docker_writes() {
    let auth = |text: &str| BASE64_STANDARD.encode(text);
    let config = serde_json::json!({
        "HttpHeaders": {"User-Agent": "Docker-Client"},
        "auths": {
            "https://index.docker.io/v1/": {"auth": auth("hub:p")},
            "ghcr.io": {"auth": auth("me:a:b:c")},
            "https://quay.io/v2/": {"auth": auth("robot:q")},
            "http://lab:5000": {"username": "u", "password": "p"},
            "token.example.com": {"auth": auth("00000000-0000:"), "identitytoken": "t0"},
            "empty.example.com": {},
            "padless.example.com": {"auth": auth("a:b").trim_end_matches('=')},
            "zero.example.com": {"auth": auth("a:b\0\0")},
            "broken.example.com": {"auth": "%%%"},
            "colonless.example.com": {"auth": auth("secretword")},
        },
    });
    let credentials = inline(&config.to_string());
    for (host, expected) in [
        ("docker.io", "hub / p"),
        ("registry-1.docker.io", "hub / p"),
        ("ghcr.io", "me / a:b:c"),
        ("quay.io", "robot / q"),
        ("lab:5000", "u / p"),
        ("lab", "none"),
        ("token.example.com", "token t0"),
        ("empty.example.com", "none"),
        ("padless.example.com", "a / b"),
        ("zero.example.com", "a / b"),
        ("unknown.example.com", "none"),
        (
            "broken.example.com",
            "no credentials for broken.example.com: in `DOCKER_AUTH_CONFIG`: \
             `broken.example.com`: its `auth` is not base64 of a text",
        ),
        (
            "colonless.example.com",
            "no credentials for colonless.example.com: in `DOCKER_AUTH_CONFIG`: \
             `colonless.example.com`: its `auth` is not base64 of `user:password`",
        ),
    ] {
        assert_eq!(line(&credentials, host).await, expected, "{host}");
    }
}

#[tokio::test]
async fn the_environment_beats_the_file_and_a_broken_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let good = file(
        "config.json",
        r#"{"auths":{"a.io":{"username":"file","password":"f"},"b.io":{"username":"b","password":"b"}}}"#,
    );
    let podman = file("auth.json", r#"{"auths":{"c.io":{"username":"podman","password":"c"}}}"#);
    let cut = file("cut.json", "{\"auths\": {\"a.io\": {\"auth\": \"c2VjcmV0");
    let wrong = file("wrong.json", "{\n  \"auths\": 7\n}");
    let empty = file("empty.json", "");
    let missing = directory.path().join("missing.json");
    let credentials = Credentials::of(LoginSources {
        inline: Some(r#"{"auths":{"a.io":{"username":"env","password":"e"}}}"#.to_owned()),
        files: vec![missing.clone(), good, podman],
        path: None,
    });
    for (host, expected) in
        [("a.io", "env / e"), ("b.io", "b / b"), ("c.io", "podman / c"), ("d.io", "none")]
    {
        assert_eq!(line(&credentials, host).await, expected, "{host}");
    }
    for (path, expected) in [
        (&missing, "none".to_owned()),
        (&empty, "none".to_owned()),
        (
            &cut,
            format!(
                "no credentials for a.io: `{}` is not valid: not JSON at line 1 column 37",
                cut.display()
            ),
        ),
        (
            &wrong,
            format!(
                "no credentials for a.io: `{}` is not valid: an unexpected value at line 2 column 12",
                wrong.display()
            ),
        ),
    ] {
        assert_eq!(line(&Credentials::from_file(path), "a.io").await, expected);
    }
    assert_eq!(line(&Credentials::none(), "a.io").await, "none");
}

/// A directory of helpers, each a shell script.
fn helpers(scripts: &[(&str, &str)]) -> (tempfile::TempDir, OsString) {
    let directory = tempfile::tempdir().unwrap();
    for (suffix, script) in scripts {
        let path = directory.path().join(format!("docker-credential-{suffix}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut path = directory.path().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    (directory, path)
}

const ECHO: &str = r#"read -r host; echo "$1 $host" >>"$0.log"
echo "{\"ServerURL\":\"$host\",\"Username\":\"me\",\"Secret\":\"of $host\"}""#;

#[tokio::test]
async fn asks_helpers_as_docker_does() {
    let (directory, path) = helpers(&[
        ("echo", ECHO),
        ("token", r#"echo '{"Username":"<token>","Secret":"t1"}'"#),
        ("none", "echo 'credentials not found in native keychain'; exit 1"),
        ("fails", "echo 'the vault is \x1b[31mlocked' >&2; exit 3"),
        ("nonsense", "echo 'secret, but not JSON'"),
        ("empty", r#"echo '{"Username":"","Secret":""}'"#),
    ]);
    let config = r#"{
        "credsStore": "none",
        "auths": {"file.io": {"username": "f", "password": "f"}, "echo.io": {"auth": "eDp4"}},
        "credHelpers": {"echo.io": "echo", "https://index.docker.io/v1/": "echo",
            "token.io": "token", "fails.io": "fails", "nonsense.io": "nonsense",
            "missing.io": "missing", "evil.io": "../evil", "empty.io": "empty"}
    }"#;
    let credentials = Credentials::of(LoginSources {
        inline: Some(config.to_owned()),
        files: Vec::new(),
        path: Some(path),
    });
    for (host, expected) in [
        ("echo.io", "me / of echo.io"),
        ("echo.io", "me / of echo.io"),
        ("docker.io", "me / of https://index.docker.io/v1/"),
        ("token.io", "token t1"),
        ("file.io", "f / f"),
        ("other.io", "none"),
        ("empty.io", "none"),
        (
            "fails.io",
            "no credentials for fails.io: the helper `docker-credential-fails` failed \
             (exit status: 3): the vault is [31mlocked",
        ),
        (
            "nonsense.io",
            "no credentials for nonsense.io: what the helper `docker-credential-nonsense` \
             answered is not a login",
        ),
        (
            "missing.io",
            "no credentials for missing.io: docker's configuration names the helper \
             `docker-credential-missing`, which is not in `PATH`",
        ),
        ("evil.io", "no credentials for evil.io: `../evil` is not the name of a helper"),
    ] {
        assert_eq!(line(&credentials, host).await, expected, "{host}");
    }
    let log = fs::read_to_string(directory.path().join("docker-credential-echo.log")).unwrap();
    assert_eq!(log, "get echo.io\nget https://index.docker.io/v1/\n", "asked once a host");
}

#[tokio::test]
async fn a_helper_is_asked_again_for_a_login_that_was_rejected() {
    let counting = r#"echo x >>"$0.log"
echo "{\"Username\":\"me\",\"Secret\":\"$(wc -l <"$0.log")\"}""#;
    let (_directory, path) = helpers(&[("counting", counting)]);
    let config =
        r#"{"credHelpers": {"counts.io": "counting"}, "auths": {"file.io": {"auth": "eDp4"}}}"#;
    let credentials = Credentials::of(LoginSources {
        inline: Some(config.to_owned()),
        files: Vec::new(),
        path: Some(path),
    });
    let first = credentials.get("counts.io").await.unwrap();
    let second = credentials.renew("counts.io", first.as_ref()).await.unwrap();
    assert!(second.is_some() && second != first);
    // Another caller that still has the first login gets the second one, not a third.
    assert!(credentials.renew("counts.io", first.as_ref()).await.unwrap() == second);
    assert!(credentials.get("counts.io").await.unwrap() == second);

    let login = credentials.get("file.io").await.unwrap();
    assert!(login.is_some());
    assert!(credentials.renew("file.io", login.as_ref()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_login_is_read_again_after_some_minutes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let write = |password: &str| {
        let auths = format!(r#"{{"auths":{{"a.io":{{"username":"u","password":"{password}"}}}}}}"#);
        fs::write(&path, auths).unwrap();
    };
    write("old");
    let credentials = Credentials::from_file(&path);
    assert_eq!(line(&credentials, "a.io").await, "u / old");
    write("new");
    assert_eq!(line(&credentials, "a.io").await, "u / old");
    tokio::time::advance(KEPT + Duration::from_secs(1)).await;
    assert_eq!(line(&credentials, "a.io").await, "u / new");
}

/// Whether a process has ended, possibly as a zombie.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Err(_) => true,
        Ok(stat) => stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'),
    }
}

#[tokio::test]
async fn kills_what_hangs_with_all_that_it_started() {
    let hang = r#"trap '' TERM; sleep 600 & echo $! >"$0.pid"; wait"#;
    let holder = r#"sleep 600 & echo $! >"$0.pid"; echo '{"Username":"me","Secret":"s"}'"#;
    let (directory, path) = helpers(&[("hang", hang), ("holder", holder)]);
    let limit = Duration::from_millis(700);
    let late = helper::get("hang", "a.io", Some(&path), limit).await;
    assert_eq!(
        late.err().unwrap(),
        "the helper `docker-credential-hang` did not answer within 700ms"
    );
    let held = helper::get("holder", "a.io", Some(&path), Duration::from_secs(30)).await;
    let expected = LoginSecret::Password { user: "me".into(), password: "s".into() };
    assert!(held.unwrap() == Some(expected));
    for helper in ["hang", "holder"] {
        let file = directory.path().join(format!("docker-credential-{helper}.pid"));
        let pid = fs::read_to_string(file).unwrap();
        let mut polls = 0;
        while !is_gone(&pid) {
            polls += 1;
            assert!(polls < 1_000_000, "{helper} left {pid} behind");
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn debug_shows_no_secret() {
    let credentials = inline(r#"{"auths":{"a.io":{"username":"u","password":"hunter2"}}}"#);
    assert_eq!(format!("{credentials:?}"), "Credentials { files: [], .. }");
}
