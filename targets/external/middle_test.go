package external_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
)

// Somebody between us and a PostgreSQL server has no TLS, and asks for the password.
func TestNobodyInTheMiddleIsToldThePassword(t *testing.T) {
	told := make(chan string, 1)
	address := hostile.Listen(t, func(c net.Conn) {
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))-8); err != nil {
			return
		}
		_, _ = io.WriteString(c, "R\x00\x00\x00\x08\x00\x00\x00\x03") // AuthenticationCleartextPassword
		answer, _ := io.ReadAll(c)
		told <- string(answer)
	})
	target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: address, properties: map[string]any{"values": map[string]any{"sslmode": "disable"}}}.opened(t)
	_, err := target.Probe(soon(t), driver.ProbeRequest{Credential: given(t, target, "databases/shop", "app", "canary"), Dialer: here{}, Sub: "databases/shop"})
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.CertificateInvalid || e.Fix == "" || e.Transient {
		t.Errorf("%v", err)
	}
	if said := <-told; strings.Contains(said, "canary") {
		t.Errorf("told %q", said)
	}
}
