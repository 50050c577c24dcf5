package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/sandbox"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

// benchProbes is what it costs that a sign-in is tried in a child process:
// beside the same in this one, in turns.
func benchProbes(ctx context.Context, out io.Writer, rounds int) (err error) {
	server, err := testenv.StartPostgres(ctx, testenv.PostgresOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	box, err := sandbox.New(sandbox.Options{})
	if err != nil {
		return err
	}
	defer box.Close()
	c := driver.Config{Endpoint: server.Addr(), Properties: []byte(`{"sslmode":"disable"}`)}
	r := driver.ProbeRequest{
		Credential: driver.Credential{
			Public: map[string]string{"username": server.User}, Secret: driver.Secrets{"password": patchbay.NewSecret(server.Password)},
		},
		Dialer: &net.Dialer{}, Sub: "postgres", Servers: []string{server.Addr()},
	}
	tries := []struct {
		name  string
		times []time.Duration
		probe func(tenant string) error
	}{
		{name: "in the server's process", probe: func(string) error {
			_, err := postgres.Driver().Probe(ctx, c, r)
			return err
		}},
		{name: "in a child that waits", probe: func(string) error {
			r := r
			r.Share = []string{"one tenant"}
			_, err := box.Probe(ctx, "postgres", postgres.Driver(), c, r)
			return err
		}},
		{name: "in a new child", probe: func(tenant string) error {
			r := r
			r.Share = []string{tenant}
			_, err := box.Probe(ctx, "postgres", postgres.Driver(), c, r)
			return err
		}},
	}
	for round := range rounds {
		for i := range tries {
			start := time.Now()
			if err := tries[i].probe(fmt.Sprint("tenant ", round)); err != nil {
				return err
			}
			tries[i].times = append(tries[i].times, time.Since(start))
		}
	}
	t := newTable(out, "a sign-in to PostgreSQL", "median", "p99", "ratio")
	here := quantile(tries[0].times, 0.5)
	for _, try := range tries {
		median := quantile(try.times, 0.5)
		t.row(try.name, ms(median), ms(quantile(try.times, 0.99)), fmt.Sprintf("%.1f", float64(median)/float64(here)))
	}
	return t.flush()
}
