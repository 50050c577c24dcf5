-- The records. Times are UTC, in RFC 3339 with nine digits, so that they sort
-- as text. A key is an id in lower case. Columns called record, plan, trail,
-- outputs, error, reason and result are JSON; those called sealed are ciphertext.

-- +goose Up
CREATE TABLE connection (
    rowid      INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    target_key TEXT NOT NULL,
    state      TEXT NOT NULL,
    etag       TEXT NOT NULL,
    record     TEXT NOT NULL,
    sealed     BLOB
);
CREATE INDEX connection_target ON connection (target_key) WHERE target_key <> '';

CREATE TABLE resource (
    rowid  INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    driver TEXT NOT NULL,
    etag   TEXT NOT NULL,
    record TEXT NOT NULL,
    sealed BLOB
);

CREATE TABLE subscription (
    key    TEXT PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE resource_group (
    key          TEXT PRIMARY KEY,
    subscription TEXT NOT NULL,
    record       TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE leftover (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    sealed BLOB
) WITHOUT ROWID;

CREATE TABLE operation (
    seq            INTEGER PRIMARY KEY, -- the order of submission
    id             TEXT    NOT NULL UNIQUE,
    request_hash   BLOB    NOT NULL,
    kind           TEXT    NOT NULL,
    connection     TEXT    NOT NULL,
    connection_key TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    source_key     TEXT    NOT NULL,
    plan           TEXT    NOT NULL, -- step names
    state          TEXT    NOT NULL, -- queued, running, undoing, done, undone, abandoned
    step           INTEGER NOT NULL, -- the one that may be in flight
    attempt        INTEGER NOT NULL,
    cancel         INTEGER NOT NULL,
    abandon        INTEGER NOT NULL,
    attention      INTEGER NOT NULL,
    owner          TEXT    NOT NULL, -- the process life that drives it
    version        INTEGER NOT NULL, -- grows with every write
    input          BLOB,
    sealed         BLOB,
    outputs        TEXT    NOT NULL,
    trail          TEXT    NOT NULL,
    error          TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    result         TEXT    NOT NULL,
    message        TEXT    NOT NULL,
    by             TEXT    NOT NULL,
    created        TEXT    NOT NULL,
    updated        TEXT    NOT NULL,
    ended          TEXT    NOT NULL  -- '' while it has not
);
CREATE UNIQUE INDEX operation_active ON operation (source_key) WHERE state IN ('running', 'undoing');
CREATE UNIQUE INDEX operation_change ON operation (connection_key) WHERE kind <> 'validate' AND state IN ('queued', 'running', 'undoing');
CREATE INDEX operation_queued ON operation (source_key, seq) WHERE state = 'queued';
CREATE INDEX operation_open ON operation (seq) WHERE state IN ('queued', 'running', 'undoing');
CREATE INDEX operation_connection ON operation (connection_key, seq);
CREATE INDEX operation_source ON operation (source_key, seq);
CREATE INDEX operation_ended ON operation (ended) WHERE ended <> '';

-- +goose Down
DROP TABLE operation;
DROP TABLE leftover;
DROP TABLE resource_group;
DROP TABLE subscription;
DROP TABLE resource;
DROP TABLE connection;
