package audit_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/audit"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

func chain(key string) store.Chain {
	return audit.NewChain(func(b []byte) []byte {
		h := hmac.New(sha256.New, []byte(key))
		h.Write(b)
		return h.Sum(nil)
	})
}

// records are what has an audit log, and something to write into it.
type records interface {
	store.Audit
	store.Records
	Close() error
}

func open(t *testing.T, path, key string) records {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Chain: chain(key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// written is a database with a log of 20 lines, the first of which says that it
// begins.
func written(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "patchbay.db")
	s := open(t, path, "key")
	for i := range 19 {
		ctx := patchbay.WithAct(t.Context(), patchbay.Act{Caller: "ann", Tenants: []string{"t1"}, Action: fmt.Sprint("A.B/c/", i)})
		if err := s.PutSubscription(ctx, patchbay.Subscription{ID: fmt.Sprint("s", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// tamper changes the file as somebody would who can write it.
func tamper(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, q := range append([]string{"DROP TRIGGER audit_stays", "DROP TRIGGER audit_is_kept", "DROP TRIGGER audit_head_is_kept"}, statements...) {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

func verify(t *testing.T, s store.Audit, expect audit.Mark) audit.Report {
	t.Helper()
	r, err := audit.New(s, chain("key")).Verify(t.Context(), expect)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const columns = `time, tenant, action, resource, result, code, operation, caller, caller_id, kind, origin, address, request, detail, previous, hash`

func TestEveryWayToTamperIsFound(t *testing.T) {
	for _, c := range []struct {
		name string
		sql  []string
		kind string
		seq  int64
	}{
		{"an edited caller", []string{`UPDATE audit SET caller = 'bob' WHERE seq = 7`}, audit.Edited, 7},
		{"an edited time", []string{`UPDATE audit SET time = '2020-01-01T00:00:00.000000000Z' WHERE seq = 7`}, audit.Edited, 7},
		{"a time that is none", []string{`UPDATE audit SET time = 'x' WHERE seq = 7`}, audit.Edited, 7},
		{"an edited tenant", []string{`UPDATE audit SET tenant = 't2' WHERE seq = 7`}, audit.Edited, 7},
		{"an edited first line", []string{`UPDATE audit SET detail = '' WHERE seq = 1`}, audit.Edited, 1},
		{"an edited last line", []string{`UPDATE audit SET action = 'x' WHERE seq = 20`}, audit.Edited, 20},
		{"text moved from one field to the next", []string{`UPDATE audit SET caller = 'an', caller_id = 'n' WHERE seq = 7`}, audit.Edited, 7},
		{"an edited line with a hash made up", []string{`UPDATE audit SET caller = 'bob', hash = lower(hex(randomblob(32))) WHERE seq = 7`}, audit.Edited, 7},
		{"a removed line", []string{`DELETE FROM audit WHERE seq = 7`}, audit.Missing, 7},
		{"the first lines removed", []string{`DELETE FROM audit WHERE seq <= 3`}, audit.Missing, 1},
		{"a removed line, the others renumbered", []string{
			`DELETE FROM audit WHERE seq = 7`, `UPDATE audit SET seq = seq - 1 WHERE seq > 7`}, audit.Moved, 7},
		{"two lines that changed places", []string{
			`UPDATE audit SET seq = 1000 WHERE seq = 7`, `UPDATE audit SET seq = 7 WHERE seq = 8`, `UPDATE audit SET seq = 8 WHERE seq = 1000`}, audit.Moved, 7},
		{"a line put in, the others renumbered", []string{
			`UPDATE audit SET seq = -(seq + 1) WHERE seq >= 7`, `UPDATE audit SET seq = -seq WHERE seq < 0`,
			`INSERT INTO audit (seq, ` + columns + `) SELECT 7, ` + columns + ` FROM audit WHERE seq = 3`}, audit.Moved, 7},
		{"a line put in its place", []string{
			`DELETE FROM audit WHERE seq = 7`, `INSERT INTO audit (seq, ` + columns + `) SELECT 7, ` + columns + ` FROM audit WHERE seq = 9`}, audit.Moved, 7},
		{"a line added at the end", []string{
			`INSERT INTO audit (seq, ` + columns + `) SELECT 21, ` + strings.Replace(columns, "previous", "hash", 1) + ` FROM audit WHERE seq = 20`}, audit.Edited, 21},
		{"the last lines cut off", []string{`DELETE FROM audit WHERE seq > 15`}, audit.CutOff, 16},
		{"everything removed but the head", []string{`DELETE FROM audit`}, audit.CutOff, 1},
		{"the last lines cut off, the head set back", []string{
			`DELETE FROM audit WHERE seq > 15`, `UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit WHERE seq = 15)`}, audit.Head, 15},
		{"a forged head", []string{`UPDATE audit_head SET hash = 'x'`}, audit.Head, 20},
		{"no head", []string{`DELETE FROM audit_head`}, audit.Head, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := written(t)
			s := open(t, path, "key")
			if r := verify(t, s, audit.Mark{}); !r.OK() || r.Lines != 20 || r.First != 1 || r.Last != 20 {
				t.Fatalf("before: %+v", r)
			}
			tamper(t, path, c.sql...)
			r := verify(t, s, audit.Mark{})
			if !slices.ContainsFunc(r.Problems, func(p audit.Problem) bool { return p.Kind == c.kind && p.Seq == c.seq }) {
				t.Errorf("no %s at line %d: %+v", c.kind, c.seq, r.Problems)
			}
		})
	}
}

// TestWhatWasTamperedWithStaysFound although the server starts on it and writes
// more lines, the head with them.
func TestWhatWasTamperedWithStaysFound(t *testing.T) {
	for name, statements := range map[string][]string{
		"the tail cut off":               {`DELETE FROM audit WHERE seq > 15`},
		"the tail cut off, no head":      {`DELETE FROM audit WHERE seq > 15`, `DELETE FROM audit_head`},
		"the tail cut off, a head set":   {`DELETE FROM audit WHERE seq > 15`, `UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit WHERE seq = 15)`},
		"a line added":                   {`INSERT INTO audit (seq, ` + columns + `) SELECT 21, ` + columns + ` FROM audit WHERE seq = 20`},
		"all lines removed":              {`DELETE FROM audit`},
		"the last line's hash rewritten": {`UPDATE audit SET hash = 'x' WHERE seq = 20`},
	} {
		t.Run(name, func(t *testing.T) {
			path := written(t)
			tamper(t, path, statements...)
			s := open(t, path, "key")
			for i := range 10 {
				if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: fmt.Sprint("later", i)}); err != nil {
					t.Fatal(err)
				}
			}
			r := verify(t, s, audit.Mark{})
			if !slices.ContainsFunc(r.Problems, func(p audit.Problem) bool { return p.Kind == audit.Noted }) {
				t.Errorf("the server did not note it: %+v", r.Problems)
			}
		})
	}
}

func TestAnotherKeyMakesNoLineThatFits(t *testing.T) {
	path := written(t)
	forger := open(t, path, "guess")
	if err := forger.AppendAudit(t.Context(), patchbay.AuditEntry{Action: "x", Caller: "ann"}); err != nil {
		t.Fatal(err)
	}
	r := verify(t, forger, audit.Mark{})
	if r.OK() || r.Problems[0].Kind != audit.Head {
		t.Fatalf("%+v", r.Problems)
	}
}

func TestALineThatWasNotedElsewhereHasToBeThere(t *testing.T) {
	path := written(t)
	s := open(t, path, "key")
	head := verify(t, s, audit.Mark{}).Head
	if r := verify(t, s, head); !r.OK() {
		t.Fatalf("%+v", r.Problems)
	}
	if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: "more"}); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, s, head); !r.OK() {
		t.Fatalf("the log has grown: %+v", r.Problems)
	}
	// A whole database put back to an older copy fits in itself; only what was
	// noted elsewhere tells.
	for _, m := range []audit.Mark{{Seq: head.Seq + 50, Hash: head.Hash}, {Seq: head.Seq, Hash: strings.Repeat("0", 64)}} {
		if r := verify(t, s, m); len(r.Problems) != 1 || r.Problems[0].Kind != audit.Differs {
			t.Errorf("%s: %+v", m, r.Problems)
		}
	}
	if m, err := audit.ParseMark(head.String()); err != nil || m != head {
		t.Errorf("%v, %v", m, err)
	}
	for _, bad := range []string{"", "1", "1:", ":x", "-1:x", "x:y", "1:" + strings.Repeat("a", 200)} {
		if _, err := audit.ParseMark(bad); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTheExportIsOneLineOfJSONEach(t *testing.T) {
	s := open(t, written(t), "key")
	l := audit.New(s, chain("key"))
	var out bytes.Buffer
	tenant := "T1"
	n, err := l.Export(t.Context(), store.AuditFilter{Tenant: &tenant}, &out)
	if err != nil || n != 19 {
		t.Fatalf("%d lines, %v", n, err)
	}
	dec := json.NewDecoder(&out)
	for i := range 19 {
		var e patchbay.AuditEntry
		if err := dec.Decode(&e); err != nil || e.Seq != int64(i+2) || e.Caller != "ann" || e.Hash != chain("key").Line(e) {
			t.Fatalf("line %d: %+v, %v", i, e, err)
		}
	}
}

// TestALogIsCheckedWhileItGrows: what is written meanwhile is no problem.
func TestALogIsCheckedWhileItGrows(t *testing.T) {
	s := open(t, written(t), "key")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			err = s.PutSubscription(t.Context(), patchbay.Subscription{ID: fmt.Sprint(i)})
		}
		ended <- err
	}()
	for range 10 {
		if r := verify(t, s, audit.Mark{}); !r.OK() {
			t.Errorf("%+v", r.Problems)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
