package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// told watches, and waits for the first word.
func told(t *testing.T, l *Local, files ...Watched) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- l.WatchFiles(ctx, func(context.Context) ([]Watched, error) { return files, nil }, func() {
			select {
			case ticks <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("WatchFiles = %v", err)
		}
	})
	select {
	case <-ticks:
	case err := <-ended:
		ended <- nil
		t.Fatalf("WatchFiles = %v", err)
	}
	return ticks
}

// TestEachChangeOfAFileIsTold: of the file itself, and of what leads to it. Each is done
// to a watcher that has seen nothing yet.
func TestEachChangeOfAFileIsTold(t *testing.T) {
	write := func(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }
	for what, one := range map[string]struct{ before, change func(dir string) error }{
		"written in place": {change: func(dir string) error { return write(dir+"/real/app/.env", "B=1") }},
		"replaced by a rename": {change: func(dir string) error {
			return errors.Join(write(dir+"/real/app/.env.new", "B=1"), os.Rename(dir+"/real/app/.env.new", dir+"/real/app/.env"))
		}},
		"removed":      {change: func(dir string) error { return os.Remove(dir + "/real/app/.env") }},
		"another mode": {change: func(dir string) error { return os.Chmod(dir+"/real/app/.env", 0o640) }},
		"renamed away": {change: func(dir string) error { return os.Rename(dir+"/real/app/.env", dir+"/real/app/old") }},
		"made": {
			before: func(dir string) error { return os.Remove(dir + "/real/app/.env") },
			change: func(dir string) error { return write(dir+"/real/app/.env", "A=1") },
		},
		"its directory is removed": {change: func(dir string) error { return os.RemoveAll(dir + "/real/app") }},
		"its directory is made": {
			before: func(dir string) error { return os.RemoveAll(dir + "/real/app") },
			change: func(dir string) error { return os.Mkdir(dir+"/real/app", 0o700) },
		},
		"a directory above is renamed": {change: func(dir string) error { return os.Rename(dir+"/real", dir+"/old") }},
		"a link on the way is another one": {change: func(dir string) error {
			return errors.Join(os.Symlink("other", dir+"/link.new"), os.Rename(dir+"/link.new", dir+"/link"))
		}},
		"the way is made": {
			before: func(dir string) error { return os.Rename(dir+"/real", dir+"/old") },
			change: func(dir string) error { return os.Rename(dir+"/old", dir+"/real") },
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.MkdirAll(dir+"/real/app", 0o700))
			must(t, write(dir+"/real/app/.env", "A=1"))
			must(t, os.Symlink("real", dir+"/link"))
			if one.before != nil {
				must(t, one.before(dir))
			}
			ticks := told(t, NewLocal(DialRules{}), Watched{Path: dir + "/link/app/.env"})
			must(t, one.change(dir))
			<-ticks
		})
	}
}

// TestWhatIsMadeAgainIsStillWatched, again and again, and also under the number of its
// predecessor, as file systems give it.
func TestWhatIsMadeAgainIsStillWatched(t *testing.T) {
	dir := t.TempDir()
	app := filepath.Join(dir, "app")
	l := NewLocal(DialRules{})
	ticks := told(t, l, Watched{Path: filepath.Join(app, ".env")})
	// Every word may be of something before: so long as it is awaited, what is not told
	// is waited for without end.
	for n := range 20 {
		must(t, os.Mkdir(app, 0o700))
		<-ticks
		must(t, os.WriteFile(filepath.Join(app, ".env"), fmt.Append(nil, n), 0o600))
		read := make(chan struct{})
		go func() { // who is told, and sees what is there by then
			defer close(read)
			for range ticks {
				if b, err := os.ReadFile(filepath.Join(app, ".env")); err == nil && string(b) == fmt.Sprint(n) {
					return
				}
			}
		}()
		<-read
		drained(t, l, dir, ticks)
		must(t, os.RemoveAll(app))
		<-ticks
		drained(t, l, dir, ticks)
	}
}

// drained waits until all that has happened so far is told: what happens to a file that
// another watcher looks at comes behind it.
func drained(t *testing.T, l *Local, dir string, ticks <-chan struct{}) {
	t.Helper()
	mark := filepath.Join(dir, "mark")
	marks := told(t, l, Watched{Path: mark})
	must(t, os.WriteFile(mark, nil, 0o600))
	<-marks
	must(t, os.Remove(mark))
	select {
	case <-ticks:
	default:
	}
}

// TestADirectoryIsWatchedSomeLevelsDeep: what is made in one that has just been made, too.
func TestADirectoryIsWatchedSomeLevelsDeep(t *testing.T) {
	dir := t.TempDir()
	l := NewLocal(DialRules{})
	ticks := told(t, l, Watched{Path: dir, Below: 3})
	must(t, os.MkdirAll(filepath.Join(dir, "orders", "data"), 0o700))
	<-ticks
	drained(t, l, t.TempDir(), ticks)
	must(t, os.WriteFile(filepath.Join(dir, "orders", "data", "password"), nil, 0o600))
	<-ticks
}

// TestOthersFilesAreNotTold: neither those beside it, nor what of a directory does not
// match. What is told of a file is told after all that happened before it.
func TestOthersFilesAreNotTold(t *testing.T) {
	dir := t.TempDir()
	l := NewLocal(DialRules{})
	one := told(t, l, Watched{Path: filepath.Join(dir, ".env")})
	matching := told(t, l, Watched{Path: dir, Below: 1, Match: func(name string) bool { return strings.HasSuffix(name, ".yaml") }})
	last := told(t, l, Watched{Path: filepath.Join(dir, "last")})
	for _, name := range []string{".env.swp", "log", "env", "last"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	<-last
	select {
	case <-one:
		t.Error("a file beside it is told")
	case <-matching:
		t.Error("a file that does not match is told")
	default:
	}
	must(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), nil, 0o600))
	<-matching
}

// TestWhatIsPrivateIsNotWatched: a link that has come to lead there ends it.
func TestWhatIsPrivateIsNotWatched(t *testing.T) {
	dir, private := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(private, "key"), nil, 0o600))
	l := NewLocal(DialRules{}, private)
	link := filepath.Join(dir, ".env")
	begun := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- l.WatchFiles(t.Context(), func(context.Context) ([]Watched, error) { return []Watched{{Path: link}}, nil }, func() { begun <- struct{}{} })
	}()
	<-begun
	must(t, os.Symlink(filepath.Join(private, "key"), link))
	is(t, <-ended, ErrPrivate, "WatchFiles")
}

// TestWhatCantBeListedEndsTheWatching.
func TestWhatCantBeListedEndsTheWatching(t *testing.T) {
	no := errors.New("no")
	err := NewLocal(DialRules{}).WatchFiles(t.Context(), func(context.Context) ([]Watched, error) { return nil, no }, func() { t.Error("it is told") })
	is(t, err, no, "WatchFiles")
}

// TestWhoIsListingWhenItEndsIsNoError.
func TestWhoIsListingWhenItEndsIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := NewLocal(DialRules{}).WatchFiles(ctx, func(ctx context.Context) ([]Watched, error) {
		cancel()
		return nil, ctx.Err()
	}, func() { t.Error("it is told") })
	must(t, err)
}
