//! The repositories of a registry: its own list in pages, and the lists of Harbor and GitLab where it refuses that.
//!
//! Harbor and GitLab are not on this machine: scripted servers answer as their API pages say.

use rebuild::registry::{Client, RegistryError};
use serde_json::json;

use super::{
    client,
    logins::{password, with_login},
};
use crate::support::{
    registry::Registry,
    scripted::{Act, Scripted, Seen, reply},
};

/// `me:pw`, as a header has it.
const BASIC: &str = "Basic bWU6cHc=";

async fn names(
    client: &Client,
    host: &str,
    below: Option<&str>,
) -> Result<Vec<String>, RegistryError> {
    let listed = client.repositories(host, below).await?;
    Ok(listed.iter().map(|one| one.as_str().replace(host, "HOST")).collect())
}

#[tokio::test]
async fn the_registry_lists_its_repositories() {
    let registry = Registry::start();
    for name in ["team/app", "team/tool", "teams/app", "os"] {
        registry.push(name, "1", name);
    }
    let client = client(rebuild::registry::Credentials::none());
    let all = names(&client, registry.host(), None).await.unwrap();
    assert_eq!(all, ["HOST/os", "HOST/team/app", "HOST/team/tool", "HOST/teams/app"]);
    let below = names(&client, registry.host(), Some("team")).await.unwrap();
    assert_eq!(below, ["HOST/team/app", "HOST/team/tool"]);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let server = Scripted::start(|n, _| match n {
        0 => reply(200)
            .header("Link", "</v2/_catalog?last=b&n=2>; rel=\"next\"")
            .body(r#"{"repositories":["a","b"]}"#),
        1 => reply(200).body(r#"{"repositories":["c","Not A Name"]}"#),
        _ => reply(500),
    })
    .await;
    let client = client(rebuild::registry::Credentials::none());
    assert_eq!(names(&client, server.host(), None).await.unwrap(), ["HOST/a", "HOST/b", "HOST/c"]);
    assert_eq!(server.log(), ["GET /v2/_catalog?n=1000", "GET /v2/_catalog?last=b&n=2"]);

    // A page that names itself as the next one does not go on forever.
    let same = |_: usize, _: &Seen| {
        reply(200)
            .header("Link", "</v2/_catalog?n=1000>; rel=\"next\"")
            .body(r#"{"repositories":["a"]}"#)
    };
    let server = Scripted::start(same).await;
    assert!(names(&client, server.host(), None).await.is_err());
}

/// Answers of a page of Harbor's repositories.
fn harbor_page(from: usize, to: usize) -> Act {
    let entries: Vec<_> =
        (from..to).map(|n| json!({ "name": format!("team/app-{n:03}"), "id": n })).collect();
    reply(200).body(json!(entries).to_string())
}

#[tokio::test]
async fn harbor_lists_the_repositories_of_a_project() {
    let server = Scripted::start(|_, seen| match seen.path.as_str() {
        "/v2/_catalog?n=1000" => reply(403),
        "/api/v2.0/projects/team/repositories?page=1&page_size=100" => harbor_page(0, 100),
        "/api/v2.0/projects/team/repositories?page=2&page_size=100" => harbor_page(100, 103),
        _ => reply(404),
    })
    .await;
    let (client, _config) = with_login(server.host(), &password());
    let listed = names(&client, server.host(), Some("team")).await.unwrap();
    assert_eq!((listed.len(), listed[102].as_str()), (103, "HOST/team/app-102"));
    // The password goes to the API of the host that it is for.
    let api: Vec<String> = server.log().into_iter().filter(|line| line.contains("/api/")).collect();
    assert!(api.iter().all(|line| line.ends_with(BASIC)), "{api:?}");
}

#[tokio::test]
async fn gitlab_lists_the_repositories_of_a_group() {
    // The API is at the host of the token server.
    let gitlab = Scripted::start(|_, seen| match seen.path.as_str() {
        path if path.starts_with("/jwt/auth") => reply(200).body(r#"{"token":"t"}"#),
        "/api/v4/groups/group%2Fsub/registry/repositories?per_page=100&page=1" => reply(200)
            .header("X-Next-Page", "2")
            .body(r#"[{"path":"group/sub/app","location":"x"}]"#),
        "/api/v4/groups/group%2Fsub/registry/repositories?per_page=100&page=2" => {
            reply(200).header("X-Next-Page", "").body(r#"[{"path":"group/sub/tool"}]"#)
        }
        _ => reply(404),
    })
    .await;
    let realm = format!("http://{}/jwt/auth", gitlab.host());
    let registry = Scripted::start(move |_, seen| match seen.path.as_str() {
        "/v2/_catalog?n=1000" if seen.authorization.is_some() => reply(403),
        "/v2/_catalog?n=1000" => reply(401).header(
            "www-authenticate",
            format!(r#"Bearer realm="{realm}",service="container_registry""#),
        ),
        _ => reply(404),
    })
    .await;
    let (client, _config) = with_login(registry.host(), &password());
    let listed = names(&client, registry.host(), Some("group/sub")).await.unwrap();
    assert_eq!(listed, ["HOST/group/sub/app", "HOST/group/sub/tool"]);
    let api: Vec<String> = gitlab.log().into_iter().filter(|line| line.contains("/api/")).collect();
    assert!(api.iter().all(|line| line.ends_with("Bearer pw")), "{api:?}");
}

#[tokio::test]
async fn a_registry_without_any_list_says_so() {
    let server = Scripted::start(|_, _| reply(404)).await;
    let client = client(rebuild::registry::Credentials::none());
    let error = names(&client, server.host(), Some("team")).await.unwrap_err();
    assert!(error.to_string().contains("to list `_catalog`"), "{error}");
}
