package ssh

import (
	"fmt"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// What a change costs: a lock, a sweep and a replacement, and a program; beside the
// same on this machine.
func BenchmarkReplace(b *testing.B) {
	m := sshd.Start(b, sshd.Options{Sudoers: []string{everything}})
	for name, h := range map[string]hosts.Host{
		"here": hosts.NewLocal(hosts.DialRules{}), "ssh": open(b, config(m, nil)), "ssh and sudo": open(b, config(m, map[string]any{"become": "root"})),
	} {
		path, last := filepath.Join(own(b), "f"), ""
		if err := replace(b.Context(), h, path, "", "0"); err != nil {
			b.Fatal(err)
		}
		last = "0"
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				next := fmt.Sprint(len(last)) + last[:min(len(last), 100)]
				if err := replace(b.Context(), h, path, last, next); err != nil {
					b.Fatal(err)
				}
				last = next
			}
		})
		b.Run(name+", a program", func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Run(b.Context(), hosts.Command{Argv: []string{"true"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
