package shelf_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheProgramConnectsAnApplication is a life with the program that this module builds:
// its server is told of a Shelf, connects an application that reads a .env file, and takes
// it all back.
func TestTheProgramConnectsAnApplication(t *testing.T) {
	p := start(t, true, "orders", "payroll")
	dir := t.TempDir()
	program := filepath.Join(dir, "patchbay")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...) // the server stops after the test
		cmd.Env = append(os.Environ(), "PATCHBAY_DATA="+filepath.Join(dir, "data"))
		return cmd
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := command(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	serve(t, command("serve", "--listen", "127.0.0.1:0"))

	env, theirs := filepath.Join(dir, "web.env"), "LOG_LEVEL=info\n"
	file("web.env", theirs)
	bindings := filepath.Join(dir, "bindings")
	if err := os.Mkdir(bindings, 0o700); err != nil {
		t.Fatal(err)
	}
	run("resource", "add", "shelf", "store", "--endpoint", p.URL, "--admin", admin,
		"--admin-password-file", file("password", adminPassword), "--ca-file", file("ca.crt", p.authority()))
	run("resource", "add", "envfile", "web", "--path", env, "--binding-root", bindings)
	run("connection", "create", "shelf", "--source", "web", "--target", "store/orders", "--connection", "orders",
		"--client-type", "go", "--access", "reader")

	// The application has nothing but what was written for it.
	settings := read(t, env)
	authority, err := os.ReadFile(settings["SHELF_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	application := client(t, string(authority))
	ask := func(method, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, settings["SHELF_URL"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(settings["SHELF_USERNAME"], settings["SHELF_PASSWORD"])
		response, err := application.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	keys := "/shelves/" + settings["SHELF_NAME"] + "/keys"
	for what, c := range map[string]struct{ got, want int }{
		"read its shelf":  {ask("GET", keys), 200},
		"write to it":     {ask("PUT", keys+"/a"), 403},
		"read another":    {ask("GET", "/shelves/payroll/keys"), 403},
		"list the users":  {ask("GET", "/admin/users"), 403},
		"make a new user": {ask("PUT", "/admin/users/x"), 403},
	} {
		if c.got != c.want {
			t.Errorf("the application wants to %s: %d, want %d", what, c.got, c.want)
		}
	}
	run("connection", "validate", "web/orders")

	// A credential that is replaced, and one that is taken away, sign in no more.
	old := settings
	run("connection", "rotate", "web/orders")
	if settings = read(t, env); ask("GET", keys) != 200 || settings["SHELF_PASSWORD"] == old["SHELF_PASSWORD"] {
		t.Error("the rotation has not replaced the credential")
	}
	old, settings = settings, old
	if got := ask("GET", keys); got != 401 {
		t.Errorf("after the rotation the old credential gets %d", got)
	}
	settings = old
	run("connection", "delete", "web/orders", "--yes")
	if got := ask("GET", keys); got != 401 {
		t.Errorf("after the delete the credential gets %d", got)
	}
	if content, err := os.ReadFile(env); err != nil || string(content) != theirs {
		t.Errorf("the delete leaves %q (%v), want %q", content, err, theirs)
	}
	users, err := p.as(context.Background(), admin, adminPassword, "GET", "/admin/users", nil)
	if err != nil || strings.Contains(string(users), "pb_") {
		t.Errorf("the delete leaves a user: %s (%v)", users, err)
	}
}

// serve runs a server until the test ends, and returns when it answers.
func serve(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, answers, ended := "", make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			said += lines.Text() + "\n"
			if strings.Contains(lines.Text(), "the server answers") {
				select {
				case answers <- true:
				default:
				}
			}
		}
		select {
		case answers <- false:
		default:
		}
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-ended
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("the server ended with %v, and said\n%s", err, said)
		}
	})
	select {
	case up := <-answers:
		if !up {
			t.Fatal("the server does not start")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not come up")
	}
}

// read is a .env file as an application reads it: this one has simple values.
func read(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if unquoted := ""; json.Unmarshal([]byte(value), &unquoted) == nil {
			value = unquoted
		}
		settings[name] = strings.Trim(value, "'")
	}
	return settings
}
