//! Runs: queued, running and ended.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{Database, DatabaseError, deliveries::to_sql, millis, time};
use crate::{
    host::moment,
    serve::{live_run::EndedRun, request::WorkRequest},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Cancelled because a newer run does the same and more.
    Superseded,
}

impl RunState {
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Superseded,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more happens to it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A run as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct StoredRun {
    pub id: i64,
    pub hierarchy: String,
    pub request: WorkRequest,
    pub state: RunState,
    #[serde(serialize_with = "moment::whole")]
    pub queued_at: Timestamp,
    #[serde(serialize_with = "moment::whole")]
    pub began_at: Option<Timestamp>,
    #[serde(serialize_with = "moment::whole")]
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<i64>,
    /// The ID that `rebuild` gave it.
    pub run: Option<String>,
    /// The result as a sentence.
    pub result: Option<String>,
    /// The run for which its request was queued again.
    pub followed_by: Option<i64>,
}

const COLUMNS: &str = "id, hierarchy, request, state, queued_at, began_at, ended_at, exit_code, run, result, \
    followed_by";

impl Database {
    /// Queues a run, or adds its request to the queued run of its lane. Returns its number.
    pub async fn enqueue(
        &self,
        hierarchy: &str,
        request: WorkRequest,
    ) -> Result<i64, DatabaseError> {
        let (hierarchy, now) = (hierarchy.to_owned(), millis(Timestamp::now()));
        self.call(move |connection| enqueue(connection, (&hierarchy, &request), now)).await
    }

    /// Takes the oldest queued run of a hierarchy, and marks it as running.
    pub async fn begin_next(&self, hierarchy: &str) -> Result<Option<StoredRun>, DatabaseError> {
        let (hierarchy, now) = (hierarchy.to_owned(), millis(Timestamp::now()));
        self.call(move |connection| {
            let id: Option<i64> = connection
                .prepare_cached(
                    "SELECT id FROM runs WHERE hierarchy = ? AND state = 'queued' ORDER BY id LIMIT 1",
                )?
                .query_row([&hierarchy], |row| row.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            connection
                .prepare_cached("UPDATE runs SET state = 'running', began_at = ? WHERE id = ?")?
                .execute([now, id])?;
            by_id(connection, id)
        })
        .await
    }

    /// Marks a run as ended. With `again`, its request is queued again, for the same deliveries.
    pub async fn end_run(
        &self,
        id: i64,
        ended: EndedRun,
        again: bool,
    ) -> Result<(), DatabaseError> {
        let now = millis(Timestamp::now());
        self.call(move |connection| {
            let Some(run) = by_id(connection, id)?.filter(|run| !run.state.is_over()) else {
                return Ok(());
            };
            let EndedRun { state, exit_code, run: name, result, steps: _ } = ended;
            connection
                .prepare_cached(
                    "UPDATE runs SET state = ?, ended_at = ?, exit_code = ?, run = ?, result = ? \
                     WHERE id = ?",
                )?
                .execute(params![state.name(), now, exit_code, name, result, id])?;
            if again {
                let again = enqueue(connection, (&run.hierarchy, &run.request), now)?;
                connection
                    .prepare_cached("UPDATE runs SET followed_by = ? WHERE id = ?")?
                    .execute([again, id])?;
                connection
                    .prepare_cached(
                        "INSERT OR IGNORE INTO delivery_runs \
                         SELECT delivery, ? FROM delivery_runs WHERE run = ?",
                    )?
                    .execute([again, id])?;
            }
            Ok(())
        })
        .await
    }

    /// Cancels a run that waits. Returns whether it did.
    pub async fn cancel_queued(&self, id: i64) -> Result<bool, DatabaseError> {
        let now = millis(Timestamp::now());
        self.call(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE runs SET state = 'cancelled', ended_at = ?, result = 'cancelled before it began' \
                     WHERE id = ? AND state = 'queued'",
                )?
                .execute([now, id])?;
            Ok(changed > 0)
        })
        .await
    }

    /// The runs that were running when the server ended.
    pub async fn running(&self) -> Result<Vec<StoredRun>, DatabaseError> {
        self.call(|connection| select(connection, "WHERE state = 'running' ORDER BY id", ())).await
    }

    /// A run.
    pub async fn run(&self, id: i64) -> Result<Option<StoredRun>, DatabaseError> {
        self.call(move |connection| by_id(connection, id)).await
    }

