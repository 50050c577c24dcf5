package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// change is something that is done in a directory, and how it looks before and
// after.
type change struct {
	prepare       func(t *testing.T, h hosts.Host, dir string)
	do            func(ctx context.Context, h hosts.Host, dir string) error
	before, after string // of see
}

var one = hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("1"), "old": []byte("1")}, Mode: 0o640}

var two = hosts.Published{Tag: "us", Generation: 2, Files: map[string][]byte{"a": []byte("2"), "new": []byte("2")}, Mode: 0o640}

var long = strings.Repeat("new line\n", 20_000)

func putFile(t *testing.T, _ hosts.Host, dir string) {
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	must(t, os.Chown(path, sshd.UID, sshd.UID))
}

func locked(ctx context.Context, h hosts.Host, path string, do func() error) error {
	unlock, err := h.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

var changes = map[string]change{
	"a file is replaced": {putFile, func(ctx context.Context, h hosts.Host, dir string) error {
		return replace(ctx, h, filepath.Join(dir, "f"), "old", long)
	}, "f=old", "f=" + long},
	"a file is made": {func(*testing.T, hosts.Host, string) {}, func(ctx context.Context, h hosts.Host, dir string) error {
		return replace(ctx, h, filepath.Join(dir, "f"), "", long)
	}, "", "f=" + long},
	"a file is removed": {putFile, func(ctx context.Context, h hosts.Host, dir string) error {
		path := filepath.Join(dir, "f")
		return locked(ctx, h, path, func() error { return h.RemoveFile(ctx, path, sum("old")) })
	}, "f=old", ""},
	"a directory is published": {func(*testing.T, hosts.Host, string) {}, func(ctx context.Context, h hosts.Host, dir string) error {
		return h.PublishDir(ctx, filepath.Join(dir, "orders"), one)
	}, "", "orders/a=1 orders/old=1"},
	"a directory is published anew": {func(t *testing.T, h hosts.Host, dir string) {
		must(t, h.PublishDir(t.Context(), filepath.Join(dir, "orders"), one))
	}, func(ctx context.Context, h hosts.Host, dir string) error {
		return h.PublishDir(ctx, filepath.Join(dir, "orders"), two)
	}, "orders/a=1 orders/old=1", "orders/a=2 orders/new=2"},
	"a directory is withdrawn": {func(t *testing.T, h hosts.Host, dir string) {
		must(t, h.PublishDir(t.Context(), filepath.Join(dir, "orders"), one))
	}, func(ctx context.Context, h hosts.Host, dir string) error {
		return h.WithdrawDir(ctx, filepath.Join(dir, "orders"), "us")
	}, "orders/a=1 orders/old=1", ""},
}

// see is what an application finds: files, and those of published directories, which
// it reads through its data link.
func see(dir string) string {
	var all []string
	add := func(name, path string) {
		if b, err := os.ReadFile(path); err == nil {
			all = append(all, name+"="+string(b))
		}
	}
	add("f", filepath.Join(dir, "f"))
	in := filepath.Join(dir, "orders", "..data")
	entries, _ := os.ReadDir(in)
	for _, e := range entries {
		add("orders/"+e.Name(), filepath.Join(in, e.Name()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// left are things of ours that no application is to find.
func left(t *testing.T, dir string) []string {
	var all []string
	data, _ := os.Readlink(filepath.Join(dir, "orders", "..data"))
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name := e.Name()
		if strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, "_tmp") || strings.HasPrefix(name, "..") && name != "..data" && name != data {
			all = append(all, path)
		}
		return err
	}))
	return all
}

// cut ends what serves the host, when something is asked for the n-th time or its
// answer comes.
type cut struct {
	at      int
	answers bool // the n-th answer is lost, and what was asked for has been done
	n       atomic.Int64
	made    func()
}

func (c *cut) into(h *Host) {
	if c.answers {
		h.files.lost = func() bool {
			if c.n.Add(1) != int64(c.at) {
				return false
			}
			c.made()
			return true
		}
		return
	}
	h.files.step = func(string) {
		if c.n.Add(1) == int64(c.at) {
			c.made()
		}
	}
}

// stride is from one instant that is tried to the next: each costs a second, so a
// run takes some of them, others each time, and all with PATCHBAY_EXHAUSTIVE.
func stride() int {
	if os.Getenv("PATCHBAY_EXHAUSTIVE") != "" {
		return 1
	}
	return 9
}

func first() int { return 1 + rand.IntN(stride()) }

// At every instant of every change: what serves the host is killed, or its answer is
// lost after the effect. The host comes back, and nobody who asked for the change sees
// anything of it.
func TestAChangeIsMadeWhereverItsConnectionIsCut(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	local := hosts.NewLocal(hosts.DialRules{})
	for what, c := range changes {
		t.Run(what, func(t *testing.T) {
			for _, answers := range []bool{false, true} {
				for at := first(); ; at += stride() {
					dir := own(t)
					c.prepare(t, local, dir)
					h := open(t, config(m, nil))
					var made atomic.Bool
					breaking := &cut{at: at, answers: answers, made: func() {
						made.Store(true)
						if !answers {
							m.KillSessions()
						}
					}}
					breaking.into(h)
					if got := see(dir); got != c.before {
						t.Fatalf("before: %.80q", got)
					}
					if err := c.do(t.Context(), h, dir); err != nil {
						t.Errorf("cut at %d, answers %t: %v", at, answers, err)
					}
					if got := see(dir); got != c.after {
						t.Errorf("cut at %d, answers %t: there is %.80q", at, answers, got)
					}
					if got := left(t, dir); len(got) > 0 {
						t.Errorf("cut at %d, answers %t: left %q", at, answers, got)
					}
					if !made.Load() {
						if n := breaking.n.Load(); n < 10 {
							t.Errorf("only %d instants", n)
						}
						break
					}
				}
			}
		})
	}
}

// The host does not come back: whoever asked for the change hears of it, and can ask
// again; what is there is the old or the new.
func TestAChangeWhoseHostIsGoneIsOldOrNew(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	local := hosts.NewLocal(hosts.DialRules{})
	for what, c := range changes {
		t.Run(what, func(t *testing.T) {
			for at := first(); ; at += stride() {
				dir := own(t)
				c.prepare(t, local, dir)
				h := open(t, config(m, nil))
				made := false
				(&cut{at: at, made: func() {
					made = true
					m.StopServer()
					m.KillAll()
				}}).into(h)
				err := c.do(t.Context(), h, dir)
				if !made {
					must(t, err)
					break
				}
				if !patchbay.IsTransient(err) {
					t.Errorf("cut at %d: %v", at, err)
				}
				if got := see(dir); got != c.before && got != c.after {
					t.Errorf("cut at %d: there is %.80q", at, got)
				}
				m.StartServer()
				// As a step is repeated: what was done already is no reason to fail.
				if err := c.do(t.Context(), open(t, config(m, nil)), dir); err != nil && !(errors.Is(err, hosts.ErrChanged) && see(dir) == c.after) {
					t.Errorf("cut at %d: again: %v", at, err)
				}
				if got := see(dir); got != c.after {
					t.Errorf("cut at %d: afterwards there is %.80q", at, got)
				}
				if got := left(t, dir); len(got) > 0 {
					t.Errorf("cut at %d: left %q", at, got)
				}
			}
		})
	}
}

func TestAHostThatWasRebootedIsFoundAgain(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, dir := open(t, config(m, nil)), own(t)
	path := filepath.Join(dir, "f")
	must(t, replace(t.Context(), h, path, "", "0"))
	for i := range 3 {
		m.Reboot()
		must(t, replace(t.Context(), h, path, fmt.Sprint(i), fmt.Sprint(i+1)))
		m.Reboot()
		if got, err := h.Run(t.Context(), hosts.Command{Argv: []string{"cat", path}}); err != nil || string(got.Output) != fmt.Sprint(i+1) {
			t.Errorf("Run = %+v, %v", got, err)
		}
		m.Reboot()
		conn, err := h.DialContext(t.Context(), "tcp", "127.0.0.1:22")
		must(t, err)
		must(t, conn.Close())
	}
}

// A lock that is held is held again before anything else is done: nobody comes
// between.
func TestALockIsTakenAgainAfterACut(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, other, dir := open(t, config(m, nil)), open(t, config(m, nil)), own(t)
	path := filepath.Join(dir, "f")
	must(t, replace(t.Context(), h, path, "", "old"))
	unlock, err := h.Lock(t.Context(), path)
	must(t, err)
	m.Reboot()
	must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Content: []byte("new"), Temp: ".f.1.tmp", IfSum: sum("old")}))
	if _, err := h.ListDir(t.Context(), dir); err != nil {
		t.Error(err)
	}
	got := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		unlock, err := other.Lock(ctx, path)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	// Its flock waits: seen by another on the machine itself.
	m.Until("pgrep", "-f", "flock "+dir)
	if out, err := m.Command(t.Context(), "flock", "-n", dir, "true").CombinedOutput(); err == nil {
		t.Errorf("the lock is free: %s", out)
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("the lock is taken by another: %v", err)
	}
	unlock()
	must(t, replace(t.Context(), other, path, "new", "newer"))
}

