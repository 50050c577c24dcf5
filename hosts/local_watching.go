package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

var _ Watching = (*Local)(nil)

// WatchFiles implements [Watching].
func (l *Local) WatchFiles(ctx context.Context, files func(context.Context) ([]Watched, error), changed func()) error {
	w, err := watchers.join()
	if err != nil {
		return err
	}
	defer watchers.leave(w)
	s := &subscription{wake: make(chan struct{}, 1), dirs: map[string]bool{}}
	defer w.keep(s, nil)
	for ctx.Err() == nil {
		list, err := files(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		t := &trail{w: w, s: s, wanted: map[string]*wish{}}
		for _, one := range list {
			if err := l.CheckPath(ctx, one.Path); errors.Is(err, ErrPrivate) {
				return err
			}
			if err := t.follow(one); err != nil {
				return err
			}
		}
		w.keep(s, t.wanted)
		changed()
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-w.failed:
			return w.err
		}
	}
	return nil
}

// watchers has the one watcher of this process: the system lets each user have some
// hundred of them, and each one watch many thousand directories.
var watchers sharedWatcher

type sharedWatcher struct {
	mu   sync.Mutex
	w    *watcher
	uses int
}

func (s *sharedWatcher) join() (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w != nil {
		select {
		case <-s.w.failed: // those that still use it are about to leave
			s.w = nil
		default:
		}
	}
	if s.w == nil {
		system, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, limitOf(err)
		}
		s.w, s.uses = newWatcher(system), 0
	}
	s.uses++
	s.w.users++
	return s.w, nil
}

func (s *sharedWatcher) leave(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.users--
	if w.users > 0 {
		return
	}
	if s.w == w {
		s.w = nil
	}
	w.close()
}

// watcher tells subscriptions of what happens in directories. Directories are watched,
// not files: what is not there yet can't be, and a file that is replaced is another one.
type watcher struct {
	users  int // sharedWatcher's
	system *fsnotify.Watcher
	done   sync.WaitGroup
	failed chan struct{} // closed when err is set
	err    error

	// calls is held around what is asked of the system, and never where events are
	// received: its reader waits for those.
	calls sync.Mutex
	mu    sync.Mutex
	dirs  map[string]*watchedDir // by their real path
	paths map[inode][]string     // of those
}

// watchedDir is a directory with what is wanted of it.
type watchedDir struct {
	at    inode
	names map[string]map[*subscription]bool
	all   map[*subscription]func(string) bool
}

// subscription is one caller of WatchFiles.
type subscription struct {
	wake chan struct{}
	dirs map[string]bool // where it is known
}

// tell wakes the caller, once for all that happens until it looks.
func (s *subscription) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wish is what a subscription wants to know of a directory.
type wish struct {
	names map[string]bool
	all   bool
	match func(string) bool // of all, those that count; nil: each
}

func newWatcher(system *fsnotify.Watcher) *watcher {
	w := &watcher{system: system, failed: make(chan struct{}), dirs: map[string]*watchedDir{}, paths: map[inode][]string{}}
	w.done.Go(func() {
		for event := range system.Events {
			w.happened(event)
		}
	})
	// Apart from the events: their reader may report an error while it holds what a
	// call to the system waits for.
	w.done.Go(func() {
		for err := range system.Errors {
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.lost()
				continue
			}
			select {
			case <-w.failed:
			default:
				w.err = fmt.Errorf("the system's watcher: %w", err)
				close(w.failed)
			}
		}
	})
	return w
}

func (w *watcher) close() {
	_ = w.system.Close()
	w.done.Wait()
}

// happened tells who wants to know of it. An event is of a name in a directory, or of
// the directory itself.
func (w *watcher) happened(event fsnotify.Event) {
	name := filepath.Clean(event.Name)
	dir, base := filepath.Split(name)
	dir = filepath.Clean(dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.same(dir) {
		for s := range d.names[base] {
			s.tell()
		}
		for s, match := range d.all {
			if match == nil || match(base) {
				s.tell()
			}
		}
	}
	if d := w.dirs[name]; d != nil && event.Op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		d.tell()
	}
}

// same are the directories at that path, and at others that lead to the same one: the
// system watches it once, and names one of them.
func (w *watcher) same(path string) []*watchedDir {
	d := w.dirs[path]
	if d == nil {
		return nil
	}
	var all []*watchedDir
	for _, other := range w.paths[d.at] {
		all = append(all, w.dirs[other])
	}
	return all
}

func (d *watchedDir) tell() {
	for _, subscribed := range d.names {
		for s := range subscribed {
			s.tell()
		}
	}
	for s := range d.all {
		s.tell()
	}
}

// lost: there was more than the system keeps, and anything may have happened.
func (w *watcher) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.dirs {
		d.tell()
	}
}

