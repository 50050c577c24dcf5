-- Who may call and what they may do, stored previews, and the audit log.
-- Keys are in lower case, as before.

-- +goose Up
CREATE TABLE tenant (
    key    TEXT PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE principal (
    key      TEXT PRIMARY KEY, -- its object id
    tenant   TEXT NOT NULL,
    app      TEXT NOT NULL,    -- its client id, or ''
    provider TEXT NOT NULL,    -- '' is the built-in issuer
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    etag     TEXT NOT NULL,
    record   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX principal_tenant ON principal (tenant, key);
CREATE UNIQUE INDEX principal_app ON principal (app) WHERE app <> '';
CREATE UNIQUE INDEX principal_subject ON principal (provider, kind, subject) WHERE subject <> '';

CREATE TABLE signing_key (
    id      TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    record  TEXT NOT NULL,
    sealed  BLOB
) WITHOUT ROWID;

CREATE TABLE role_definition (
    tenant TEXT NOT NULL,
    key    TEXT NOT NULL,
    name   TEXT NOT NULL,
    etag   TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX role_definition_name ON role_definition (tenant, name);

CREATE TABLE role_assignment (
    tenant    TEXT NOT NULL,
    key       TEXT NOT NULL,
    scope_key TEXT NOT NULL,
    role      TEXT NOT NULL,
    principal TEXT NOT NULL,
    record    TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX role_assignment_what ON role_assignment (tenant, scope_key, role, principal);
CREATE INDEX role_assignment_scope ON role_assignment (scope_key);
CREATE INDEX role_assignment_principal ON role_assignment (principal);

CREATE TABLE dryrun (
    key    TEXT PRIMARY KEY,
    etag   TEXT NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;

-- One line each of what was done, refused or shown. Lines are only appended.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    time      TEXT NOT NULL,
    tenant    TEXT NOT NULL, -- whose log it is in; '' is the operator's
    action    TEXT NOT NULL,
    resource  TEXT NOT NULL,
    result    TEXT NOT NULL,
    code      TEXT NOT NULL,
    operation TEXT NOT NULL,
    caller    TEXT NOT NULL,
    caller_id TEXT NOT NULL,
    kind      TEXT NOT NULL,
    origin    TEXT NOT NULL, -- the caller's tenant, when it is another
    address   TEXT NOT NULL,
    request   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    previous  TEXT NOT NULL,
    hash      TEXT NOT NULL
);

-- Where the log ends, noted apart from its lines.
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL,
    hash TEXT NOT NULL,
    seal TEXT NOT NULL
);

-- +goose StatementBegin
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log is only appended to');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log is only appended to');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_head_is_kept BEFORE DELETE ON audit_head BEGIN
    SELECT raise(ABORT, 'the audit log is only appended to');
END;
-- +goose StatementEnd

-- Who asked for the operation, as JSON; '' of what leaves no line in the audit log.
ALTER TABLE operation ADD COLUMN act TEXT NOT NULL DEFAULT '';
UPDATE operation SET act = json_object('caller', by, 'action', '') WHERE ended = '' AND kind <> 'validate';
ALTER TABLE operation ADD COLUMN target_key TEXT NOT NULL DEFAULT '';
CREATE INDEX operation_target ON operation (target_key) WHERE target_key <> '' AND state IN ('queued', 'running', 'undoing');

-- +goose Down
DROP INDEX operation_target;
ALTER TABLE operation DROP COLUMN target_key;
ALTER TABLE operation DROP COLUMN act;
DROP TABLE audit_head;
DROP TABLE audit;
DROP TABLE dryrun;
DROP TABLE role_assignment;
DROP TABLE role_definition;
DROP TABLE signing_key;
DROP TABLE principal;
DROP TABLE tenant;
