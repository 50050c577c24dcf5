-- Whose part of the places an operation takes, and how often a process died
-- while it was at its step.

-- +goose Up
ALTER TABLE operation ADD COLUMN share  TEXT    NOT NULL DEFAULT ''; -- names, from the outside in
ALTER TABLE operation ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operation ADD COLUMN trial  INTEGER NOT NULL DEFAULT 0;  -- 1: an attempt may be in flight, 2: and no other is, 3: it is not run again
DROP INDEX operation_target;
CREATE INDEX operation_target ON operation (target_key, share) WHERE target_key <> '' AND state IN ('queued', 'running', 'undoing');

-- +goose Down
DROP INDEX operation_target;
CREATE INDEX operation_target ON operation (target_key) WHERE target_key <> '' AND state IN ('queued', 'running', 'undoing');
ALTER TABLE operation DROP COLUMN trial;
ALTER TABLE operation DROP COLUMN deaths;
ALTER TABLE operation DROP COLUMN share;
