package clienttest

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay/internal/controlplane"
)

func TestMain(m *testing.M) {
	controlplane.IfChild()
	code, err := mainly(m)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func mainly(m *testing.M) (code int, err error) {
	if os.Getenv(asAzurerm) != "" {
		return 0, serveAzurerm()
	}
	dir, err := os.MkdirTemp("", "patchbay-clienttest-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := trustTestServers(filepath.Join(dir, "trusted.pem")); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// trustTestServers has this process trust the certificate that all servers of
// httptest have: an endpoint that nobody registered comes without an authority
// of its own.
func trustTestServers(file string) error {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		return err
	}
	return os.Setenv("SSL_CERT_FILE", file)
}
