-- Times are milliseconds since 1970, UTC.

CREATE TABLE runs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    hierarchy TEXT NOT NULL,
    -- changes, requested, scheduled: queued runs of one lane are one run.
    lane      TEXT NOT NULL,
    -- The request as JSON: serve/request.rs.
    request   TEXT NOT NULL,
    -- queued, running, succeeded, failed, cancelled, superseded
    state     TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    began_at  INTEGER,
    ended_at  INTEGER,
    exit_code INTEGER,
    -- The ID that `rebuild` gave it.
    run       TEXT,
    -- One sentence: the result.
    result    TEXT
) STRICT;
CREATE INDEX runs_by_hierarchy ON runs (hierarchy, id);
CREATE UNIQUE INDEX one_queued_run ON runs (hierarchy, lane) WHERE state = 'queued';

CREATE TABLE deliveries (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What a delivery is recognized by if it comes again.
    key     TEXT NOT NULL UNIQUE,
    at      INTEGER NOT NULL,
    hook    TEXT NOT NULL,
    -- The event as JSON: serve/webhook/mod.rs.
    event   TEXT NOT NULL,
    summary TEXT NOT NULL,
    -- received, started, ignored
    state   TEXT NOT NULL,
    outcome TEXT
) STRICT;
CREATE INDEX received_deliveries ON deliveries (id) WHERE state = 'received';

CREATE TABLE delivery_runs (
    delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (delivery, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_of_run ON delivery_runs (run);

CREATE TABLE sizes (
    hierarchy TEXT NOT NULL,
    image     TEXT NOT NULL,
    digest    TEXT NOT NULL,
    seen_at   INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (hierarchy, image, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE behind (
    hierarchy TEXT NOT NULL,
    image     TEXT NOT NULL,
    since     INTEGER NOT NULL,
    PRIMARY KEY (hierarchy, image)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    -- The name of the file that the run left: serve/messages.rs.
    id        TEXT PRIMARY KEY,
    hierarchy TEXT NOT NULL,
    channel   TEXT NOT NULL,
    at        INTEGER NOT NULL,
    -- waiting, sent, dead
    state     TEXT NOT NULL,
    attempts  INTEGER NOT NULL,
    next_at   INTEGER NOT NULL,
    problem   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
