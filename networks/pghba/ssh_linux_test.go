package pghba_test

import (
	"encoding/json"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// The files of a server on another machine, as whom it runs as: the documented way.
func TestFilesOfAnotherMachine(t *testing.T) {
	one(t, func(t *testing.T, s *server) {
		info, err := os.Stat(s.conf)
		must(t, err)
		owner, err := user.LookupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
		must(t, err)
		m := sshd.Start(t, sshd.Options{Sudoers: []string{sshd.User + " ALL=(" + owner.Username + ") NOPASSWD: ALL"}})
		host := func(become string) hosts.Host {
			raw, err := json.Marshal(map[string]any{"user": sshd.User, "become": become, "hostKeys": []string{m.HostKey.Public}})
			must(t, err)
			h, err := ssh.Open(t.Context(), driver.Config{
				ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/db1", Endpoint: m.Address, Properties: raw, Dialer: &net.Dialer{},
				Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
			})
			must(t, err)
			t.Cleanup(func() { _ = h.Close() })
			return h
		}
		before, err := s.content()
		must(t, err)
		r := s.rule("a", "10.1.3.7/32")
		guard := s.guard()
		guard.Host = host("")
		e := failed(t, s.opened(guard, s.target()).EnsureRule(t.Context(), r), patchbay.Forbidden)
		if !strings.Contains(e.Fix, "become") {
			t.Errorf("the fix is %q", e.Fix)
		}
		guard.Host = host(owner.Username)
		n := s.opened(guard, s.target())
		must(t, n.EnsureRule(t.Context(), r))
		s.whole(t, r, exact)
		s.open(t, "10.1.3.7", r.Login, "orders", true)
		s.open(t, "10.1.3.8", r.Login, "orders", false)
		must(t, n.RemoveRule(t.Context(), r))
		s.same(t, before)
		s.open(t, "10.1.3.7", r.Login, "orders", false)
	})
}
