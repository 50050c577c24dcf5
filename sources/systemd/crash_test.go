//go:build linux

package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// mortal is a host whose client dies at an effect: the effect happens, or does not, and
// nothing that comes later does. The driver keeps nothing but what is on the host, so
// this is what a kill -9 leaves.
type mortal struct {
	hosts.Host
	left  int  // effects until it dies; negative: never
	after bool // the last one happens
	count int
	names []string
}

var errDead = errors.New("the process is dead")

// effect is asked before each one, and gives whether to do it.
func (m *mortal) effect(name string) (do bool) {
	m.count++
	m.names = append(m.names, name)
	if m.left < 0 {
		return true
	}
	m.left--
	return m.left > 0 || m.left == 0 && m.after
}

func (m *mortal) dead() bool { return m.left >= 0 && m.count > 0 && m.left <= 0 }

func (m *mortal) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	argv := c.Argv
	reads := slices.ContainsFunc(argv, func(a string) bool { return a == "show" || a == "id" }) || argv[0] == "journalctl"
	if reads {
		if m.dead() {
			return hosts.Result{}, errDead
		}
		return m.Host.Run(ctx, c)
	}
	if m.dead() || !m.effect(strings.Join(argv[:min(2, len(argv))], " ")) {
		return hosts.Result{}, errDead
	}
	result, err := m.Host.Run(ctx, c)
	if m.dead() {
		return hosts.Result{}, errDead
	}
	return result, err
}

func (m *mortal) do(name string, effect func() error) error {
	if m.dead() || !m.effect(name) {
		return errDead
	}
	err := effect()
	if m.dead() {
		return errDead
	}
	return err
}

func (m *mortal) ReplaceFile(ctx context.Context, r hosts.Replacement) error {
	return m.do("replace "+filepath.Ext(r.Path), func() error { return m.Host.ReplaceFile(ctx, r) })
}

func (m *mortal) RemoveFile(ctx context.Context, path, sum string) error {
	return m.do("remove "+filepath.Ext(path), func() error { return m.Host.RemoveFile(ctx, path, sum) })
}

func (m *mortal) PublishDir(ctx context.Context, dir string, p hosts.Published) error {
	return m.do("publish", func() error { return m.Host.PublishDir(ctx, dir, p) })
}

func (m *mortal) WithdrawDir(ctx context.Context, dir, tag string) error {
	return m.do("withdraw", func() error { return m.Host.WithdrawDir(ctx, dir, tag) })
}

