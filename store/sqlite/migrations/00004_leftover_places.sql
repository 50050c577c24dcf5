-- Where a leftover is: what is at one resource is found without the others.

-- +goose Up
ALTER TABLE leftover ADD COLUMN resource_key TEXT NOT NULL DEFAULT '';
UPDATE leftover SET resource_key = lower(coalesce(json_extract(record, '$.resource'), ''));
CREATE INDEX leftover_place ON leftover (resource_key);

-- +goose Down
DROP INDEX leftover_place;
ALTER TABLE leftover DROP COLUMN resource_key;
