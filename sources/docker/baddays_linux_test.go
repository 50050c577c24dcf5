package docker

import (
	"context"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// unharmed fails unless the application's first container is there, runs where it ran,
// and nothing of ours is beside it.
func (w *world) unharmed(t *testing.T, when, name, id string, running int) {
	t.Helper()
	if left := w.ours(t, name); len(left) != 1 || left[0] != name {
		t.Errorf("%s: there are %v", when, left)
	}
	if got := w.Must(t, "inspect", "--format", "{{.Id}}", name); got != id {
		t.Errorf("%s: the application is another container", when)
	}
	if got := w.running(t, name); got != running {
		t.Errorf("%s: %d containers run, want %d", when, got, running)
	}
}

// TestTheEnginesDiskIsFull when a container is to be made: the old one never stops.
func TestTheEnginesDiskIsFull(t *testing.T) {
	w := &world{Engine: testdocker.StartWith(t, testdocker.Docker, testdocker.Options{Disk: "64m"})}
	w.Must(t, "run", "-d", "--name", "web", w.Image(t, testdocker.App))
	id := w.Must(t, "inspect", "--format", "{{.Id}}", "web")
	s := w.open(t, "web")
	c := change(1, "PB_A", "canary")
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	fill := func() {
		_, _ = w.OnDisk("sh", "-c", `cat /dev/zero > "$1"`, "sh", w.Data()+"/filler") // it ends when nothing fits any more
	}
	fill()
	_, err = s.WriteSettings(t.Context(), c, before.Version)
	if patchbay.CodeOf(err) != patchbay.SettingsUnwritable || !strings.Contains(err.Error(), "no space left") || !strings.Contains(patchbay.AsError(err).Fix, "docker system df") {
		t.Errorf("WriteSettings on a full disk: %v\nfix: %s", err, patchbay.AsError(err).Fix)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error shows a setting: %v", err)
	}
	must(t, s.RestoreSettings(t.Context(), c, before))
	w.unharmed(t, "undone on a full disk", "web", id, 1)

	// It is full when the new one is to start: what it needs for that is not there.
	_, err = w.OnDisk("rm", w.Data()+"/filler")
	must(t, err)
	before, err = s.ReadSettings(t.Context())
	must(t, err)
	_, err = s.WriteSettings(t.Context(), c, before.Version)
	must(t, err)
	fill()
	err = s.Restart(t.Context())
	t.Logf("Restart on a full disk: %v", err)
	must(t, s.RestoreSettings(t.Context(), c, before))
	if err := s.Restart(t.Context()); err != nil {
		t.Logf("the old one is not back yet: %v", err)
		_, err = w.OnDisk("rm", w.Data()+"/filler")
		must(t, err)
		must(t, s.Restart(t.Context()))
	}
	w.unharmed(t, "taken back", "web", id, 1)
}

// TestTheImageGoesMeanwhile between the plan and the write. A container that runs keeps
// its image; one that is stopped does not. Nothing is ever fetched from a registry.
func TestTheImageGoesMeanwhile(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, "shop", "LABEL of=its.own")
	w.Must(t, "tag", image, "registry.invalid/shop/web:7")
	w.Must(t, "rmi", image)
	w.Must(t, "create", "--name", "web", "registry.invalid/shop/web:7")
	w.Must(t, "run", "-d", "--name", "busy", "registry.invalid/shop/web:7")
	id, busy := w.Must(t, "inspect", "--format", "{{.Id}}", "web"), w.Must(t, "inspect", "--format", "{{.Id}}", "busy")
	c := change(1, "PB_A", "1")

	// One that runs is made anew though nobody knows its image by a name any more.
	w.Must(t, "rmi", "-f", "registry.invalid/shop/web:7")
	s := w.open(t, "busy")
	before := apply(t, s, c)
	if got, err := w.Environ("busy"); err != nil || got["PB_A"] != "1" {
		t.Errorf("the application has %v, %v", got, err)
	}
	must(t, s.RestoreSettings(t.Context(), c, before))
	must(t, s.Restart(t.Context()))
	w.unharmed(t, "undone", "busy", busy, 1)
	w.Must(t, "rm", "-f", "busy")

	s = w.open(t, "web")
	must(t, s.CheckChange(t.Context(), c))
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	w.Must(t, "rmi", "-f", w.Must(t, "inspect", "--format", "{{.Image}}", "web"))
	_, err = s.WriteSettings(t.Context(), c, before.Version)
	if patchbay.CodeOf(err) != patchbay.SettingsUnwritable || !strings.Contains(err.Error(), "not on the engine") || !strings.Contains(patchbay.AsError(err).Fix, "docker pull") {
		t.Errorf("WriteSettings without its image: %v\nfix: %s", err, patchbay.AsError(err).Fix)
	}
	must(t, s.RestoreSettings(t.Context(), c, before))
	w.unharmed(t, "undone", "web", id, 0)
}