// crashes dies at each effect of each operation, and does it again, or takes it back.
// At any of these moments the unit can be started. Without -whole it dies a third of
// the deaths.
func crashes(t *testing.T, w *world) {
	if w.manager != "user" {
		t.Skip("it takes its time, and is the same for the system's manager")
	}
	a := w.install(t, unitText{})
	a.begin(t)
	more := map[string]any{"deliver": "files"}
	empty := a.content(t)
	first := change("orders", 1, "PB_A", "1", "host", "h", "password", "p1")
	second := change("orders", 2, "PB_A", "2", "password", "p2", "port", "5432")
	for _, c := range []driver.Change{first, second} {
		c.Set[1].File, c.Set[2].File = true, true
	}
	second.Had = first.Set
	third := change("orders", 3, "PB_C", "3") // no files any more
	third.Had = second.Set
	onlyFiles := change("orders", 4, "password", "p4")
	onlyFiles.Set[0].File = true
	onlyFiles.Had = third.Set
	remove := gone(onlyFiles)
	want := map[int64]map[string]string{
		1: {"PB_A": "1"}, 2: {"PB_A": "2"}, 3: {"PB_C": "3"}, 4: {},
	}
	healthy := a.source(t, more)
	on := func(m *mortal) *source {
		m.Host = hosts.NewLocal(hosts.DialRules{})
		c := a.config(more)
		c.Host = m
		s, err := open(c)
		must(t, err)
		return s
	}
	runs := func(when string) {
		t.Helper()
		if _, err := a.read(); err != nil {
			t.Fatalf("%s the unit can't be started: %v", when, err)
		}
	}
	deaths := 0
	dies := func() bool {
		deaths++
		return *whole || deaths%8 == 0
	}
	for _, c := range []driver.Change{first, second, third, onlyFiles, remove} {
		before, had := a.content(t), snapshot(t, healthy)
		counting := &mortal{left: -1}
		_, err := on(counting).WriteSettings(t.Context(), c, had.Version)
		must(t, err)
		done := a.content(t)
		must(t, healthy.Restart(t.Context()))
		back := &mortal{left: -1}
		undoes := len(c.Set) > 0
		if undoes {
			must(t, on(back).RestoreSettings(t.Context(), c, had))
			if got := a.content(t); got != before {
				t.Fatalf("generation %d: taken back, there is\n%s\nand was\n%s", c.Mark.Generation, got, before)
			}
		}
		t.Logf("generation %d: %q, and back %q", c.Mark.Generation, counting.names, back.names)
		if !undoes { // a delete is not taken back: it is done again from where it began
			write(t, healthy, onlyFiles)
			before, had = a.content(t), snapshot(t, healthy)
		}
		for n := 1; n <= counting.count; n++ {
			// After an effect is before the next one.
			for _, after := range []bool{false, true}[:1+n/counting.count] {
				if !after && !dies() {
					continue
				}
				when := fmt.Sprintf("generation %d, dead at effect %d (%s, %t):", c.Mark.Generation, n, counting.names[n-1], after)
				_, err := on(&mortal{left: n, after: after}).WriteSettings(t.Context(), c, had.Version)
				if err == nil {
					t.Fatalf("%s it did not die", when)
				}
				runs(when)
				if undoes {
					must(t, healthy.RestoreSettings(t.Context(), c, had))
					if got := a.content(t); got != before {
						t.Fatalf("%s taken back, there is\n%s\nand was\n%s", when, got, before)
					}
					_, _ = on(&mortal{left: n, after: after}).WriteSettings(t.Context(), c, had.Version)
				}
				version, err := healthy.WriteSettings(t.Context(), c, had.Version)
				if err != nil {
					t.Fatalf("%s done again: %v", when, err)
				}
				if got := a.content(t); got != done {
					t.Fatalf("%s done again, there is\n%s\nwant\n%s", when, got, done)
				}
				if now := snapshot(t, healthy); now.Version != version {
					t.Fatalf("%s the version is %s, and WriteSettings said %s", when, now.Version, version)
				}
				if !undoes {
					write(t, healthy, onlyFiles)
					continue
				}
				for k := 1; after && k <= back.count; k++ { // back from the whole of it
					if !dies() {
						continue
					}
					if err := on(&mortal{left: k}).RestoreSettings(t.Context(), c, had); err == nil {
						t.Fatalf("%s back, it did not die at effect %d", when, k)
					}
					runs(when + " on the way back")
					must(t, healthy.RestoreSettings(t.Context(), c, had))
					if got := a.content(t); got != before {
						t.Fatalf("%s dead at effect %d on the way back, there is\n%s\nand was\n%s", when, k, got, before)
					}
					write(t, healthy, c)
				}
				must(t, healthy.RestoreSettings(t.Context(), c, had))
			}
		}
		if undoes {
			write(t, healthy, c)
			saw, err := a.read()
			must(t, err)
			if fmt.Sprint(saw.Environment) != fmt.Sprint(want[c.Mark.Generation]) {
				t.Errorf("generation %d: the application has %v", c.Mark.Generation, saw.Environment)
			}
		} else {
			write(t, healthy, remove)
		}
	}
	if got := a.content(t); got != empty {
		t.Errorf("in the end there is\n%s\nand was\n%s", got, empty)
	}
}

