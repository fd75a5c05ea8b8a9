//! Webhook deliveries, from the request to the runs that they started.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{Database, DatabaseError, millis, time};
use crate::{
    host::moment,
    serve::{request::WorkRequest, webhook::HookEvent},
};

/// A delivery whose signature is valid.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// What it is recognized by if it comes again.
    pub key: String,
    pub hook: String,
    pub event: HookEvent,
}

/// What storing a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    New(i64),
    /// It was stored before, under this number.
    Again(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Stored, and not yet processed.
    Received,
    /// Runs were queued for it.
    Started,
    Ignored,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    pub id: i64,
    #[serde(serialize_with = "moment::whole")]
    pub at: Timestamp,
    pub hook: String,
    pub summary: String,
    pub state: DeliveryState,
    /// What the server did with it, as a sentence.
    pub outcome: Option<String>,
    /// The numbers of its runs.
    pub runs: Vec<i64>,
}

impl Database {
    /// Stores a delivery once.
    pub async fn receive(&self, new: NewDelivery) -> Result<Receipt, DatabaseError> {
        let now = millis(Timestamp::now());
        self.call(move |connection| {
            let known: Option<i64> = connection
                .prepare_cached("SELECT id FROM deliveries WHERE key = ?")?
                .query_row([&new.key], |row| row.get(0))
                .optional()?;
            if let Some(id) = known {
                return Ok(Receipt::Again(id));
            }
            let event = serde_json::to_string(&new.event).map_err(to_sql)?;
            connection
                .prepare_cached(
                    "INSERT INTO deliveries (key, at, hook, event, summary, state) \
                     VALUES (?, ?, ?, ?, ?, 'received')",
                )?
                .execute(params![new.key, now, new.hook, event, new.event.to_string()])?;
            Ok(Receipt::New(connection.last_insert_rowid()))
        })
        .await
    }

    /// The oldest deliveries that are not processed.
    pub async fn unprocessed(&self, limit: u32) -> Result<Vec<(i64, HookEvent)>, DatabaseError> {
        self.call(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT id, event FROM deliveries WHERE state = 'received' ORDER BY id LIMIT ?",
            )?;
            let rows = query
                .query_map([limit], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
            rows.map(|row| {
                let (id, event) = row?;
                // An event of an older version that no longer means anything is ignored below.
                let event = serde_json::from_str::<HookEvent>(&event);
                Ok((id, event.unwrap_or_else(|_| HookEvent::Other { event: "unknown".to_owned() })))
            })
            .collect()
        })
        .await
    }

    /// Queues the runs of a delivery, and marks it as processed, in one transaction. Returns the numbers of the runs.
    pub async fn process(
        &self,
        delivery: i64,
        requests: Vec<(String, WorkRequest)>,
        outcome: String,
    ) -> Result<Vec<i64>, DatabaseError> {
        let now = millis(Timestamp::now());
        self.call(move |connection| {
            let state = if requests.is_empty() { "ignored" } else { "started" };
            let is_new = connection
                .prepare_cached(
                    "UPDATE deliveries SET state = ?, outcome = ? WHERE id = ? AND state = 'received'",
                )?
                .execute(params![state, outcome, delivery])?;
            if is_new == 0 {
                return Ok(Vec::new());
            }
            let mut runs = Vec::new();
            for (hierarchy, request) in requests {
                let run = super::runs::enqueue(connection, (&hierarchy, &request), now)?;
                connection
                    .prepare_cached("INSERT OR IGNORE INTO delivery_runs VALUES (?, ?)")?
                    .execute([delivery, run])?;
                runs.push(run);
            }
            Ok(runs)
        })
        .await
    }

    /// The newest deliveries, the newest first.
    pub async fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>, DatabaseError> {
        self.call(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT id, at, hook, summary, state, outcome FROM deliveries ORDER BY id DESC LIMIT ?",
            )?;
            let rows: Vec<Delivery> =
                query.query_map([limit], read)?.collect::<rusqlite::Result<_>>()?;
            rows.into_iter()
                .map(|delivery| {
                    let runs = runs_of(connection, delivery.id)?;
                    Ok(Delivery { runs, ..delivery })
                })
                .collect()
        })
        .await
    }

    /// The summaries of the deliveries that a run is for.
    pub async fn causes(&self, run: i64) -> Result<Vec<String>, DatabaseError> {
        self.call(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT summary FROM deliveries JOIN delivery_runs ON delivery = id \
                 WHERE run = ? ORDER BY id LIMIT 100",
            )?;
            query.query_map([run], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Deletes processed deliveries from before this time.
    pub async fn forget_deliveries(&self, before: Timestamp) -> Result<usize, DatabaseError> {
        self.call(move |connection| {
            connection
                .prepare_cached("DELETE FROM deliveries WHERE at < ? AND state != 'received'")?
                .execute([millis(before)])
        })
        .await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get(4)?;
    Ok(Delivery {
        id: row.get(0)?,
        at: time(row.get(1)?),
        hook: row.get(2)?,
        summary: row.get(3)?,
        state: match &*state {
            "received" => DeliveryState::Received,
            "started" => DeliveryState::Started,
            _ => DeliveryState::Ignored,
        },
        outcome: row.get(5)?,
        runs: Vec::new(),
    })
}

fn runs_of(connection: &Connection, delivery: i64) -> rusqlite::Result<Vec<i64>> {
    let mut query = connection
        .prepare_cached("SELECT run FROM delivery_runs WHERE delivery = ? ORDER BY run")?;
    query.query_map([delivery], |row| row.get(0))?.collect()
}

pub(super) fn to_sql(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}
