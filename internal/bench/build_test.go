package main

import (
	"maps"
	"slices"
	"testing"
)

func TestASymbolIsOfItsPackage(t *testing.T) {
	for symbol, want := range map[string]string{
		"net/http.(*Server).Serve":                   "net/http",
		"github.com/nats-io/nats%2ego.(*Conn).Flush": "github.com/nats-io/nats.go",
		"main.main": "main",
		"type:.eq.github.com/jackc/pgx/v5/pgconn.PgError":                 "github.com/jackc/pgx/v5/pgconn",
		"go:itab.*github.com/spf13/pflag.intValue,fmt.Stringer":           "github.com/spf13/pflag",
		"slices.SortFunc[go.shape.[]example.org/x/y.T,go.shape.int]":      "slices",
		"gopkg.in/inf%2ev0..stmp_0":                                       "gopkg.in/inf.v0",
		"modernc.org/sqlite/lib._sqlite3VdbeExec":                         "modernc.org/sqlite/lib",
		"example.org/a/b.F[go.shape.struct { example.org/c/d.X string }]": "example.org/a/b",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("%s is of %q, want %q", symbol, got, want)
		}
	}
}

func TestWhatIsNeededElsewhereStaysWhenADependencyGoes(t *testing.T) {
	packages := map[string]listed{}
	add := func(path, from string, imports ...string) {
		p := listed{ImportPath: path, Imports: imports}
		if from != "" {
			p.Module = &module{Path: from, Main: from == "ours"}
		}
		packages[path] = p
	}
	add("fmt", "")
	add("ours/cmd", "ours", "fmt", "a/x", "b")
	add("a/x", "a", "a/y", "shared")
	add("a/y", "a")
	add("b", "b", "shared", "a/y")
	add("shared", "shared", "fmt")
	kept := map[string]bool{}
	keep(packages, "ours/cmd", "a", kept)
	if got, want := slices.Sorted(maps.Keys(kept)), []string{"a/y", "b", "fmt", "ours/cmd", "shared"}; !slices.Equal(got, want) {
		t.Errorf("without a there are %q, want %q", got, want)
	}
}
