package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

const keptSecret = "c4n4ry-s3cret"

func TestContainersAreFound(t *testing.T) {
	for _, name := range engines() {
		t.Run(name, func(t *testing.T) { discovery(t, &world{Engine: testdocker.Start(t, name)}) })
	}
}

func discovery(t *testing.T, w *world) {
	app := w.Image(t, testdocker.App)
	database := w.Image(t, "postgres", "EXPOSE 5432", "ENV PGDATA=/var/lib/postgresql")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(keptSecret+"-of-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Must(t, "network", "create", "--subnet", "10.89.77.0/24", "shop")
	w.Must(t, "run", "--detach", "--name", "web", "--network", "shop", app)
	w.Must(t, "run", "--detach", "--name", "open", "--network", "shop", "--publish", "15432:5432", "--env", "POSTGRES_PASSWORD="+keptSecret, database)
	w.Must(t, "run", "--detach", "--name", "inside", "--network", "shop", "--env", "POSTGRES_PASSWORD_FILE=/run/secrets/db", "--volume", file+":/run/secrets/db:ro", database)
	w.Must(t, "run", "--detach", "--name", "still", "--network", "shop", "--ip", "10.89.77.77", "--publish", "127.0.0.1:25432:5432", database)
	w.Must(t, "run", "--detach", "--name", "theirs", "--label", "com.docker.compose.project=shop", app)
	w.Must(t, "create", "--name", "idle", app)
	// What is kept for a change is nobody's application.
	w.Must(t, "create", "--name", "web.patchbay-abc-g1-kept-0123456789ab", app)

	c := driver.Config{Properties: json.RawMessage(`{"engine":"unix://` + w.Socket + `"}`), Host: hosts.NewLocal(hosts.DialRules{})}
	list, err := Driver().Discover(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]driver.Found{}
	for _, f := range list {
		all[f.Name] = f
		if len(f.Revealed) > 0 {
			t.Errorf("%s reveals what nobody asked for", f.Name)
		}
	}
	if text, _ := json.Marshal(list); strings.Contains(string(text), keptSecret) {
		t.Errorf("a value leaves the driver: %s", text)
	}
	if len(all) != 6 || len(list) != 6 {
		t.Errorf("found are %v", list)
	}
	if f := all["web"]; !f.Running || f.Endpoint != "web" || !strings.Contains(f.Image, app) || f.Refused != "" || len(f.Reach) != 0 || f.Plumbing {
		t.Errorf("web: %+v", f)
	}
	if f := all["idle"]; f.Running {
		t.Errorf("idle: %+v", f)
	}
	if f := all["theirs"]; !strings.Contains(f.Refused, "Compose") || !strings.Contains(f.Fix, "compose") {
		t.Errorf("theirs: %+v", f)
	}
	f := all["open"]
	if !slices.Contains(f.Variables, "POSTGRES_PASSWORD") || !slices.Equal(f.Ports, []uint16{5432}) || len(f.Reach) != 2 ||
		f.Reach[0].Address != "10.89.77.1:15432" || f.Reach[0].Note != "" || !strings.HasSuffix(f.Reach[1].Address, ":5432") || f.Reach[1].Note == "" {
		t.Errorf("open: %+v", f)
	}
	// Podman does not say that it was asked for the address.
	if f := all["still"]; len(f.Reach) != 2 || f.Reach[0].Address != "10.89.77.77:5432" || (f.Reach[0].Note == "") != (w.Name == testdocker.Docker) || f.Reach[1].Address != ":25432" || f.Reach[1].Note == "" {
		t.Errorf("still: %+v", f.Reach)
	}
	if f := all["inside"]; len(f.Reach) != 1 || f.Reach[0].Note == "" {
		t.Errorf("inside: %+v", f.Reach)
	}

	// Only what is asked for of one leaves the driver, out of its files too.
	ask := func(name string) driver.Secrets {
		list, err := Driver().Discover(t.Context(), c, func(f driver.Found) driver.Reveal {
			if f.Name != name {
				return driver.Reveal{}
			}
			return driver.Reveal{Variables: []string{"POSTGRES_PASSWORD", "NONE"}, Files: []string{"POSTGRES_PASSWORD_FILE"}}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if f.Name != name && len(f.Revealed) > 0 {
				t.Errorf("%s reveals what nobody asked for", f.Name)
			}
			if f.Name == name {
				return f.Revealed
			}
		}
		return nil
	}
	if got := ask("open"); len(got) != 1 || got["POSTGRES_PASSWORD"].Reveal() != keptSecret {
		t.Errorf("open reveals %d values", len(got))
	}
	if got := ask("inside"); len(got) != 1 || got["POSTGRES_PASSWORD_FILE"].Reveal() != keptSecret+"-of-file" {
		t.Errorf("inside reveals %d values", len(got))
	}

	// What it is told of where to look is checked as a registration's is.
	for what, properties := range map[string]string{
		"no engine": `{"engine":"unix:///nowhere.sock"}`, "no URL": `{"engine":"ftp://x"}`,
	} {
		c.Properties = json.RawMessage(properties)
		if _, err := Driver().Discover(t.Context(), c, nil); patchbay.AsError(err) == nil || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}
