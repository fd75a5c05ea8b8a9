//! Messages to the channels of `notify:` that a run could not send: a run leaves each as a file, and the server tries
//! again until it is sent, or for a day.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    Server,
    database::{MessageState, StoredMessage},
};

const SENT_AT_ONCE: usize = 16;
/// The folder is read so often.
const POLL: Duration = Duration::from_secs(5);
/// The pause before an attempt doubles from the first to the last.
const FIRST_PAUSE: i64 = 10;
const LAST_PAUSE: i64 = 3600;
/// After this time, the server gives up.
const GIVES_UP: SignedDuration = SignedDuration::from_hours(24);

/// The head of a message's file.
#[derive(Deserialize)]
struct MessageHead {
    channel: String,
    #[serde(default)]
    target: Option<String>,
    hierarchy: String,
    at: Timestamp,
    problem: String,
}

impl Server {
    /// Where runs of a hierarchy leave messages.
    pub(super) fn messages_folder(&self, hierarchy: &str) -> PathBuf {
        self.options.data.join("messages").join(hierarchy)
    }

    /// Sends what runs could not send, until the server is to end.
    pub(super) async fn send_messages(self: Arc<Self>) {
        loop {
            self.take_messages().await;
            let now = Timestamp::now();
            let waiting = self.database.messages(500).await.unwrap_or_default();
            let due = waiting
                .into_iter()
                .filter(|message| message.state == MessageState::Waiting && message.next_at <= now);
            // A channel that does not answer delays no other.
            let sent = stream::iter(due).map(async |message| self.send_message(&message).await);
            sent.buffer_unordered(SENT_AT_ONCE).collect::<()>().await;
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.resend.notified() => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Takes new files into the database.
    async fn take_messages(&self) {
        let mut paths = Vec::new();
        for entry in &self.hierarchies {
            let Ok(files) = std::fs::read_dir(self.messages_folder(&entry.name)) else { continue };
            paths.extend(files.flatten().map(|file| file.path()));
        }
        for path in paths {
            let Some(id) = path.file_stem().and_then(|id| id.to_str()).map(str::to_owned) else {
                continue;
            };
            let head = std::fs::read(&path).ok();
            let head = head.and_then(|text| serde_json::from_slice::<MessageHead>(&text).ok());
            // A file that is being written is whole the next time.
            let Some(head) = head else { continue };
            let next_at = head.at.saturating_add(SignedDuration::from_secs(FIRST_PAUSE));
            let message = StoredMessage {
                id,
                hierarchy: head.hierarchy,
                channel: match head.target {
                    Some(target) => format!("{} {target}", head.channel),
                    None => head.channel,
                },
                at: head.at,
                state: MessageState::Waiting,
                attempts: 1,
                next_at: next_at.unwrap_or(head.at),
                problem: head.problem,
            };
            if let Err(error) = self.database.add_message(message).await {
                tracing::error!(%error, "a message cannot be stored");
            }
        }
    }

    async fn send_message(&self, message: &StoredMessage) {
        let file = self.messages_folder(&message.hierarchy).join(format!("{}.json", message.id));
        let sent = if file.is_file() {
            self.query(vec!["deliver".into(), file.clone().into()]).await
        } else {
            Err("its file was deleted".to_owned())
        };
        let now = Timestamp::now();
        let is_old = message.at.duration_until(now) > GIVES_UP;
        let exponent = u32::try_from(message.attempts).unwrap_or(u32::MAX).min(12);
        let pause = (FIRST_PAUSE << exponent).min(LAST_PAUSE);
        let (state, problem) = match sent {
            Ok(_) => (MessageState::Sent, String::new()),
            Err(problem) if is_old || !file.is_file() => (MessageState::Dead, problem),
            Err(problem) => (MessageState::Waiting, problem),
        };
        tracing::info!(channel = message.channel, ?state, %problem, "tried to send a message");
        let next = now.saturating_add(SignedDuration::from_secs(pause)).unwrap_or(now);
        if let Err(error) = self.database.attempted(&message.id, (state, next, problem)).await {
            tracing::error!(%error, "an attempt cannot be stored");
        } else if state == MessageState::Sent {
            _ = std::fs::remove_file(&file);
        }
    }
}
