//! Push events of GitHub, Gitea, Forgejo and GitLab, and of images at ghcr.io.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{FILES, HookEvent, PushEvent, address, text};

/// GitHub, and Gitea and Forgejo, which send the same:
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>.
pub(super) fn github(event: &str, body: &Value) -> Result<HookEvent, String> {
    match event {
        "push" => {
            let urls = ["clone_url", "ssh_url", "html_url"];
            let pusher = ["/pusher/name", "/pusher/login"];
            push(body, ("/repository/full_name", "/repository"), &urls, pusher)
        }
        // <https://docs.github.com/en/webhooks/webhook-events-and-payloads#registry_package>
        "registry_package" | "package" => {
            let package = body.get(event).ok_or_else(|| format!("the body has no `{event}`"))?;
            let is_container = text(package, "/package_type")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("container"));
            let name = text(package, "/name");
            let owner = text(package, "/namespace").or_else(|| text(package, "/owner/login"));
            let tag = text(package, "/package_version/container_metadata/tag/name");
            match (is_container, owner, name, tag) {
                (true, Some(owner), Some(name), Some(tag)) => Ok(HookEvent::Images {
                    images: vec![format!("ghcr.io/{owner}/{name}:{tag}").to_lowercase()],
                }),
                _ => Ok(HookEvent::Other { event: event.to_owned() }),
            }
        }
        other => Ok(HookEvent::Other { event: other.chars().take(100).collect() }),
    }
}

/// <https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events>
pub(super) fn gitlab(event: &str, body: &Value) -> Result<HookEvent, String> {
    if event != "Push Hook" {
        return Ok(HookEvent::Other { event: event.chars().take(100).collect() });
    }
    let urls = ["git_http_url", "git_ssh_url", "web_url"];
    let pusher = ["/user_username", "/user_name"];
    push(body, ("/project/path_with_namespace", "/project"), &urls, pusher)
}

fn push(
    body: &Value,
    (name, repository): (&str, &str),
    urls: &[&str],
    pusher: [&str; 2],
) -> Result<HookEvent, String> {
    let need = |pointer: &str| {
        let missing = || format!("the body has no `{}`", pointer[1..].replace('/', "."));
        text(body, pointer).map(str::to_owned).ok_or_else(missing)
    };
    let commits = body.get("commits").and_then(Value::as_array);
    let files: BTreeSet<&str> = commits
        .into_iter()
        .flatten()
        .flat_map(|commit| ["added", "modified", "removed"].map(|key| commit.get(key)))
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .take(FILES)
        .collect();
    let url = |key: &&str| text(body, &format!("{repository}/{key}")).map(address);
    Ok(HookEvent::Push(PushEvent {
        repository: need(name)?,
        urls: urls.iter().filter_map(url).collect(),
        reference: need("/ref")?,
        before: commit(need("/before")?)?,
        after: commit(need("/after")?)?,
        pusher: pusher.into_iter().find_map(|key| text(body, key)).map(str::to_owned),
        files: files.into_iter().map(str::to_owned).collect(),
    }))
}

/// It becomes an argument of git.
fn commit(text: String) -> Result<String, String> {
    let is_commit = (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { Ok(text) } else { Err(format!("`{text}` is not a commit")) }
}
