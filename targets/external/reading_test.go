package external_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
)

func TestAProbeIsAsStrictAsTheLibraryThatReadsTheSettings(t *testing.T) {
	server := testenv.MariaDB(t, true)
	require := map[string]any{"values": map[string]any{"sslmode": "require"}}
	known := map[string]any{"values": map[string]any{"sslmode": "require"}, "tls": map[string]any{"ca": string(server.CA), "serverName": "elsewhere.test"}}
	for _, c := range []struct {
		name       string
		properties map[string]any
		reading    driver.Reading
		code       patchbay.Code
	}{
		{"as it was registered", require, driver.Reading{}, ""},
		{"laxer changes nothing", known, driver.Reading{Mode: driver.TLSPrefer}, ""},
		{"the system's authorities", require, driver.Reading{Mode: driver.TLSVerifyFull}, patchbay.CertificateInvalid},
		{"the one that was registered, and the name that it connects to", known, driver.Reading{Mode: driver.TLSVerifyFull}, ""},
		{"the name that it was told", known, driver.Reading{Mode: driver.TLSVerifyFull, Named: true}, patchbay.CertificateInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: server.Addr(), properties: c.properties}.opened(t)
			sub := "databases/" + server.Database
			_, err := target.Probe(t.Context(), driver.ProbeRequest{
				Credential: given(t, target, sub, server.User, server.Password), Dialer: here{}, Sub: sub, Reading: c.reading,
			})
			wantCode(t, err, c.code)
		})
	}
}

// A service in the clear whose settings make clients insist on TLS is of no use to
// them.
func TestWhatInsistsOnTLSIsTriedWithIt(t *testing.T) {
	address := listener(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_, _ = io.WriteString(conn, "no TLS here\r\n")
	})
	target := registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "mongodb://" + address, properties: map[string]any{"tls": map[string]any{"off": true}}}.opened(t)
	sub := "mongodbDatabases/shop"
	_, err := target.Probe(t.Context(), driver.ProbeRequest{Dialer: here{}, Sub: sub, Reading: driver.Reading{Mode: driver.TLSVerifyFull}})
	wantCode(t, err, patchbay.CertificateInvalid)
	if e := patchbay.AsError(err); err == nil || !strings.Contains(e.Message, "insist on TLS") || !strings.Contains(e.Fix, "turn TLS on") {
		t.Errorf("it says %v, and to %q", err, e.Fix)
	}
	if _, err := target.Probe(t.Context(), driver.ProbeRequest{Dialer: here{}, Sub: sub}); err != nil {
		t.Errorf("without a reading it is tried as it was registered: %v", err)
	}
}
