package docker

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/dockerapi"
	"patchbay.dev/patchbay/internal/testenv"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// beside is this machine, which reaches one address in an engine's network.
type beside struct {
	hosts.Host
	network *netns.Network
	address string
}

func (b beside) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address == b.address {
		return b.network.DialContext(ctx, network, address)
	}
	return b.Host.DialContext(ctx, network, address)
}

// TestAnEngineBehindTCP serves those alone whose certificate its authority has signed,
// and is served alone when its own is of the authority that was named.
func TestAnEngineBehindTCP(t *testing.T) {
	const address = "127.0.0.1:2376"
	const url = "tcp://" + address
	dir := t.TempDir()
	theirs, ours := authority(t), authority(t)
	put := func(name string, content []byte) string {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		return filepath.Join(dir, name)
	}
	cert, key, err := theirs.Issue("engine", []string{"engine.test"}, nil)
	must(t, err)
	w := &world{Engine: testdocker.StartWith(t, testdocker.Docker, testdocker.Options{Args: []string{
		"--host", url, "--tlsverify", "--tlscacert", put("clients.pem", ours.PEM()), "--tlscert", put("cert.pem", cert), "--tlskey", put("key.pem", key),
	}})}
	network := netns.Of(t, w.Pid())
	client, clientKey, err := ours.Issue("patchbay", nil, nil)
	must(t, err)
	stranger, strangerKey, err := theirs.Issue("stranger", nil, nil)
	must(t, err)
	open := func(url, ca, name string, cert, key []byte) *source {
		t.Helper()
		p := map[string]any{"engine": url, "wait": map[string]string{"limit": "20s", "steady": "20ms"}}
		if ca != "" {
			p["tls"] = map[string]string{"ca": ca, "serverName": name}
		}
		c := w.config("web")
		c.Properties, err = json.Marshal(p)
		must(t, err)
		c.Host = beside{c.Host, network, address}
		if cert != nil {
			c.Admin = driver.Secrets{dockerapi.AdminCert: patchbay.NewSecret(string(cert)), dockerapi.AdminKey: patchbay.NewSecret(string(key))}
		}
		opened, err := Driver().Open(t.Context(), c)
		must(t, err)
		t.Cleanup(func() { _ = opened.Close() })
		return opened.(*source)
	}
	w.Must(t, "run", "-d", "--name", "web", w.Image(t, testdocker.App))

	for _, bad := range []struct {
		what  string
		s     *source
		words []string
	}{
		{"another authority", open(url, string(ours.PEM()), "engine.test", client, clientKey), []string{"no authority", "--ca-file"}},
		{"another name", open(url, string(theirs.PEM()), "", client, clientKey), []string{"another name", "--tls-server-name"}},
		{"no certificate", open(url, string(theirs.PEM()), "engine.test", nil, nil), []string{"certificate", "--client-cert-file"}},
		{"another's certificate", open(url, string(theirs.PEM()), "engine.test", stranger, strangerKey), []string{"certificate", "--client-cert-file"}},
		{"no TLS", open(plainly(t, w.Socket), string(theirs.PEM()), "engine.test", client, clientKey), []string{"does not speak TLS", "--tlsverify"}},
	} {
		_, err := bad.s.Inspect(t.Context())
		wantRefusal(t, bad.what, err, bad.words...)
		if patchbay.AsError(err).Transient {
			t.Errorf("%s: it would be tried again: %v", bad.what, err)
		}
	}

	s := open(url, string(theirs.PEM()), "engine.test", client, clientKey)
	ticks, stop := watches(t, s)
	w.Must(t, "restart", "--time", "0", "web")
	<-ticks
	stop()
	stolen := open(url, string(theirs.PEM()), "engine.test", nil, nil) // shares nobody's stream
	err = stolen.Watch(t.Context(), func() { t.Error("who has no certificate is told") })
	wantRefusal(t, "a watch without a certificate", err, "--client-cert-file")
	first := change(1, "PB_A", "1")
	before := apply(t, s, first)
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
		t.Errorf("the application has %v, %v", got, err)
	}
	must(t, s.RestoreSettings(t.Context(), first, before))
	must(t, s.Restart(t.Context()))
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "" {
		t.Errorf("after the undo the application has %v, %v", got, err)
	}
}

func wantRefusal(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Errorf("%s: the error is %v, want %s", what, err, patchbay.CertificateInvalid)
		return
	}
	text := err.Error() + "\n" + patchbay.AsError(err).Fix
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s: the error says %q, without %q", what, text, word)
		}
	}
}

func authority(t *testing.T) *testenv.Authority {
	t.Helper()
	a, err := testenv.NewAuthority()
	must(t, err)
	return a
}

// plainly has an engine answer by TCP without TLS, and gives its URL.
func plainly(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				go func() { _, _ = io.Copy(out, in) }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return "tcp://" + l.Addr().String()
}
