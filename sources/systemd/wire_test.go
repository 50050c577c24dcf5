//go:build linux

package systemd

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/sshd"
	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

// far is a machine with systemd that is reached by SSH alone, from outside: it boots
// with its sshd, and with a unit of the test application.
type far struct {
	*env.Machine
	t       *testing.T
	wire    *testenv.Wire
	program string
	key     sshd.Key
	hostKey sshd.Key
}

const (
	farPort = 2222
	farDir  = "/var/lib/patchbay-far"
	farUnit = "/etc/systemd/system/far.service"
)

func newFar(t *testing.T) *far {
	program := env.Application(t)
	f := &far{t: t, Machine: env.Boot(t, filepath.Dir(program)), program: program, key: sshd.NewKey(t, ""), hostKey: sshd.NewKey(t, "")}
	f.wire = f.Wire(t, farPort)
	f.must("mkdir", "-p", farDir)
	f.put(farDir+"/keys", f.key.Public)
	f.put(farDir+"/host", f.hostKey.Private)
	f.must("chmod", "600", farDir+"/host")
	f.put("/etc/systemd/system/far-sshd.service", fmt.Sprintf("[Service]\nRuntimeDirectory=sshd\nExecStart=/usr/sbin/sshd -D -e -f /dev/null -p %d -o ListenAddress=127.0.0.1 -o HostKey=%s/host -o AuthorizedKeysFile=%s/keys -o StrictModes=no -o UsePAM=no -o PidFile=none -o PermitRootLogin=yes -o MaxStartups=100 -o %q\n[Install]\nWantedBy=%s\n",
		farPort, farDir, farDir, "Subsystem=sftp internal-sftp", env.Target))
	f.put(farUnit, fmt.Sprintf("[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=%s -out %s/seen -starts %s/starts %s\n[Install]\nWantedBy=%s\n",
		program, farDir, farDir, crashing, env.Target))
	f.must("systemctl", "daemon-reload")
	f.must("systemctl", "enable", "--now", "far-sshd.service", "far.service")
	return f
}

func (f *far) must(argv ...string) string {
	f.t.Helper()
	out, err := f.Command(f.t.Context(), argv...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

func (f *far) put(path, text string) {
	f.t.Helper()
	cmd := f.Command(f.t.Context(), "sh", "-c", `cat > "$1"`, "sh", path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v: %s", path, err, out)
	}
}

// open signs in, as a server does that knows the machine's host key of this moment.
func (f *far) open(t *testing.T) *source {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"user": "root", "hostKeys": []string{strings.TrimSpace(f.hostKey.Public)}})
	must(t, err)
	host, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/far", Endpoint: f.wire.Address, Properties: raw,
		Admin: driver.Secrets{"key": patchbay.NewSecret(f.key.Private)}, Dialer: &net.Dialer{},
	})
	must(t, err)
	t.Cleanup(func() { must(t, host.Close()) })
	var s *source
	again(t, func() error { // its sshd may not listen yet
		s, err = open(driver.Config{ID: testID, Endpoint: "far.service", Host: host, Dialer: hosts.NewLocal(hosts.DialRules{}), Properties: json.RawMessage(`{"wait":{"limit":"20s","steady":"0s"}}`)})
		must(t, err)
		_, err := s.Inspect(t.Context())
		return err
	})
	return s
}

