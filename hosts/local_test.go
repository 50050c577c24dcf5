package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := NewLocal(DialRules{}).ListDir(t.Context(), dir)
	must(t, err)
	return list
}

func TestDialSpeaksFromHere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	c, err := NewLocal(DialRules{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	must(t, err)
	must(t, c.Close())
}

// syncs notes what l syncs, each with what is then seen, until the one that fails.
func syncs(t *testing.T, l *Local, seen func() string, fails int, with error) *[]string {
	t.Helper()
	var all []string
	l.files.sync = func(f *os.File) error {
		info, err := f.Stat()
		must(t, err)
		name := filepath.Base(filepath.Clean(f.Name()))
		if _, _, ok := parseDataName(name); ok {
			name = "data"
		}
		if !info.IsDir() {
			name = fmt.Sprintf("%s, %d bytes, %v", name, info.Size(), info.Mode())
		}
		all = append(all, name+": "+seen())
		if len(all) == fails {
			return &fs.PathError{Op: "sync", Path: f.Name(), Err: with}
		}
		return f.Sync()
	}
	return &all
}