// Somebody else got the lock while it was lost, and wrote: the change that was
// computed from the old content is refused.
func TestWhoeverLostTheLockDoesNotOverwrite(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, other, dir := open(t, config(m, nil)), open(t, config(m, nil)), own(t)
	path := filepath.Join(dir, "f")
	must(t, replace(t.Context(), h, path, "", "old"))
	unlock, err := h.Lock(t.Context(), path)
	must(t, err)
	m.KillSessions()
	must(t, replace(t.Context(), other, path, "old", "theirs"))
	err = h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Content: []byte("ours"), Temp: ".f.1.tmp", IfSum: sum("old")})
	if !errors.Is(err, hosts.ErrChanged) {
		t.Errorf("ReplaceFile = %v", err)
	}
	unlock()
	if got := read(t, path); got != "theirs" {
		t.Errorf("it holds %q", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left: %q", got)
	}
}

// Nobody knows what a program did that was cut: it is not run twice.
func TestAProgramThatIsCutIsNotRunAgain(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, dir := open(t, config(m, nil)), own(t)
	ran := filepath.Join(dir, "ran")
	done := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), hosts.Command{Argv: []string{"sh", "-c", `echo x >> "$1"; sleep 1000`, "sh", ran}})
		done <- err
	}()
	m.Until("test", "-s", ran)
	m.KillSessions()
	err := <-done
	if e := patchbay.AsError(err); !e.Transient || !strings.Contains(e.Message, "not known") {
		t.Errorf("Run = %v", err)
	}
	if got := read(t, ran); got != "x\n" {
		t.Errorf("it ran: %q", got)
	}
}