// want has a subscription told of these names in a directory from now on, besides those
// that it is told of already. again: it has wanted something there in this very look.
func (w *watcher) want(s *subscription, dir string, wanted *wish, again bool) error {
	w.calls.Lock()
	defer w.calls.Unlock()
	if again { // one that was replaced since has told of it
		w.more(s, dir, wanted)
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	at, _ := inodeOf(info)
	if w.enter(s, dir, wanted, at) {
		_ = w.system.Remove(dir) // what is not there any more
	}
	// Also where it is watched: one that was removed and made again, under the same
	// number even, is not any more. Again is as good as once.
	return w.system.Add(dir)
}

// enter notes what is wanted. replaced says that another directory was at that path.
func (w *watcher) enter(s *subscription, dir string, wanted *wish, at inode) (replaced bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.dirs[dir]
	if d == nil {
		d = &watchedDir{names: map[string]map[*subscription]bool{}, all: map[*subscription]func(string) bool{}}
		w.dirs[dir] = d
	} else if replaced = d.at != at; replaced {
		w.forget(dir, d.at)
	}
	if d.at = at; !slices.Contains(w.paths[at], dir) {
		w.paths[at] = append(w.paths[at], dir)
	}
	s.dirs[dir] = true
	d.add(s, wanted)
	return replaced
}

// more notes more that is wanted of a directory that a subscription has.
func (w *watcher) more(s *subscription, dir string, wanted *wish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirs[dir].add(s, wanted)
}

func (d *watchedDir) add(s *subscription, wanted *wish) {
	for name := range wanted.names {
		if d.names[name] == nil {
			d.names[name] = map[*subscription]bool{}
		}
		d.names[name][s] = true
	}
	if wanted.all {
		d.all[s] = wanted.match
	}
}

func (w *watcher) forget(dir string, at inode) {
	w.paths[at] = slices.DeleteFunc(w.paths[at], func(p string) bool { return p == dir })
	if len(w.paths[at]) == 0 {
		delete(w.paths, at)
	}
}

// keep ends what a subscription is told of besides this.
func (w *watcher) keep(s *subscription, wanted map[string]*wish) {
	w.calls.Lock()
	defer w.calls.Unlock()
	unused, again := w.leave(s, wanted)
	for _, dir := range unused {
		_ = w.system.Remove(dir)
	}
	for _, dir := range again {
		_ = w.system.Add(dir)
	}
}

// leave takes a subscription out where nothing of this is wanted. unused are the
// directories that nobody wants any more, again other paths of them that somebody does.
func (w *watcher) leave(s *subscription, wanted map[string]*wish) (unused, again []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir := range s.dirs {
		d, still := w.dirs[dir], wanted[dir]
		for name, subscribed := range d.names {
			if still == nil || !still.names[name] {
				if delete(subscribed, s); len(subscribed) == 0 {
					delete(d.names, name)
				}
			}
		}
		if still == nil || !still.all {
			delete(d.all, s)
		}
		if still == nil {
			delete(s.dirs, dir)
		}
		if len(d.names) == 0 && len(d.all) == 0 {
			delete(w.dirs, dir)
			w.forget(dir, d.at)
			unused = append(unused, dir)
			again = append(again, w.paths[d.at]...)
		}
	}
	return unused, again
}

// trail is the way to what a subscription watches, as it is now.
type trail struct {
	w      *watcher
	s      *subscription
	wanted map[string]*wish
}

// wish has a directory watched for more, before anybody looks into it: what happens
// after the look is then told.
func (t *trail) wish(dir string, name string, all bool, match func(string) bool) error {
	wanted := t.wanted[dir]
	again := wanted != nil
	if !again {
		wanted = &wish{names: map[string]bool{}}
		t.wanted[dir] = wanted
	}
	switch {
	case !all:
		wanted.names[name] = true
	case wanted.all && wanted.match != nil && match != nil:
		first := wanted.match
		wanted.match = func(name string) bool { return first(name) || match(name) }
	case wanted.all:
		wanted.match = nil
	default:
		wanted.all, wanted.match = true, match
	}
	err := t.w.want(t.s, dir, wanted, again)
	if err != nil {
		delete(t.wanted, dir)
	}
	return err
}

// follow watches every directory on the way to a file, as far as they are there, and
// those that links lead through.
func (t *trail) follow(f Watched) error {
	at, rest := "/", strings.Split(strings.TrimPrefix(filepath.Clean(f.Path), "/"), "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		switch err := t.wish(at, name, false, nil); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return nil // it went meanwhile, of which the directory above has told
		case errors.Is(err, fs.ErrPermission) && len(rest) > 0:
			// It may be gone through and not be read: what is renamed there is not seen.
		case err != nil:
			return limitOf(err)
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return nil //nolint:nilerr // not there yet, or not for us to see
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return nil //nolint:nilerr // gone again, or a circle: nothing to see
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
		case info.IsDir():
			at = next
		default:
			return nil
		}
	}
	return t.below(at, f.Below, f.Match)
}

// below watches a directory and some levels of those in it.
func (t *trail) below(dir string, levels int, match func(string) bool) error {
	if levels == 0 {
		return nil
	}
	switch err := t.wish(dir, "", true, match); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil:
		return limitOf(err)
	}
	if levels == 1 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && (match == nil || match(e.Name())) {
			if err := t.below(filepath.Join(dir, e.Name()), levels-1, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// limitOf says which limit of the system an error is of.
func limitOf(err error) error {
	limit := func(what, sysctl string) error {
		return &LimitError{
			Err: err, What: what,
			Fix: fmt.Sprintf("sysctl fs.inotify.%s   (shows the limit; sysctl -w fs.inotify.%s=NUMBER raises it, and a file in /etc/sysctl.d keeps it)", sysctl, sysctl),
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return limit("the user that Patchbay runs as watches as many directories as it may", "max_user_watches")
	case errors.Is(err, syscall.EMFILE):
		f, opening := os.Open(os.DevNull)
		if opening == nil {
			_ = f.Close()
			return limit("the user that Patchbay runs as has as many watchers as it may", "max_user_instances")
		}
		return &LimitError{Err: err, What: "this process has as many files open as it may", Fix: "systemctl edit patchbay   (and raise LimitNOFILE=)"}
	}
	return err
}
