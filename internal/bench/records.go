package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store/sqlite"
)

const (
	stored    = 1_000_000 // connections
	perSource = 10
)

const site = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/bench/providers/Microsoft.Web/sites/web%06d"

// benchRecords measures reads with a million stored connections.
func benchRecords(ctx context.Context, out io.Writer, dir string) error {
	path := filepath.Join(dir, "records.db")
	if err := seed(ctx, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	source := func() patchbay.ID { return patchbay.ID(fmt.Sprintf(site, rand.IntN(stored/perSource))) }
	after := ""
	t := newTable(out, fmt.Sprintf("%d connections, %.2f GB", stored, float64(info.Size())/1e9), "reads", "p50", "p99")
	for _, line := range []struct {
		name string
		n    int
		read func() (int, error)
		want int
	}{
		{"GET one", 20_000, func() (int, error) {
			c, err := s.Connection(ctx, source().Linker(fmt.Sprint("db", rand.IntN(perSource))))
			return len(c.Keys), err
		}, 5},
		{"list a source's 10", 5_000, func() (int, error) {
			page, _, err := s.Connections(ctx, source(), "", 100)
			return len(page), err
		}, perSource},
		{"list all, a page of 100", 1_000, func() (int, error) {
			page, next, err := s.Connections(ctx, "", after, 100)
			after = next
			return len(page), err
		}, 100},
		{"connections of a target, first 10", 5_000, func() (int, error) {
			page, err := s.ConnectionsOf(ctx, patchbay.ID(fmt.Sprintf(database, rand.IntN(servers))), 10)
			return len(page), err
		}, 10},
	} {
		took := make([]time.Duration, line.n)
		begun := time.Now()
		for i := range took {
			from := time.Now()
			n, err := line.read()
			took[i] = time.Since(from)
			if err != nil {
				return err
			}
			if n != line.want {
				return fmt.Errorf("%s: got %d, want %d", line.name, n, line.want)
			}
		}
		t.row(line.name, perSecond(line.n, time.Since(begun)), ms(quantile(took, .5)), ms(quantile(took, .99)))
	}
	return t.flush()
}

const (
	servers  = 1000
	database = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/bench/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg%04d"
)

// seed makes the rows with SQL alone: through the API it would take longer
// than the measurement.
func seed(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(OFF)&_pragma=cache_size(-200000)")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?),
		ids AS (SELECT i, printf(?, i / ?) AS source, printf('db%d', i % ?) AS name, printf(?, i % ?) || '/databases/shop' AS target FROM n)
		INSERT INTO connection (key, target_key, state, etag, record, sealed)
		SELECT lower(source || '/providers/Microsoft.ServiceLinker/linkers/' || name), lower(target), 'Succeeded', hex(randomblob(8)),
			json_object('id', source || '/providers/Microsoft.ServiceLinker/linkers/' || name, 'uid', printf('x%09d', i), 'source', source, 'name', name,
				'location', 'local', 'state', 'Succeeded', 'generation', 1, 'operation', hex(randomblob(16)), 'etag', 'e',
				'spec', json_object('target', json_object('type', 'AzureResource', 'id', target), 'auth', json_object('type', 'secret'), 'client', 'go', 'access', 'writer'),
				'keys', json_array('AZURE_POSTGRESQL_HOST', 'AZURE_POSTGRESQL_PORT', 'AZURE_POSTGRESQL_DATABASE', 'AZURE_POSTGRESQL_USER', 'AZURE_POSTGRESQL_PASSWORD'),
				'principal', printf('pb_x%09d_g1', i), 'message', '', 'created', '2026-11-01T12:00:00Z', 'createdBy', 'bench', 'modified', '2026-11-01T12:00:00Z', 'modifiedBy', 'bench'),
			randomblob(300)
		FROM ids`, stored, site, perSource, perSource, database, servers)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}