    /// The newest runs of a hierarchy, the newest first.
    pub async fn runs(&self, hierarchy: &str, limit: u32) -> Result<Vec<StoredRun>, DatabaseError> {
        let hierarchy = hierarchy.to_owned();
        self.call(move |connection| {
            select(
                connection,
                "WHERE hierarchy = ? ORDER BY id DESC LIMIT ?",
                params![hierarchy, limit],
            )
        })
        .await
    }

    /// The number of queued runs.
    pub async fn queue_length(&self) -> Result<i64, DatabaseError> {
        self.call(|connection| {
            connection
                .prepare_cached("SELECT count(*) FROM runs WHERE state = 'queued'")?
                .query_row((), |row| row.get(0))
        })
        .await
    }

    /// Adds an ended run of the records in the registry, unless it is known.
    pub async fn restore_run(&self, restored: StoredRun) -> Result<(), DatabaseError> {
        self.call(move |connection| {
            let known: i64 = connection
                .prepare_cached("SELECT count(*) FROM runs WHERE hierarchy = ? AND run = ?")?
                .query_row(params![restored.hierarchy, restored.run], |row| row.get(0))?;
            if known > 0 {
                return Ok(());
            }
            let request = serde_json::to_string(&restored.request).map_err(to_sql)?;
            connection
                .prepare_cached(
                    "INSERT INTO runs (hierarchy, lane, request, state, queued_at, began_at, ended_at, \
                     exit_code, run, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    restored.hierarchy,
                    restored.request.lane().name(),
                    request,
                    restored.state.name(),
                    millis(restored.queued_at),
                    restored.began_at.map(millis),
                    restored.ended_at.map(millis),
                    restored.exit_code,
                    restored.run,
                    restored.result
                ])
                .map(drop)
        })
        .await
    }

    /// Deletes all but the newest runs of a hierarchy. Returns the numbers of those deleted.
    pub async fn forget_runs(&self, hierarchy: &str, keep: u32) -> Result<Vec<i64>, DatabaseError> {
        let hierarchy = hierarchy.to_owned();
        self.call(move |connection| {
            let mut delete = connection.prepare_cached(
                "DELETE FROM runs WHERE hierarchy = ?1 AND state NOT IN ('queued', 'running') \
                 AND id NOT IN (SELECT id FROM runs WHERE hierarchy = ?1 ORDER BY id DESC LIMIT ?2) \
                 RETURNING id",
            )?;
            delete.query_map(params![hierarchy, keep], |row| row.get(0))?.collect()
        })
        .await
    }
}

/// One run waits in each lane of a hierarchy: a new request is added to it.
pub(super) fn enqueue(
    connection: &Connection,
    (hierarchy, request): (&str, &WorkRequest),
    now: i64,
) -> rusqlite::Result<i64> {
    let lane = request.lane().name();
    let queued: Option<(i64, String)> = connection
        .prepare_cached(
            "SELECT id, request FROM runs WHERE hierarchy = ? AND lane = ? AND state = 'queued'",
        )?
        .query_row([hierarchy, lane], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, text)) = queued {
        let older: WorkRequest = serde_json::from_str(&text).unwrap_or_default();
        let merged = serde_json::to_string(&older.merge(request.clone())).map_err(to_sql)?;
        connection
            .prepare_cached("UPDATE runs SET request = ? WHERE id = ?")?
            .execute(params![merged, id])?;
        return Ok(id);
    }
    let text = serde_json::to_string(request).map_err(to_sql)?;
    connection
        .prepare_cached(
            "INSERT INTO runs (hierarchy, lane, request, state, queued_at) \
             VALUES (?, ?, ?, 'queued', ?)",
        )?
        .execute(params![hierarchy, lane, text, now])?;
    Ok(connection.last_insert_rowid())
}

fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Option<StoredRun>> {
    Ok(select(connection, "WHERE id = ?", [id])?.pop())
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<StoredRun>> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM runs {condition}"))?;
    query.query_map(values, read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredRun> {
    let (request, state): (String, String) = (row.get(2)?, row.get(3)?);
    let state = RunState::ALL.into_iter().find(|known| known.name() == state);
    let optional = |column| row.get::<_, Option<i64>>(column).map(|it| it.map(time));
    Ok(StoredRun {
        id: row.get(0)?,
        hierarchy: row.get(1)?,
        request: serde_json::from_str(&request).unwrap_or_default(),
        state: state.unwrap_or(RunState::Failed),
        queued_at: time(row.get(4)?),
        began_at: optional(5)?,
        ended_at: optional(6)?,
        exit_code: row.get(7)?,
        run: row.get(8)?,
        result: row.get(9)?,
        followed_by: row.get(10)?,
    })
}
