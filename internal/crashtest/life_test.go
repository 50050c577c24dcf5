package crashtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ask puts a connection and fails unless it becomes state.
func (w *world) ask(s *server, linker string, properties map[string]any, state string) map[string]any {
	w.t.Helper()
	all := map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": w.group + "/providers/" + w.target.id()},
		"authInfo":      map[string]any{"authType": "secret"},
		"clientType":    "none",
	}
	for name, value := range properties {
		all[name] = value
	}
	status, answer := s.call("PUT", linker, own, map[string]any{"properties": all})
	op := s.settle()
	if status/100 != 2 || op["state"] != state {
		w.t.Fatalf("PUT = %d %v, and the operation %v", status, answer, op)
	}
	return op
}

// whole fails unless a validation finds nothing wrong.
func (w *world) whole(s *server, linker string) {
	w.t.Helper()
	if status, answer := s.call("POST", linker+"/providers/Patchbay.Connector/validate", own, map[string]any{}); status/100 != 2 {
		w.t.Fatalf("validate = %d %v", status, answer)
	}
	op := s.settle()
	result, _ := op["result"].(map[string]any)
	checks, _ := result["checks"].([]any)
	if op["state"] != "done" || len(checks) == 0 {
		w.t.Fatalf("validate: %v", op)
	}
	for _, c := range checks {
		if check, _ := c.(map[string]any); check["result"] == "failure" {
			w.t.Errorf("validate finds %v", check)
		}
	}
}

func (w *world) gone(s *server, linker string) {
	w.t.Helper()
	if status, answer := s.call("DELETE", linker, own, nil); status/100 != 2 {
		w.t.Fatalf("DELETE = %d %v", status, answer)
	}
	if op := s.settle(); op["state"] != "done" {
		w.t.Fatalf("delete: %v", op)
	}
}

// A data directory that is put back from a copy does not know what was made
// since; a sweep finds it by its marks, and leaves another Patchbay's alone.
func TestASweepAfterARestoreRemovesWhatNoRecordKnows(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	for _, start := range []func(*testing.T) target{startPostgres, startNATS} {
		tg := start(t)
		t.Run(tg.name(), func(t *testing.T) {
			tg := tg.in(t)
			other := newWorld(t, tg)
			s := boot(t, other.dir, "", "")
			other.register(s)
			other.ask(s, other.linker, nil, "done")
			s.stop()
			theirs := tg.marked()

			w := newWorld(t, tg)
			s = boot(t, w.dir, "", "")
			w.register(s)
			s.stop()
			data, copied := filepath.Join(w.dir, "data"), filepath.Join(w.dir, "copy")
			if err := os.CopyFS(copied, os.DirFS(data)); err != nil {
				t.Fatal(err)
			}
			s = boot(t, w.dir, "", "")
			w.ask(s, w.linker, nil, "done")
			s.stop()
			if marked := tg.marked(); len(marked) != 2 || len(theirs) != 1 {
				t.Fatalf("before: %v, theirs %v", marked, theirs)
			}
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copied, data); err != nil {
				t.Fatal(err)
			}
			private(t, data)

			s = boot(t, w.dir, "", "")
			if status, _ := s.call("GET", w.linker, own, nil); status != 404 {
				t.Fatalf("the copy knows the connection: %d", status)
			}
			status, swept := s.call("POST", "/providers/Patchbay.Connector/sweep", own, map[string]any{})
			if status != 202 {
				t.Fatalf("sweep = %d %v", status, swept)
			}
			swept = s.settle()
			if marked := tg.marked(); !slices.Equal(marked, theirs) {
				t.Errorf("after the sweep there are %v, should be %v: %v", marked, theirs, swept)
			}
			s.stop()
			s = boot(t, other.dir, "", "")
			other.whole(s, other.linker)
			other.gone(s, other.linker)
			s.stop()
			if left := tg.remains(); len(left) > 0 {
				t.Errorf("I1: there still is %v", left)
			}
		})
	}
}

