package testenv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// AzuriteServer is Microsoft's emulator of Azure Storage, with one account. It
// is no fake of ours: it checks signatures as Azure does.
type AzuriteServer struct {
	*daemon
	Account string
	Key     string // base64
	queue   int
	table   int
}

// Blob is the URL of the account's blobs.
func (s *AzuriteServer) Blob() string { return s.url(s.Port) }

// Queue is the URL of the account's queues.
func (s *AzuriteServer) Queue() string { return s.url(s.queue) }

// Table is the URL of the account's tables.
func (s *AzuriteServer) Table() string { return s.url(s.table) }

func (s *AzuriteServer) url(port int) string {
	return "http://" + net.JoinHostPort(s.Host, strconv.Itoa(port)) + "/" + s.Account
}

// Azurite starts the emulator; it ends with the test.
func Azurite(t testing.TB) *AzuriteServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartAzurite(ctx)
	during(t, s.daemon, err)
	return s
}

// StartAzurite starts one that its caller stops, also when there is an error.
func StartAzurite(ctx context.Context) (*AzuriteServer, error) {
	key := make([]byte, 64)
	_, _ = rand.Read(key)
	s := &AzuriteServer{Account: "orders", Key: base64.StdEncoding.EncodeToString(key)}
	root, err := moduleRoot()
	if err != nil {
		return s, err
	}
	program := filepath.Join(root, "internal", "testenv", "npm", "node_modules", "azurite", "dist", "src", "azurite.js")
	if !isFile(program) {
		return s, fmt.Errorf("azurite is %w: `make deps` installs it", ErrNotInstalled)
	}
	node, err := find("node", "Node.js")
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("Azurite"); err != nil {
		return s, err
	}
	return s, s.start(ctx, func(port int) *exec.Cmd {
		s.queue, _ = freePort()
		s.table, _ = freePort()
		cmd := exec.CommandContext(context.Background(), node, program, "--silent", "--skipApiVersionCheck", "--disableTelemetry",
			"--disableProductStyleUrl", "--location", s.dir,
			"--blobHost", s.Host, "--blobPort", fmt.Sprint(port), "--queueHost", s.Host, "--queuePort", fmt.Sprint(s.queue),
			"--tableHost", s.Host, "--tablePort", fmt.Sprint(s.table))
		// The program may be where the server's user can't read it.
		cmd.SysProcAttr = asServerUser()
		cmd.SysProcAttr.Credential = nil
		cmd.Dir = s.dir
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + s.dir, "AZURITE_ACCOUNTS=" + s.Account + ":" + s.Key}
		return cmd
	}, s.listens)
}

func (s *AzuriteServer) listens(ctx context.Context) error {
	var dialer net.Dialer
	for _, port := range []int{s.Port, s.queue, s.table} {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.Host, strconv.Itoa(port)))
		if err = errors.Join(err, closed(conn)); err != nil {
			return err
		}
	}
	return nil
}

func closed(conn net.Conn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// Stop ends the server.
func (s *AzuriteServer) Stop() error {
	if s == nil || s.daemon == nil {
		return nil
	}
	return s.stop()
}