// TestTheEngineIsRestarted between any two calls, in order, as a package's upgrade does
// it: it ends what runs, and starts what its policies say. Whoever goes on finishes.
func TestTheEngineIsRestarted(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	reboot := func() {
		t.Helper()
		must(t, w.Down())
		must(t, w.Up())
	}
	tests := []struct{ what, policy string }{{"it comes back by itself", "always"}, {"it was told to stay down", "no"}}
	for _, tt := range tests {
		if tt.policy == "no" && !*whole {
			continue
		}
		t.Run(tt.what, func(t *testing.T) {
			const name = "web"
			w.Must(t, "run", "-d", "--name", name, "--restart", tt.policy, image)
			t.Cleanup(func() { _, _ = w.Docker(append([]string{"rm", "--force"}, w.ours(t, name)...)...) })
			id := w.Must(t, "inspect", "--format", "{{.Id}}", name)
			s := w.open(t, name)
			c := change(1, "PB_A", "1")
			before, err := s.ReadSettings(t.Context())
			must(t, err)
			ran := func() { // the engine, back, has not started it: that is no business of ours
				if tt.policy == "no" {
					w.Must(t, "start", name)
				}
			}
			write := func() error {
				_, err := s.WriteSettings(t.Context(), c, before.Version)
				return err
			}
			must(t, write())
			reboot()
			ran()
			must(t, write()) // once more: its answer may have been lost
			must(t, s.Restart(t.Context()))
			reboot()
			ran()
			must(t, s.Restart(t.Context()))
			if got, err := w.Environ(name); err != nil || got["PB_A"] != "1" {
				t.Errorf("the application has %v, %v", got, err)
			}
			must(t, s.RestoreSettings(t.Context(), c, before))
			reboot()
			ran()
			must(t, s.RestoreSettings(t.Context(), c, before))
			must(t, s.Restart(t.Context()))
			w.unharmed(t, "undone", name, id, 1)
		})
	}
	t.Run("while it is waited for", func(t *testing.T) {
		const name = "slow"
		w.Must(t, "run", "-d", "--name", name, "--restart", "always", image)
		id := w.Must(t, "inspect", "--format", "{{.Id}}", name)
		s := w.open(t, name)
		s.steady = waits
		c := change(1, "PB_A", "1")
		before, err := s.ReadSettings(t.Context())
		must(t, err)
		_, err = s.WriteSettings(t.Context(), c, before.Version)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.Restart(ctx) }()
		until(t, func() bool {
			got, err := w.Environ(name)
			return err == nil && got["PB_A"] == "1"
		})
		reboot()
		// An engine that goes ends what it runs first: who sees that sees an application that
		// ends by itself, and takes the change back.
		err = <-ended
		s.steady = 0
		if patchbay.CodeOf(err) == patchbay.RestartFailed {
			again(t, func() error { return s.RestoreSettings(ctx, c, before) })
			again(t, func() error { return s.Restart(ctx) })
			w.unharmed(t, "undone", name, id, 1)
			return
		}
		if err != nil && !patchbay.AsError(err).Transient {
			t.Errorf("the step would fail for good: %v", err)
		}
		must(t, s.Restart(ctx))
		if got, err := w.Environ(name); err != nil || got["PB_A"] != "1" {
			t.Errorf("the application has %v, %v", got, err)
		}
		must(t, s.Release(ctx, c))
		if left := w.ours(t, name); len(left) != 1 {
			t.Errorf("in the end there are %v", left)
		}
	})
}

// waits is how long a container must have run in a test that does something meanwhile.
const waits = 3 * time.Second

// until waits for what somebody else does.
func until(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come about")
		}
	}
}
