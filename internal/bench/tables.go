package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay/internal/testenv"
)

const (
	fewTables, manyTables = 10, 10_000
	// atOnce are creates on one database at the same time.
	atOnce = 20
)

// benchTables compares connections to a database of ten tables with those to one
// of ten thousand, over HTTPS, in turns. Another connection has given each
// database's group its rights already: nothing of them changes.
func benchTables(ctx context.Context, rounds int) error {
	return inTemp(ctx, func(ctx context.Context, out io.Writer, dir string) (err error) {
		b := &connectionBench{dir: dir, database: "few", steps: map[string][]time.Duration{}}
		b.pg, err = testenv.StartPostgres(ctx, testenv.PostgresOptions{Settings: map[string]string{"fsync": "on"}})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.pg.Stop()) }()
		stop, err := b.start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		if err := b.prepareTables(ctx); err != nil {
			return err
		}
		times, once := map[string][]time.Duration{}, map[string]time.Duration{}
		measure := func(name string, f func() error) error {
			start := time.Now()
			err := f()
			times[name] = append(times[name], time.Since(start))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		linker := func(source int) string {
			return fmt.Sprintf("%s/providers/Microsoft.Web/sites/web%d/providers/Microsoft.ServiceLinker/linkers/orders", b.group, source)
		}
		databases := []string{"few", "many"}
		for i := range rounds + warmUp {
			if i == warmUp {
				clear(times)
			}
			for _, b.database = range databases {
				for _, step := range []struct {
					name string
					do   func() error
				}{
					{"create", func() error { return b.operate(ctx, "PUT", linker(0), b.body()) }},
					{"validate", func() error { return b.operate(ctx, "POST", linker(0)+"/providers/Patchbay.Connector/validate", nil) }},
					{"delete", func() error { return b.operate(ctx, "DELETE", linker(0), nil) }},
				} {
					if err := measure(b.database+" "+step.name, step.do); err != nil {
						return err
					}
				}
			}
		}
		for _, b.database = range databases {
			for _, method := range []string{"PUT", "DELETE"} {
				start := time.Now()
				var g errgroup.Group
				for i := range atOnce {
					g.Go(func() error {
						var body any
						if method == "PUT" {
							body = b.body()
						}
						one := *b
						one.steps = map[string][]time.Duration{}
						return one.operate(ctx, method, linker(i), body)
					})
				}
				if err := g.Wait(); err != nil {
					return err
				}
				once[b.database+method] = time.Since(start)
			}
		}
		t := newTable(out, "connections by tables of the database", fmt.Sprint(fewTables), fmt.Sprint(manyTables), "ratio")
		row := func(name string, few, many time.Duration) {
			t.row(name, ms(few), ms(many), fmt.Sprintf("%.2f", float64(many)/float64(few)))
		}
		for _, name := range []string{"create", "validate", "delete"} {
			row(name+", median", quantile(times["few "+name], .5), quantile(times["many "+name], .5))
		}
		row(fmt.Sprintf("%d creates at once", atOnce), once["fewPUT"], once["manyPUT"])
		row(fmt.Sprintf("%d deletes at once", atOnce), once["fewDELETE"], once["manyDELETE"])
		return t.flush()
	})
}

// prepareTables makes both databases, and a connection to each.
func (b *connectionBench) prepareTables(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.admin.Close(ctx); err != nil {
		return err
	}
	for i := fewTables; i < 20; i++ { // prepare makes twenty
		if err := b.pg.Exec(ctx, "few", fmt.Sprintf("DROP TABLE t%d", i)); err != nil {
			return err
		}
	}
	if err := b.pg.Exec(ctx, "postgres", "CREATE DATABASE many"); err != nil {
		return err
	}
	const most = 500 // a transaction has a bound on what it locks
	for first := range manyTables / most {
		if err := b.pg.Exec(ctx, "many", fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('CREATE TABLE t%%s (id int PRIMARY KEY, v text)', i); END LOOP; END $$", first*most, (first+1)*most-1)); err != nil {
			return err
		}
	}
	for i := range atOnce {
		if err := b.call(ctx, "PUT", fmt.Sprintf("%s/providers/Microsoft.Web/sites/web%d", b.group, i), map[string]any{"properties": map[string]any{
			"driver": "envfile", "endpoint": filepath.Join(b.dir, fmt.Sprintf("web%d.env", i)),
		}}, nil); err != nil {
			return err
		}
	}
	b.database = "many"
	return b.operate(ctx, "PUT", b.group+"/providers/Microsoft.Web/sites/first/providers/Microsoft.ServiceLinker/linkers/many", b.body())
}
