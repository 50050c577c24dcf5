package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// daemon is a server that is one program with one directory, and ready when it
// says so.
type daemon struct {
	name    string // of the product
	dir     string
	Host    string // 127.0.0.1
	Port    int
	process *serverProcess
}

// Addr is host:port.
func (d *daemon) Addr() string { return net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) }

func newDaemon(name string) (*daemon, error) {
	sweepStale()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", stalePrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	return &daemon{name: name, dir: dir, Host: "127.0.0.1"}, chownServer(dir)
}

// find is where a program is; Debian's servers are outside a user's PATH.
func find(program, product string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/bin"} {
		if path := filepath.Join(dir, program); isFile(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is %w: `make deps` installs it", product, ErrNotInstalled)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// command is a program that runs as the server's user, in the daemon's
// directory and with nothing of this process's environment.
func (d *daemon) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = d.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + d.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = asServerUser()
	return cmd
}

// start runs what command makes for a free port until ready says yes. Another
// process may take the port meanwhile.
func (d *daemon) start(ctx context.Context, command func(port int) *exec.Cmd, ready func(context.Context) error) error {
	var err error
	for range 5 {
		if d.Port, err = freePort(); err != nil {
			return err
		}
		if err = d.run(ctx, command(d.Port), ready); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (d *daemon) run(ctx context.Context, cmd *exec.Cmd, ready func(context.Context) error) error {
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if d.process, err = startProcess(cmd); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = ready(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.process.done:
			return fmt.Errorf("%s ended: %w\n%s", d.name, d.process.err, d.logTail())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err, d.process.stop(syscall.SIGKILL))
		}
	}
}

func (d *daemon) logPath() string { return filepath.Join(d.dir, "log") }

func (d *daemon) logTail() string {
	log, _ := os.ReadFile(d.logPath())
	return string(log[max(0, len(log)-2000):])
}

// stop ends the server and removes all of it. It may be called again.
func (d *daemon) stop() error {
	var err error
	if d.process != nil {
		err = d.process.stop(syscall.SIGTERM)
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// write puts a file into the daemon's directory.
func (d *daemon) write(name string, content []byte) (string, error) {
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", err
	}
	return path, chownServer(path)
}

// certificates writes a certificate for 127.0.0.1 and localhost, and its
// authority's, and gives the authority's.
func (d *daemon) certificates() (cert, key, ca string, authorityPEM []byte, err error) {
	a, err := newAuthority()
	if err != nil {
		return "", "", "", nil, err
	}
	certPEM, keyPEM, err := a.issue("localhost", []string{"localhost"}, []net.IP{net.ParseIP(d.Host)})
	if err != nil {
		return "", "", "", nil, err
	}
	for name, file := range map[string]struct {
		content []byte
		path    *string
	}{"server.crt": {certPEM, &cert}, "server.key": {keyPEM, &key}, "ca.crt": {a.pem, &ca}} {
		if *file.path, err = d.write(name, file.content); err != nil {
			return "", "", "", nil, err
		}
	}
	return cert, key, ca, a.pem, nil
}

// dialed is ready as soon as something listens.
func (d *daemon) dialed(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", d.Addr())
	if err == nil {
		err = conn.Close()
	}
	return err
}

// during has the server end with the test, which is skipped when there is no
// such server on this machine and PATCHBAY_TESTENV is not "required".
func during(t testing.TB, d *daemon, err error) {
	t.Helper()
	if errors.Is(err, ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skipf("%v", err)
	}
	if d != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the last words of %s:\n%s", d.name, d.logTail())
			}
			if err := d.stop(); err != nil {
				t.Errorf("stop %s: %v", d.name, err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}
