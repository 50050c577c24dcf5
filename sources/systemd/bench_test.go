//go:build linux

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

// BenchmarkCreate is what a connection costs on a unit, beside the same by hand.
func BenchmarkCreate(b *testing.B) {
	w := &world{manager: "user", program: env.Application(b), units: env.User(b)}
	a := w.install(b, unitText{})
	a.begin(b)
	s := a.source(b, nil)
	c := change("orders", 1, "PB_A", "1")
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			must(b, os.Mkdir(a.dropins(), 0o755))
			file := filepath.Join(a.dropins(), "hand.env")
			must(b, os.WriteFile(file, []byte("PB_A=1\n"), 0o600))
			must(b, os.WriteFile(filepath.Join(a.dropins(), "hand.conf"), fmt.Appendf(nil, "[Service]\nEnvironmentFile=%s\n", file), 0o644))
			w.does(b, "daemon-reload")
			w.does(b, "restart", a.name)
			w.does(b, "is-active", a.name)
			b.StopTimer()
			must(b, os.RemoveAll(a.dropins()))
			w.does(b, "daemon-reload")
			b.StartTimer()
		}
	})
	b.Run("by Patchbay", func(b *testing.B) {
		for b.Loop() {
			had := snapshot(b, s)
			must(b, s.CheckChange(b.Context(), c))
			_, err := s.WriteSettings(b.Context(), c, had.Version)
			must(b, err)
			must(b, s.Restart(b.Context()))
			b.StopTimer()
			must(b, s.RestoreSettings(b.Context(), c, had))
			b.StartTimer()
		}
	})
}
