package sqlite_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

// firstRelease makes a database as the first migration left it, with rows.
func firstRelease(t *testing.T, path string) {
	t.Helper()
	schema, err := os.ReadFile("migrations/00001_records.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, _, _ := strings.Cut(string(schema), "-- +goose Down")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, q := range []string{up,
		`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)`,
		`INSERT INTO resource (key, driver, etag, record) VALUES ('/subscriptions/s/a/b', 'envfile', 'e', '{"id":"/subscriptions/s/a/b","etag":"e"}')`,
		`INSERT INTO connection (key, target_key, state, etag, record) VALUES ('/subscriptions/s/a/b/providers/microsoft.servicelinker/linkers/db', '', 'Accepted', 'e',
			'{"id":"/subscriptions/s/a/b/providers/Microsoft.ServiceLinker/linkers/db","etag":"e"}')`,
		`INSERT INTO leftover (id, record) VALUES ('l', '{"id":"l","resource":"/subscriptions/s/A/b","connection":"/c"}')`,
		`INSERT INTO operation (id, request_hash, kind, connection, connection_key, source, source_key, plan, state, step, attempt, cancel, abandon, attention, owner,
			version, outputs, trail, error, reason, result, message, by, created, updated, ended)
			VALUES ('op', x'01', 'create', '/subscriptions/s/a/b/providers/Microsoft.ServiceLinker/linkers/db', '/subscriptions/s/a/b/providers/microsoft.servicelinker/linkers/db',
			'/subscriptions/s/a/b', '/subscriptions/s/a/b', '["plan"]', 'running', 0, 0, 0, 0, 0, 'me', 1, '', '', '', '', '', '', 'ann',
			'2026-11-01T00:00:00.000000000Z', '2026-11-01T00:00:00.000000000Z', '')`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%.60s: %v", q, err)
		}
	}
}

// TestAnOlderDatabaseIsUpgraded with what is in it; its audit log begins there,
// and an operation that was running ends in it under who asked for it.
func TestAnOlderDatabaseIsUpgraded(t *testing.T) {
	path := dbPath(t)
	firstRelease(t, path)
	s := open(t, path, sqlite.Options{})
	lines, err := s.AuditEntries(t.Context(), store.AuditFilter{}, 0, 0)
	if err != nil || len(lines) != 1 || lines[0].Seq != 1 || lines[0].Caller != "patchbay" || !strings.Contains(lines[0].Detail, "1 connections, 1 resources") {
		t.Fatalf("%+v, %v", lines, err)
	}
	if of, err := s.LeftoversOf(t.Context(), "/C"); err != nil || len(of) != 1 {
		t.Fatalf("%+v, %v", of, err)
	}
	if at, err := s.LeftoversAt(t.Context(), "/subscriptions/s/a/B"); err != nil || len(at) != 1 || at[0].ID != "l" {
		t.Fatalf("%+v, %v", at, err)
	}
	op, err := s.Load(t.Context(), "op")
	if err != nil || op.By != "ann" || op.Act == nil || op.Target != "" {
		t.Fatalf("%+v, %v", op, err)
	}
	op.State, op.Ended = patchbay.Done, op.Created
	if _, err := s.Advance(t.Context(), saga.Life{ID: "me"}, saga.Advance{Op: op}); err != nil {
		t.Fatal(err)
	}
	lines, err = s.AuditEntries(t.Context(), store.AuditFilter{}, 1, 0)
	if err != nil || len(lines) != 1 || lines[0].Caller != "ann" || lines[0].Result != patchbay.AuditSucceeded || lines[0].Operation != "op" {
		t.Fatalf("%+v, %v", lines, err)
	}
	if _, err := s.Connection(t.Context(), op.Connection); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, sqlite.Options{}) // a restart begins nothing
	if head, err := again.AuditHead(t.Context()); err != nil || head.Seq != 2 {
		t.Fatalf("%+v, %v", head, err)
	}
}

func TestTheAuditLogIsOnlyAppendedTo(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, sqlite.Options{})
	if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	for _, q := range []string{`UPDATE audit SET caller = 'x'`, `DELETE FROM audit`, `DELETE FROM audit WHERE seq = 1`, `DELETE FROM audit_head`} {
		if _, err := db.Exec(q); err == nil || !strings.Contains(err.Error(), "only appended to") {
			t.Errorf("%s: %v", q, err)
		}
	}
}
