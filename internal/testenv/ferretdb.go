package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// FerretServer is a running FerretDB: a server of somebody else that speaks MongoDB's
// protocol. It asks who one is, and then lets everybody do everything.
type FerretServer struct {
	*daemon
	User, Password string // of the database Database
	Database       string
	CA             []byte // PEM; nil without TLS
}

// Ferret starts a server that ends with the test, of the program that PATCHBAY_FERRETDB
// names; the test is skipped where there is none.
func Ferret(t testing.TB, secure bool) *FerretServer {
	t.Helper()
	program := os.Getenv("PATCHBAY_FERRETDB")
	if program == "" {
		t.Skip("FerretDB is not built here: make test-mongodb")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := startFerret(ctx, program, secure)
	during(t, s.daemon, err)
	return s
}

func startFerret(ctx context.Context, program string, secure bool) (*FerretServer, error) {
	s := &FerretServer{User: "root", Password: randomHex(16), Database: "app"}
	var err error
	if s.daemon, err = newDaemon("ferretdb"); err != nil {
		return s, err
	}
	content, err := os.ReadFile(program) // it may be where its user may not look
	if err != nil {
		return s, err
	}
	if program, err = s.write("ferretdb", content); err != nil {
		return s, err
	}
	if err := os.Chmod(program, 0o700); err != nil {
		return s, err
	}
	args := []string{
		"--handler", "sqlite", "--sqlite-url", "file:" + s.dir + "/", "--state-dir", s.dir, "--telemetry", "disable", "--debug-addr", "-", "--log-level", "WARN",
		"--test-enable-new-auth", "--setup-username", s.User, "--setup-password", s.Password, "--setup-database", s.Database,
	}
	listen := "--listen-addr"
	if secure {
		cert, key, _, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		args = append(args, "--listen-addr", s.Host+":0", "--listen-tls-cert-file", cert, "--listen-tls-key-file", key)
		listen = "--listen-tls"
	}
	return s, s.start(ctx, func(port int) *exec.Cmd {
		s.Port = port
		return s.command(context.Background(), program, append(args, listen, fmt.Sprintf("%s:%s", s.Host, strconv.Itoa(port)))...)
	}, s.dialed)
}
