//go:build linux

package systemd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// What was a file of an earlier generation is none of the next.
func fileUpdates(t *testing.T, w *world) {
	a := w.install(t, unitText{})
	a.begin(t)
	before := a.content(t)
	s := a.source(t, map[string]any{"deliver": "files"})
	info, err := s.Inspect(t.Context())
	must(t, err)
	if !info.Files || !strings.HasPrefix(info.FilesAt, w.units) {
		t.Errorf("Inspect says %+v", info)
	}
	first := files(change("orders", 1, "type", "postgresql", "password", "p1"))
	write(t, s, first)
	other := files(change("events", 1, "type", "nats"))
	write(t, s, other)
	must(t, s.Restart(t.Context()))
	saw, err := a.saw()
	must(t, err)
	if saw.Files["orders"]["password"] != "p1" || saw.Files["events"]["type"] != "nats" || saw.Environment["SERVICE_BINDING_ROOT"] != info.FilesAt {
		t.Errorf("the application has %v", saw.Files)
	}
	// The copies that the manager makes are for the service alone, and ours for the manager.
	for _, name := range []string{"password", "type"} {
		at, err := os.Stat(filepath.Join(a.dropins(), "50-patchbay-u-orders.files", name))
		must(t, err)
		if at.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, at.Mode())
		}
	}
	// Another connection of that name, of another registration of the unit.
	taken := files(change("orders", 1, "password", "p2"))
	taken.Mark.UID = "another"
	refused(t, s.CheckChange(t.Context(), taken), patchbay.NotOurs, "orders")
	// An application that has a root of its own does not look at ours.
	write(t, s, gone(first))
	write(t, s, gone(other))
	must(t, a.byHand(map[string]string{"SERVICE_BINDING_ROOT": "/bindings"}))
	if info, err := s.Inspect(t.Context()); err != nil || info.Files || !strings.Contains(info.NoFiles, "SERVICE_BINDING_ROOT") {
		t.Errorf("Inspect says %+v, %v", info, err)
	}
	refused(t, s.CheckChange(t.Context(), first), patchbay.NotSupported, "SERVICE_BINDING_ROOT")
	must(t, os.RemoveAll(a.dropins()))
	if got := a.content(t); got != before {
		t.Errorf("in the end there is %s", got)
	}
	big := files(change("orders", 1, "key", strings.Repeat("x", 1<<20+1)))
	refused(t, s.CheckChange(t.Context(), big), patchbay.InvalidArgument, "credentials")
	var list []string
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U"} {
		list = append(list, name, strings.Repeat("x", 100_000))
	}
	refused(t, s.CheckChange(t.Context(), change("orders", 1, list...)), patchbay.InvalidArgument, "handed")
	advice, err := s.Advise(t.Context(), change("orders", 1, "PGPASSWORD", "x"))
	if err != nil || !strings.Contains(strings.Join(advice, "\n"), "servicebinding") {
		t.Errorf("Advise says %q, %v", advice, err)
	}
}

// badDisk mounts what is full, or read-only, where the drop-ins are.
func badDisk(t *testing.T, w *world) {
	a := w.install(t, unitText{})
	a.begin(t)
	must(t, os.Mkdir(a.dropins(), 0o755))
	s := a.source(t, map[string]any{"deliver": "files"})
	big := change("orders", 1, "PB_A", strings.Repeat("canary", 10_000), "password", strings.Repeat("canary", 10_000))
	big.Set[1].File = true
	for _, kind := range []string{"full", "read-only"} {
		t.Run(kind, func(t *testing.T) {
			if err := syscall.Mount("tmpfs", a.dropins(), "tmpfs", 0, "size=32k,mode=755"); err != nil {
				t.Skipf("a small file system can't be mounted: %v", err)
			}
			defer func() { must(t, syscall.Unmount(a.dropins(), syscall.MNT_DETACH)) }()
			words := []string{"no space", "df -h"}
			if kind == "read-only" {
				must(t, syscall.Mount("", a.dropins(), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
				words = []string{"read-only", "remount"}
				refused(t, s.CheckChange(t.Context(), big), patchbay.SettingsUnwritable, words...)
			}
			before, had := a.content(t), snapshot(t, s)
			for _, c := range []driver.Change{big, {Mark: big.Mark, Name: big.Name, Set: big.Set[:1]}, {Mark: big.Mark, Name: big.Name, Set: big.Set[1:]}} {
				_, err := s.WriteSettings(t.Context(), c, had.Version)
				refused(t, err, patchbay.SettingsUnwritable, words...)
				if err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("the error shows a setting: %v", err)
				}
				must(t, s.RestoreSettings(t.Context(), c, had))
				if got := a.content(t); got != before {
					t.Errorf("there is\n%s\nand was\n%s", got, before)
				}
			}
		})
	}
}

// unwilling is a host that lets us look and nothing else.
type unwilling struct{ hosts.Host }

func (u unwilling) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	if strings.Contains(strings.Join(c.Argv, " "), " show ") {
		return u.Host.Run(ctx, c)
	}
	return hosts.Result{Exit: 1, Output: []byte("sudo: a password is required\n")}, nil
}