// again does a step as whoever drives it: what is transient is tried once more.
func again(t *testing.T, step func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := step()
		if err == nil {
			return
		}
		if !patchbay.AsError(err).Transient {
			t.Fatalf("the step would fail for good: %v", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// has is what the unit's process was started with, and files are those that it is made
// of.
func (f *far) has(t *testing.T) map[string]string {
	t.Helper()
	var s started
	must(t, json.Unmarshal([]byte(f.must("cat", farDir+"/seen")), &s))
	return s.Environment
}

func (f *far) files() string {
	return f.must("sh", "-c", "cd /etc/systemd/system; ls -lR --time-style=+ far.service*; cat far.service; cat far.service.d/* 2>/dev/null; systemctl is-active far.service")
}

// TestAUnitFarAway: what happens on the way to another machine, and to the machine,
// between two steps and in the middle of them.
func TestAUnitFarAway(t *testing.T) {
	f := newFar(t)
	before := f.files()
	c := change("orders", 1, "PB_A", "1")

	t.Run("it is booted between any two steps", func(t *testing.T) {
		s := f.open(t)
		had := snapshot(t, s)
		if *whole {
			f.Reboot(t)
		}
		again(t, func() error { _, err := s.WriteSettings(t.Context(), c, had.Version); return err })
		f.Reboot(t)
		again(t, func() error { _, err := s.WriteSettings(t.Context(), c, had.Version); return err })
		again(t, func() error { return s.Restart(t.Context()) })
		if got := f.has(t); got["PB_A"] != "1" {
			t.Errorf("the application has %v", got)
		}
		f.Reboot(t)
		again(t, func() error { return s.RestoreSettings(t.Context(), c, had) })
		if *whole {
			f.Reboot(t)
		}
		again(t, func() error { return s.Restart(t.Context()) })
		if got := f.has(t); got["PB_A"] != "" {
			t.Errorf("after the undo the application has %v", got)
		}
		if got := f.files(); got != before {
			t.Errorf("afterwards there is\n%s\nand was\n%s", got, before)
		}
	})

	t.Run("its host key changes between two steps", func(t *testing.T) {
		s := f.open(t)
		had := snapshot(t, s)
		again(t, func() error { _, err := s.WriteSettings(t.Context(), c, had.Version); return err })
		old := f.hostKey
		f.hostKey = sshd.NewKey(t, "")
		f.put(farDir+"/host", f.hostKey.Private)
		f.must("systemctl", "restart", "far-sshd.service")
		f.wire.Cut()
		starts := f.must("cat", farDir+"/starts")
		for _, step := range []func() error{
			func() error { return s.Restart(t.Context()) },
			func() error { return s.RestoreSettings(t.Context(), c, had) },
		} {
			err := step()
			for patchbay.AsError(err).Transient { // sshd may not listen yet
				err = step()
			}
			refused(t, err, patchbay.CertificateInvalid, "HAS CHANGED", "ssh-keygen -lf")
		}
		if got := f.must("cat", farDir+"/starts"); got != starts {
			t.Error("the unit was restarted all the same")
		}
		// Registered anew, what waited goes on.
		s = f.open(t)
		again(t, func() error { return s.RestoreSettings(t.Context(), c, had) })
		again(t, func() error { return s.Restart(t.Context()) })
		if got := f.files(); got != before || old.Public == f.hostKey.Public {
			t.Errorf("afterwards there is\n%s\nand was\n%s", got, before)
		}
	})

	t.Run("the connection is cut wherever it is", func(t *testing.T) {
		s := f.open(t)
		whole := func(cut int) (carried int) {
			had := snapshot(t, s)
			f.wire.CutAt(cut)
			again(t, func() error { _, err := s.WriteSettings(t.Context(), c, had.Version); return err })
			again(t, func() error { return s.Restart(t.Context()) })
			if got := f.has(t); got["PB_A"] != "1" {
				t.Errorf("cut at %d, the application has %v", cut, got)
			}
			again(t, func() error { return s.RestoreSettings(t.Context(), c, had) })
			again(t, func() error { return s.Restart(t.Context()) })
			carried = f.wire.CutAt(0)
			if got := f.has(t); got["PB_A"] != "" {
				t.Errorf("cut at %d, after the undo the application has %v", cut, got)
			}
			if got := f.files(); got != before {
				t.Errorf("cut at %d, afterwards there is\n%s\nand was\n%s", cut, got, before)
			}
			return carried
		}
		pieces := whole(0)
		stride := max(1, pieces/stations())
		for at := 1 + rand.IntN(stride); at <= pieces; at += stride {
			whole(at)
		}
		t.Logf("%d pieces are carried, each %d-th was the last", pieces, stride)
	})

	t.Run("it is cut while the unit fails", func(t *testing.T) {
		s := f.open(t)
		had := snapshot(t, s)
		bad := change("orders", 2, "PB_A", "canary-crash")
		again(t, func() error { _, err := s.WriteSettings(t.Context(), bad, had.Version); return err })
		f.wire.CutAt(3)
		err := s.Restart(t.Context())
		for patchbay.AsError(err).Transient {
			err = s.Restart(t.Context())
		}
		f.wire.CutAt(0)
		// Whoever asks again finds it down, and what is down stays down: then the probe
		// behind it is what fails.
		if err != nil && patchbay.CodeOf(err) != patchbay.RestartFailed {
			t.Errorf("Restart = %v", err)
		}
		again(t, func() error { return s.RestoreSettings(t.Context(), bad, had) })
		again(t, func() error { return s.Restart(t.Context()) })
		if got := f.files(); got != before {
			t.Errorf("afterwards there is\n%s\nand was\n%s", got, before)
		}
	})
}

// stations is how many of the instants are tried.
func stations() int {
	if *whole {
		return 60
	}
	return 1
}