// others have their things beside ours.
func others(t *testing.T, w *world) {
	t.Run("systemctl edit at the same time", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		before := a.content(t)
		var group sync.WaitGroup
		for _, name := range []string{"orders", "events", "mail"} {
			s := a.source(t, nil)
			group.Go(func() {
				for generation := range int64(4) {
					c := change(name, generation+1, "PB_"+strings.ToUpper(name), fmt.Sprint(generation+1))
					for {
						now, err := s.ReadSettings(context.Background())
						if err == nil {
							_, err = s.WriteSettings(context.Background(), c, now.Version)
						}
						if err == nil {
							break
						}
						if patchbay.CodeOf(err) != patchbay.SettingsChanged {
							t.Errorf("%s: %v", name, err)
							return
						}
					}
				}
			})
		}
		for i := range 6 {
			must(t, a.byHand(map[string]string{"THEIRS": fmt.Sprint(i)}))
		}
		group.Wait()
		saw, err := a.read()
		must(t, err)
		if got := fmt.Sprint(saw.Environment); got != "map[PB_EVENTS:4 PB_MAIL:4 PB_ORDERS:4 THEIRS:5]" {
			t.Errorf("the application has %s", got)
		}
		for _, name := range []string{"events", "orders", "mail"} {
			write(t, a.source(t, nil), gone(change(name, 4, "PB_"+strings.ToUpper(name), "4")))
		}
		if got := a.content(t); !strings.HasPrefix(got, before) || strings.Contains(got, "50-patchbay") || !strings.Contains(got, "THEIRS=5") {
			t.Errorf("in the end there is %s", got)
		}
	})
	t.Run("systemctl revert", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		s := a.source(t, nil)
		c := change("orders", 1, "PB_A", "1")
		write(t, s, c)
		had := snapshot(t, s)
		must(t, os.RemoveAll(a.dropins())) // a revert does this, and touches vendors' units alone
		w.does(t, "daemon-reload")
		if now := snapshot(t, s); len(now.Settings) != 0 || now.Version == had.Version {
			t.Errorf("afterwards it has %d settings", len(now.Settings))
		}
		if owned, err := s.Owned(t.Context()); err != nil || len(owned) != 0 {
			t.Errorf("Owned = %v, %v", owned, err)
		}
		next := change("orders", 2, "PB_A", "2")
		next.Had = c.Set
		before := a.content(t)
		must(t, s.RestoreSettings(t.Context(), next, had))
		if got := a.content(t); got != before {
			t.Errorf("an undo brings back what somebody took away: %s", got)
		}
		write(t, s, next)
		write(t, s, gone(next))
		if got := a.content(t); got != before {
			t.Errorf("in the end there is %s", got)
		}
	})
	t.Run("our file is removed", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		before := a.content(t)
		s := a.source(t, nil)
		c := change("orders", 1, "PB_A", "1")
		write(t, s, c)
		must(t, os.Remove(filepath.Join(a.dropins(), "50-patchbay-u-orders.env")))
		if now := snapshot(t, s); len(now.Settings) != 0 {
			t.Errorf("it has %d settings", len(now.Settings))
		}
		if owned, err := s.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Mark.Connection != testID.Linker("orders") {
			t.Errorf("Owned = %v, %v", owned, err)
		}
		write(t, s, c)
		must(t, s.Restart(t.Context()))
		if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "1" {
			t.Errorf("written again, it has %v, %v", saw, err)
		}
		must(t, os.Remove(filepath.Join(a.dropins(), "50-patchbay-u-orders.env")))
		write(t, s, gone(c))
		if got := a.content(t); got != before {
			t.Errorf("in the end there is %s", got)
		}
	})
	t.Run("the unit is rewritten", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		s := a.source(t, nil)
		c := change("orders", 1, "PB_A", "1")
		write(t, s, c)
		file := filepath.Join(w.units, a.name)
		text, err := os.ReadFile(file)
		must(t, err)
		must(t, os.WriteFile(file, append(text, "[Service]\nEnvironment=NEW=1\n"...), 0o644))
		info, err := s.Inspect(t.Context())
		must(t, err)
		if !strings.Contains(strings.Join(info.Warnings, "\n"), "daemon-reload") {
			t.Errorf("Inspect says %q", info.Warnings)
		}
		if now := snapshot(t, s); now.Settings["NEW"].Reveal() != "" {
			t.Error("what systemd has not read is in the settings")
		}
		w.does(t, "daemon-reload")
		saw, err := a.read()
		must(t, err)
		if got := fmt.Sprint(saw.Environment); got != "map[NEW:1 PB_A:1]" {
			t.Errorf("the application has %s", got)
		}
		write(t, s, gone(c))
	})
	t.Run("somebody else's unit is broken", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		b := w.install(t, unitText{})
		must(t, os.WriteFile(filepath.Join(w.units, b.name), []byte("[Service\nExecStart=%%%\n"), 0o644))
		s := a.source(t, nil)
		c := change("orders", 1, "PB_A", "1")
		write(t, s, c)
		must(t, s.Restart(t.Context()))
		if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "1" {
			t.Errorf("it has %v, %v", saw, err)
		}
		write(t, s, gone(c))
	})
}
