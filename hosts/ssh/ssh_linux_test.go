package ssh

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/hoststest"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

const testID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config is a registration of a machine; more are other properties of it.
func config(m *sshd.Machine, more map[string]any) driver.Config {
	properties := map[string]any{"user": sshd.User, "hostKeys": []string{m.HostKey.Public}}
	for name, value := range more {
		properties[name] = value
	}
	b, err := json.Marshal(properties)
	if err != nil {
		panic(err)
	}
	return driver.Config{
		ID: testID, Endpoint: m.Address, Properties: b, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	}
}

// open is a host as a process has it that has just started.
func open(t testing.TB, c driver.Config) *Host {
	t.Helper()
	opened, err := Open(t.Context(), c)
	must(t, err)
	h, _ := opened.(*Host)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

// shared is a directory that everybody can get to.
func shared(t testing.TB) string {
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // #nosec G302 -- the machine's user is another
	must(t, os.Chmod(dir, 0o755))               // #nosec G302
	return dir
}

// own is a directory of the machine's user.
func own(t testing.TB) string {
	dir := shared(t)
	must(t, os.Chown(dir, sshd.UID, sshd.UID))
	return dir
}

const everything = sshd.User + " ALL=(root) NOPASSWD: ALL"

// busybox has the machine's programs be busybox's.
const busybox = `for p in cp timeout cat id ls test kill; do mount --bind "$(command -v busybox)" /usr/bin/$p; done`

func TestSuite(t *testing.T) {
	for name, tt := range map[string]struct {
		options    sshd.Options
		properties map[string]any
		plain      bool
	}{
		"as root":      {properties: map[string]any{"user": "root"}},
		"root by sudo": {sshd.Options{Sudoers: []string{everything}}, map[string]any{"become": "root"}, false},
		"busybox":      {sshd.Options{Setup: busybox}, map[string]any{"user": "root"}, true},
		"one session":  {sshd.Options{Config: []string{"MaxSessions 1"}}, map[string]any{"user": "root"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.plain {
				if _, err := os.Stat("/usr/bin/busybox"); err != nil {
					t.Skip("there is no busybox: `tools/deps.sh sshd` installs it")
				}
			}
			m := sshd.Start(t, tt.options)
			hoststest.Host(t, hoststest.Harness{
				New:     func(t testing.TB) hosts.Host { return open(t, config(m, tt.properties)) },
				Dir:     shared,
				Signals: true, Attributes: !tt.plain,
			})
		})
	}
}

// read is what the test itself sees in a file.
func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// names are what the test itself sees in a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// replace is what a driver does with a file: under its lock, after a sweep.
func replace(ctx context.Context, h hosts.Host, path, from, to string) error {
	unlock, err := h.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.Sweep(ctx, path, ".f.*.tmp"); err != nil {
		return err
	}
	return h.ReplaceFile(ctx, hosts.Replacement{Path: path, Content: []byte(to), Temp: ".f.1.tmp", Mode: 0o640, IfSum: sum(from)})
}

func sum(content string) string {
	if content == "" {
		return ""
	}
	return hosts.Sum([]byte(content))
}

func uidOf(info os.FileInfo) uint32 {
	st, _ := info.Sys().(*syscall.Stat_t)
	return st.Uid
}