// A peer that is gone says nothing: it is asked, and given up.
func TestAPeerThatSaysNothingIsGivenUp(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, path := open(t, config(m, nil)), filepath.Join(own(t), "f")
	h.files.pool.every, h.files.pool.within = 50_000_000, 200_000_000
	must(t, replace(t.Context(), h, path, "", "old"))
	done := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), hosts.Command{Argv: []string{"sleep", "1000"}})
		done <- err
	}()
	m.Until("pgrep", "-x", "sleep", "-u", sshd.User)
	restore := m.Silence()
	if err := <-done; !patchbay.IsTransient(err) {
		t.Errorf("Run = %v", err)
	}
	restore()
	must(t, replace(t.Context(), h, path, "old", "new"))
}

// Several who work in a directory whose lock was lost take it again once.
func TestALockIsTakenAgainByOneForAll(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	h, dir := open(t, config(m, nil)), own(t)
	path := filepath.Join(dir, "f")
	must(t, replace(t.Context(), h, path, "", "old"))
	unlock, err := h.Lock(t.Context(), path)
	must(t, err)
	m.KillSessions()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got, err := h.ReadFile(t.Context(), path, 10); err != nil || string(got.Content) != "old" {
				t.Errorf("ReadFile = %q, %v", got.Content, err)
			}
		})
	}
	group.Wait()
	unlock()
	must(t, replace(t.Context(), h, path, "old", "new"))
}
