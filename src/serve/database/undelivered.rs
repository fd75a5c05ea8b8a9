//! Messages to `notify:` channels that a run could not send.

use jiff::Timestamp;
use rusqlite::{Row, params};
use serde::Serialize;

use super::{Database, DatabaseError, millis, time};
use crate::host::moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    Waiting,
    Sent,
    /// The server no longer tries to send it.
    Dead,
}

#[derive(Clone, Debug, Serialize)]
pub struct StoredMessage {
    pub id: String,
    pub hierarchy: String,
    pub channel: String,
    #[serde(serialize_with = "moment::whole")]
    pub at: Timestamp,
    pub state: MessageState,
    pub attempts: i64,
    #[serde(serialize_with = "moment::whole")]
    pub next_at: Timestamp,
    /// Why the last attempt failed.
    pub problem: String,
}

impl Database {
    /// Adds a message, unless it is known.
    pub async fn add_message(&self, message: StoredMessage) -> Result<(), DatabaseError> {
        self.call(move |connection| {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?, 'waiting', ?, ?, ?)",
                )?
                .execute(params![
                    message.id,
                    message.hierarchy,
                    message.channel,
                    millis(message.at),
                    message.attempts,
                    millis(message.next_at),
                    message.problem
                ])
                .map(drop)
        })
        .await
    }

    /// Records an attempt, and what follows from it.
    pub async fn attempted(
        &self,
        id: &str,
        (state, next_at, problem): (MessageState, Timestamp, String),
    ) -> Result<(), DatabaseError> {
        let id = id.to_owned();
        let state = match state {
            MessageState::Waiting => "waiting",
            MessageState::Sent => "sent",
            MessageState::Dead => "dead",
        };
        self.call(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE messages SET state = ?, attempts = attempts + 1, next_at = ?, problem = ? \
                     WHERE id = ?",
                )?
                .execute(params![state, millis(next_at), problem, id])
                .map(drop)
        })
        .await
    }

    /// Makes a message due now. Returns whether there is one that is not sent.
    pub async fn resend(&self, id: &str) -> Result<bool, DatabaseError> {
        let (id, now) = (id.to_owned(), millis(Timestamp::now()));
        self.call(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE messages SET state = 'waiting', next_at = ? WHERE id = ? AND state <> 'sent'",
                )?
                .execute(params![now, id])?;
            Ok(changed > 0)
        })
        .await
    }

    /// The newest messages, the newest first.
    pub async fn messages(&self, limit: u32) -> Result<Vec<StoredMessage>, DatabaseError> {
        self.call(move |connection| {
            let mut query =
                connection.prepare_cached("SELECT * FROM messages ORDER BY at DESC LIMIT ?")?;
            query.query_map([limit], read)?.collect()
        })
        .await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let state: String = row.get(4)?;
    Ok(StoredMessage {
        id: row.get(0)?,
        hierarchy: row.get(1)?,
        channel: row.get(2)?,
        at: time(row.get(3)?),
        state: match &*state {
            "waiting" => MessageState::Waiting,
            "sent" => MessageState::Sent,
            _ => MessageState::Dead,
        },
        attempts: row.get(5)?,
        next_at: time(row.get(6)?),
        problem: row.get(7)?,
    })
}
