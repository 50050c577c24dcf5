package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/server"
)

// A whole server: an operation that waits behind another is stopped when the role
// of whoever asked for it is taken away meanwhile.
func TestARoleThatIsTakenAwayStopsWhatWaits(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	begun, free := filepath.Join(dir, "begun"), filepath.Join(dir, "free")
	for _, fifo := range []string{begun, free} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	web, _ := serve(t, Options{Server: server.Options{Dir: filepath.Join(dir, "data"), Address: "127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler)})
	operator := machine{t, map[string]string{
		"PATCHBAY_URL": web.URL(), "PATCHBAY_CA": web.CA(), "PATCHBAY_TOKEN": web.Token().Reveal(), "HOME": t.TempDir(),
	}}
	user := machine{t, map[string]string{"PATCHBAY_URL": web.URL(), "PATCHBAY_CA": web.CA(), "HOME": t.TempDir()}}
	var made who
	operator.must(&made, "principal", "create", "deployer")
	secret, env := filepath.Join(dir, "secret"), filepath.Join(dir, "web.env")
	if err := os.WriteFile(secret, []byte(made.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	user.must(nil, "login", "--service-principal", "--client-id", made.AppID, "--tenant", "default", "--secret-file", secret)

	// Nothing of the server's own is a source.
	for _, own := range []string{"admin.token", "sealing.key", DatabaseFile, DatabaseFile + "-wal", "new.env"} {
		operator.fails("Patchbay's own", "resource", "add", "envfile", "own", "--no-check", "--path", filepath.Join(dir, "data", own))
	}

	operator.must(nil, "resource", "add", "external", "cache", "--kind", "redis", "--endpoint", "redis://"+listener.Addr().String())
	operator.must(nil, "resource", "add", "envfile", "web", "--path", env,
		"--reload-command", "sh", "--reload-command", "-c", "--reload-command", fmt.Sprintf("echo > %s; cat %s", begun, free))
	const role = "Service Connector Contributor"
	operator.must(nil, "role", "assign", role, "--to", "deployer")
	create := func(m machine, name string) (ended chan string) {
		ended = make(chan string, 1)
		go func() {
			var stderr bytes.Buffer
			status, _ := m.command(&stderr, "connection", "create", "redis", "--source", "web", "--target", "cache/0", "--connection", name, "--system-identity")
			ended <- fmt.Sprint(status, " ", stderr.String())
		}()
		return ended
	}
	first := create(operator, "first")
	if _, err := os.ReadFile(begun); err != nil { // until its reload runs
		t.Fatal(err)
	}
	second := create(user, "second")
	var waiting []patchbay.Operation
	for len(waiting) < 2 {
		operator.must(&waiting, "operation", "list", "--active")
	}
	operator.must(nil, "role", "unassign", role, "--from", "deployer")
	out, err := os.OpenFile(free, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(out, "go\n")
	_ = out.Close()
	if said := <-first; !strings.HasPrefix(said, "0 ") {
		t.Fatal(said)
	}
	<-second
	var op patchbay.Operation
	operator.must(&op, "operation", "show", waiting[0].ID)
	if op.State != patchbay.Undone || op.Error == nil || op.Error.Code != patchbay.Forbidden || !strings.Contains(op.Error.Message, "nothing was changed") {
		t.Errorf("%+v: %+v", op, op.Error)
	}
	text, err := os.ReadFile(env)
	if err != nil || strings.Contains(string(text), "second") {
		t.Errorf("%s, %v", text, err)
	}
}
