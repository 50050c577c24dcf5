package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// Nothing is named before it is on the disk, and nothing is done before its name is.
func TestAPowerCutLosesNothingPublished(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "root")
	dir := filepath.Join(parent, "orders")
	published := func() string {
		p, err := NewLocal(DialRules{}).ReadPublished(t.Context(), dir, 100)
		if err != nil {
			return "none"
		}
		return fmt.Sprint(p.Generation)
	}
	publish := func(generation int64) func(*Local) error {
		return func(l *Local) error {
			return l.PublishDir(t.Context(), dir, Published{Tag: "us", Generation: generation, Files: map[string][]byte{"a": []byte("12345")}, Mode: 0o640})
		}
	}
	for _, tt := range []struct {
		what       string
		before, do func(*Local) error
		want       []string
	}{
		{"made", func(*Local) error { return nil }, publish(1),
			[]string{"a, 5 bytes, -rw-r-----: none", "data: none", "..orders.us: none", "root: 1"}},
		{"replaced", publish(1), publish(2), []string{"a, 5 bytes, -rw-r-----: 1", "data: 1", "orders: 2"}},
		{"withdrawn", publish(1), func(l *Local) error { return l.WithdrawDir(t.Context(), dir, "us") }, []string{"root: none"}},
	} {
		for fails := range len(tt.want) + 1 {
			must(t, os.RemoveAll(parent))
			must(t, os.Mkdir(parent, 0o700))
			must(t, tt.before(NewLocal(DialRules{})))
			l, want := NewLocal(DialRules{}), tt.want
			got := syncs(t, l, published, fails, syscall.EIO)
			err := tt.do(l)
			if fails > 0 {
				want = want[:fails]
			}
			if !slices.Equal(*got, want) || errors.Is(err, syscall.EIO) != (fails > 0) {
				t.Errorf("%s, %d fails: synced %q, want %q; %v", tt.what, fails, *got, want, err)
			}
		}
	}
}
