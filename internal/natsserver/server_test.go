package natsserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func connect(t *testing.T, s *Server) *nats.Conn {
	t.Helper()
	creds, err := s.AccountCreds("test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := nats.Connect(s.URL(), nats.UserCredentialBytes([]byte(creds.Reveal())), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestARestartedServerIsTheSameServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	start := func() *Server {
		s, err := Start(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		return s
	}
	s := start()
	js, err := jetstream.New(connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "orders.new", []byte("1")); err != nil {
		t.Fatal(err)
	}
	url, account := s.URL(), s.Account()
	s.Stop()

	s = start()
	if s.URL() != url || s.Account() != account {
		t.Errorf("restarted as %s %s, was %s %s", s.URL(), s.Account(), url, account)
	}
	if js, err = jetstream.New(connect(t, s)); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages after the restart, want 1", n)
	}
	info, err := os.Stat(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the keys have mode %o", mode)
	}
}

func TestATemporaryServerLeavesNothingBehind(t *testing.T) {
	s, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, s)
	s.Stop()
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", s.dir, err)
	}
}
