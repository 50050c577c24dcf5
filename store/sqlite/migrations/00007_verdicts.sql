-- What validations found. The last verdict of a connection stands beside its record,
-- so that a list has it without a second look.

-- +goose Up
ALTER TABLE connection ADD COLUMN health TEXT NOT NULL DEFAULT '';  -- JSON; '' before the first look
ALTER TABLE connection ADD COLUMN healthy TEXT NOT NULL DEFAULT ''; -- its health, in a word
ALTER TABLE connection ADD COLUMN seen TEXT NOT NULL DEFAULT '';    -- when it was looked at last, or made
CREATE INDEX connection_seen ON connection (seen);
CREATE INDEX connection_healthy ON connection (healthy);
CREATE TABLE verdict (
    seq    INTEGER PRIMARY KEY,
    key    TEXT NOT NULL, -- the connection's
    record TEXT NOT NULL
);
CREATE INDEX verdict_connection ON verdict (key, seq);

-- +goose Down
DROP TABLE verdict;
DROP INDEX connection_healthy;
DROP INDEX connection_seen;
ALTER TABLE connection DROP COLUMN seen;
ALTER TABLE connection DROP COLUMN healthy;
ALTER TABLE connection DROP COLUMN health;
