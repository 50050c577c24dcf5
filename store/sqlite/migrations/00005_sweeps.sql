-- What a sweep did, and of which connection a leftover is: what one left is found
-- without the others.

-- +goose Up
ALTER TABLE operation ADD COLUMN swept TEXT NOT NULL DEFAULT ''; -- JSON
ALTER TABLE leftover ADD COLUMN connection_key TEXT NOT NULL DEFAULT '';
UPDATE leftover SET connection_key = lower(coalesce(json_extract(record, '$.connection'), ''));
CREATE INDEX leftover_connection ON leftover (connection_key);

-- +goose Down
DROP INDEX leftover_connection;
ALTER TABLE leftover DROP COLUMN connection_key;
ALTER TABLE operation DROP COLUMN swept;
