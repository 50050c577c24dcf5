package controlplane

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay/server"
)

// What the operator closed is closed from the server and from a source, under
// whatever name, also for who needs no look at the target at its registration.
func TestWhatTheOperatorClosedIsConnectedToFromNowhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var met atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	operatorOf := func(deny, allow []string) machine {
		web, _ := serve(t, Options{
			Server: server.Options{Dir: filepath.Join(t.TempDir(), "data"), Address: "127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler),
			DenyDial: deny, AllowDial: allow,
		})
		return machine{t, map[string]string{
			"PATCHBAY_URL": web.URL(), "PATCHBAY_CA": web.CA(), "PATCHBAY_TOKEN": web.Token().Reveal(), "HOME": t.TempDir(), "KEY": "given-pass",
		}}
	}
	settings := filepath.Join(t.TempDir(), "web.env")
	if err := os.WriteFile(settings, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const no = "the operator of this server closed it"
	closed := operatorOf([]string{"loopback", "private"}, nil)
	closed.must(nil, "resource", "add", "envfile", "web", "--path", settings)
	for _, endpoint := range []string{"redis://127.0.0.1:" + port, "redis://localhost:" + port, "redis://[::ffff:127.0.0.1]:" + port, "redis://[64:ff9b::7f00:1]:" + port} {
		closed.fails(no, "resource", "add", "external", "cache", "--kind", "redis", "--endpoint", endpoint, "--secret-env", "KEY")
		closed.must(nil, "resource", "add", "external", "cache", "--kind", "redis", "--endpoint", endpoint, "--secret-env", "KEY", "--no-check")
		closed.fails(no, "connection", "create", "redis", "--source", "web", "--target", "cache/0", "--connection", "cache")
	}
	if n := met.Load(); n != 0 {
		t.Errorf("it was connected to %d times", n)
	}
	open := operatorOf([]string{"all"}, []string{"127.0.0.1"})
	open.must(nil, "resource", "add", "external", "cache", "--kind", "redis", "--endpoint", "redis://127.0.0.1:"+port, "--secret-env", "KEY")
	if n := met.Load(); n == 0 {
		t.Error("it was not connected to, although the operator opened it")
	}
}
