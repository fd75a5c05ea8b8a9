//! Events of registries: an image was pushed.

use serde_json::Value;

use super::{HookEvent, IMAGES, text};

/// <https://distribution.github.io/distribution/about/notifications/>
pub(super) fn distribution(body: &Value) -> Result<HookEvent, String> {
    let events = body.get("events").and_then(Value::as_array).ok_or("the body has no `events`")?;
    let image = |event: &Value| {
        if text(event, "/action")? != "push" {
            return None;
        }
        let repository = text(event, "/target/repository")?;
        let tag = text(event, "/target/tag")?;
        // Our own build tags and records.
        if tag.starts_with("rb-") || repository.ends_with("rebuild-runs") {
            return None;
        }
        // The host as the client of the push named it.
        let host = text(event, "/request/host").map(|host| format!("{host}/")).unwrap_or_default();
        Some(format!("{host}{repository}:{tag}"))
    };
    Ok(images(
        events.iter().filter_map(image),
        "a pull, or a push without a tag that can be a base",
    ))
}

/// <https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/>
pub(super) fn harbor(body: &Value) -> Result<HookEvent, String> {
    let event = text(body, "/type").ok_or("the body has no `type`")?;
    if event != "PUSH_ARTIFACT" {
        return Ok(HookEvent::Other { event: event.to_owned() });
    }
    let resources = body.pointer("/event_data/resources").and_then(Value::as_array);
    let resources = resources.ok_or("the body has no `event_data.resources`")?;
    let image = |resource: &Value| text(resource, "/resource_url").map(str::to_owned);
    Ok(images(resources.iter().filter_map(image), event))
}

/// <https://docs.docker.com/docker-hub/repos/manage/webhooks/>
pub(super) fn docker_hub(body: &Value) -> Result<HookEvent, String> {
    let name =
        text(body, "/repository/repo_name").ok_or("the body has no `repository.repo_name`")?;
    let tag = text(body, "/push_data/tag").ok_or("the body has no `push_data.tag`")?;
    let library = if name.contains('/') { "" } else { "library/" };
    Ok(images([format!("docker.io/{library}{name}:{tag}")], "push"))
}

fn images(images: impl IntoIterator<Item = String>, otherwise: &str) -> HookEvent {
    let mut images: Vec<String> = images.into_iter().take(IMAGES).collect();
    images.sort();
    images.dedup();
    if images.is_empty() {
        return HookEvent::Other { event: otherwise.to_owned() };
    }
    HookEvent::Images { images }
}
