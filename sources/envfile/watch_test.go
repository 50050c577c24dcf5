package envfile

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// full is a machine that lets nobody watch more.
type full struct{ *hosts.Local }

func (full) WatchFiles(context.Context, func(context.Context) ([]hosts.Watched, error), func()) error {
	return &hosts.LimitError{Err: os.ErrInvalid, What: "there is no more", Fix: "raise it"}
}

func watched(t *testing.T, dir string, host hosts.Host, properties map[string]any) driver.Watcher {
	t.Helper()
	raw, err := json.Marshal(properties)
	must(t, err)
	s, err := Driver().Open(t.Context(), driver.Config{ID: testID, Endpoint: filepath.Join(dir, ".env"), Properties: raw, Host: host})
	must(t, err)
	return s.(driver.Watcher)
}

// TestAFullLimitIsSaidWithItsFix, and a moment may mend it.
func TestAFullLimitIsSaidWithItsFix(t *testing.T) {
	err := watched(t, t.TempDir(), full{hosts.NewLocal(hosts.DialRules{})}, map[string]any{}).Watch(t.Context(), func() { t.Error("it is told") })
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.SettingsUnreadable || e.Fix != "raise it" || !patchbay.IsTransient(err) {
		t.Errorf("Watch = %v", err)
	}
}

// TestAnotherProcessAndABindingsFileAreTold: somebody edits a file of a binding in place;
// a supervisor writes another pid.
func TestAnotherProcessAndABindingsFileAreTold(t *testing.T) {
	dir := t.TempDir()
	pid, root := filepath.Join(dir, "pid"), filepath.Join(dir, "bindings")
	must(t, os.Mkdir(root, 0o700))
	s := watched(t, dir, hosts.NewLocal(hosts.DialRules{}), map[string]any{
		"reload": map[string]any{"pidFile": pid}, "bindingRoot": root,
	})
	c := driver.Change{Mark: driver.Mark{UID: "u", Generation: 1, Connection: testID.Linker("orders")}, Name: "orders"}
	c.Set = []patchbay.Setting{{Name: "password", Value: patchbay.NewSecret("p"), File: true}}
	source := s.(driver.Source)
	now, err := source.ReadSettings(t.Context())
	must(t, err)
	_, err = source.WriteSettings(t.Context(), c, now.Version)
	must(t, err)
	for what, change := range map[string]func() error{
		"another process": func() error { return os.WriteFile(pid, []byte("1"), 0o600) },
		"a file of a binding": func() error {
			return os.WriteFile(filepath.Join(root, "orders", "password"), []byte("q"), 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ticks, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- s.Watch(ctx, func() {
					select {
					case ticks <- struct{}{}:
					case <-ctx.Done():
					}
				})
			}()
			<-ticks
			must(t, change())
			<-ticks
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Watch = %v", err)
			}
		})
	}
}