// vantage is the unit's: its host, as far as its own filters let it.
func vantage(t *testing.T, w *world) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for _, tt := range []struct {
		service string
		opens   patchbay.Code // of Dialer; "" when it opens
		dials   patchbay.Code
		word    string
	}{
		{"", "", "", ""},
		{"PrivateNetwork=yes", patchbay.NotSupported, "", "PrivateNetwork="},
		{"NetworkNamespacePath=/run/netns/none", patchbay.NotSupported, "", "NetworkNamespacePath="},
		{"IPAddressDeny=any", "", patchbay.TargetUnreachable, "IPAddressDeny="},
		{"IPAddressDeny=any\nIPAddressAllow=localhost", "", "", ""},
		{"RestrictAddressFamilies=AF_UNIX", "", patchbay.TargetUnreachable, "RestrictAddressFamilies="},
		{"RestrictAddressFamilies=AF_UNIX AF_INET", "", "", ""},
		{"RestrictAddressFamilies=~AF_INET", "", patchbay.TargetUnreachable, "RestrictAddressFamilies="},
	} {
		t.Run(tt.service, func(t *testing.T) {
			s := w.install(t, unitText{service: tt.service}).source(t, nil)
			d, err := s.Dialer(t.Context())
			if tt.opens != "" {
				refused(t, err, tt.opens, tt.word)
				return
			}
			must(t, err)
			defer func() { must(t, d.Close()) }()
			c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
			if tt.dials != "" {
				refused(t, err, tt.dials, tt.word)
				return
			}
			must(t, err)
			must(t, c.Close())
		})
	}
	t.Run("a network of its own", func(t *testing.T) {
		a := w.install(t, unitText{service: "PrivateNetwork=yes"})
		a.does(t, "start", a.name)
		d, err := a.source(t, nil).Dialer(t.Context())
		must(t, err)
		defer func() { must(t, d.Close()) }()
		if c, err := d.DialContext(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("from there, what listens here answers: %v, %v", c, err)
		}
	})
	t.Run("egress", func(t *testing.T) {
		a := w.install(t, unitText{})
		from, err := a.source(t, nil).Egress(t.Context(), netip.MustParseAddr("127.0.0.1"))
		if err != nil || len(from) != 1 || from[0].String() != "127.0.0.1/32" {
			t.Errorf("Egress = %v, %v", from, err)
		}
		told, err := a.source(t, map[string]any{"egress": []string{"10.0.3.0/24"}}).Egress(t.Context(), netip.MustParseAddr("127.0.0.1"))
		if err != nil || len(told) != 1 || told[0].String() != "10.0.3.0/24" {
			t.Errorf("Egress = %v, %v", told, err)
		}
	})
	t.Run("refused rights", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		c := a.config(nil)
		c.Host = unwilling{c.Host}
		s, err := open(c)
		must(t, err)
		before, had := a.content(t), snapshot(t, s)
		_, err = s.WriteSettings(t.Context(), change("orders", 1, "PB_A", "1"), had.Version)
		refused(t, err, patchbay.SettingsUnwritable, "a password is required", "host check")
		refused(t, s.Restart(t.Context()), patchbay.RestartFailed, "a password is required")
		if got := a.content(t); got != before {
			t.Errorf("there is %s", got)
		}
	})
}
