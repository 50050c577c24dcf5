-- Events that their receiver has not got yet. The first of a subject goes first.

-- +goose Up
CREATE TABLE event (
	seq         INTEGER PRIMARY KEY,
	id          TEXT    NOT NULL UNIQUE,
	type        TEXT    NOT NULL,
	subject     TEXT    NOT NULL,
	subject_key TEXT    NOT NULL,
	time        TEXT    NOT NULL,
	data        TEXT    NOT NULL, -- JSON
	due         TEXT    NOT NULL,
	attempts    INTEGER NOT NULL DEFAULT 0,
	why         TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX event_subject ON event (subject_key, seq);
CREATE INDEX event_due ON event (due, seq);
CREATE INDEX event_time ON event (time);

-- +goose Down
DROP TABLE event;
