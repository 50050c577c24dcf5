package saga_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/sqlite"
)

// TestCrashesOnSQLite takes a share of the scenarios to the real store, which
// is closed and opened again after every death.
func TestCrashesOnSQLite(t *testing.T) {
	stride := 293
	if os.Getenv("PATCHBAY_EXHAUSTIVE") != "" {
		stride = 7
	}
	dir := t.TempDir()
	template := filepath.Join(dir, "template.db")
	open := func(path string) saga.Store {
		s, err := sqlite.Open(context.Background(), path, sqlite.Options{Readers: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	closed := func(s saga.Store) {
		if err := s.(io.Closer).Close(); err != nil {
			t.Fatal(err)
		}
	}
	closed(open(template))
	empty, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	n, path := 0, filepath.Join(dir, "sim.db")
	for _, kinds := range [][]patchbay.OperationKind{{patchbay.OpCreate}, {patchbay.OpUpdate}, {patchbay.OpDelete}, {patchbay.OpCreate, patchbay.OpCreate}} {
		var chosen []scenario
		for _, w := range configurations(kinds[0]) {
			for i := range 30 {
				for m := range modes {
					if n++; n%stride == 0 {
						chosen = append(chosen, scenario{kinds, w, []fault{{i, m}, {i + 1 + n%17, dieBefore}}})
					}
				}
			}
		}
		for _, sc := range chosen {
			for _, leftover := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(path + leftover)
			}
			if err := os.WriteFile(path, empty, 0o600); err != nil {
				t.Fatal(err)
			}
			s := newSim(sc, nil, open(path))
			s.restart = func(old saga.Store) saga.Store {
				closed(old)
				return open(path)
			}
			wrong := s.run()
			closed(s.store)
			if len(wrong) > 0 {
				t.Fatalf("%v:\n%s", sc, strings.Join(wrong, "\n"))
			}
		}
	}
	fmt.Printf("crash simulation on SQLite: %d scenarios\n", n/stride)
}
