package clienttest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/cli"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/sshd"
	"patchbay.dev/patchbay/settings"
)

// patchbay gives a command line of Patchbay's own, as the local administrator.
func (cp *controlPlane) patchbay(args ...string) (status int, stdout, stderr string) {
	cp.t.Helper()
	env := map[string]string{"PATCHBAY_URL": cp.url, "PATCHBAY_CA": cp.ca, "PATCHBAY_TOKEN": cp.token}
	var out, errs bytes.Buffer
	status = cli.Main(cp.t.Context(), cli.Deps{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return env[name] },
		Catalog: func() patchbay.Catalog { return controlplane.Catalog().Describe(settings.Kinds()) },
	}, args)
	return status, out.String(), errs.String()
}

func (cp *controlPlane) mustPatchbay(args ...string) string {
	cp.t.Helper()
	status, stdout, stderr := cp.patchbay(args...)
	if status != 0 {
		cp.t.Fatalf("patchbay %s: status %d: %s", strings.Join(args, " "), status, stderr)
	}
	return stdout
}

// relay is an address on the way to another machine, behind which is the service.
func relay(t *testing.T, at, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			far, err2 := net.Dial("tcp", to)
			if err != nil || err2 != nil {
				continue
			}
			both := func(a, b net.Conn) {
				_, _ = io.Copy(a, b)
				_ = a.Close()
			}
			go both(near, far)
			go both(far, near)
		}
	}()
	return l.Addr().String()
}

// TestASourceOnAHostFromTheCommandLine is docs/sources.md's session: a machine that
// nobody has spoken to, its key from the refusal, a source there, a connection that is
// tried from there.
func TestASourceOnAHostFromTheCommandLine(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	cp := start(t, finished)
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	if err := pg.Exec(t.Context(), "postgres", `CREATE DATABASE shop`); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, password := filepath.Join(dir, "key"), filepath.Join(dir, "password")
	env := filepath.Join(m.Home, "web.env")
	for file, text := range map[string]string{key: m.Key.Private, password: pg.Password, env: original} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(env, sshd.UID, sshd.UID); err != nil {
		t.Fatal(err)
	}
	add := []string{"host", "add", "web1", "--endpoint", m.Address, "--user", sshd.User, "--key-file", key}
	status, _, stderr := cp.patchbay(add...)
	_, line, _ := strings.Cut(stderr, "--host-key '")
	line, _, found := strings.Cut(line, "'")
	if status != 1 || !found || !strings.Contains(stderr, "register web1: CertificateInvalid") {
		t.Fatalf("a host whose key nobody named: status %d, %s", status, stderr)
	}
	if status, _, _ := cp.patchbay("host", "show", "web1"); status != 3 {
		t.Errorf("the host is registered all the same: status %d", status)
	}
	cp.mustPatchbay(append(add, "--host-key", line)...)
	if status, stdout, stderr := cp.patchbay("host", "check", "web1", "-o", "table"); status != 0 && status != 4 || !strings.Contains(stdout, "ok") {
		t.Errorf("host check: status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := cp.patchbay("resource", "add", "envfile", "web", "--host", "web1", "--path", "web.env"); status != 1 || !strings.Contains(stderr, "path on the host") {
		t.Errorf("a relative path: status %d, %s", status, stderr)
	}
	cp.mustPatchbay("resource", "add", "envfile", "web", "--host", "web1", "--path", env)
	address := relay(t, m.Beside, pg.Addr())
	cp.mustPatchbay("resource", "add", "postgres", "orders", "--endpoint", address, "--admin", pg.User, "--admin-password-file", password, "--sslmode", "disable")
	cp.mustPatchbay("connection", "create", "postgres", "--source", "web", "--target", "orders/shop", "--client-type", "go", "--connection", "orders")
	held := settingsFile{t, env}.settings()
	if len(held) < 2 || !strings.Contains(settingsFile{t, env}.text(), "user=pb_") {
		t.Errorf("the file there has %v", held)
	}
	cp.mustPatchbay("connection", "validate", "web/orders")
	if got := cp.mustPatchbay("connection", "export", "web/orders", "--format", "dotenv"); !strings.Contains(settingsFile{t, env}.text(), strings.TrimSpace(got)) {
		t.Errorf("the export is\n%sand the file\n%s", got, settingsFile{t, env}.text())
	}
	if status, _, stderr := cp.patchbay("host", "remove", "web1", "--yes"); status != 5 || !strings.Contains(stderr, "web") {
		t.Errorf("a host that a source is on is removed: status %d, %s", status, stderr)
	}
	cp.mustPatchbay("connection", "delete", "web/orders", "--yes")
	if got := (settingsFile{t, env}).text(); got != original {
		t.Errorf("after the delete the file is\n%s", got)
	}
	cp.mustPatchbay("resource", "remove", "web", "--yes")
	cp.mustPatchbay("host", "remove", "web1", "--yes")
}
