//! Tells repositories of applications that images they build on have moved.

use serde_json::{Value, json};

use super::{MessageChannel, OutgoingMessage};
use crate::{
    event::{Promotion, Summary},
    hierarchy::{Hierarchy, Notify},
    report::Record,
};

/// The most images that a message lists. GitHub takes 64 KiB.
const IMAGES: usize = 100;

/// The messages of a run that moved tags; none of any other run.
pub(super) fn messages(
    notify: &Notify,
    record: &Record,
    hierarchy: &Hierarchy,
) -> Vec<OutgoingMessage> {
    let Some(summary) = &record.summary else { return Vec::new() };
    if !matches!(summary.promotion, Promotion::Done { .. }) {
        return Vec::new();
    }
    let images = promoted(summary, hierarchy);
    let count = images.len();
    let payload = json!({
        "run": summary.run,
        "commit": record.commit,
        "images": images.into_iter().take(IMAGES).collect::<Vec<_>>(),
        "count": count,
    });
    let dispatches = notify.repository_dispatch.iter().map(|dispatch| OutgoingMessage {
        channel: MessageChannel::RepositoryDispatch,
        variable: dispatch.token.clone(),
        target: Some(dispatch.repository.clone()),
        id: summary.run.clone(),
        body: json!({ "event_type": dispatch.event_type, "client_payload": payload }),
    });
    let triggers = notify.gitlab_trigger.iter().map(|trigger| OutgoingMessage {
        channel: MessageChannel::GitlabTrigger,
        variable: trigger.token.clone(),
        target: Some(trigger.project.clone()),
        id: summary.run.clone(),
        body: json!({
            "ref": trigger.branch,
            "variables": {
                "REBUILD_RUN": summary.run,
                "REBUILD_PAYLOAD": payload.to_string(),
            },
        }),
    });
    dispatches.chain(triggers).collect()
}

/// The images whose tags the run moved.
fn promoted(summary: &Summary, hierarchy: &Hierarchy) -> Vec<Value> {
    let steps = summary.steps.iter().filter(|step| !step.promoted.is_empty());
    steps
        .map(|step| {
            let repository = hierarchy.get(&step.node).map(|node| node.repository.to_string());
            json!({
                "image": step.node,
                "repository": repository,
                "tags": step.promoted,
                "digest": step.outcome.digest(),
            })
        })
        .collect()
}