// private gives a copied data directory its modes back.
func private(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Chmod(filepath.Join(dir, e.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// One connection takes every form that a request can give it, on real ends.
func TestAConnectionTakesEveryFormAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	first, second := startPostgres(t).(*postgresTarget), startPostgres(t).(*postgresTarget)
	w := newWorld(t, first)
	bindings := filepath.Join(w.dir, "bindings")
	if err := os.Mkdir(bindings, 0o755); err != nil {
		t.Fatal(err)
	}
	env := w.source.(*envFile)
	s := boot(t, w.dir, "", "")
	w.register(s)
	source := w.group + "/providers/Microsoft.Web/sites/web"
	if status, answer := s.call("PUT", source, own, map[string]any{"properties": map[string]any{
		"driver": "envfile", "endpoint": env.path, "dialect": "dotenv", "bindingRoot": bindings,
	}}); status/100 != 2 {
		t.Fatalf("register the source: %d %v", status, answer)
	}
	_, body := second.resource()
	if status, answer := s.call("PUT", w.group+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/db2", own, body); status != 201 {
		t.Fatalf("register the second server: %d %v", status, answer)
	}
	elsewhere := map[string]any{"type": "AzureResource", "id": w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db2/databases/shop"}
	for _, c := range []struct {
		name       string
		properties map[string]any
		first      int // logins there
		second     int
		has        string // a setting or file
	}{
		{"azure", nil, 1, 0, "AZURE_POSTGRESQL_HOST"},
		{"native", map[string]any{"patchbay": map[string]any{"naming": "native"}}, 1, 0, "PGHOST"},
		{"servicebinding", map[string]any{"patchbay": map[string]any{"naming": "servicebinding"}}, 1, 0, "orders/host"},
		{"customized", map[string]any{"configurationInfo": map[string]any{"customizedKeys": map[string]any{"AZURE_POSTGRESQL_HOST": "DB_HOST"}}}, 1, 0, "DB_HOST"},
		{"another server", map[string]any{"targetService": elsewhere}, 0, 1, "AZURE_POSTGRESQL_HOST"},
		{"given", map[string]any{"authInfo": map[string]any{"authType": "secret", "name": first.server.User, "secretInfo": map[string]any{"secretType": "rawValue", "value": first.server.Password}}}, 0, 0, "AZURE_POSTGRESQL_PASSWORD"},
		{"own again", nil, 1, 0, "AZURE_POSTGRESQL_PASSWORD"},
		{"settings left to the caller", map[string]any{"configurationInfo": map[string]any{"action": "optOut"}}, 1, 0, ""},
		{"and back", nil, 1, 0, "AZURE_POSTGRESQL_HOST"},
	} {
		w.ask(s, w.linker, c.properties, "done")
		if a, b := first.marked(), second.marked(); len(a) != c.first || len(b) != c.second {
			t.Errorf("%s: the servers have %v and %v", c.name, a, b)
		}
		w.whole(s, w.linker)
		entries, err := os.ReadDir(bindings)
		if err != nil || (len(entries) > 0) != strings.Contains(c.has, "/") {
			t.Errorf("%s: the bindings are %v, %v", c.name, entries, err)
		}
		switch name, file, isFile := strings.Cut(c.has, "/"); {
		case isFile:
			if _, err := os.ReadFile(filepath.Join(bindings, name, file)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		case c.has == "" && strings.TrimSuffix(env.content(), "\n") != original: // only a delete takes the line's end back
			t.Errorf("%s: the file is\n%s", c.name, env.content())
		case c.has != "" && w.settings()[c.has] == "":
			t.Errorf("%s: the file is\n%s", c.name, env.content())
		}
	}
	// A second connection to the same target gets names of its own, and keeps
	// them when the first is gone.
	another := source + "/providers/Microsoft.ServiceLinker/linkers/second"
	w.ask(s, another, nil, "done")
	w.whole(s, another)
	w.gone(s, w.linker)
	w.ask(s, another, map[string]any{"patchbay": map[string]any{"access": "reader"}}, "done")
	if have := w.settings(); have["AZURE_POSTGRESQL_SECOND_HOST"] == "" || have["AZURE_POSTGRESQL_HOST"] != "" {
		t.Errorf("the file is\n%s", env.content())
	}
	// The place of the settings is gone: a delete still ends, and takes the login.
	if err := os.RemoveAll(filepath.Dir(env.path)); err != nil {
		t.Fatal(err)
	}
	w.gone(s, another)
	if left := append(first.remains(), second.remains()...); len(left) > 0 {
		t.Errorf("I1: there still is %v", left)
	}
	s.stop()
}
