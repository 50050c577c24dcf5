// Command bench measures Patchbay on this machine, and prints a small table
// for each thing that it measures: what docs/performance.md reports.
//
//	go run ./internal/bench [-rounds N] [engine] [records] [connection] [sources] [tables] [targets] [probes] [floods] [watch] [build] [memory]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"patchbay.dev/patchbay/internal/controlplane"
)

func main() {
	controlplane.IfChild()
	rounds := flag.Int("rounds", 200, "how often each of the connection's operations is measured")
	only := flag.String("only", "", "what to measure, as the arguments do")
	asFlood := flag.Int("flood", -1, "be the process that this flood comes from, as its standard input says")
	asServer := flag.Duration("serve", -1, "be the server whose directory is the argument, each of whose connections is looked at so often")
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // libraries log there
	if *asFlood >= 0 {
		if err := runFlood(*asFlood, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "flood: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *asServer >= 0 {
		if err := runServer(*asServer, flag.Arg(0), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "server: %v\n", err)
			os.Exit(1)
		}
		return
	}
	which := flag.Args()
	if *only != "" {
		which = append(which, strings.Split(*only, ",")...)
	}
	if len(which) == 0 {
		which = []string{"engine", "records", "connection", "sources", "tables", "targets", "probes", "floods", "watch", "build", "memory"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, name := range which {
		var err error
		switch name {
		case "engine":
			err = inTemp(ctx, benchEngine)
		case "records":
			err = inTemp(ctx, benchRecords)
		case "connection":
			err = benchConnections(ctx, os.Stdout, *rounds)
		case "sources":
			err = benchSources(ctx, os.Stdout, *rounds)
		case "tables":
			err = benchTables(ctx, *rounds)
		case "targets":
			err = benchTargets(ctx, os.Stdout)
		case "probes":
			err = benchProbes(ctx, os.Stdout, *rounds)
		case "floods":
			err = benchFloods(ctx, os.Stdout, *rounds)
		case "watch":
			err = inTemp(ctx, func(ctx context.Context, out io.Writer, dir string) error { return benchWatch(ctx, out, dir, *rounds) })
		case "build":
			err = inTemp(ctx, benchBuild)
		case "memory":
			err = inTemp(ctx, benchMemory)
		default:
			err = errors.New("there is no such benchmark; there are engine, records, connection, sources, tables, targets, probes, floods, watch, build and memory")
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

// inTemp runs a benchmark in a directory of its own, gone afterwards.
func inTemp(ctx context.Context, bench func(ctx context.Context, out io.Writer, dir string) error) error {
	dir, err := os.MkdirTemp("", "patchbay-bench-")
	if err != nil {
		return err
	}
	return errors.Join(bench(ctx, os.Stdout, dir), os.RemoveAll(dir))
}

// quantile of unsorted times; 0 of none.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// ms is a time in milliseconds, as a table shows it.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

func perSecond(n int, d time.Duration) string { return fmt.Sprintf("%.0f /s", float64(n)/d.Seconds()) }

// table is a table of text: a title and columns, then rows.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer, title string, columns ...string) *table {
	t := &table{tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)}
	t.row(title, columns...)
	return t
}

// row adds a row. An error of the writer comes with flush.
func (t *table) row(name string, cells ...string) {
	_, _ = fmt.Fprintf(t.w, "%s\t%s\t\n", name, strings.Join(cells, "\t"))
}

func (t *table) flush() error {
	_, _ = fmt.Fprintln(t.w)
	return t.w.Flush()
}
